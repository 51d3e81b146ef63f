//! What one read of the journal finds, and each event in it.

use std::sync::{Arc, OnceLock};

use chrono::{DateTime, SecondsFormat, Utc};
use serde::Serialize;
use serde_json::value::{RawValue, to_raw_value};

use super::key::JournalKey;
use super::position::Position;
use super::watermark::Watermark;
use super::witness::Witness;
use crate::event::Event;

/// The rows between two places in the journal.
#[derive(Debug)]
pub struct Batch {
    /// What had been seen before.
    pub base: Arc<Watermark>,
    /// What has been seen when all of it is read.
    pub next: Arc<Watermark>,
    /// Which batch of the feed it is, from 1: its base is where the batch before
    /// it led to. 0 if another reader read it.
    pub number: u64,
}

/// An event, and the row change that it came from.
#[derive(Debug)]
pub struct JournalEvent {
    /// The event.
    pub event: Event,
    /// Whose service it was: the id of the only organisation that hears of it.
    pub organization: Box<str>,
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
    /// Its [`reference`](Self::reference), once somebody has asked for it.
    pub(super) reference: OnceLock<Box<RawValue>>,
}

/// What is told beside an event to those that ask for positions.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Reference {
    position: String,
    id: String,
    occurred_at: String,
}

impl JournalEvent {
    /// The place behind this event.
    pub fn position(&self) -> Position {
        Position::within(&self.batch.base, &self.batch.next, self.through)
    }

    /// `{"position": …, "id": …, "occurredAt": …}`, keys in this order, with the place
    /// behind it; encoded once for all clients that have heard what came before.
    pub fn reference(&self, key: &JournalKey) -> &RawValue {
        self.reference
            .get_or_init(|| self.reference_at(&self.position(), key))
    }

    /// The same with another place.
    pub fn reference_at(&self, position: &Position, key: &JournalKey) -> Box<RawValue> {
        let reference = Reference {
            position: position.encode(key),
            id: self.row.to_string(),
            occurred_at: time_text(self.changed_at),
        };
        to_raw_value(&reference).expect("texts are JSON")
    }
}

/// As events and REST tell when a row changed.
pub fn time_text(time: DateTime<Utc>) -> String {
    time.to_rfc3339_opts(SecondsFormat::Millis, true)
}
