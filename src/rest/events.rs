//! `/events`: whether events are sent, those that were, and a page that shows them.

use axum::extract::State;
use axum::routing::get;
use axum::{Json, Router};
use chrono::SecondsFormat;
use serde::Serialize;
use serde_json::{Value, json};

use super::request::QueryParams;
use super::{Api, Error};
use crate::event::Event;
use crate::journal::history::PositionRefused;
use crate::live_page;

const DEFAULT_LIMIT: usize = 100;
const MAX_LIMIT: usize = 1000;

pub(super) fn history_routes() -> Router<Api> {
    Router::new().route("/events", get(history))
}

pub(super) fn public_routes() -> Router<Api> {
    Router::new()
        .route("/events/status", get(status))
        .route("/events/client", get(live_page::show))
}

/// A page of what was announced.
#[derive(Serialize)]
struct HistoryBody {
    events: Vec<PastEvent>,
    /// Where the next page begins, or a subscription.
    position: String,
}

/// An event that was announced.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct PastEvent {
    /// `code` and `details`.
    #[serde(flatten)]
    event: Event,
    occurred_at: String,
    position: String,
}

/// What came after the position `since`, at most `limit` events. Without `since`
/// from the oldest that is kept; with an empty one from now, as in a handshake.
async fn history(State(api): State<Api>, query: QueryParams) -> Result<Json<HistoryBody>, Error> {
    let limit = match query.get("limit") {
        None => DEFAULT_LIMIT,
        Some(text) => text
            .parse()
            .ok()
            .filter(|limit| (1..=MAX_LIMIT).contains(limit))
            .ok_or_else(|| {
                Error::Invalid(format!(
                    "the parameter `limit` must be a whole number from 1 to {MAX_LIMIT}"
                ))
            })?,
    };
    let identity = api.history.identity();
    let mut place = match query.get("since") {
        None => api.history.beginning().await.map_err(Error::Journal)?,
        Some("") => api.history.end().await.map_err(Error::Journal)?,
        Some(since) => {
            let position = api.history.decode(since)?;
            api.history.check(&position).await?;
            position
        }
    };
    let from_now = query.get("since") == Some("");
    let mut events = Vec::new();
    while !from_now && events.len() < limit {
        let page = api.history.page(&place, limit - events.len()).await;
        let page = page
            .map_err(Error::Journal)?
            .ok_or(PositionRefused::Expired)?;
        for event in &page.events {
            events.push(PastEvent {
                event: event.event.clone(),
                occurred_at: event
                    .changed_at
                    .to_rfc3339_opts(SecondsFormat::Millis, true),
                position: event.position().encode(identity),
            });
        }
        place = page.end.clone();
        if page.reached_now {
            break;
        }
    }
    Ok(Json(HistoryBody {
        events,
        position: place.encode(identity),
    }))
}

/// Where a Socket.IO client connects.
async fn status() -> Json<Value> {
    Json(
        json!({ "status": "running", "path": "/events", "namespace": "/pricings", "event": "message" }),
    )
}
