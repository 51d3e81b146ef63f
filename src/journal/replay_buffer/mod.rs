//! The last events, shared by all clients.
//!
//! The feed publishes here; each client takes from here at its own pace. A client that
//! falls behind the oldest event kept here goes on from the journal, as one that comes back
//! does.
//!
//! During a burst the feed may wait for slow clients, so that they need not go to the
//! journal. While no client has everything, it waits as long as they keep moving. Once
//! another client has caught up, such as one in the lane, it waits at most 100 ms, a budget
//! that refills at 2 % of elapsed time. For the lane itself it always waits, since the lane
//! waits for nobody.

mod cursors;
#[cfg(test)]
mod tests;

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

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
pub use cursors::Cursor;
use cursors::{Cursors, InTheWay, LOOK_AGAIN, PATIENCE};

/// How many events are kept.
const CAPACITY: usize = 8192;

/// How often the places of idle clients are moved on.
pub const MOVE_ON: Duration = Duration::from_secs(10);

/// The last events, and where the feed is.
#[derive(Debug)]
pub struct ReplayBuffer {
    state: Mutex<State>,
    /// Those that take from here. Locked while `state` is, or alone.
    cursors: Arc<Mutex<Cursors>>,
    published: watch::Sender<()>,
    metrics: Arc<Metrics>,
}

#[derive(Debug)]
struct State {
    events: VecDeque<Arc<JournalEvent>>,
    /// The number of the first event in `events`; they are numbered from 0.
    first: u64,
    /// The number at which the feed began anew, if it did.
    begun: u64,
    last_read: LastRead,
    /// How often a page began or ended that leads clients to here.
    pages: u64,
    /// How many of them are being read.
    pages_under_way: usize,
    /// Whether the feed is connected.
    follows: bool,
    /// When all clients were last woken to move on.
    moved_on_at: Instant,
}

/// The last read that the feed completed, and published all of.
#[derive(Debug)]
struct LastRead {
    /// What the feed has seen with it.
    seen: Arc<Watermark>,
    /// What may be gone from the journal, as it told.
    kept_from: Option<Watermark>,
    /// Which read it is, from 1; 0 before the first.
    number: u64,
    /// When it ended.
    at: Instant,
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
    pub seen: Option<Arc<Watermark>>,
}

impl ReplayBuffer {
    /// Nothing published yet; the feed begins where `bounds` end.
    pub fn new(bounds: JournalBounds, metrics: Arc<Metrics>) -> Self {
        let now = Instant::now();
        Self {
            state: Mutex::new(State {
                events: VecDeque::new(),
                first: 0,
                begun: 0,
                last_read: LastRead {
                    seen: Arc::new(bounds.now),
                    kept_from: bounds.kept_from,
                    number: 0,
                    at: now,
                },
                pages: 0,
                pages_under_way: 0,
                follows: true,
                moved_on_at: now,
            }),
            cursors: Arc::new(Mutex::new(Cursors::new())),
            published: watch::Sender::new(()),
            metrics,
        }
    }

    /// Wakes whenever something was published, and now and then.
    pub fn watch(&self) -> watch::Receiver<()> {
        self.published.subscribe()
    }

    /// What may be gone from the journal, as the feed's last read told.
    pub fn kept_from(&self) -> Option<Watermark> {
        self.lock().last_read.kept_from.clone()
    }

    /// Where a client that hears all from now on begins, and the place behind the last
    /// event.
    pub fn join(&self) -> (Cursor, Position) {
        let state = self.lock();
        let cursor = Cursor::new(&self.cursors, state.head(), false);
        (cursor, state.place())
    }

    /// Where the lane begins, for no clients so far, and the place there.
    pub fn join_lane(&self) -> (Cursor, Position) {
        let state = self.lock();
        let cursor = Cursor::new(&self.cursors, state.head(), true);
        cursor.set_clients(0);
        (cursor, state.place())
    }

    /// Where a client goes on that begins at number `next`; none if that event is kept
    /// no more.
    pub fn join_at(&self, next: u64) -> Option<Cursor> {
        let state = self.lock();
        (next >= state.first).then(|| Cursor::new(&self.cursors, next, false))
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
        self.lock().last_read.number
    }

    /// The events from number `next` on, at most `limit`.
    ///
    /// # Errors
    ///
    /// The next one is not here.
    pub fn take(&self, next: u64, limit: usize) -> Result<Taken, Missed> {
        let state = self.lock();
        if next < state.begun {
            return Err(Missed::BeganAnew);
        }
        let skip = next.checked_sub(state.first).ok_or(Missed::FellBehind)?;
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
            seen: is_between.then(|| Arc::clone(&state.last_read.seen)),
        })
    }

    /// Says that the feed has published all of a batch, which led to `seen`.
    /// Now and then all clients are woken to move their places on, though nothing
    /// happens: what is old is pruned.
    pub fn end_read(&self, seen: &Arc<Watermark>, kept_from: Option<Watermark>) {
        let mut state = self.lock();
        state.end_read(Arc::clone(seen), kept_from);
        let now = state.last_read.at;
        if now - state.moved_on_at > MOVE_ON {
            state.moved_on_at = now;
            self.published.send_replace(());
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
        state.end_read(Arc::new(bounds.now), bounds.kept_from);
        self.published.send_replace(());
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
        (state.last_read.seen.max_id - seen.max(place.base.max_id)).max(0)
    }

    /// How long ago all that there was had been published.
    pub fn behind(&self) -> Duration {
        self.lock().last_read.at.elapsed()
    }

    /// Publishes events, in order. Waits for clients that are about to fall behind,
    /// within bounds; then they fall behind.
    pub async fn publish(&self, events: &[Arc<JournalEvent>]) {
        self.wait_for_room(events.len()).await;
        let changes = events.iter().map(|event| (&event.event, event.changed_at));
        self.metrics.published(changes);
        debug!(events = events.len(), "published");
        self.lock().push(events);
        self.published.send_replace(());
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

    /// Who would fall behind if so many events came now.
    fn in_the_way(&self, wanted: usize) -> Option<InTheWay> {
        let state = self.lock();
        let keep_from = state.first + state.surplus(wanted) as u64;
        lock(&self.cursors).in_the_way(state.first..state.head(), keep_from)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        lock(&self.state)
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl State {
    /// The number of the next event.
    fn head(&self) -> u64 {
        self.first + self.events.len() as u64
    }

    /// How many would be too many if so many more came.
    fn surplus(&self, wanted: usize) -> usize {
        (self.events.len() + wanted).saturating_sub(CAPACITY)
    }

    fn push(&mut self, events: &[Arc<JournalEvent>]) {
        let surplus = self.surplus(events.len());
        self.events.extend(events.iter().cloned());
        self.events.drain(..surplus);
        self.first += surplus as u64;
    }

    fn end_read(&mut self, seen: Arc<Watermark>, kept_from: Option<Watermark>) {
        self.last_read = LastRead {
            seen,
            kept_from,
            number: self.last_read.number + 1,
            at: Instant::now(),
        };
    }

    /// The last event, if the feed is in the middle of its batch.
    fn within(&self) -> Option<&JournalEvent> {
        let last = self.events.back()?;
        (last.batch.number > self.last_read.number).then_some(last)
    }

    /// The place behind the last event.
    fn place(&self) -> Position {
        match self.within() {
            Some(last) => last.position(),
            None => Position::after(Arc::clone(&self.last_read.seen)),
        }
    }
}
