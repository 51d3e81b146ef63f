//! How an outage is told: at once, then less and less often, and once when it is over.

use std::fmt;
use std::time::Duration;

use tokio::time::Instant;

/// When an outage is told for the second time. Each further time comes after twice as
/// long.
const FIRST_REMINDER: Duration = Duration::from_secs(10);
/// The longest time between two times.
const LONGEST_SILENCE: Duration = Duration::from_secs(600);

/// Whether there is an outage, and when it was told.
#[derive(Debug, Default)]
pub(super) struct Outage(Option<Ongoing>);

#[derive(Debug)]
struct Ongoing {
    began: Instant,
    next: Instant,
    silence: Duration,
}

/// How a failure is told.
#[derive(Debug, PartialEq)]
pub(super) enum Telling {
    /// To everybody; with how long it has lasted, unless it is new.
    Aloud(Option<Lasted>),
    /// To those who read the detailed log.
    Quietly,
}

/// How long something lasted, for people.
#[derive(Debug, PartialEq)]
pub(super) struct Lasted(Duration);

impl fmt::Display for Lasted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0.as_secs() {
            0 => write!(f, "{} ms", self.0.as_millis()),
            seconds @ 1..120 => write!(f, "{seconds} s"),
            seconds @ 120..7200 => write!(f, "{} min", seconds / 60),
            seconds => write!(f, "{} h", seconds / 3600),
        }
    }
}

impl Outage {
    /// It failed, now or once more.
    pub(super) fn tell(&mut self) -> Telling {
        let now = Instant::now();
        let Some(ongoing) = &mut self.0 else {
            self.0 = Some(Ongoing {
                began: now,
                next: now + FIRST_REMINDER,
                silence: FIRST_REMINDER,
            });
            return Telling::Aloud(None);
        };
        if now < ongoing.next {
            return Telling::Quietly;
        }
        ongoing.silence = (ongoing.silence * 2).min(LONGEST_SILENCE);
        ongoing.next = now + ongoing.silence;
        Telling::Aloud(Some(Lasted(now - ongoing.began)))
    }

    /// It is over; how long it lasted, if there was one.
    pub(super) fn end(&mut self) -> Option<Lasted> {
        let ongoing = self.0.take()?;
        Some(Lasted(ongoing.began.elapsed()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::time::advance;

    #[tokio::test(start_paused = true)]
    async fn an_outage_is_told_less_and_less_often() {
        let mut outage = Outage::default();
        assert_eq!(outage.end(), None);
        assert_eq!(outage.tell(), Telling::Aloud(None));
        let mut told_after_s = Vec::new();
        for second in 1..3600 {
            advance(Duration::from_secs(1)).await;
            if let Telling::Aloud(lasted) = outage.tell() {
                assert_eq!(lasted, Some(Lasted(Duration::from_secs(second))));
                told_after_s.push(second);
            }
        }
        assert_eq!(
            told_after_s,
            [10, 30, 70, 150, 310, 630, 1230, 1830, 2430, 3030]
        );
        assert_eq!(outage.end().expect("an outage").to_string(), "59 min");
        assert_eq!(outage.tell(), Telling::Aloud(None));
    }
}
