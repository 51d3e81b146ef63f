//! The lane: the clients on websockets that have everything.
//!
//! They have no tasks of their own. An event is encoded once, and one task writes its frame
//! to all of them. It writes what the kernel takes at once and waits for no client, so the
//! feed can always wait for the lane. A client enters once the answer to its CONNECT is
//! written and its place is the lane's. One that cannot take a whole frame leaves with its
//! place, and a task of its own serves it until it has everything again.

use std::collections::HashMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use socketioxide::socket::Sid;
use tokio::task::{JoinSet, yield_now};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::error;

use super::chunk::Chunk;
use super::client::{Client, Positions, position_frame};
use super::link::Gone;
use super::subscription::Subscription;
use super::wire::Put;
use super::{Sources, subscriber};
use crate::journal::Position;
use crate::journal::replay_buffer::{Cursor, MOVE_ON};
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
    pub(super) fn join(&self, client: &Arc<Client>, next: u64) -> Result<bool, Gone> {
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
    pub(super) fn leave(&self, id: Sid) {
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
                let before = std::mem::replace(&mut place, behind);
                let key = self.sources.catch_up.key();
                let chunk = Chunk::new(next, taken.events, before, key);
                self.write(Arc::new(chunk)).await;
            }
            if let Some(seen) = taken.seen {
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
        for some in clients.chunks(WRITES) {
            // What they need is fetched into the processor's cache for all at once. Else
            // each write would wait for it, as the kernel's work displaces it.
            for client in some {
                client.session.link().prefetch();
            }
            for client in some {
                self.write_to(client, chunk, &mut delivered);
            }
            if some.len() == WRITES {
                yield_now().await;
            }
        }
        self.sources.metrics.delivered(delivered);
    }

    fn write_to(self: &Arc<Self>, client: &Arc<Client>, chunk: &Chunk, delivered: &mut usize) {
        // A fault of ours ends one session, not all.
        let put = catch_unwind(AssertUnwindSafe(|| chunk.put(client)));
        let Ok((put, heard)) = put else {
            error!("writing to a client failed; ending its session");
            self.sources.metrics.ended(Ended::Panic);
            client.session.end();
            self.remove(client);
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
                    self.sources.metrics.written(first.changed_at);
                }
            }
            Put::Part | Put::Full | Put::NotYet => {
                let place = chunk.place(client.next());
                self.put_out(Arc::clone(client), place);
            }
            Put::Never => drop(self.remove(client)),
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
    pub(super) fn serve(self: &Arc<Self>, client: Arc<Client>, subscription: Subscription) {
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
