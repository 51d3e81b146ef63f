//! A row of the journal as it was recorded, with what it means. Everybody reads rows in
//! this one way: the feed, the history, and whoever asks why there was no event.

use anyhow::{Context as _, bail};
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
    pub(super) fn new(row: RowChange, position: Position) -> Self {
        Self {
            row: row.witness,
            xid: row.xid,
            changed_at: row.changed_at,
            meaning: meaning_of(&row.service_name, row.change.clone()),
            organization: row.organization,
            service_name: row.service_name,
            change: row.change,
            position,
        }
    }
}

/// A row of the journal.
#[derive(Clone, Debug)]
pub(super) struct RowChange {
    pub(super) witness: Witness,
    pub(super) xid: u64,
    pub(super) changed_at: DateTime<Utc>,
    pub(super) organization: Box<str>,
    pub(super) service_name: String,
    pub(super) change: Change,
}

impl RowChange {
    /// # Errors
    ///
    /// This version does not know what the row says.
    pub(super) fn read(row: &Row) -> anyhow::Result<Self> {
        let id = row.try_get("id")?;
        Self::with_id(id, row).with_context(|| format!("read row {id} of the journal"))
    }

    fn with_id(id: i64, row: &Row) -> anyhow::Result<Self> {
        let xid = row.try_get::<_, &str>("xid")?.parse()?;
        let changed_at: DateTime<Utc> = row.try_get("changed_at")?;
        Ok(Self {
            witness: Witness::new(id, xid, changed_at.timestamp_micros()),
            xid,
            changed_at,
            organization: row.try_get::<_, &str>("organization")?.into(),
            service_name: row.try_get("service_name")?,
            change: change_of(row)?,
        })
    }
}

fn change_of(row: &Row) -> anyhow::Result<Change> {
    let enabled = |disabled: bool| if disabled { Enabled::No } else { Enabled::Yes };
    let before = row.try_get::<_, Option<bool>>("disabled_before")?;
    let after = row.try_get::<_, Option<bool>>("disabled_after")?;
    let (before, after) = (before.map(enabled), after.map(enabled));
    match row.try_get("relation")? {
        "services" => Ok(Change::Service { before, after }),
        "pricings" => Ok(Change::Pricing {
            before: pricing_row(row, "version_before", "availability_before")?,
            after: pricing_row(row, "version_after", "availability_after")?,
            service_before: before.unwrap_or(Enabled::Yes),
            service_after: after.unwrap_or(Enabled::Yes),
        }),
        relation => bail!("unknown relation `{relation}`"),
    }
}

fn pricing_row(row: &Row, version: &str, availability: &str) -> anyhow::Result<Option<PricingRow>> {
    let Some(version) = row.try_get(version)? else {
        return Ok(None);
    };
    let text: Option<&str> = row.try_get(availability)?;
    let availability = text
        .and_then(Availability::parse)
        .with_context(|| format!("unknown availability `{}`", text.unwrap_or("null")))?;
    Ok(Some(PricingRow {
        version,
        availability,
    }))
}
