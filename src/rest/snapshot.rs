//! What a GET answers, and the position of the events in the same snapshot: a
//! client that lists can subscribe from exactly there.

use std::sync::Arc;

use anyhow::Context as _;
use axum::http::{HeaderName, HeaderValue};
use axum::response::{IntoResponseParts, ResponseParts};
use utoipa::ToSchema;

use super::{Api, Error};
use crate::journal::bounds::JournalBounds;
use crate::journal::{JournalKey, Position};
use crate::store;

/// The header that tells the position.
pub const EVENT_POSITION: HeaderName = HeaderName::from_static("event-position");

/// A transaction that sees one snapshot, and the position of it.
pub(super) struct Snapshot {
    /// Reads what is answered.
    pub(super) tx: store::Transaction,
    /// Goes with the answer.
    pub(super) position: EventPosition,
}

/// The header `Event-Position`: a place in the order of events. What an answer
/// shows, and the events after its position, are all that there is.
#[derive(ToSchema)]
#[schema(value_type = String)]
pub(super) struct EventPosition(HeaderValue);

impl EventPosition {
    pub(super) fn new(position: &Position, key: &JournalKey) -> Result<Self, Error> {
        let value = HeaderValue::try_from(position.encode(key))
            .context("put a position into a header")
            .map_err(Error::Fault)?;
        Ok(Self(value))
    }
}

impl Snapshot {
    /// Begins to read.
    pub(super) async fn take(api: &Api) -> Result<Self, Error> {
        let mut tx = store::begin_read(&api.pool).await?;
        let header = store::journal::now(&mut tx).await?;
        let now = JournalBounds::parse(&header).map_err(Error::Fault)?.now;
        let position = Position::after(Arc::new(now));
        Ok(Self {
            tx,
            position: EventPosition::new(&position, &api.catch_up.key())?,
        })
    }
}

impl IntoResponseParts for EventPosition {
    type Error = std::convert::Infallible;

    fn into_response_parts(self, mut parts: ResponseParts) -> Result<ResponseParts, Self::Error> {
        parts.headers_mut().insert(EVENT_POSITION, self.0);
        Ok(parts)
    }
}
