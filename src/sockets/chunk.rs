//! Some events as frames, made once for all clients that hear them.

use std::sync::{Arc, OnceLock};

use bytes::Bytes;

use super::client::{Client, Positions};
use super::frames;
use super::wire::Put;
use crate::journal::{JournalEvent, JournalKey, Position};

/// Some events, to be written to many clients.
pub(super) struct Chunk {
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
pub(super) struct Heard<'c> {
    /// How many events.
    pub(super) count: usize,
    /// The first of them.
    pub(super) first: Option<&'c JournalEvent>,
    /// The last of them.
    pub(super) last: Option<&'c JournalEvent>,
}

impl Chunk {
    /// Events from the number `first` on; `before` is the place before the first.
    pub(super) fn new(
        first: u64,
        events: Vec<Arc<JournalEvent>>,
        before: Position,
        key: Arc<JournalKey>,
    ) -> Self {
        Self {
            first,
            events,
            before,
            key,
            plain: OnceLock::new(),
            told: OnceLock::new(),
        }
    }

    /// The number of the event after it.
    pub(super) fn end(&self) -> u64 {
        self.first + self.events.len() as u64
    }

    /// The place before the event of a number.
    pub(super) fn place(&self, next: u64) -> Position {
        let before = self.index(next).checked_sub(1);
        let last = before.and_then(|index| self.events.get(index));
        last.map_or_else(|| self.before.clone(), |last| last.position())
    }

    fn index(&self, number: u64) -> usize {
        usize::try_from(number.saturating_sub(self.first)).unwrap_or(usize::MAX)
    }

    /// Writes to a client what it hears of it, and has not heard.
    pub(super) fn put(&self, client: &Client) -> (Put, Heard<'_>) {
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
