//! The last events, shared by all clients.
//!
//! The feed publishes here; each client takes from here at its own pace. A
//! client that falls behind the oldest event kept here goes on from the journal,
//! as one that comes back does. In a burst the feed waits for clients that keep
//! moving, so that they need not: as long as it likes while all are busy with what
//! was published, but hardly once one of them has it all and waits for more. The lane,
//! by which all clients that have everything are served, waits for nobody, so the feed
//! always waits for it.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use slab::Slab;
use tokio::sync::watch;
use tokio::time::{Instant, sleep};
use tracing::debug;

use super::batch::JournalEvent;
use super::bounds::JournalBounds;
use super::position::Position;
use super::watermark::Watermark;
use super::witness::Witness;
use crate::event::Reason;
use crate::metrics::Metrics;

/// How many events are kept.
const CAPACITY: usize = 8192;
/// How long the feed waits for a client that is about to fall behind and does not
/// move; and how long in all while another client has nothing to do for it.
const PATIENCE: Duration = Duration::from_millis(100);
/// The second kind of patience grows again by this part of the time.
const REFILL: u32 = 50;
/// How often the feed looks whether such a client moved.
const LOOK_AGAIN: Duration = Duration::from_millis(1);

/// How often the places of idle clients are moved on.
pub const MOVE_ON: Duration = Duration::from_secs(10);

/// The last events, and where the feed is.
#[derive(Debug)]
pub struct ReplayBuffer {
    state: Mutex<State>,
    /// Those that take from here. Locked while `state` is, or alone.
    cursors: Arc<Mutex<Cursors>>,
    head: watch::Sender<u64>,
    metrics: Arc<Metrics>,
}

#[derive(Debug)]
struct State {
    events: VecDeque<Arc<JournalEvent>>,
    /// The number of the first event in `events`; they are numbered from 0.
    first: u64,
    /// The number at which the feed began anew, if it did.
    begun: u64,
    /// What the feed has seen, if it has published all of it.
    seen: Arc<Watermark>,
    /// What may be gone from the journal, as its last read told.
    kept_from: Option<Watermark>,
    /// How many reads the feed has completed; `seen` comes from the last.
    reads: u64,
    /// When the last ended.
    read_at: Instant,
    /// How often a page began or ended that leads clients to here.
    pages: u64,
    /// How many of them are being read.
    pages_under_way: usize,
    /// Whether the feed is connected.
    follows: bool,
    /// How long the feed may still wait while somebody waits for it.
    patience: Duration,
    /// When that was last brought up to date.
    patience_at: Instant,
    /// When all clients were last woken to move on.
    moved_on_at: Instant,
}

/// Those that take from the replay buffer.
#[derive(Debug, Default)]
struct Cursors {
    all: Slab<Arc<Taker>>,
    /// None that is still in the replay buffer is before this one.
    least: u64,
}

/// One that takes from the replay buffer.
#[derive(Debug)]
struct Taker {
    /// The number of its next.
    next: AtomicU64,
    /// How many clients it takes for.
    clients: AtomicUsize,
    is_lane: bool,
}

/// Where a client is that takes from the replay buffer: the number of its next. In a
/// burst the feed waits for it, until it is dropped.
#[derive(Debug)]
pub struct Cursor {
    taker: Arc<Taker>,
    key: usize,
    cursors: Arc<Mutex<Cursors>>,
}

impl Cursor {
    /// The number of the next event.
    pub fn next(&self) -> u64 {
        self.taker.next.load(Ordering::Relaxed)
    }

    /// Moves on to the event of a number.
    pub fn move_to(&self, next: u64) {
        self.taker.next.store(next, Ordering::Relaxed);
    }

    /// Says for how many clients it takes: they count as those that wait for the feed
    /// when it has everything.
    pub fn set_clients(&self, clients: usize) {
        self.taker.clients.store(clients, Ordering::Relaxed);
    }
}

impl Drop for Cursor {
    fn drop(&mut self) {
        lock(&self.cursors).all.try_remove(self.key);
    }
}

/// A page of the journal that leads clients to the replay buffer, while it is read.
#[derive(Debug)]
pub struct PageUnderWay<'b> {
    replay_buffer: &'b ReplayBuffer,
    /// The number of the next event when the page began.
    pub head: u64,
}

impl Drop for PageUnderWay<'_> {
    fn drop(&mut self) {
        let mut state = self.replay_buffer.lock();
        state.pages += 1;
        state.pages_under_way -= 1;
    }
}

/// Whom the feed waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum InTheWay {
    Lane,
    /// A client, at this number.
    Client(u64),
}

/// Why a client cannot take its next event from here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Missed {
    /// It is kept no more: the journal has it.
    FellBehind,
    /// The feed began anew: what the client has heard may be in the journal no more.
    BeganAnew,
}

/// What a client gets next.
#[derive(Debug)]
pub struct Taken {
    /// These events; none if there is nothing new.
    pub events: Vec<Arc<JournalEvent>>,
    /// Whether there are no more for now.
    pub is_all: bool,
    /// If the feed is between two batches then: what it has seen with these events.
    pub place: Option<Arc<Watermark>>,
}

impl ReplayBuffer {
    /// Nothing published yet; the feed begins where `bounds` end.
    pub fn new(bounds: JournalBounds, metrics: Arc<Metrics>) -> Self {
        Self {
            state: Mutex::new(State {
                events: VecDeque::new(),
                first: 0,
                begun: 0,
                seen: Arc::new(bounds.now),
                kept_from: bounds.kept_from,
                reads: 0,
                read_at: Instant::now(),
                pages: 0,
                pages_under_way: 0,
                follows: true,
                patience: PATIENCE,
                patience_at: Instant::now(),
                moved_on_at: Instant::now(),
            }),
            cursors: Arc::default(),
            head: watch::Sender::new(0),
            metrics,
        }
    }

    /// Wakes whenever something was published, and now and then.
    pub fn watch(&self) -> watch::Receiver<u64> {
        self.head.subscribe()
    }

    /// What may be gone from the journal, as the feed's last read told.
    pub fn kept_from(&self) -> Option<Watermark> {
        self.lock().kept_from.clone()
    }

    /// Where a client that hears all from now on begins, and the place behind the last
    /// event.
    pub fn join(&self) -> (Cursor, Position) {
        let state = self.lock();
        (self.hold(state.head(), false), state.place())
    }

    /// Where the lane begins, for no clients so far, and the place there.
    pub fn join_lane(&self) -> (Cursor, Position) {
        let state = self.lock();
        let cursor = self.hold(state.head(), true);
        cursor.set_clients(0);
        (cursor, state.place())
    }

    /// Moves a cursor behind the last event; the place there.
    pub fn skip_to_head(&self, cursor: &Cursor) -> Position {
        let state = self.lock();
        cursor.move_to(state.head());
        state.place()
    }

    /// A page of the journal is about to be read that leads clients to here.
    pub fn begin_page(&self) -> PageUnderWay<'_> {
        let mut state = self.lock();
        state.pages += 1;
        state.pages_under_way += 1;
        PageUnderWay {
            replay_buffer: self,
            head: state.head(),
        }
    }

    /// How often a page began or ended so far; none while one is being read.
    pub fn pages(&self) -> Option<u64> {
        let state = self.lock();
        (state.pages_under_way == 0).then_some(state.pages)
    }

    /// How many reads the feed has completed. The next batch has the number
    /// after this one.
    pub fn reads(&self) -> u64 {
        self.lock().reads
    }

    /// Where a client goes on that begins at number `next`; none if that event is kept
    /// no more.
    pub fn join_at(&self, next: u64) -> Option<Cursor> {
        let state = self.lock();
        (next >= state.first).then(|| self.hold(next, false))
    }

    fn hold(&self, next: u64, is_lane: bool) -> Cursor {
        let taker = Arc::new(Taker {
            next: AtomicU64::new(next),
            clients: AtomicUsize::new(1),
            is_lane,
        });
        let mut cursors = lock(&self.cursors);
        cursors.least = cursors.least.min(next);
        let key = cursors.all.insert(Arc::clone(&taker));
        Cursor {
            taker,
            key,
            cursors: Arc::clone(&self.cursors),
        }
    }

    /// The events from number `cursor` on, at most `limit`.
    ///
    /// # Errors
    ///
    /// The next one is not here.
    pub fn take(&self, cursor: u64, limit: usize) -> Result<Taken, Missed> {
        let state = self.lock();
        if cursor < state.begun {
            return Err(Missed::BeganAnew);
        }
        let skip = cursor.checked_sub(state.first).ok_or(Missed::FellBehind)?;
        let skip = usize::try_from(skip).unwrap_or(usize::MAX);
        let events: Vec<_> = state
            .events
            .iter()
            .skip(skip)
            .take(limit)
            .cloned()
            .collect();
        let is_all = skip.saturating_add(events.len()) >= state.events.len();
        let is_between = is_all && state.within().is_none();
        Ok(Taken {
            events,
            is_all,
            place: is_between.then(|| Arc::clone(&state.seen)),
        })
    }

    /// Says that the feed has published all of a batch, which led to `seen`.
    /// Now and then all clients are woken to move their places on, though nothing
    /// happens: what is old is pruned.
    pub fn end_read(&self, seen: &Arc<Watermark>, kept_from: Option<Watermark>) {
        let now = Instant::now();
        let mut state = self.lock();
        state.seen = Arc::clone(seen);
        state.kept_from = kept_from;
        state.reads += 1;
        state.read_at = now;
        if now - state.moved_on_at > MOVE_ON {
            state.moved_on_at = now;
            self.head.send_replace(state.head());
        }
    }

    /// The rows of the events that are kept, rising by their ids.
    pub fn rows(&self) -> Vec<Witness> {
        let mut rows: Vec<_> = self.lock().events.iter().map(|event| event.row).collect();
        rows.sort_unstable();
        rows
    }

    /// Says that the feed cannot go on from where it was, and begins where `bounds` end: what
    /// was published is dropped, and whoever took from here is told.
    pub fn begin_anew(&self, bounds: JournalBounds) {
        let mut state = self.lock();
        // Also for who has taken all that there was.
        state.first = state.head() + 1;
        state.begun = state.first;
        state.events.clear();
        state.seen = Arc::new(bounds.now);
        state.kept_from = bounds.kept_from;
        state.reads += 1;
        state.read_at = Instant::now();
        self.head.send_replace(state.first);
    }

    /// Says that the feed has read changes that mean no event.
    pub fn passed_over(&self, reasons: &[Reason]) {
        self.metrics.passed_over(reasons);
    }

    /// Says whether the feed is connected.
    pub fn set_follows(&self, follows: bool) {
        let followed = std::mem::replace(&mut self.lock().follows, follows);
        if follows && !followed {
            self.metrics.listens_again();
        }
    }

    /// Whether the feed is connected.
    pub fn follows(&self) -> bool {
        self.lock().follows
    }

    /// How many rows, about, the feed has read that had not been seen at a place.
    pub fn rows_behind(&self, place: &Position) -> i64 {
        let seen = place.within.as_ref().map_or(0, |within| within.id);
        let state = self.lock();
        (state.seen.max_id - seen.max(place.base.max_id)).max(0)
    }

    /// How long ago all that there was had been published.
    pub fn behind(&self) -> Duration {
        self.lock().read_at.elapsed()
    }

    /// Publishes events, in order. Waits for clients that are about to fall behind,
    /// within bounds; then they fall behind.
    pub async fn publish(&self, events: &[Arc<JournalEvent>]) {
        self.wait_for_room(events.len()).await;
        let changes = events.iter().map(|event| (&event.event, event.changed_at));
        self.metrics.published(changes);
        debug!(events = events.len(), "published");
        let head = {
            let mut state = self.lock();
            state.events.extend(events.iter().cloned());
            let surplus = state.events.len().saturating_sub(CAPACITY);
            state.events.drain(..surplus);
            state.first += surplus as u64;
            state.head()
        };
        self.head.send_replace(head);
    }

    async fn wait_for_room(&self, wanted: usize) {
        let mut moved = (None, Instant::now());
        loop {
            let slowest = self.in_the_way(wanted);
            let now = Instant::now();
            match slowest {
                None => return,
                Some(InTheWay::Client(_)) if moved.0 == slowest => {
                    if now - moved.1 > PATIENCE {
                        return;
                    }
                }
                Some(_) => moved = (slowest, now),
            }
            sleep(LOOK_AGAIN).await;
        }
    }

    fn in_the_way(&self, wanted: usize) -> Option<InTheWay> {
        self.lock().in_the_way(wanted, &mut lock(&self.cursors))
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        lock(&self.state)
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl State {
    /// The last event, if the feed is in the middle of its batch.
    fn within(&self) -> Option<&JournalEvent> {
        let last = self.events.back()?;
        (last.batch.number > self.reads).then_some(last)
    }

    /// The place behind the last event.
    fn place(&self) -> Position {
        match self.within() {
            Some(last) => last.position(),
            None => Position::after(Arc::clone(&self.seen)),
        }
    }

    fn head(&self) -> u64 {
        self.first + self.events.len() as u64
    }

    /// The slowest that would fall behind if so many events came now, unless the
    /// patience with it is at its end.
    fn in_the_way(&mut self, wanted: usize, cursors: &mut Cursors) -> Option<InTheWay> {
        let passed = self.patience_at.elapsed();
        self.patience_at += passed;
        self.patience = (self.patience + passed / REFILL).min(PATIENCE);
        let surplus = (self.events.len() + wanted).saturating_sub(CAPACITY) as u64;
        let keep_from = self.first + surplus;
        // They only move on, so they are not looked through each time.
        if cursors.least >= keep_from {
            return None;
        }
        cursors.least = self.head();
        let mut fastest = 0;
        for (_, taker) in &cursors.all {
            let next = taker.next.load(Ordering::Relaxed);
            if next >= self.first {
                if taker.is_lane && next < keep_from {
                    cursors.least = self.first;
                    return Some(InTheWay::Lane);
                }
                cursors.least = cursors.least.min(next);
            }
            if taker.clients.load(Ordering::Relaxed) > 0 {
                fastest = fastest.max(next);
            }
        }
        if cursors.least >= keep_from {
            return None;
        }
        if fastest >= self.head() {
            self.patience = self.patience.saturating_sub(passed.min(2 * LOOK_AGAIN));
            if self.patience.is_zero() {
                return None;
            }
        }
        Some(InTheWay::Client(cursors.least))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::OnceLock;

    use super::*;
    use crate::event::{Event, Service};
    use crate::journal::{Batch, Witness};
    use chrono::Utc;
    use serde_json::value::to_raw_value;
    use tokio::time::interval;

    fn replay_buffer() -> Arc<ReplayBuffer> {
        Arc::new(ReplayBuffer::new(JournalBounds::nothing(), Arc::default()))
    }

    fn events(count: usize) -> Vec<Arc<JournalEvent>> {
        let event = Event::ServiceDisabled(Service {
            service_name: "Zoom".to_owned(),
        });
        let batch = Arc::new(Batch {
            base: Arc::new(Watermark::nothing()),
            next: Arc::new(Watermark::nothing()),
            number: 1,
        });
        let one = Arc::new(JournalEvent {
            json: to_raw_value(&event).expect("JSON"),
            event,
            organization: "".into(),
            row: Witness::new(1, 1, 0),
            through: 1,
            xid: 1,
            changed_at: Utc::now(),
            batch,
            reference: OnceLock::new(),
        });
        vec![one; count]
    }

    /// A client that takes so many events each millisecond.
    fn client(replay_buffer: &Arc<ReplayBuffer>, each_ms: u64) -> Cursor {
        let cursor = replay_buffer.join_at(0).expect("the first event");
        let (replay_buffer, taken) = (Arc::clone(replay_buffer), Arc::clone(&cursor.taker));
        tokio::spawn(async move {
            let mut ticks = interval(LOOK_AGAIN);
            loop {
                ticks.tick().await;
                let next = taken.next.load(Ordering::Relaxed) + each_ms;
                taken
                    .next
                    .store(next.min(replay_buffer.lock().head()), Ordering::Relaxed);
            }
        });
        cursor
    }

    async fn publish(replay_buffer: &ReplayBuffer, chunks: usize) -> Duration {
        let begun = Instant::now();
        for _ in 0..chunks {
            replay_buffer.publish(&events(256)).await;
        }
        begun.elapsed()
    }

    #[test]
    fn a_page_shows_while_it_is_read_and_afterwards() {
        let replay_buffer = replay_buffer();
        let before = replay_buffer.pages();
        let page = replay_buffer.begin_page();
        assert_eq!(replay_buffer.pages(), None);
        drop(page);
        assert!(
            replay_buffer
                .pages()
                .is_some_and(|after| Some(after) != before)
        );
    }

    #[tokio::test(start_paused = true)]
    async fn the_feed_does_not_wait_for_a_slow_client_while_another_has_all() {
        let replay_buffer = replay_buffer();
        let slow = client(&replay_buffer, 1);
        let _fast = client(&replay_buffer, 100_000);
        // 51,200 events, of which the slow one would take 51 s.
        let took = publish(&replay_buffer, 200).await;
        assert!(took < Duration::from_secs(2), "{took:?}");
        assert!(replay_buffer.take(slow.next(), 1).is_err());
    }

    #[tokio::test(start_paused = true)]
    async fn the_feed_waits_for_clients_while_all_are_busy() {
        let replay_buffer = replay_buffer();
        let both = [client(&replay_buffer, 20), client(&replay_buffer, 20)];
        publish(&replay_buffer, 200).await;
        for cursor in both {
            assert!(replay_buffer.take(cursor.next(), 1).is_ok());
        }
    }

    #[tokio::test]
    async fn who_took_from_here_is_told_when_the_feed_begins_anew() {
        let replay_buffer = replay_buffer();
        replay_buffer.publish(&events(3)).await;
        let before = replay_buffer.join().0.next();
        replay_buffer.begin_anew(JournalBounds::nothing());
        for next in 0..=before {
            assert_eq!(replay_buffer.take(next, 1).err(), Some(Missed::BeganAnew));
        }
        assert!(replay_buffer.join_at(before).is_none());
        let (after, _) = replay_buffer.join();
        replay_buffer.publish(&events(1)).await;
        let taken = replay_buffer.take(after.next(), 8).expect("the new event");
        assert_eq!(taken.events.len(), 1);
    }

    #[tokio::test(start_paused = true)]
    async fn the_feed_always_waits_for_the_lane() {
        let replay_buffer = replay_buffer();
        let (lane, _) = replay_buffer.join_lane();
        let _fast = client(&replay_buffer, 100_000);
        let publishing = publish(&replay_buffer, 200);
        tokio::pin!(publishing);
        let later = tokio::time::sleep(Duration::from_secs(60));
        tokio::select! {
            _ = &mut publishing => panic!("it did not wait"),
            () = later => {}
        }
        assert!(replay_buffer.take(lane.next(), 1).is_ok());
        lane.move_to(replay_buffer.lock().head());
        let moving = async {
            loop {
                sleep(LOOK_AGAIN).await;
                lane.move_to(replay_buffer.lock().head());
            }
        };
        tokio::select! {
            _ = publishing => {}
            () = moving => {}
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_lane_without_clients_waits_for_nothing() {
        for (clients, waits) in [(0, true), (1, false)] {
            let replay_buffer = replay_buffer();
            let (lane, _) = replay_buffer.join_lane();
            lane.set_clients(clients);
            // 20 a millisecond, of 51,200.
            let slow = client(&replay_buffer, 20);
            let all = Arc::clone(&replay_buffer);
            let task = tokio::spawn(async move {
                loop {
                    lane.move_to(all.lock().head());
                    sleep(Duration::from_micros(100)).await;
                }
            });
            publish(&replay_buffer, 200).await;
            assert_eq!(
                replay_buffer.take(slow.next(), 1).is_ok(),
                waits,
                "{clients}"
            );
            task.abort();
        }
    }

    #[tokio::test(start_paused = true)]
    async fn the_feed_does_not_wait_for_a_client_that_does_not_move() {
        let replay_buffer = replay_buffer();
        let stuck = client(&replay_buffer, 0);
        let took = publish(&replay_buffer, 200).await;
        assert!(took < Duration::from_secs(2), "{took:?}");
        assert!(replay_buffer.take(stuck.next(), 1).is_err());
    }
}
