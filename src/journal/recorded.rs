//! A row of the journal as it was recorded, with what it means: one reading for
//! events, for history and for those who ask why there was no event.

use chrono::{DateTime, Utc};
use tokio_postgres::Row;

use super::position::Position;
use super::translate::{Change, Enabled, Meaning, PricingRow, meaning_of};
use super::witness::Witness;
use crate::store::services::Availability;

/// A row change, and what it means.
#[derive(Debug)]
pub struct Recorded {
    /// The row in the journal.
    pub row: Witness,
    /// The transaction that wrote it.
    pub xid: u64,
    /// When the row changed.
    pub changed_at: DateTime<Utc>,
    /// Whose service it was.
    pub organization: Box<str>,
    /// The service as it was called then.
    pub service_name: String,
    /// What changed.
    pub change: Change,
    /// Its event, or why it has none.
    pub meaning: Meaning,
    /// The place behind it.
    pub position: Position,
}

impl Recorded {
    pub(super) fn new(
        (xid, row): (u64, Witness),
        changed_at: DateTime<Utc>,
        service: ServiceOf<'_>,
        change: Change,
        position: Position,
    ) -> Self {
        let ServiceOf { organization, name } = service;
        Self {
            row,
            xid,
            changed_at,
            organization: organization.into(),
            service_name: name.to_owned(),
            meaning: meaning_of(name, change.clone()),
            change,
            position,
        }
    }
}

/// Which service a row of the journal is about.
#[derive(Clone, Copy, Debug)]
pub(super) struct ServiceOf<'r> {
    /// Whose it was.
    pub(super) organization: &'r str,
    /// As it was called then.
    pub(super) name: &'r str,
}

/// The service and the change, from the columns that the reader selects.
pub(super) fn change_of(row: &Row) -> anyhow::Result<(ServiceOf<'_>, Change)> {
    let enabled = |disabled: bool| if disabled { Enabled::No } else { Enabled::Yes };
    let before = row.try_get::<_, Option<bool>>(9)?.map(enabled);
    let after = row.try_get::<_, Option<bool>>(10)?.map(enabled);
    let change = if row.try_get::<_, &str>(3)? == "services" {
        Change::Service { before, after }
    } else {
        Change::Pricing {
            before: pricing_row(row, 5, 7)?,
            after: pricing_row(row, 6, 8)?,
            service_before: before.unwrap_or(Enabled::Yes),
            service_after: after.unwrap_or(Enabled::Yes),
        }
    };
    let service = ServiceOf {
        organization: row.try_get(11)?,
        name: row.try_get(4)?,
    };
    Ok((service, change))
}

fn pricing_row(
    row: &Row,
    version: usize,
    availability: usize,
) -> anyhow::Result<Option<PricingRow>> {
    let availability = row
        .try_get::<_, Option<&str>>(availability)?
        .and_then(Availability::parse)
        .unwrap_or(Availability::Active);
    Ok(row
        .try_get::<_, Option<String>>(version)?
        .map(|version| PricingRow {
            version,
            availability,
        }))
}
