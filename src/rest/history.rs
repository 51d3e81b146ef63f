//! What was announced, and all that was recorded with the reason why some of it was
//! not: page by page, from a position on or back from it.

use std::collections::{BTreeSet, HashMap};

use axum::extract::State;
use axum::{Extension, Json};
use chrono::{DateTime, Utc};
use serde::Serialize;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::event_position::EventPosition;
use super::openapi::Invalid;
use super::request::QueryParams;
use super::transactions::read_rows;
use super::{Api, Error};
use crate::event::{Code, Event, Reason};
use crate::journal::batch::time_text;
use crate::journal::catch_up::PAGE_ROWS;
use crate::journal::translate::{Change, Enabled, Meaning, PricingRow};
use crate::journal::{JournalKey, Position, PositionRefused, Recorded, Since};
use crate::organization::Organization;
use crate::store::{self, services::Availability};

const DEFAULT_LIMIT: usize = 100;
const MAX_LIMIT: usize = 1000;

pub(super) fn routes() -> OpenApiRouter<Api> {
    OpenApiRouter::new()
        .routes(routes!(events))
        .routes(routes!(changes))
}

/// A page of what was announced.
#[derive(Serialize, ToSchema)]
#[schema(as = History)]
struct HistoryBody {
    events: Vec<PastEvent>,
    /// Where the next page begins: as `since`, in the same order.
    position: String,
}

/// An event that was announced.
// One flat object: what is put together by `allOf` is left out by generators of
// clients.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct PastEvent {
    code: Code,
    details: Details,
    /// The event's own, the same wherever it is shown.
    id: String,
    /// When the row changed.
    #[schema(format = DateTime)]
    occurred_at: String,
    /// When its transaction committed; left out where Postgres does not know it: it
    /// keeps that only with `track_commit_timestamp`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = String, format = DateTime, required = false)]
    committed_at: Option<String>,
    /// The place behind it: with it as `since`, a client hears all that came later.
    position: String,
}

/// A page of what was recorded.
#[derive(Serialize, ToSchema)]
struct Changes {
    changes: Vec<RecordedChange>,
    /// Where the next page begins: as `since`, in the same order.
    position: String,
}

/// A row change that was recorded. It has an event, or a reason why it has none.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct RecordedChange {
    /// That of its event, where it has one.
    id: String,
    /// When the row changed.
    #[schema(format = DateTime)]
    occurred_at: String,
    /// When its transaction committed; left out where Postgres does not know it: it
    /// keeps that only with `track_commit_timestamp`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = String, format = DateTime, required = false)]
    committed_at: Option<String>,
    /// The place behind it.
    position: String,
    /// Where the row is.
    table: Table,
    /// As the service was called then.
    service_name: String,
    /// The row before; left out where there was none.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = RowState, required = false)]
    before: Option<RowState>,
    /// The row after; left out where it is gone.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = RowState, required = false)]
    after: Option<RowState>,
    /// What was announced.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Announcement, required = false)]
    event: Option<Announcement>,
    /// Why nothing was.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Reason, required = false)]
    reason: Option<Reason>,
    /// The same in a sentence.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = String, required = false)]
    explanation: Option<&'static str>,
}

#[derive(Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
enum Table {
    Services,
    Pricings,
}

/// What of a row counts for events.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct RowState {
    /// Of a pricing.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = String, required = false)]
    version: Option<String>,
    /// Of a pricing.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Availability, required = false)]
    availability: Option<Availability>,
    /// Whether the service was disabled.
    service_disabled: bool,
}

/// An event as clients hear it.
#[derive(Serialize, ToSchema)]
struct Announcement {
    code: Code,
    details: Details,
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

/// The oldest first, or the newest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ToSchema)]
#[schema(rename_all = "lowercase")]
pub(super) enum Order {
    Asc,
    Desc,
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
    let request = Request::read(&api, &organization, &query, Order::Asc)?;
    let read = request
        .answer(&api, |row| match &row.meaning {
            Meaning::Event(event) => code.is_none_or(|code| event.code() == code),
            Meaning::Nothing(_) => false,
        })
        .await?;
    let key = api.catch_up.key();
    let commit_times = read.commit_times(&api).await?;
    let past = |row: &Recorded| match &row.meaning {
        Meaning::Event(event) => Some(PastEvent {
            code: event.code(),
            details: event.into(),
            id: row.row.to_string(),
            occurred_at: time_text(row.changed_at),
            committed_at: commit_times.get(&row.xid).copied().map(time_text),
            position: row.position.encode(&key),
        }),
        Meaning::Nothing(_) => None,
    };
    let body = HistoryBody {
        events: read.rows.iter().filter_map(past).collect(),
        position: read.next.encode(&key),
    };
    Ok((EventPosition::new(&read.newest, &key)?, Json(body)))
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
    let request = Request::read(&api, &organization, &query, Order::Desc)?;
    let read = request.answer(&api, |_| true).await?;
    let key = api.catch_up.key();
    let commit_times = read.commit_times(&api).await?;
    let body = Changes {
        position: read.next.encode(&key),
        changes: read
            .rows
            .into_iter()
            .map(|row| {
                let committed_at = commit_times.get(&row.xid).copied();
                RecordedChange::new(row, committed_at, &key)
            })
            .collect(),
    };
    Ok((EventPosition::new(&read.newest, &key)?, Json(body)))
}

impl RecordedChange {
    fn new(row: Recorded, committed_at: Option<DateTime<Utc>>, key: &JournalKey) -> Self {
        let (event, reason) = match &row.meaning {
            Meaning::Event(event) => {
                let (code, details) = (event.code(), event.into());
                (Some(Announcement { code, details }), None)
            }
            Meaning::Nothing(reason) => (None, Some(*reason)),
        };
        let service = |enabled: Enabled| RowState {
            version: None,
            availability: None,
            service_disabled: enabled == Enabled::No,
        };
        let pricing = |row: PricingRow, enabled| RowState {
            version: Some(row.version),
            availability: Some(row.availability),
            ..service(enabled)
        };
        let occurred_at = time_text(row.changed_at);
        let (table, before, after) = match row.change {
            Change::Service { before, after } => {
                (Table::Services, before.map(service), after.map(service))
            }
            Change::Pricing {
                before,
                after,
                service_before,
                service_after,
            } => (
                Table::Pricings,
                before.map(|row| pricing(row, service_before)),
                after.map(|row| pricing(row, service_after)),
            ),
        };
        Self {
            id: row.row.to_string(),
            occurred_at,
            committed_at: committed_at.map(time_text),
            position: row.position.encode(key),
            table,
            service_name: row.service_name,
            before,
            after,
            event,
            reason,
            explanation: reason.map(Reason::sentence),
        }
    }
}

/// What to list.
struct Request<'q> {
    organization: &'q Organization,
    since: Since,
    limit: usize,
    order: Order,
    service: Option<&'q str>,
}

/// What was found.
struct Read {
    rows: Vec<Recorded>,
    /// The newest place that the rows show.
    newest: Position,
    /// Where the next page begins.
    next: Position,
}

impl Read {
    /// When the transactions of the rows committed, where Postgres knows it.
    async fn commit_times(&self, api: &Api) -> Result<HashMap<u64, DateTime<Utc>>, Error> {
        let xids: BTreeSet<u64> = self.rows.iter().map(|row| row.xid).collect();
        let xids = Vec::from_iter(xids);
        if xids.is_empty() {
            return Ok(HashMap::new());
        }
        read_rows(&api.pool, async |mut tx| {
            store::journal::commit_times(&mut tx, &xids).await
        })
        .await
    }
}

impl<'q> Request<'q> {
    fn read(
        api: &Api,
        organization: &'q Organization,
        query: &'q QueryParams,
        usual_order: Order,
    ) -> Result<Self, Error> {
        let invalid = |sentence: String| Err(Error::Invalid(sentence));
        let limit = match query.get("limit").map(str::parse) {
            None => DEFAULT_LIMIT,
            Some(Ok(limit)) if (1..=MAX_LIMIT).contains(&limit) => limit,
            Some(_) => {
                return invalid(format!(
                    "the parameter `limit` must be a whole number from 1 to {MAX_LIMIT}"
                ));
            }
        };
        let order = match query.get("order") {
            None => usual_order,
            Some("asc") => Order::Asc,
            Some("desc") => Order::Desc,
            Some(_) => return invalid("the parameter `order` must be asc or desc".to_owned()),
        };
        let service = query.get("service");
        if service.is_some_and(|name| name.contains('\0')) {
            return invalid("the parameter `service` holds the character U+0000".to_owned());
        }
        Ok(Self {
            organization,
            since: Since::parse(query.get("since"), &api.catch_up.key())?,
            limit,
            order,
            service,
        })
    }

    async fn answer(&self, api: &Api, keep: impl Fn(&Recorded) -> bool) -> Result<Read, Error> {
        match self.order {
            Order::Asc => self.read_on(api, keep).await,
            Order::Desc => self.read_back(api, keep).await,
        }
    }

    async fn read_on(&self, api: &Api, keep: impl Fn(&Recorded) -> bool) -> Result<Read, Error> {
        let mut place = match &self.since {
            Since::Unsaid => api.catch_up.beginning().await.map_err(Error::Journal)?,
            Since::Now => api.catch_up.end().await.map_err(Error::Journal)?,
            Since::Position(position) => {
                api.catch_up.check(position).await?;
                position.clone()
            }
        };
        let service = self.service.map(str::to_lowercase);
        let mut rows: Vec<Recorded> = Vec::new();
        let mut reached_now = self.since == Since::Now;
        let mut page_rows = self.limit;
        while !reached_now && rows.len() < self.limit {
            let (page, found) = api
                .catch_up
                .page_and_rows(&place, page_rows)
                .await
                .map_err(Error::Journal)?
                .map_err(PositionRefused::from)?;
            // Few are left of those that are read, or enough.
            page_rows = PAGE_ROWS;
            let mut found = found.into_iter();
            let wanted = found.by_ref().filter(|row| {
                *row.organization == *self.organization.as_str()
                    && keep(row)
                    && service
                        .as_ref()
                        .is_none_or(|name| row.service_name.to_lowercase() == *name)
            });
            rows.extend(wanted.take(self.limit - rows.len()));
            match (found.next(), rows.last()) {
                // Full before the end of the page.
                (Some(_), Some(last)) => place = last.position.clone(),
                _ => {
                    place = page.end;
                    reached_now = page.reached_now;
                }
            }
        }
        Ok(Read {
            rows,
            newest: place.clone(),
            next: place,
        })
    }

    async fn read_back(&self, api: &Api, keep: impl Fn(&Recorded) -> bool) -> Result<Read, Error> {
        let newest = match &self.since {
            Since::Unsaid | Since::Now => api.catch_up.end().await.map_err(Error::Journal)?,
            Since::Position(position) => match api.catch_up.check(position).await {
                // What is kept no more is not listed.
                Ok(()) | Err(PositionRefused::Expired) => position.clone(),
                Err(refused) => return Err(refused.into()),
            },
        };
        let mut place = newest.clone();
        let mut rows = Vec::new();
        let mut page_rows = self.limit.min(PAGE_ROWS);
        loop {
            let found = api
                .catch_up
                .rows_before(&place, self.organization, self.service, page_rows)
                .await
                .map_err(Error::Journal)?;
            let is_all = found.len() < page_rows;
            page_rows = PAGE_ROWS;
            for row in found {
                place = newest.up_to(row.row.id - 1);
                if keep(&row) {
                    rows.push(row);
                }
                if rows.len() == self.limit {
                    break;
                }
            }
            if is_all || rows.len() == self.limit {
                break;
            }
        }
        Ok(Read {
            rows,
            newest,
            next: place,
        })
    }
}
