//! The last events, shared by all clients.
//!
//! The feed publishes here; each client takes from here at its own pace. A
//! client that falls behind the oldest event kept here goes on from the journal,
//! as one that comes back does. In a burst the feed waits a little for clients
//! that keep moving, so that they need not.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{Instant, sleep};

use super::batch::JournalEvent;
use super::position::{Position, Seen};

/// How many events are kept.
const CAPACITY: usize = 8192;
/// How long the feed waits for a client that is about to fall behind and does
/// not move.
const PATIENCE: Duration = Duration::from_millis(100);
/// How often the feed looks whether such a client moved.
const LOOK_AGAIN: Duration = Duration::from_millis(1);

/// The last events, and where the feed is.
#[derive(Debug)]
pub struct Recent {
    state: Mutex<State>,
    head: watch::Sender<u64>,
}

#[derive(Debug)]
struct State {
    events: VecDeque<Arc<JournalEvent>>,
    /// The number of the first event in `events`; they are numbered from 0.
    first: u64,
    /// What the feed has seen, if it has published all of it.
    seen: Arc<Seen>,
    /// How many reads the feed has completed; `seen` comes from the last.
    reads: u64,
    /// When the last ended.
    read_at: Instant,
    /// Whether the feed is connected.
    follows: bool,
    /// The next event of each client that takes from here.
    cursors: Vec<Weak<AtomicU64>>,
}

/// What a client gets next.
#[derive(Debug)]
pub enum Taken {
    /// These events.
    Events(Vec<Arc<JournalEvent>>),
    /// Nothing new. Between two batches, what the feed has seen with this, and
    /// how many reads it has completed.
    Nothing(Option<(Arc<Seen>, u64)>),
    /// The next event is kept no more: the journal has it.
    Overrun,
}

impl Recent {
    /// Nothing published yet; `seen` is where the feed begins.
    pub fn new(seen: Seen) -> Self {
        Self {
            state: Mutex::new(State {
                events: VecDeque::new(),
                first: 0,
                seen: Arc::new(seen),
                reads: 0,
                read_at: Instant::now(),
                follows: true,
                cursors: Vec::new(),
            }),
            head: watch::Sender::new(0),
        }
    }

    /// Wakes whenever something was published.
    pub fn watch(&self) -> watch::Receiver<u64> {
        self.head.subscribe()
    }

    /// What the feed has seen and published.
    pub fn seen(&self) -> Arc<Seen> {
        Arc::clone(&self.lock().seen)
    }

    /// Where a client that hears all from now on begins: the number of the next
    /// event, and the place behind the last one.
    pub fn join(&self) -> (u64, Position) {
        let state = self.lock();
        let place = match state.within() {
            Some(last) => last.position(),
            None => Position::after(Arc::clone(&state.seen)),
        };
        (state.head(), place)
    }

    /// The number of the next event.
    pub fn head(&self) -> u64 {
        self.lock().head()
    }

    /// How many reads the feed has completed. The next batch has the number
    /// after this one.
    pub fn reads(&self) -> u64 {
        self.lock().reads
    }

    /// Registers a client's cursor while it takes from here; the feed waits for
    /// it in a burst. Returns false if the event at the cursor is kept no more.
    pub fn hold(&self, cursor: &Arc<AtomicU64>) -> bool {
        let mut state = self.lock();
        let kept = cursor.load(Ordering::Relaxed) >= state.first;
        if kept {
            state.cursors.retain(|held| held.strong_count() > 0);
            state.cursors.push(Arc::downgrade(cursor));
        }
        kept
    }

    /// The events from number `cursor` on, at most `limit`.
    pub fn take(&self, cursor: u64, limit: usize) -> Taken {
        let state = self.lock();
        let Some(skip) = cursor.checked_sub(state.first) else {
            return Taken::Overrun;
        };
        let skip = usize::try_from(skip).unwrap_or(usize::MAX);
        if skip >= state.events.len() {
            let between = state.within().is_none();
            return Taken::Nothing(between.then(|| (Arc::clone(&state.seen), state.reads)));
        }
        Taken::Events(
            state
                .events
                .iter()
                .skip(skip)
                .take(limit)
                .cloned()
                .collect(),
        )
    }

    /// Says that the feed has published all that its last read found.
    pub fn end_read(&self, seen: &Arc<Seen>) {
        let mut state = self.lock();
        state.seen = Arc::clone(seen);
        state.reads += 1;
        state.read_at = Instant::now();
    }

    /// Says whether the feed is connected.
    pub fn set_follows(&self, follows: bool) {
        self.lock().follows = follows;
    }

    /// Whether the feed is connected.
    pub fn follows(&self) -> bool {
        self.lock().follows
    }

    /// How long ago all that there was had been published.
    pub fn behind(&self) -> Duration {
        self.lock().read_at.elapsed()
    }

    /// Publishes events, in order. Waits, with a bound, for clients that keep
    /// moving; the others fall behind.
    pub async fn publish(&self, events: Vec<JournalEvent>) {
        self.wait_for_room(events.len()).await;
        let head = {
            let mut state = self.lock();
            state.events.extend(events.into_iter().map(Arc::new));
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
            let slowest = {
                let state = self.lock();
                let surplus = (state.events.len() + wanted).saturating_sub(CAPACITY) as u64;
                let keep_from = state.first + surplus;
                state
                    .cursors
                    .iter()
                    .filter_map(Weak::upgrade)
                    .map(|cursor| cursor.load(Ordering::Relaxed))
                    .filter(|cursor| (state.first..keep_from).contains(cursor))
                    .min()
            };
            if slowest.is_none() {
                return;
            }
            if moved.0 != slowest {
                moved = (slowest, Instant::now());
            } else if moved.1.elapsed() > PATIENCE {
                return;
            }
            sleep(LOOK_AGAIN).await;
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// The last event, if the feed is in the middle of its batch.
    fn within(&self) -> Option<&JournalEvent> {
        let last = self.events.back()?;
        (last.batch.number > self.reads).then_some(last)
    }

    fn head(&self) -> u64 {
        self.first + self.events.len() as u64
    }
}
