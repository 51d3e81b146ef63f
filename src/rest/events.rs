//! `/events`: whether events are sent, those that were, and a page that shows them.

use axum::Json;
use axum::extract::State;
use axum::response::Response;
use chrono::SecondsFormat;
use serde::Serialize;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::openapi::Invalid;
use super::request::QueryParams;
use super::{Api, Error};
use crate::event::{Code, Event};
use crate::journal::history::PositionRefused;
use crate::live_page;

const DEFAULT_LIMIT: usize = 100;
const MAX_LIMIT: usize = 1000;

pub(super) fn history_routes() -> OpenApiRouter<Api> {
    OpenApiRouter::new().routes(routes!(history))
}

pub(super) fn public_routes() -> OpenApiRouter<Api> {
    OpenApiRouter::new()
        .routes(routes!(status))
        .routes(routes!(live))
}

/// A page of what was announced.
#[derive(Serialize, ToSchema)]
#[schema(as = History)]
struct HistoryBody {
    events: Vec<PastEvent>,
    /// Where the next page begins, or a subscription.
    position: String,
}

/// An event that was announced.
///
/// One flat object: what is put together by `allOf` is left out by generators of
/// clients.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct PastEvent {
    code: Code,
    details: Details,
    #[schema(format = DateTime)]
    occurred_at: String,
    position: String,
}

/// What an event happened to.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = EventDetails)]
struct Details {
    service_name: String,
    /// Left out where the event is about the service itself.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = String, required = false)]
    pricing_version: Option<String>,
}

impl From<&Event> for Details {
    fn from(event: &Event) -> Self {
        Self {
            service_name: event.service_name().to_owned(),
            pricing_version: event.pricing_version().map(str::to_owned),
        }
    }
}

/// Reads what was announced after a position, page by page.
#[utoipa::path(
    get, path = "/events", operation_id = "listEvents", tag = "events",
    params(
        ("since" = Option<String>, Query, description = "a position; without it from the oldest event that is kept, empty from now, as in a handshake"),
        ("limit" = Option<i64>, Query, minimum = 1, maximum = 1000, description = "100 by default"),
    ),
    responses(
        (status = 200, description = "the events, and the position after them", body = HistoryBody),
        (status = 400, response = Invalid),
    ),
)]
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
    let key = api.history.key();
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
            .map_err(PositionRefused::from)?;
        for event in &page.events {
            events.push(PastEvent {
                code: event.event.code(),
                details: Details::from(&event.event),
                occurred_at: event
                    .changed_at
                    .to_rfc3339_opts(SecondsFormat::Millis, true),
                position: event.position().encode(&key),
            });
        }
        place = page.end.clone();
        if page.reached_now {
            break;
        }
    }
    Ok(Json(HistoryBody {
        events,
        position: place.encode(&key),
    }))
}

/// Where a Socket.IO client connects.
#[derive(Serialize, ToSchema)]
struct Status {
    status: &'static str,
    path: &'static str,
    namespace: &'static str,
    event: &'static str,
}

/// Says where a Socket.IO client connects.
#[utoipa::path(
    get, path = "/events/status", operation_id = "readEventsStatus", tag = "events",
    responses((status = 200, description = "it runs", body = Status)),
)]
async fn status() -> Json<Status> {
    Json(Status {
        status: "running",
        path: "/events",
        namespace: "/pricings",
        event: "message",
    })
}

/// Shows events as they come, in a browser.
#[utoipa::path(
    get, path = "/events/client", operation_id = "showEvents", tag = "events",
    responses((status = 200, description = "the page", body = String, content_type = "text/html")),
)]
async fn live() -> Response {
    live_page::show().await
}
