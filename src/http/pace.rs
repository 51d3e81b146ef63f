//! How long a client may take for what is kept in memory for it.
//!
//! The write time-out of a connection begins anew with every byte that its client takes.
//! So a client that takes a byte now and then could keep a large answer in memory for as
//! long as it likes. Therefore a handler that keeps an answer says how large it is, and
//! the connection ends if the client does not take it in time.

use std::future::pending;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};

/// The time that any client may take …
const LEAST_TIME: Duration = Duration::from_secs(15);
/// … and the bytes that it must take in each second after that.
const BYTES_PER_SECOND: f64 = 16.0 * 1024.0;

/// The pace of one connection's client.
#[derive(Clone, Debug)]
pub struct Pace(watch::Sender<Option<Instant>>);

/// Bytes that are kept until this is dropped.
#[derive(Debug)]
pub struct Kept {
    pace: Pace,
    until: Instant,
}

/// Watches a pace.
#[derive(Debug)]
pub struct Watch(watch::Receiver<Option<Instant>>);

/// The pace of a connection, and who watches it.
pub fn of_a_connection() -> (Pace, Watch) {
    let (until, watched) = watch::channel(None);
    (Pace(until), Watch(watched))
}

impl Pace {
    /// So many bytes are kept for the client from now on.
    pub fn keep(&self, bytes: usize) -> Kept {
        let time = LEAST_TIME + Duration::from_secs_f64(bytes as f64 / BYTES_PER_SECOND);
        let until = Instant::now() + time;
        self.0.send_replace(Some(until));
        Kept {
            pace: self.clone(),
            until,
        }
    }

    /// Ends the connection now: others need the memory.
    pub fn end(&self) {
        self.0.send_replace(Some(Instant::now()));
    }
}

impl Drop for Kept {
    fn drop(&mut self) {
        self.pace.0.send_if_modified(|until| {
            // What was kept after this has a time of its own.
            let is_latest = *until == Some(self.until);
            if is_latest {
                *until = None;
            }
            is_latest
        });
    }
}

impl Watch {
    /// Ends when the client has taken too long.
    pub async fn too_slow(mut self) {
        loop {
            let until = *self.0.borrow_and_update();
            let too_late = async {
                match until {
                    Some(until) => sleep_until(until).await,
                    None => pending().await,
                }
            };
            tokio::select! {
                () = too_late => return,
                changed = self.0.changed() => if changed.is_err() {
                    // Nobody keeps anything any more.
                    pending::<()>().await;
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::time::{sleep, timeout};

    #[tokio::test(start_paused = true)]
    async fn what_is_kept_has_its_time_by_its_size() {
        let (pace, watch) = of_a_connection();
        let watching = tokio::spawn(watch.too_slow());
        let first = pace.keep(0);
        sleep(LEAST_TIME / 2).await;
        drop(first);
        sleep(LEAST_TIME * 2).await;
        let second = pace.keep(0);
        let third = pace.keep(160 * 1024);
        drop(second);
        sleep(LEAST_TIME + Duration::from_secs(9)).await;
        assert!(!watching.is_finished());
        let ended = timeout(Duration::from_secs(2), watching).await;
        ended.expect("it is too slow").expect("no panic");
        drop(third);
    }
}
