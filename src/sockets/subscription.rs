//! Where a client is that is not in the lane: it hears all from there on.

use std::sync::Arc;

use crate::journal::replay_buffer::Cursor;
use crate::journal::{JournalEvent, Position, ReplayBuffer, Watermark};
use crate::metrics::CatchUpCause;

/// Where a client is: it hears all from here on.
#[derive(Debug)]
pub(super) struct Subscription {
    /// What it has seen, with what it does not hear.
    pub(super) place: Position,
    /// From where it takes what comes next.
    pub(super) mode: Mode,
    /// Why it reads the journal next.
    pub(super) cause: CatchUpCause,
}

/// From where a client takes what comes next.
#[derive(Debug)]
pub(super) enum Mode {
    /// From the replay buffer, less what the journal showed it before it joined.
    Live(Cursor, Option<Joined>),
    /// From the journal.
    Journal,
}

/// A client that joined the replay buffer from the journal.
#[derive(Clone, Debug)]
pub(super) struct Joined {
    /// What the journal showed it.
    pub(super) seen: Arc<Watermark>,
}

impl Joined {
    /// Whether nothing that the journal showed is published behind a place. The other
    /// way round would not do: of a place that a notification led to, only the ids tell
    /// what was seen there, not the transactions.
    fn is_over(&self, place: &Watermark) -> bool {
        place.covers(&self.seen)
    }

    /// The place behind an event, if the journal has not shown it.
    pub(super) fn behind(&self, event: &JournalEvent) -> Option<Position> {
        if self.seen.has(event.row.id, event.xid) {
            return None;
        }
        let next = &event.batch.next;
        Some(Position::within(&self.seen, next, event.through))
    }
}

impl Subscription {
    /// A client that hears all from now on.
    pub(super) fn from_now(replay_buffer: &ReplayBuffer) -> Self {
        let (cursor, place) = replay_buffer.join();
        Self {
            place,
            mode: Mode::Live(cursor, None),
            cause: CatchUpCause::FellBehind,
        }
    }

    /// A client that comes back.
    pub(super) fn from_position(place: Position) -> Self {
        Self {
            place,
            mode: Mode::Journal,
            cause: CatchUpCause::CameBack,
        }
    }

    /// A client whose next event in the replay buffer has the number `next`; `place` is
    /// the one before it.
    pub(super) fn at(replay_buffer: &ReplayBuffer, next: u64, place: Position) -> Self {
        let cursor = replay_buffer.join_at(next);
        Self {
            place,
            mode: cursor.map_or(Mode::Journal, |cursor| Mode::Live(cursor, None)),
            cause: CatchUpCause::FellBehind,
        }
    }

    /// What the journal showed it that may come once more behind a place.
    pub(super) fn joined(&mut self, place: &Watermark) -> Option<&Joined> {
        let Mode::Live(_, joined) = &mut self.mode else {
            return None;
        };
        joined.take_if(|joined| joined.is_over(place));
        joined.as_ref()
    }

    /// Comes to the place between two batches.
    pub(super) fn come_to(&mut self, seen: Arc<Watermark>) {
        if self.joined(&seen).is_none() {
            self.place = Position::after(seen);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::journal::Witness;

    #[test]
    fn what_the_journal_showed_is_left_out_until_a_place_covers_it() {
        let place = |snapshot, max_id| Watermark::parse(snapshot, 0, max_id).expect("a snapshot");
        // A transaction runs, and one that began later has committed.
        let joined = Joined {
            seen: Arc::new(place("22:31:22", 105)),
        };
        let written = place("25:25:", 0).snapshot;
        let told = place("20:20:", 100).with_next(25, Witness::new(101, 25, 0), &written);
        for (place, is_over) in [
            (place("20:20:", 100), false),
            (told.expect("the next row"), false),
            (place("22:31:22", 105), true),
            (place("31:31:", 106), true),
        ] {
            assert_eq!(joined.is_over(&place), is_over, "{place:?}");
        }
    }
}
