//! What is answered: events, and changes with what became of them.

use serde::Serialize;
use utoipa::ToSchema;

use super::listing::Listed;
use crate::event::{Code, Event, Reason};
use crate::journal::batch::time_text;
use crate::journal::translate::{Change, Enabled, Meaning, PricingRow};
use crate::journal::{JournalKey, Recorded};
use crate::store::services::Availability;

/// A page of what was announced.
#[derive(Serialize, ToSchema)]
#[schema(as = History)]
pub(super) struct HistoryBody {
    events: Vec<PastEvent>,
    /// Where the next page begins: as `since`, in the same order.
    position: String,
}

impl HistoryBody {
    pub(super) fn new(listed: &Listed, key: &JournalKey) -> Self {
        let event = |row| PastEvent::new(row, listed, key);
        Self {
            events: listed.rows.iter().filter_map(event).collect(),
            position: listed.next.encode(key),
        }
    }
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

impl PastEvent {
    fn new(row: &Recorded, listed: &Listed, key: &JournalKey) -> Option<Self> {
        let Meaning::Event(event) = &row.meaning else {
            return None;
        };
        Some(Self {
            code: event.code(),
            details: event.into(),
            id: row.row.to_string(),
            occurred_at: time_text(row.changed_at),
            committed_at: listed.committed_at(row),
            position: row.position.encode(key),
        })
    }
}

/// A page of what was recorded.
#[derive(Serialize, ToSchema)]
pub(super) struct Changes {
    changes: Vec<RecordedChange>,
    /// Where the next page begins: as `since`, in the same order.
    position: String,
}

impl Changes {
    pub(super) fn new(listed: &Listed, key: &JournalKey) -> Self {
        let change = |row| RecordedChange::new(row, listed, key);
        Self {
            changes: listed.rows.iter().map(change).collect(),
            position: listed.next.encode(key),
        }
    }
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

impl RecordedChange {
    fn new(row: &Recorded, listed: &Listed, key: &JournalKey) -> Self {
        let (event, reason) = match &row.meaning {
            Meaning::Event(event) => {
                let (code, details) = (event.code(), event.into());
                (Some(Announcement { code, details }), None)
            }
            Meaning::Nothing(reason) => (None, Some(*reason)),
        };
        let service = |enabled: &Enabled| RowState {
            version: None,
            availability: None,
            service_disabled: *enabled == Enabled::No,
        };
        let pricing = |row: &PricingRow, enabled: &Enabled| RowState {
            version: Some(row.version.clone()),
            availability: Some(row.availability),
            ..service(enabled)
        };
        let (table, before, after) = match &row.change {
            Change::Service { before, after } => (
                Table::Services,
                before.as_ref().map(service),
                after.as_ref().map(service),
            ),
            Change::Pricing {
                before,
                after,
                service_before,
                service_after,
            } => (
                Table::Pricings,
                before.as_ref().map(|row| pricing(row, service_before)),
                after.as_ref().map(|row| pricing(row, service_after)),
            ),
        };
        Self {
            id: row.row.to_string(),
            occurred_at: time_text(row.changed_at),
            committed_at: listed.committed_at(row),
            position: row.position.encode(key),
            table,
            service_name: row.service_name.clone(),
            before,
            after,
            event,
            reason,
            explanation: reason.map(Reason::sentence),
        }
    }
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
