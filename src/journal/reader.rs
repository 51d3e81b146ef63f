//! One connection that reads the journal from a position.
//!
//! The rows that were not seen are two disjoint branches, each on an index;
//! written as one OR they are a scan of the whole journal. First the late ones,
//! of transactions that were in progress then, with ids up to the greatest that
//! was seen; then all with greater ids. There is no third: a transaction that
//! began later drew its ids later, since a writer has its transaction id before
//! it draws one. So one branch behind the other is the order of the ids, and
//! nothing has to be sorted; it is checked as the rows come.

use std::pin::Pin;
use std::sync::Arc;

use anyhow::{Context as _, ensure};
use chrono::{DateTime, Utc};
use futures_util::StreamExt as _;
use serde_json::value::to_raw_value;
use tokio_postgres::types::ToSql;
use tokio_postgres::{Client, Row, RowStream, Statement};
use tokio_util::task::AbortOnDropHandle;

use super::batch::{Batch, JournalEvent};
use super::position::{Position, Seen, Snapshot, Within};
use super::translate::{Change, Enabled, PricingRow, event_for};
use crate::event::Event;
use crate::store::services::Availability;

/// The columns of a row change, in the order that [`event_of`] reads.
macro_rules! columns {
    () => {
        "id, xid::text, changed_at, relation, service_name, version_before, version_after, \
         availability_before, availability_after, disabled_before, disabled_after"
    };
}

/// The first row of every read, with the id 0: where the journal is now, as a
/// snapshot and the greatest id that it sees, and how far back it goes, likewise.
macro_rules! header {
    () => {
        "
select 0::bigint as id, pg_current_snapshot()::text as xid, now() as changed_at,
    greatest(
        (select max(id) from space_events.row_changes),
        j.pruned_max_id)::text as relation,
    coalesce(j.pruned_snapshot::text, '') as service_name,
    j.pruned_max_id::text as version_before, null as version_after,
    null as availability_before, null as availability_after,
    null::boolean as disabled_before, null::boolean as disabled_after
from space_events.journal j"
    };
}

/// Where the journal is now, and how far back it goes.
const NOW: &str = header!();

/// The rows that are visible now and were not seen. `$1` max_id and `$2` xip of
/// what was seen; `$3` the greatest number of rows of each branch, or null.
///
/// `id + 0` keeps the planner from the primary key, where it would read all that
/// was seen to find the few late ones.
const UNSEEN: &str = concat!(
    header!(),
    "
union all
(select ",
    columns!(),
    " from space_events.row_changes
where xid = any($2::text[]::xid8[]) and id + 0 <= $1::bigint
order by row_changes.id + 0
limit $3::bigint)
union all
(select ",
    columns!(),
    " from space_events.row_changes
where id > $1::bigint
order by row_changes.id
limit $3::bigint)"
);

/// The rest of a batch: the unseen rows behind the id `$4` that the snapshot `$5`
/// saw, up to its greatest id `$6`.
const REST: &str = concat!(
    header!(),
    "
union all
(select ",
    columns!(),
    " from space_events.row_changes
where xid = any($2::text[]::xid8[]) and id + 0 <= $1::bigint and id + 0 > $4::bigint
and pg_visible_in_snapshot(xid, (select $5::text::pg_snapshot))
order by row_changes.id + 0
limit $3::bigint)
union all
(select ",
    columns!(),
    " from space_events.row_changes
where id > greatest($1::bigint, $4::bigint) and id <= $6::bigint
and pg_visible_in_snapshot(xid, (select $5::text::pg_snapshot))
order by row_changes.id
limit $3::bigint)"
);

/// Costs more than it saves in statements that find a few rows by an index; and
/// the branches come in order only if one process reads them.
const SESSION: &str = "set jit = off; set max_parallel_workers_per_gather = 0";

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
        client.batch_execute(SESSION).await.context(context)?;
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

    /// Which journal it is.
    ///
    /// # Errors
    ///
    /// The connection is lost.
    pub async fn identity(&self) -> anyhow::Result<i64> {
        let statement = "select identity from space_events.journal";
        let row = self.client.query_one(statement, &[]).await;
        Ok(row.context("read the identity of the journal")?.get(0))
    }

    /// Where the journal is now, and how far back it goes.
    ///
    /// # Errors
    ///
    /// The connection is lost.
    pub async fn extent(&self) -> anyhow::Result<Extent> {
        let row = self
            .client
            .query_one(&self.now, &[])
            .await
            .context("read the place of the journal")?;
        Extent::from_row(&row)
    }

    /// What came after a position, in order; at most `limit` rows of each branch.
    /// The batch is numbered `number`. `None` if the journal does not go back so far.
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
    ) -> anyhow::Result<Option<Rows>> {
        let Seen { snapshot, max_id } = &*from.base;
        let in_progress: Vec<String> = snapshot
            .in_progress()
            .iter()
            .map(ToString::to_string)
            .collect();
        let mut parameters: Vec<&(dyn ToSql + Sync)> = vec![max_id, &in_progress, &limit];
        let rest = from.within.as_ref();
        let rest = rest.map(|Within { next, id }| (id, next.snapshot.to_string(), &next.max_id));
        let statement = match &rest {
            None => &self.unseen,
            Some((id, snapshot, max_id)) => {
                parameters.extend([*id as &(dyn ToSql + Sync), snapshot, *max_id]);
                &self.rest
            }
        };
        let context = "read the journal";
        let rows = self.client.query_raw(statement, parameters).await;
        let mut rows = Box::pin(rows.context(context)?);
        let first = rows.next().await.context(context)?.context(context)?;
        let Extent { mut now, kept_from } = Extent::from_row(&first)?;
        if kept_from.is_some_and(|kept_from| !from.base.covers(&kept_from)) {
            return Ok(None);
        }
        now.max_id = now.max_id.max(*max_id);
        let next = match &from.within {
            None => Arc::new(now),
            Some(Within { next, .. }) => Arc::clone(next),
        };
        let batch = Batch {
            base: Arc::clone(&from.base),
            next,
            number,
        };
        Ok(Some(Rows {
            rows,
            batch: Arc::new(batch),
            last_id: 0,
        }))
    }
}

/// From where to where the journal goes.
#[derive(Clone, Debug)]
pub struct Extent {
    /// All that is visible now.
    pub now: Seen,
    /// What may be gone; `None` if nothing was removed yet.
    pub kept_from: Option<Seen>,
}

impl Extent {
    fn from_row(row: &Row) -> anyhow::Result<Self> {
        let kept_from = match row.try_get::<_, &str>(4)? {
            "" => None,
            snapshot => Some(seen(snapshot, row.try_get(5)?)?),
        };
        Ok(Self {
            now: seen(row.try_get(1)?, row.try_get(3)?)?,
            kept_from,
        })
    }
}

fn seen(snapshot: &str, max_id: &str) -> anyhow::Result<Seen> {
    let snapshot =
        Snapshot::parse(snapshot).with_context(|| format!("read the snapshot {snapshot}"))?;
    Ok(Seen {
        snapshot,
        max_id: max_id.parse().context("read the greatest id")?,
    })
}

/// The rows of one read, streamed; Postgres waits for whoever takes them.
#[expect(
    missing_debug_implementations,
    reason = "a stream of rows has nothing to show"
)]
pub struct Rows {
    rows: Pin<Box<RowStream>>,
    batch: Arc<Batch>,
    last_id: i64,
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
        ensure!(id > self.last_id, "the journal came out of order");
        self.last_id = id;
        let event = match event_of(&row)? {
            None => None,
            Some(event) => Some(JournalEvent {
                json: to_raw_value(&event)?,
                event,
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
