//! One connection that reads the journal from a position.
//!
//! The rows that were not seen are three disjoint branches, each on an index;
//! written as one OR they are a scan of the whole journal.

use std::pin::Pin;
use std::sync::Arc;

use anyhow::Context as _;
use chrono::{DateTime, Utc};
use futures_util::StreamExt as _;
use serde_json::value::to_raw_value;
use tokio_postgres::types::ToSql;
use tokio_postgres::{Client, Row, RowStream, Statement};
use tokio_util::task::AbortOnDropHandle;

use super::batch::{Batch, JournalEvent};
use super::position::{Position, Seen, Snapshot, Within};
use super::translate::{Availability, Change, Enabled, PricingRow, event_for};
use crate::event::Event;

/// The columns of a row change, in the order that [`event_of`] reads.
macro_rules! columns {
    () => {
        "id, xid::text, changed_at, relation, service_name, version_before, version_after, \
         availability_before, availability_after, disabled_before, disabled_after"
    };
}

/// Where the journal is now: a snapshot, and the greatest id that it sees.
const NOW: &str = "
select pg_current_snapshot()::text, coalesce(max(id), 0)
from space_events.row_changes";

/// The rows that are visible now and were not seen. `$1` max_id, `$2` xmax, `$3`
/// xip of what was seen; `$4` the greatest number of rows, or null. The first
/// row, with the id 0, tells the place that the read leads to.
const UNSEEN: &str = concat!(
    "
select 0::bigint as id, pg_current_snapshot()::text as xid, now() as changed_at,
    (select coalesce(max(id), 0) from space_events.row_changes)::text as relation,
    '' as service_name, null as version_before, null as version_after,
    null as availability_before, null as availability_after,
    null::boolean as disabled_before, null::boolean as disabled_after
union all
select ",
    columns!(),
    " from space_events.row_changes
where id > $1::bigint
union all
select ",
    columns!(),
    " from space_events.row_changes
where id <= $1::bigint and xid >= $2::text::xid8
union all
select ",
    columns!(),
    " from space_events.row_changes
where id <= $1::bigint and xid = any($3::text[]::xid8[])
order by id
limit $4::bigint"
);

/// The rest of a batch: the unseen rows behind the id `$5` that the snapshot `$6`
/// saw, up to its greatest id `$7`.
const REST: &str = concat!(
    "
select ",
    columns!(),
    " from space_events.row_changes
where id > greatest($1::bigint, $5::bigint) and id <= $7::bigint
and pg_visible_in_snapshot(xid, $6::text::pg_snapshot)
union all
select ",
    columns!(),
    " from space_events.row_changes
where id <= $1::bigint and id > $5::bigint and xid >= $2::text::xid8
and pg_visible_in_snapshot(xid, $6::text::pg_snapshot)
union all
select ",
    columns!(),
    " from space_events.row_changes
where id <= $1::bigint and id > $5::bigint and xid = any($3::text[]::xid8[])
and pg_visible_in_snapshot(xid, $6::text::pg_snapshot)
order by id
limit $4::bigint"
);

/// Reads the journal over one connection.
#[derive(Debug)]
pub struct Reader {
    client: Client,
    _driver: AbortOnDropHandle<()>,
    now: Statement,
    unseen: Statement,
    rest: Statement,
}

impl Reader {
    /// Prepares the statements on a connection, which `driver` keeps going.
    ///
    /// # Errors
    ///
    /// The connection is lost, or the journal is not there.
    pub async fn prepare(client: Client, driver: AbortOnDropHandle<()>) -> anyhow::Result<Self> {
        let context = "prepare to read the journal";
        let now = client.prepare(NOW).await.context(context)?;
        let unseen = client.prepare(UNSEEN).await.context(context)?;
        let rest = client.prepare(REST).await.context(context)?;
        Ok(Self {
            client,
            _driver: driver,
            now,
            unseen,
            rest,
        })
    }

    /// The connection, for statements of other parts.
    pub fn client(&self) -> &Client {
        &self.client
    }

    /// All that is visible now, seen.
    ///
    /// # Errors
    ///
    /// The connection is lost.
    pub async fn now(&self) -> anyhow::Result<Seen> {
        let row = self
            .client
            .query_one(&self.now, &[])
            .await
            .context("read the place of the journal")?;
        seen(row.get(0), row.get(1))
    }

    /// What came after a position, in order; at most `limit` rows. The batch is
    /// numbered `number`.
    ///
    /// From the middle of a batch it reads the rest of that batch, and no more.
    ///
    /// # Errors
    ///
    /// The connection is lost.
    pub async fn read(
        &self,
        from: &Position,
        limit: Option<i64>,
        number: u64,
    ) -> anyhow::Result<Rows> {
        let Seen { snapshot, max_id } = &*from.base;
        let xmax = snapshot.xmax().to_string();
        let in_progress: Vec<String> = snapshot
            .in_progress()
            .iter()
            .map(ToString::to_string)
            .collect();
        let common: [&(dyn ToSql + Sync); 3] = [max_id, &xmax, &in_progress];
        let context = "read the journal";
        let Some(Within { next, id }) = &from.within else {
            // One more: the first row tells the place.
            let limit = limit.map(|rows| rows + 1);
            let parameters = common.into_iter().chain([&limit as &(dyn ToSql + Sync)]);
            let rows = self
                .client
                .query_raw(&self.unseen, parameters.collect::<Vec<_>>())
                .await
                .context(context)?;
            let mut rows = Box::pin(rows);
            let first = rows.next().await.context(context)?.context(context)?;
            let max_id_now = first.get::<_, String>(3).parse().context(context)?;
            let next = seen(first.get(1), i64::max(max_id_now, *max_id))?;
            return Ok(Rows::new(rows, &from.base, Arc::new(next), number));
        };
        let snapshot = next.snapshot.to_string();
        let parameters =
            common
                .into_iter()
                .chain([&limit as &(dyn ToSql + Sync), id, &snapshot, &next.max_id]);
        let rows = self
            .client
            .query_raw(&self.rest, parameters.collect::<Vec<_>>())
            .await
            .context(context)?;
        Ok(Rows::new(
            Box::pin(rows),
            &from.base,
            Arc::clone(next),
            number,
        ))
    }
}

fn seen(snapshot: &str, max_id: i64) -> anyhow::Result<Seen> {
    let snapshot =
        Snapshot::parse(snapshot).with_context(|| format!("read the snapshot {snapshot}"))?;
    Ok(Seen { snapshot, max_id })
}

/// The rows of one read, streamed; Postgres waits for whoever takes them.
#[expect(
    missing_debug_implementations,
    reason = "a stream of rows has nothing to show"
)]
pub struct Rows {
    rows: Pin<Box<RowStream>>,
    batch: Arc<Batch>,
}

/// A row of the journal.
#[derive(Debug)]
pub struct RowRead {
    /// Its id.
    pub id: i64,
    /// The event that it means, if any.
    pub event: Option<JournalEvent>,
}

impl Rows {
    fn new(rows: Pin<Box<RowStream>>, base: &Arc<Seen>, next: Arc<Seen>, number: u64) -> Self {
        let batch = Arc::new(Batch {
            base: Arc::clone(base),
            next,
            number,
        });
        Self { rows, batch }
    }

    /// The batch that is being read.
    pub fn batch(&self) -> &Arc<Batch> {
        &self.batch
    }

    /// The next row, until there is none. Cancel safe.
    ///
    /// # Errors
    ///
    /// The connection is lost, or a row cannot be read.
    pub async fn next(&mut self) -> anyhow::Result<Option<RowRead>> {
        let Some(row) = self.rows.next().await else {
            return Ok(None);
        };
        let row = row.context("read a row of the journal")?;
        let id = row.try_get(0)?;
        let event = match event_of(&row)? {
            None => None,
            Some(event) => Some(JournalEvent {
                json: to_raw_value(&event)?,
                id,
                xid: row.try_get::<_, &str>(1)?.parse()?,
                changed_at: row.try_get::<_, DateTime<Utc>>(2)?,
                batch: Arc::clone(&self.batch),
            }),
        };
        Ok(Some(RowRead { id, event }))
    }
}

fn event_of(row: &Row) -> anyhow::Result<Option<Event>> {
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
    Ok(event_for(row.try_get(4)?, change))
}

fn pricing_row(
    row: &Row,
    version: usize,
    availability: usize,
) -> anyhow::Result<Option<PricingRow>> {
    let availability = match row.try_get::<_, Option<&str>>(availability)? {
        Some("archived") => Availability::Archived,
        _ => Availability::Active,
    };
    Ok(row
        .try_get::<_, Option<String>>(version)?
        .map(|version| PricingRow {
            version,
            availability,
        }))
}
