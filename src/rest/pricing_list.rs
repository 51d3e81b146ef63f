//! The documents of a service as one answer, however many and large they are.
//!
//! One snapshot says which they are, and the first of them are read in it. The others
//! are read later, piece by piece, when it is their turn: so a slow client holds neither
//! a transaction nor the documents. If one of them has changed since the snapshot, the
//! answer breaks off, which the client sees as a failure.

use std::hash::{DefaultHasher, Hasher as _};
use std::time::Duration;

use anyhow::{Context as _, ensure};
use axum::body::{Body, Bytes};
use axum::http::header;
use axum::response::{IntoResponse as _, Response};
use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use serde_json::value::RawValue;
use tokio::time::timeout;
use tracing::warn;

use super::outgoing::Outgoing;
use super::transactions::read_rows;
use super::{Api, Error};
use crate::http::pace::Pace;
use crate::organization::Organization;
use crate::store::pricings::PricingRow;
use crate::store::services::Availability;
use crate::store::{self, Transaction};

/// How much is kept of what was read in the snapshot: as much as is answered in one go.
const BEGINNING_BYTES: usize = 1024 * 1024;
/// If all documents together are stored in so many bytes, they are read in the snapshot,
/// and a hash is kept of those that are read again later. Then a list does not break off
/// when something else of a row changes, such as its availability. More than that would
/// take too long to read twice.
const HASHED_BYTES: i64 = 8 * 1024 * 1024;
/// How much is read at a time later, as it is stored. A document that is larger is read
/// alone.
const PIECE_BYTES: i64 = 128 * 1024;
const PIECE_PRICINGS: usize = 1000;
/// How many times larger a document usually is than what is stored of it.
const USUAL_RATIO: usize = 4;
/// How long a piece waits for room in the memory for answers.
const ROOM_LIMIT: Duration = Duration::from_secs(60);

/// The documents in one snapshot.
#[derive(Debug)]
pub(super) struct PricingList {
    /// `[` and the first documents, with commas.
    beginning: Vec<u8>,
    pieces: Vec<Vec<Later>>,
}

/// A pricing whose document is read when it is its turn.
#[derive(Debug)]
struct Later {
    id: i64,
    row_version: String,
    stored_bytes: i64,
    hash: Option<u64>,
}

impl PricingList {
    /// Reads them; none if there is no such enabled service.
    pub(super) async fn read(
        tx: &mut Transaction,
        organization: &Organization,
        service_name: &str,
        availability: Availability,
    ) -> Result<Option<Self>, Error> {
        let first_bytes = i64::try_from(BEGINNING_BYTES).unwrap_or(i64::MAX);
        let mut rows = store::pricings::list(
            tx,
            organization,
            service_name,
            availability,
            HASHED_BYTES,
            first_bytes,
        );
        let mut beginning = vec![b'['];
        let mut pieces: Vec<Vec<Later>> = Vec::new();
        let mut found = false;
        while let Some(row) = rows.try_next().await? {
            found = true;
            let Some(row) = row else { continue };
            // What is stored compressed may be many times larger.
            let fits = |bytes| beginning.len() + bytes <= BEGINNING_BYTES;
            match &row.document {
                Some(document) if pieces.is_empty() && fits(document.get().len()) => {
                    push(&mut beginning, document.get());
                }
                _ => push_later(&mut pieces, row),
            }
        }
        Ok(found.then_some(Self { beginning, pieces }))
    }

    /// The answer.
    pub(super) fn answer(self, api: &Api, pace: Option<Pace>) -> Result<Response, Error> {
        let Self {
            mut beginning,
            pieces,
        } = self;
        let json = [(header::CONTENT_TYPE, "application/json")];
        if pieces.is_empty() {
            beginning.push(b']');
            return Ok((json, beginning).into_response());
        }
        let reading = Reading {
            pool: api.pool.clone(),
            outgoing: api.outgoing.clone(),
            pace,
            pieces: pieces.into_iter(),
            is_first: beginning.len() == 1,
        };
        let room = api.outgoing.room(beginning.len())?;
        let beginning = room.fill(beginning, reading.pace.as_ref());
        let body = stream::once(async { Ok(beginning) }).chain(reading.stream());
        Ok((json, Body::from_stream(body)).into_response())
    }
}

/// Adds a document to an array.
fn push(array: &mut Vec<u8>, document: &str) {
    if array.last() != Some(&b'[') {
        array.push(b',');
    }
    array.extend_from_slice(document.as_bytes());
}

fn push_later(pieces: &mut Vec<Vec<Later>>, row: PricingRow) {
    let later = Later {
        id: row.id,
        row_version: row.row_version,
        stored_bytes: row.stored_bytes,
        hash: row.document.map(|document| hash(&document)),
    };
    let has_room = |piece: &&mut Vec<Later>| {
        piece.len() < PIECE_PRICINGS && stored_bytes(piece) + later.stored_bytes <= PIECE_BYTES
    };
    match pieces.last_mut().filter(has_room) {
        Some(piece) => piece.push(later),
        None => pieces.push(vec![later]),
    }
}

fn hash(document: &RawValue) -> u64 {
    let mut hasher = DefaultHasher::new();
    hasher.write(document.get().as_bytes());
    hasher.finish()
}

fn stored_bytes(piece: &[Later]) -> i64 {
    piece.iter().map(|later| later.stored_bytes).sum()
}

/// The rest of an answer.
struct Reading {
    pool: store::Pool,
    outgoing: Outgoing,
    pace: Option<Pace>,
    pieces: std::vec::IntoIter<Vec<Later>>,
    /// Whether no document was sent yet.
    is_first: bool,
}

impl Reading {
    fn stream(self) -> impl stream::Stream<Item = anyhow::Result<Bytes>> {
        stream::unfold(Some(self), async |reading| {
            let mut reading = reading?;
            let Some(piece) = reading.pieces.next() else {
                return Some((Ok(Bytes::from_static(b"]")), None));
            };
            match reading.read(&piece).await {
                Ok(bytes) => Some((Ok(bytes), Some(reading))),
                Err(error) => {
                    let text = format!("{error:#}");
                    warn!(error = text, "a list of pricings breaks off");
                    Some((Err(error), None))
                }
            }
        })
    }

    async fn read(&mut self, piece: &[Later]) -> anyhow::Result<Bytes> {
        let mut expected_bytes = usize::try_from(stored_bytes(piece)).unwrap_or(0) * USUAL_RATIO;
        loop {
            let room = self.outgoing.wait_for_room(expected_bytes);
            let room = timeout(ROOM_LIMIT, room).await.context("wait for room")?;
            let bytes = self.documents(piece).await?;
            // What is stored compressed may be many times larger.
            if bytes.len() > expected_bytes {
                expected_bytes = bytes.len();
                continue;
            }
            self.is_first = false;
            return Ok(room.fill(bytes, self.pace.as_ref()));
        }
    }

    /// The documents of a piece, with a comma before each but the very first.
    async fn documents(&self, piece: &[Later]) -> anyhow::Result<Vec<u8>> {
        let ids: Vec<i64> = piece.iter().map(|later| later.id).collect();
        let rows = read_rows(&self.pool, async |mut tx| {
            Ok(store::pricings::read(&mut tx, &ids).await?)
        })
        .await?;
        ensure!(rows.len() == piece.len(), "a pricing is gone");
        let mut bytes = Vec::new();
        for (row, later) in rows.iter().zip(piece) {
            let document = row.document.as_deref().context("read a document")?;
            ensure!(
                row.row_version == later.row_version || later.hash == Some(hash(document)),
                "a pricing has changed"
            );
            if !(self.is_first && bytes.is_empty()) {
                bytes.push(b',');
            }
            bytes.extend_from_slice(document.get().as_bytes());
        }
        Ok(bytes)
    }
}
