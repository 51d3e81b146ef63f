//! When the feed sleeps, and how long it waits between two reads.
//!
//! Postgres lets transactions that notify commit only one after another, so writers
//! notify only while a reader sleeps. While the feed sleeps, it holds a lock in Postgres
//! that writers look for, and waits to be woken. While many write at once it is awake
//! instead: it lets the lock go, and reads every two milliseconds.
//!
//! Nothing is missed (migration 0003 says it from the writer's side). The feed takes
//! the lock, then reads. A writer that had looked before may commit without a
//! notification. But it already had its transaction id, which is below the next one of
//! that read. So the feed is in doubt: it reads again and again unasked, until a read
//! has seen the end of every transaction below that id.

use std::time::Duration;

use tokio::time::Instant;

use crate::journal::Watermark;

/// How long to wait for a notification before reading unasked: for writers that chose
/// not to notify, and to notice a connection that is dead.
pub const POLL_INTERVAL: Duration = Duration::from_secs(1);
/// The pause between two reads while awake. On two cores, 16 writers do 6 % more than
/// with half of it, and 3 % less than with twice as much …
const AWAKE_PAUSE: Duration = Duration::from_millis(2);
/// … which grows while nothing comes.
const LONGEST_PAUSE: Duration = Duration::from_millis(4);
/// The shortest pause while asleep and in doubt. Reads with less between them are quick.
const SHORTEST_PAUSE: Duration = Duration::from_millis(1);
/// In doubt, the pause is this part of the time since the feed fell asleep …
const DOUBT_PART: u32 = 8;
/// … and at most this. A commit may stay unheard for this long if its transaction was
/// open all the time.
const LONGEST_DOUBT: Duration = Duration::from_millis(250);
/// From this number on, transactions in progress count as many: it would show if they
/// waited for each other.
const MANY: usize = 2;
/// The feed wakes up when so many reads in a row have found rows and many at work …
const READS_TO_WAKE: u32 = 3;
/// … or so many times more have found rows with hardly a pause between. Even a single
/// writer then pays more for its notifications than for a feed that stays awake.
const QUICK_READS_AS_ONE: u32 = 8;
/// The feed falls asleep after reads have found neither for this long.
const TIME_TO_SLEEP: Duration = Duration::from_millis(50);
/// A transaction that is open for longer than this, or twice this, is not counted.
const YOUNG: Duration = Duration::from_millis(500);

/// Whether the feed sleeps, and since when.
#[derive(Debug)]
pub struct Sleep {
    state: State,
    young: Young,
    /// When a read last found rows.
    rows_at: Option<Instant>,
}

#[derive(Debug)]
enum State {
    /// Writers need not notify.
    Awake {
        /// When a read last found much to do.
        busy_at: Option<Instant>,
        /// Until the next read.
        pause: Duration,
    },
    /// Writers notify.
    Asleep {
        since: Instant,
        /// Transactions below this id may not notify, if they have not ended.
        doubt: Option<u64>,
        /// How busy the last reads were, in quick ones.
        busy: u32,
    },
}

/// What is said to writers, ahead of a read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transition {
    /// They have to notify.
    FallAsleep,
    /// They need not.
    WakeUp,
}

impl Sleep {
    /// Awake, and about to fall asleep.
    pub fn new(now: Instant) -> Self {
        Self {
            state: State::Awake {
                busy_at: None,
                pause: AWAKE_PAUSE,
            },
            young: Young {
                from: 0,
                next_from: 0,
                since: now,
            },
            rows_at: None,
        }
    }

    /// What is to be said ahead of the next read.
    pub fn transition(&self, now: Instant) -> Option<Transition> {
        match &self.state {
            State::Awake { busy_at, .. } => busy_at
                .is_none_or(|busy_at| now - busy_at > TIME_TO_SLEEP)
                .then_some(Transition::FallAsleep),
            State::Asleep { busy, .. } => {
                (*busy >= READS_TO_WAKE * QUICK_READS_AS_ONE).then_some(Transition::WakeUp)
            }
        }
    }

    /// Takes note of a read that led to `seen` and found so many rows. `transition` was
    /// said ahead of it.
    pub fn has_read(
        &mut self,
        transition: Option<Transition>,
        seen: &Watermark,
        rows: usize,
        now: Instant,
    ) {
        match transition {
            None => {}
            Some(Transition::FallAsleep) => {
                self.state = State::Asleep {
                    since: now,
                    doubt: Some(seen.next_xid),
                    busy: 0,
                };
            }
            Some(Transition::WakeUp) => {
                self.state = State::Awake {
                    busy_at: Some(now),
                    pause: AWAKE_PAUSE,
                };
            }
        }
        let are_many = self.young.count(seen, now) >= MANY && rows > 0;
        let since_rows = self.rows_at.map(|rows_at| now - rows_at);
        let follow_within = |pause| rows > 0 && since_rows.is_some_and(|since| since <= pause);
        if rows > 0 {
            self.rows_at = Some(now);
        }
        match &mut self.state {
            State::Awake { busy_at, pause } => {
                if are_many || follow_within(LONGEST_PAUSE) {
                    *busy_at = Some(now);
                }
                *pause = match rows {
                    0 => (*pause * 2).min(LONGEST_PAUSE),
                    _ => AWAKE_PAUSE,
                };
            }
            State::Asleep { doubt, busy, .. } => {
                if doubt.is_some_and(|xid| seen.has_ended_below(xid)) {
                    *doubt = None;
                }
                *busy = match (are_many, follow_within(SHORTEST_PAUSE)) {
                    (true, _) => *busy + QUICK_READS_AS_ONE,
                    (false, true) => *busy + 1,
                    (false, false) => 0,
                };
            }
        }
    }

    /// How long to wait before the next read, and whether a notification ends the wait.
    pub fn pause(&self, now: Instant) -> (Duration, bool) {
        match &self.state {
            State::Awake { pause, .. } => (*pause, false),
            State::Asleep {
                since,
                doubt: Some(_),
                ..
            } => {
                let pause = (now - *since) / DOUBT_PART;
                (pause.clamp(SHORTEST_PAUSE, LONGEST_DOUBT), true)
            }
            State::Asleep { doubt: None, .. } => (POLL_INTERVAL, true),
        }
    }
}

/// Which transactions began not long ago: one that stays open, like a batch job's,
/// says nothing about how many others there are.
#[derive(Debug)]
struct Young {
    /// Those from this id on.
    from: u64,
    /// Those from this id on, some time from now.
    next_from: u64,
    since: Instant,
}

impl Young {
    fn count(&mut self, seen: &Watermark, now: Instant) -> usize {
        if now - self.since > YOUNG {
            self.from = self.next_from;
            self.next_from = seen.next_xid;
            self.since = now;
        }
        seen.in_progress_from(self.from)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    /// What a read found: `10:20:10,15` and the next transaction id.
    fn seen(snapshot: &str, begun: u64) -> Watermark {
        Watermark::parse(snapshot, begun, 0).expect("a snapshot")
    }

    /// One that sleeps, without a doubt.
    fn asleep(now: Instant) -> Sleep {
        let mut sleep = Sleep::new(now);
        assert_eq!(sleep.transition(now), Some(Transition::FallAsleep));
        sleep.has_read(Some(Transition::FallAsleep), &seen("10:10:", 0), 0, now);
        assert_eq!(sleep.pause(now), (POLL_INTERVAL, true));
        sleep
    }

    #[test]
    fn a_feed_that_could_not_fall_asleep_reads_on_and_tries_again() {
        let now = Instant::now();
        let mut sleep = Sleep::new(now);
        sleep.has_read(None, &seen("10:10:", 0), 1, now);
        assert_eq!(sleep.pause(now), (AWAKE_PAUSE, false));
        assert_eq!(sleep.transition(now), Some(Transition::FallAsleep));
        for _ in 0..5 {
            sleep.has_read(None, &seen("10:10:", 0), 0, now);
        }
        assert_eq!(sleep.pause(now), (LONGEST_PAUSE, false));
    }

    #[test]
    fn it_reads_by_itself_until_all_that_may_not_ring_have_ended() {
        for (first, begun, others, last) in [
            // One that is listed, and one that is not.
            ("10:20:10,15", 0, &["10:30:10", "15:20:15"][..], "20:20:"),
            ("20:20:", 2, &["20:20:", "20:21:20", "21:21:"], "22:22:"),
            ("10:20:10", 5, &["10:30:10", "20:24:"], "25:30:27"),
        ] {
            let start = Instant::now();
            let mut sleep = Sleep::new(start);
            sleep.has_read(Some(Transition::FallAsleep), &seen(first, begun), 0, start);
            assert_eq!(sleep.pause(start), (SHORTEST_PAUSE, true), "{first}");
            for other in others {
                sleep.has_read(None, &seen(other, 0), 0, start);
                let later = start + 800 * MS;
                assert_eq!(sleep.pause(later), (100 * MS, true), "{other}");
                let hours = start + 10_000_000 * MS;
                assert_eq!(sleep.pause(hours), (LONGEST_DOUBT, true), "{other}");
            }
            sleep.has_read(None, &seen(last, 0), 0, start);
            assert_eq!(sleep.pause(start), (POLL_INTERVAL, true), "{last}");
        }
    }

    #[test]
    fn it_wakes_while_many_write_and_sleeps_again_afterwards() {
        let mut now = Instant::now();
        let mut sleep = asleep(now);
        // Two that write at once.
        for next in 1..=READS_TO_WAKE {
            assert_eq!(sleep.transition(now), None, "{next}");
            sleep.has_read(None, &seen("10:20:10", 1), 1, now);
        }
        assert_eq!(sleep.transition(now), Some(Transition::WakeUp));
        sleep.has_read(Some(Transition::WakeUp), &seen("20:20:", 3), 1, now);
        for next in 0..100 {
            now += 20 * MS;
            assert_eq!(sleep.transition(now), None);
            assert_eq!(sleep.pause(now), (AWAKE_PAUSE, false));
            let xmax = 20 + 10 * next;
            sleep.has_read(None, &seen(&format!("{xmax}:{xmax}:"), 2), 1, now);
        }
        // One at a time.
        now += TIME_TO_SLEEP;
        sleep.has_read(None, &seen("2000:2000:", 1), 1, now);
        assert_eq!(sleep.transition(now), None);
        now += MS;
        assert_eq!(sleep.transition(now), Some(Transition::FallAsleep));
    }

    #[test]
    fn transactions_that_stay_open_or_change_nothing_here_keep_nobody_awake() {
        let mut now = Instant::now();
        let mut sleep = asleep(now);
        // Elsewhere in the cluster.
        for _ in 0..10 {
            sleep.has_read(None, &seen("10:20:10,11,12", 0), 0, now);
            assert_eq!(sleep.transition(now), None);
        }
        // Those from before, and one at a time beside them.
        for next in 0..100 {
            now += 100 * MS;
            let xmax = 30 + next;
            let snapshot = format!("10:{xmax}:10,11,12");
            let rows = usize::from(next > 12);
            sleep.has_read(None, &seen(&snapshot, 1), rows, now);
            assert_eq!(sleep.transition(now), None, "{next}");
        }
    }

    #[test]
    fn a_single_writer_without_a_pause_wakes_it_and_one_with_pauses_does_not() {
        for (every, wakes) in [(MS / 2, true), (2 * MS, false)] {
            let mut now = Instant::now();
            let mut sleep = asleep(now);
            for next in 0..100_u64 {
                now += every;
                let xmax = 20 + next;
                sleep.has_read(None, &seen(&format!("{xmax}:{xmax}:"), 0), 1, now);
            }
            let transition = sleep.transition(now);
            assert_eq!(transition == Some(Transition::WakeUp), wakes, "{every:?}");
        }
    }
}
