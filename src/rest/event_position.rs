//! The position of the events in the snapshot that a GET answers from: a client
//! that lists can subscribe from exactly there.

use std::sync::Arc;

use anyhow::Context as _;
use axum::http::{HeaderName, HeaderValue};
use axum::response::{IntoResponseParts, ResponseParts};
use utoipa::ToSchema;

use super::Error;
use crate::journal::bounds::JournalBounds;
use crate::journal::{CatchUp, JournalKey, Position};
use crate::store::{self, Transaction};

/// The header that tells the position.
pub const EVENT_POSITION: HeaderName = HeaderName::from_static("event-position");

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

    /// The position of the snapshot that a transaction sees.
    pub(super) async fn of_snapshot(
        tx: &mut Transaction,
        catch_up: &CatchUp,
    ) -> Result<Self, Error> {
        let header = store::journal::now(tx).await?;
        let now = JournalBounds::parse(&header).map_err(Error::Fault)?.now;
        Self::new(&Position::after(Arc::new(now)), &catch_up.key())
    }
}

impl IntoResponseParts for EventPosition {
    type Error = std::convert::Infallible;

    fn into_response_parts(self, mut parts: ResponseParts) -> Result<ResponseParts, Self::Error> {
        parts.headers_mut().insert(EVENT_POSITION, self.0);
        Ok(parts)
    }
}
