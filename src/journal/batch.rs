//! What one read of the journal finds, and each event in it.

use std::sync::Arc;

use chrono::{DateTime, Utc};
use serde_json::value::RawValue;

use super::position::Position;
use super::seen::Seen;
use super::witness::Witness;
use crate::event::Event;

/// The rows between two places in the journal.
#[derive(Debug)]
pub struct Batch {
    /// What had been seen before.
    pub base: Arc<Seen>,
    /// What has been seen when all of it is read.
    pub next: Arc<Seen>,
    /// Which batch of the feed it is, from 1: its base is where the batch before
    /// it led to. 0 if another reader read it.
    pub number: u64,
}

/// An event, and the row change that it came from.
#[derive(Debug)]
pub struct JournalEvent {
    /// The event.
    pub event: Event,
    /// The event as JSON, encoded once for all clients.
    pub json: Box<RawValue>,
    /// The row: its id, and a fingerprint that tells it from another with this id.
    pub row: Witness,
    /// The id of the last row before the next event: the rows between mean nothing
    /// to clients, and have been seen with this one.
    pub through: i64,
    /// The transaction that wrote the row.
    pub xid: u64,
    /// When the row changed.
    pub changed_at: DateTime<Utc>,
    /// The batch it was read in.
    pub batch: Arc<Batch>,
}

impl JournalEvent {
    /// The place behind this event.
    pub fn position(&self) -> Position {
        Position::within(&self.batch.base, &self.batch.next, self.through)
    }
}
