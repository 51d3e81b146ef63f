//! The lane: the clients on websockets that have everything.
//!
//! They have no tasks of their own. An event is encoded once, and one task writes its
//! frame to all of them, as much as the kernel takes at once. A client enters behind
//! the answer to its CONNECT, when its place is the lane's. One that cannot take
//! all leaves with its place, and a task of its own serves it until it has everything
//! again.

use std::collections::HashMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use bytes::Bytes;
use chrono::Utc;
use socketioxide::socket::Sid;
use tokio::task::{JoinSet, yield_now};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::error;

use super::client::{Client, Positions, position_frame};
use super::frames;
use super::link::Gone;
use super::subscriber::{self, Sources, Subscription};
use super::wire::Put;
use crate::journal::replay_buffer::{Cursor, MOVE_ON};
use crate::journal::{JournalEvent, JournalKey, Position};
use crate::metrics::Ended;

/// How many events are written at a time.
const CHUNK_EVENTS: usize = 1024;
/// After so many writes others get their turn.
const WRITES: usize = 64;
/// Fewer clients are not worth a task.
const WORTH_A_TASK: usize = 128;

/// The clients that have everything, and what the others need to get there.
#[derive(Debug)]
pub struct Lane {
    /// Where events come from.
    pub sources: Arc<Sources>,
    /// The tasks of the clients that are not in.
    pub tasks: TaskTracker,
    /// The place where it begins.
    begins: Position,
    /// How many tasks write at once.
    threads: usize,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    clients: HashMap<Sid, Arc<Client>>,
    /// The next event for those that are in; none at the end.
    cursor: Option<Cursor>,
}

impl Lane {
    /// Nobody is in.
    pub fn new(sources: Arc<Sources>) -> Self {
        let (cursor, begins) = sources.replay_buffer.join_lane();
        Self {
            sources,
            tasks: TaskTracker::new(),
            begins,
            threads: std::thread::available_parallelism().map_or(1, usize::from),
            state: Mutex::new(State {
                clients: HashMap::new(),
                cursor: Some(cursor),
            }),
        }
    }

    /// Takes a client in whose next event has the number `next`, unless the lane is
    /// beyond it.
    ///
    /// # Errors
    ///
    /// The client is gone, or the lane has ended.
    pub fn join(&self, client: &Arc<Client>, next: u64) -> Result<bool, Gone> {
        let mut state = self.lock();
        let cursor = state.cursor.as_ref().ok_or(Gone)?;
        // Whoever is gone was looked for here before, or will be.
        if client.is_gone() {
            return Err(Gone);
        }
        if next < cursor.next() {
            return Ok(false);
        }
        client.move_to(next);
        state.clients.insert(client.id(), Arc::clone(client));
        self.count(&state);
        Ok(true)
    }

    /// Lets a client go, if it is in.
    pub fn leave(&self, id: Sid) {
        let left = {
            let mut state = self.lock();
            let left = state.clients.remove(&id);
            self.count(&state);
            left
        };
        drop(left);
    }

    /// Lets this client go; whether it was in. Another with its id may be in by now.
    fn remove(&self, client: &Arc<Client>) -> bool {
        let mut state = self.lock();
        let found = state.clients.get(&client.id());
        let is_in = found.is_some_and(|found| Arc::ptr_eq(found, client));
        if is_in {
            state.clients.remove(&client.id());
            self.count(&state);
        }
        is_in
    }

    /// Writes what is published to those that are in, until it is told to stop.
    pub async fn run(self: Arc<Self>, stop: CancellationToken) {
        stop.run_until_cancelled(self.write_all()).await;
        let mut state = self.lock();
        state.cursor = None;
        state.clients.clear();
    }

    async fn write_all(self: &Arc<Self>) {
        let replay_buffer = &self.sources.replay_buffer;
        let mut published = replay_buffer.watch();
        let mut place = self.begins.clone();
        let mut moved_on_at = Instant::now();
        loop {
            published.mark_unchanged();
            let Some(next) = self.next() else {
                return;
            };
            // It does not fall behind, since the feed waits for it.
            let Ok(taken) = replay_buffer.take(next, CHUNK_EVENTS) else {
                match self.begin_again() {
                    Some(now) => place = now,
                    None => return,
                }
                continue;
            };
            if let Some(last) = taken.events.last() {
                let behind = last.position();
                let chunk = Chunk {
                    first: next,
                    events: taken.events,
                    before: std::mem::replace(&mut place, behind),
                    key: self.sources.catch_up.key(),
                    plain: OnceLock::new(),
                    told: OnceLock::new(),
                };
                self.write(Arc::new(chunk)).await;
            }
            if let Some(seen) = taken.place {
                place = Position::after(seen);
                if moved_on_at.elapsed() >= MOVE_ON / 2 {
                    moved_on_at = Instant::now();
                    self.tell_positions(&place).await;
                }
            }
            if taken.is_all && published.changed().await.is_err() {
                return;
            }
        }
    }

    /// Ends the sessions of all that took from a feed that began anew, as if their
    /// connections had been lost. Returns the place where the lane goes on.
    fn begin_again(&self) -> Option<Position> {
        let mut state = self.lock();
        let place = self
            .sources
            .replay_buffer
            .skip_to_head(state.cursor.as_ref()?);
        let clients = std::mem::take(&mut state.clients);
        self.count(&state);
        drop(state);
        for client in clients.into_values() {
            self.sources.metrics.ended(Ended::JournalWentBack);
            client.session.end();
        }
        Some(place)
    }

    async fn write(self: &Arc<Self>, chunk: Arc<Chunk>) {
        let mut clients = {
            let state = self.lock();
            if let Some(cursor) = &state.cursor {
                cursor.move_to(chunk.end());
            }
            state.clients.values().cloned().collect::<Vec<_>>()
        };
        let share = clients.len().div_ceil(self.threads).max(WORTH_A_TASK);
        let mut others = JoinSet::new();
        while clients.len() > share {
            let part = clients.split_off(clients.len() - share);
            let (lane, chunk) = (Arc::clone(self), Arc::clone(&chunk));
            others.spawn(async move { lane.write_part(part, &chunk).await });
        }
        self.write_part(clients, &chunk).await;
        others.join_all().await;
    }

    async fn write_part(self: &Arc<Self>, clients: Vec<Arc<Client>>, chunk: &Chunk) {
        let mut delivered = 0;
        for (nth, client) in clients.into_iter().enumerate() {
            self.write_to(client, chunk, &mut delivered);
            if nth % WRITES == WRITES - 1 {
                yield_now().await;
            }
        }
        self.sources.metrics.delivered(delivered);
    }

    fn write_to(self: &Arc<Self>, client: Arc<Client>, chunk: &Chunk, delivered: &mut usize) {
        // A fault of ours ends one session, not all.
        let put = catch_unwind(AssertUnwindSafe(|| chunk.put(&client)));
        let Ok((put, heard)) = put else {
            error!("writing to a client failed; ending its session");
            self.sources.metrics.ended(Ended::Panic);
            client.session.end();
            self.remove(&client);
            return;
        };
        if matches!(put, Put::Whole | Put::Part) {
            client.move_to(chunk.end());
            *delivered += heard.count;
            if let Some(last) = heard.last {
                client.was_told(&last.position());
            }
        }
        match put {
            Put::Whole => {
                if let Some(first) = heard.first {
                    let written = self.sources.metrics.change_to_write();
                    written.observe_between(first.changed_at, Utc::now());
                }
            }
            Put::Part | Put::Full | Put::NotYet => {
                let place = chunk.place(client.next());
                self.put_out(client, place);
            }
            Put::Never => drop(self.remove(&client)),
        }
    }

    /// Tells those that asked for it where they are, if they moved on without a message.
    async fn tell_positions(self: &Arc<Self>, place: &Position) {
        let clients: Vec<_> = {
            let mut state = self.lock();
            // Should one have gone unnoticed.
            state.clients.retain(|_, client| !client.is_gone());
            self.count(&state);
            let next = state.cursor.as_ref().map(Cursor::next);
            let clients = state.clients.values();
            // Others may have come from beyond it.
            let is_there = |client: &Client| Some(client.next()) == next;
            let asked = |client: &Client| client.positions == Positions::Sent;
            let clients = clients.filter(|client| asked(client) && is_there(client));
            clients.cloned().collect()
        };
        let frame = position_frame(&place.encode(&self.sources.catch_up.key()));
        for (nth, client) in clients.into_iter().enumerate() {
            if client.is_to_be_told(place) {
                match client.put(&frame) {
                    Put::Whole => client.was_told(place),
                    Put::Part => {
                        client.was_told(place);
                        self.put_out(client, place.clone());
                    }
                    // What is in the way shows at the next event.
                    Put::Full | Put::NotYet | Put::Never => {}
                }
            }
            if nth % WRITES == WRITES - 1 {
                yield_now().await;
            }
        }
    }

    /// Has a client served by a task of its own from its place on, unless it is gone.
    fn put_out(self: &Arc<Self>, client: Arc<Client>, place: Position) {
        if !self.remove(&client) {
            return;
        }
        let next = client.next();
        let subscription = Subscription::at(&self.sources.replay_buffer, next, place);
        self.serve(client, subscription);
    }

    /// Has a client served by a task of its own.
    pub fn serve(self: &Arc<Self>, client: Arc<Client>, subscription: Subscription) {
        let lane = Arc::clone(self);
        self.tasks
            .spawn(subscriber::serve(client, subscription, lane));
    }

    fn next(&self) -> Option<u64> {
        self.lock().cursor.as_ref().map(Cursor::next)
    }

    fn count(&self, state: &State) {
        let clients = state.clients.len();
        if let Some(cursor) = &state.cursor {
            cursor.set_clients(clients);
        }
        self.sources.metrics.in_lane(clients);
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What is written at a time.
struct Chunk {
    /// The number of the first event.
    first: u64,
    events: Vec<Arc<JournalEvent>>,
    /// The place before the first event.
    before: Position,
    key: Arc<JournalKey>,
    plain: OnceLock<Frames>,
    /// With positions.
    told: OnceLock<Frames>,
}

/// The frames of all events of a chunk, and where each ends.
struct Frames {
    bytes: Bytes,
    ends: Vec<usize>,
}

/// What of a chunk a client hears.
#[derive(Default)]
struct Heard<'c> {
    count: usize,
    first: Option<&'c JournalEvent>,
    last: Option<&'c JournalEvent>,
}

impl Chunk {
    fn end(&self) -> u64 {
        self.first + self.events.len() as u64
    }

    /// The place before the event of a number.
    fn place(&self, next: u64) -> Position {
        let before = self.index(next).checked_sub(1);
        let last = before.and_then(|index| self.events.get(index));
        last.map_or_else(|| self.before.clone(), |last| last.position())
    }

    fn index(&self, number: u64) -> usize {
        usize::try_from(number.saturating_sub(self.first)).unwrap_or(usize::MAX)
    }

    /// Writes to a client what it hears of it, and has not heard.
    fn put(&self, client: &Client) -> (Put, Heard<'_>) {
        let frames = self.frames(client.positions);
        let from = self.index(client.next());
        let mut heard = Heard::default();
        // What is heard in one piece is not copied.
        let mut pieces: Vec<(usize, usize)> = Vec::new();
        for (index, event) in self.events.iter().enumerate().skip(from) {
            if !client.hears(event) {
                continue;
            }
            heard.count += 1;
            heard.first.get_or_insert(event);
            heard.last = Some(event);
            match pieces.last_mut() {
                Some((_, end)) if *end == index => *end = index + 1,
                _ => pieces.push((index, index + 1)),
            }
        }
        let put = match pieces.as_slice() {
            [] => Put::Whole,
            [(begin, end)] => client.put(&frames.slice(*begin, *end)),
            pieces => {
                let pieces = pieces.iter();
                let slices: Vec<Bytes> = pieces.map(|(b, e)| frames.slice(*b, *e)).collect();
                client.put(&slices.concat().into())
            }
        };
        (put, heard)
    }

    fn frames(&self, positions: Positions) -> &Frames {
        let (frames, key) = match positions {
            Positions::Left => (&self.plain, None),
            Positions::Sent => (&self.told, Some(&self.key)),
        };
        frames.get_or_init(|| {
            let mut bytes = Vec::new();
            let mut ends = Vec::with_capacity(self.events.len());
            for event in &self.events {
                let reference = key.map(|key| event.reference(key));
                frames::push_message(&mut bytes, &event.json, reference);
                ends.push(bytes.len());
            }
            Frames {
                bytes: bytes.into(),
                ends,
            }
        })
    }
}

impl Frames {
    /// The frames of the events from one index up to another.
    fn slice(&self, begin: usize, end: usize) -> Bytes {
        let up_to = |index: usize| {
            let before = index.checked_sub(1);
            before.and_then(|index| self.ends.get(index).copied())
        };
        let (begin, end) = (up_to(begin).unwrap_or(0), up_to(end).unwrap_or(0));
        self.bytes.slice(begin..end)
    }
}
