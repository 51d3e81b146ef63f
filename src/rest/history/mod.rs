//! What was announced, and all that was recorded with the reason why some of it was
//! not: page by page, from a position on or back from it.

mod bodies;
mod listing;

use axum::extract::State;
use axum::{Extension, Json};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::event_position::EventPosition;
use super::openapi::Invalid;
use super::request::{Order, QueryParams};
use super::{Api, Error};
use crate::event::Code;
use crate::journal::translate::Meaning;
use crate::organization::Organization;
use bodies::{Changes, HistoryBody};
use listing::Listing;

pub(super) fn routes() -> OpenApiRouter<Api> {
    OpenApiRouter::new()
        .routes(routes!(events))
        .routes(routes!(changes))
}

/// Reads what was announced, page by page.
///
/// From a position on, or back from it with `order=desc`. In both orders `position` in
/// the answer is where the next page begins, and the header `Event-Position` the newest
/// place that the answer shows, from which to subscribe.
#[utoipa::path(
    get, path = "/events", operation_id = "listEvents", tag = "events",
    params(
        ("since" = Option<String>, Query, description = "a position. With `order=asc` the events behind it are listed; without it those from the oldest on that is kept; empty: none, only the position of now. With `order=desc` the events before it are listed, that is, what had been heard there; without it, or empty: from now back"),
        ("limit" = Option<i64>, Query, minimum = 1, maximum = 1000, description = "100 by default"),
        ("order" = Option<Order>, Query, description = "`asc` by default: the oldest first"),
        ("service" = Option<String>, Query, description = "only of this service, in any case"),
        ("code" = Option<Code>, Query, description = "only of this kind"),
    ),
    responses(
        (status = 200, description = "the events, and the position after them", body = HistoryBody, headers(("Event-Position" = EventPosition))),
        (status = 400, response = Invalid),
    ),
)]
async fn events(
    State(api): State<Api>,
    Extension(organization): Extension<Organization>,
    query: QueryParams,
) -> Result<(EventPosition, Json<HistoryBody>), Error> {
    let code = match query.get("code") {
        None => None,
        Some(text) => Some(Code::parse(text).ok_or_else(|| {
            let codes = Code::ALL.map(Code::as_str).join(", ");
            Error::Invalid(format!("the parameter `code` must be one of {codes}"))
        })?),
    };
    let listing = Listing::parse(&api, &organization, &query, Order::Asc)?;
    let listed = listing
        .read(&api, |row| match &row.meaning {
            Meaning::Event(event) => code.is_none_or(|code| event.code() == code),
            Meaning::Nothing(_) => false,
        })
        .await?;
    let key = api.catch_up.key();
    let position = EventPosition::new(&listed.newest, &key)?;
    Ok((position, Json(HistoryBody::new(&listed, &key))))
}

/// Reads the row changes that were recorded, and what each was announced as, or why it
/// was not.
///
/// Never recorded, and so never announced: what changes neither availability, version
/// nor whether a service is disabled, such as the same value once more, a document or a
/// renamed service; a service that is added, which is announced with its first pricing;
/// whatever is rolled back; and what happens while triggers are disabled.
#[utoipa::path(
    get, path = "/changes", operation_id = "listChanges", tag = "events",
    params(
        ("since" = Option<String>, Query, description = "a position, as of `/events` in the same order"),
        ("limit" = Option<i64>, Query, minimum = 1, maximum = 1000, description = "100 by default"),
        ("order" = Option<Order>, Query, description = "`desc` by default: the newest first"),
        ("service" = Option<String>, Query, description = "only of this service, in any case"),
    ),
    responses(
        (status = 200, description = "the changes", body = Changes, headers(("Event-Position" = EventPosition))),
        (status = 400, response = Invalid),
    ),
)]
async fn changes(
    State(api): State<Api>,
    Extension(organization): Extension<Organization>,
    query: QueryParams,
) -> Result<(EventPosition, Json<Changes>), Error> {
    let listing = Listing::parse(&api, &organization, &query, Order::Desc)?;
    let listed = listing.read(&api, |_| true).await?;
    let key = api.catch_up.key();
    let position = EventPosition::new(&listed.newest, &key)?;
    Ok((position, Json(Changes::new(&listed, &key))))
}
