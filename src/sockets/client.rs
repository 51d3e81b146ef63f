//! A client of the namespace: who it is, what it asked for, what it was told.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use socketioxide::extract::SocketRef;
use socketioxide::socket::Sid;
use tokio::time::Instant;

use super::filter::Filter;
use super::frames;
use super::session::Session;
use super::wire::{Put, Turn};
use crate::journal::replay_buffer::MOVE_ON;
use crate::journal::{JournalEvent, Position};

/// What comes each [`MOVE_ON`] may come so much early.
const EARLY: Duration = Duration::from_secs(1);

/// What a client's handshake asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Positions {
    /// Each message has its position and more beside it, and there are events
    /// `position`.
    Sent,
    /// The messages as SPACE sends them.
    Left,
}

/// What a client asked for, and how it is reached.
#[derive(Debug)]
pub struct Client {
    /// Its socket of the namespace.
    pub socket: SocketRef,
    /// Its session.
    pub session: Arc<Session>,
    /// Which of the clients of its session it is.
    pub turn: Turn,
    /// Whether it is told positions.
    pub positions: Positions,
    /// Which events it hears.
    pub filter: Filter,
    /// The number of its next event in the replay buffer, while it is in the lane.
    next: AtomicU64,
    /// The position that it was told last, and when.
    told: Mutex<Option<(Position, Instant)>>,
}

impl Client {
    /// A client that was told nothing so far.
    pub fn new(
        socket: SocketRef,
        session: Arc<Session>,
        turn: Turn,
        positions: Positions,
        filter: Filter,
    ) -> Self {
        Self {
            socket,
            session,
            turn,
            positions,
            filter,
            next: AtomicU64::new(0),
            told: Mutex::default(),
        }
    }

    /// The id of its socket.
    pub fn id(&self) -> Sid {
        self.socket.id
    }

    /// Whether it hears an event: one of its organisation that it asked for.
    pub fn hears(&self, event: &JournalEvent) -> bool {
        self.filter.hears(event)
    }

    /// The number of its next event in the replay buffer, while it is in the lane.
    pub fn next(&self) -> u64 {
        self.next.load(Ordering::Relaxed)
    }

    /// Moves on to the event of a number, never back: a client may enter the lane ahead
    /// of what the lane is writing.
    pub fn move_to(&self, next: u64) {
        self.next.fetch_max(next, Ordering::Relaxed);
    }

    /// Whether nothing will be written for it any more.
    pub fn is_gone(&self) -> bool {
        self.session.link().is_gone(self.turn)
    }

    /// Writes frames to its websocket now, or says what is in the way.
    pub fn put(&self, frames: &Bytes) -> Put {
        self.session.link().put(self.turn, frames)
    }

    /// Says that it was told this place.
    pub fn was_told(&self, place: &Position) {
        if self.positions == Positions::Sent {
            *self.told() = Some((place.clone(), Instant::now()));
        }
    }

    /// Whether it has to be told this place: it asked for positions, moved on without
    /// a message, and was told nothing for a while.
    pub fn is_to_be_told(&self, place: &Position) -> bool {
        let is_told =
            |(told, at): &(Position, Instant)| told == place || at.elapsed() + EARLY < MOVE_ON;
        self.positions == Positions::Sent && !self.told().as_ref().is_some_and(is_told)
    }

    fn told(&self) -> MutexGuard<'_, Option<(Position, Instant)>> {
        self.told.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// An event `position` as a frame.
pub fn position_frame(text: &str) -> Bytes {
    let mut frame = Vec::new();
    frames::push_position(&mut frame, text);
    frame.into()
}
