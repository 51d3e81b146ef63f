//! Those that take from the replay buffer, and for whom of them the feed waits.

use std::ops::Range;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use slab::Slab;
use tokio::time::Instant;

use super::lock;

/// How long the feed waits for a client that is about to fall behind and does not
/// move; and how long in all while another client has nothing to do for it.
pub(super) const PATIENCE: Duration = Duration::from_millis(100);
/// The second kind of patience grows again by this part of the time.
const REFILL: u32 = 50;
/// How often the feed looks whether such a client moved.
pub(super) const LOOK_AGAIN: Duration = Duration::from_millis(1);

/// Where a client is that takes from the replay buffer: the number of its next event.
/// In a burst the feed waits for it, until it is dropped.
#[derive(Debug)]
pub struct Cursor {
    taker: Arc<Taker>,
    key: usize,
    cursors: Arc<Mutex<Cursors>>,
}

/// What the feed sees of a cursor.
#[derive(Debug)]
struct Taker {
    /// The number of its next event.
    next: AtomicU64,
    /// How many clients it takes for.
    clients: AtomicUsize,
    is_lane: bool,
}

/// All cursors.
#[derive(Debug)]
pub(super) struct Cursors {
    takers: Slab<Arc<Taker>>,
    /// None that is still in the replay buffer is before this one.
    least: u64,
    patience: Patience,
}

/// How long the feed may still wait while somebody waits for it.
#[derive(Debug)]
struct Patience {
    left: Duration,
    /// When `left` was last brought up to date.
    at: Instant,
}

/// Whom the feed waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum InTheWay {
    Lane,
    /// A client, at this number.
    Client(u64),
}

impl Cursor {
    /// Begins at the event of a number.
    pub(super) fn new(cursors: &Arc<Mutex<Cursors>>, next: u64, is_lane: bool) -> Self {
        let taker = Arc::new(Taker {
            next: AtomicU64::new(next),
            clients: AtomicUsize::new(1),
            is_lane,
        });
        let mut all = lock(cursors);
        all.least = all.least.min(next);
        Self {
            key: all.takers.insert(Arc::clone(&taker)),
            taker,
            cursors: Arc::clone(cursors),
        }
    }

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
        lock(&self.cursors).takers.try_remove(self.key);
    }
}

impl Cursors {
    pub(super) fn new() -> Self {
        Self {
            takers: Slab::new(),
            least: 0,
            patience: Patience {
                left: PATIENCE,
                at: Instant::now(),
            },
        }
    }

    /// The slowest that would fall behind if of the events with the numbers `kept` only
    /// those from `keep_from` on were kept, unless the patience with it is at its end.
    pub(super) fn in_the_way(&mut self, kept: Range<u64>, keep_from: u64) -> Option<InTheWay> {
        let passed = self.patience.refill();
        // They only move on, so they are not looked through each time.
        if self.least >= keep_from {
            return None;
        }
        self.least = kept.end;
        let mut fastest = 0;
        for (_, taker) in &self.takers {
            let next = taker.next.load(Ordering::Relaxed);
            if next >= kept.start {
                if taker.is_lane && next < keep_from {
                    self.least = kept.start;
                    return Some(InTheWay::Lane);
                }
                self.least = self.least.min(next);
            }
            if taker.clients.load(Ordering::Relaxed) > 0 {
                fastest = fastest.max(next);
            }
        }
        if self.least >= keep_from {
            return None;
        }
        let somebody_waits = fastest >= kept.end;
        if somebody_waits && !self.patience.spend(passed) {
            return None;
        }
        Some(InTheWay::Client(self.least))
    }
}

impl Patience {
    /// Grows with the time; returns how much has passed since.
    fn refill(&mut self) -> Duration {
        let passed = self.at.elapsed();
        self.at += passed;
        self.left = (self.left + passed / REFILL).min(PATIENCE);
        passed
    }

    /// Counts the time that has passed as waited; returns whether any is left.
    fn spend(&mut self, passed: Duration) -> bool {
        self.left = self.left.saturating_sub(passed.min(2 * LOOK_AGAIN));
        !self.left.is_zero()
    }
}
