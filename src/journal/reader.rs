//! One connection that reads the journal from a position.
//!
//! The rows that were not seen are three disjoint branches, each on an index;
//! written as one OR they are a scan of the whole journal:
//!
//! - the late rows of transactions that were listed as in progress, with ids up to
//!   the greatest that was seen;
//! - those of transactions that had begun but were not listed: a snapshot ends at
//!   the last transaction that completed, and later ones may have been running;
//! - all rows with greater ids. Whatever began after the snapshot is among them,
//!   since a writer has its transaction id before it draws an id of the journal.
//!
//! The late rows are few and sorted; the others come behind them from an index.
//! So the ids rise, which is checked as the rows come.

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
use super::position::{Position, Seen, Within};
use super::translate::{Change, Enabled, Meaning, PricingRow, meaning_of};
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
/// snapshot, the next transaction id and the greatest id that it sees, and how far
/// back it goes.
///
/// `age` counts from the next transaction id; it is read after the snapshot was
/// taken, so it is above all that had begun by then.
macro_rules! header {
    () => {
        "
select 0::bigint as id, s.now::text as xid, now() as changed_at,
    greatest(
        (select max(id) from space_events.row_changes),
        j.pruned_max_id)::text as relation,
    coalesce(j.pruned_snapshot::text, '') as service_name,
    j.pruned_max_id::text as version_before,
    age(pg_snapshot_xmax(s.now)::xid)::text as version_after,
    null as availability_before, null as availability_after,
    null::boolean as disabled_before, null::boolean as disabled_after
from space_events.journal j, pg_current_snapshot() s (now)"
    };
}

/// The late rows with ids above `$after` and, if `$seen` says so, of the batch
/// alone. `$1` the greatest id that was seen, `$2` the transactions in progress,
/// `$3` the greatest number of rows, `$4` and `$5` the first transaction
/// id that was not listed and the first that had not begun.
///
/// The row comparisons and `id + 0` keep the planner from the primary key, where
/// it would read all that was seen to find the few late rows.
macro_rules! late {
    ($after:literal, $seen:literal) => {
        concat!(
            "
union all
(select * from (
    select c.* from unnest($2::text[]) x (xid) cross join lateral (
        select ",
            columns!(),
            " from space_events.row_changes
        where ",
            $after,
            " < $1::bigint
        and (row_changes.xid, row_changes.id) > (x.xid::xid8, ",
            $after,
            ")
        and (row_changes.xid, row_changes.id) <= (x.xid::xid8, $1::bigint)",
            $seen,
            "
        order by row_changes.xid, row_changes.id
        limit $3::bigint) c
    union all
    select ",
            columns!(),
            " from space_events.row_changes
    where ",
            $after,
            " < $1::bigint
    and (row_changes.xid, row_changes.id) >= ($4::text::xid8, 0)
    and (row_changes.xid, row_changes.id) < ($5::text::xid8, 0)
    and id + 0 > ",
            $after,
            " and id + 0 <= $1::bigint",
            $seen,
            ") late
order by id
limit $3::bigint)"
        )
    };
}

/// Where the journal is now, and how far back it goes.
const NOW: &str = header!();

/// The rows that are visible now and were not seen.
const UNSEEN: &str = concat!(
    header!(),
    late!("0", ""),
    "
union all
(select ",
    columns!(),
    " from space_events.row_changes
where id > $1::bigint
order by row_changes.id
limit $3::bigint)"
);

/// The same where no transaction was running, so that none can have left late rows:
/// `$1` the greatest id that was seen, `$2` the greatest number of rows.
const LATER: &str = concat!(
    header!(),
    "
union all
(select ",
    columns!(),
    " from space_events.row_changes
where id > $1::bigint
order by row_changes.id
limit $2::bigint)"
);

/// The rest of a batch: the unseen rows behind the id `$6` that the snapshot `$7`
/// saw, up to its greatest id `$8`.
const REST: &str = concat!(
    header!(),
    late!(
        "$6::bigint",
        " and pg_visible_in_snapshot(row_changes.xid, (select $7::text::pg_snapshot))"
    ),
    "
union all
(select ",
    columns!(),
    " from space_events.row_changes
where id > greatest($1::bigint, $6::bigint) and id <= $8::bigint
and pg_visible_in_snapshot(xid, (select $7::text::pg_snapshot))
order by row_changes.id
limit $3::bigint)"
);

/// Compiling and planning anew cost more than they save in statements that find a
/// few rows by an index, whatever the parameters; and the branches come in order only
/// if one process reads them.
const SESSION: &str = "set jit = off; set plan_cache_mode = force_generic_plan; \
    set max_parallel_workers_per_gather = 0";

/// Reads the journal over one connection.
#[derive(Debug)]
pub struct Reader {
    client: Client,
    _driver: AbortOnDropHandle<()>,
    now: Statement,
    later: Statement,
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
        let later = client.prepare(LATER).await.context(context)?;
        let unseen = client.prepare(UNSEEN).await.context(context)?;
        let rest = client.prepare(REST).await.context(context)?;
        Ok(Self {
            client,
            _driver: driver,
            now,
            later,
            unseen,
            rest,
        })
    }

    /// Whether its connection has ended.
    pub fn is_closed(&self) -> bool {
        self.client.is_closed()
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

    /// The page behind a position: at most `limit` rows, in order, as part of the
    /// batch numbered `number`. `None` if the journal does not go back so far.
    ///
    /// From the middle of a batch it reads on in that batch, and no further.
    ///
    /// # Errors
    ///
    /// The connection is lost, or a row cannot be read.
    pub async fn page(
        &self,
        from: &Position,
        limit: usize,
        number: u64,
    ) -> anyhow::Result<Option<Page>> {
        let context = "read the journal";
        let mut rows = self.rows(from, limit).await.context(context)?;
        let first = rows.next().await.context(context)?.context(context)?;
        let Extent { mut now, kept_from } = Extent::from_row(&first)?;
        if kept_from
            .as_ref()
            .is_some_and(|kept_from| !from.base.covers(kept_from))
        {
            return Ok(None);
        }
        now.max_id = now.max_id.max(from.base.max_id);
        let next = match &from.within {
            None => Arc::new(now),
            Some(Within { next, .. }) => Arc::clone(next),
        };
        let batch = Arc::new(Batch {
            base: Arc::clone(&from.base),
            next,
            number,
        });
        let mut events: Vec<JournalEvent> = Vec::new();
        let mut count = 0;
        let mut last_id = 0;
        while count < limit
            && let Some(row) = rows.next().await
        {
            let row = row.context("read a row of the journal")?;
            let id = row.try_get(0)?;
            ensure!(id > last_id, "the journal came out of order");
            count += 1;
            last_id = id;
            if let Some(event) = event_of(&row)? {
                events.push(JournalEvent {
                    json: to_raw_value(&event)?,
                    event,
                    id,
                    through: id,
                    xid: row.try_get::<_, &str>(1)?.parse()?,
                    changed_at: row.try_get::<_, DateTime<Utc>>(2)?,
                    batch: Arc::clone(&batch),
                });
            } else if let Some(last) = events.last_mut() {
                last.through = id;
            }
        }
        let whole = count < limit;
        let end = if whole {
            Position::after(Arc::clone(&batch.next))
        } else {
            Position::within(&batch.base, &batch.next, last_id)
        };
        Ok(Some(Page {
            events: events.into_iter().map(Arc::new).collect(),
            reached_now: whole && from.within.is_none(),
            end,
            kept_from,
        }))
    }

    /// At most `limit` late rows, and as many others behind them.
    async fn rows(&self, from: &Position, limit: usize) -> anyhow::Result<Pin<Box<RowStream>>> {
        let Seen {
            snapshot,
            next_xid,
            max_id,
        } = &*from.base;
        let limit = i64::try_from(limit)?;
        if from.within.is_none() && from.base.is_settled() {
            let parameters: [&(dyn ToSql + Sync); 2] = [max_id, &limit];
            return Ok(Box::pin(
                self.client.query_raw(&self.later, parameters).await?,
            ));
        }
        let in_progress: Vec<String> = snapshot
            .in_progress()
            .iter()
            .map(ToString::to_string)
            .collect();
        let (xmax, next_xid) = (snapshot.xmax().to_string(), next_xid.to_string());
        let mut parameters: Vec<&(dyn ToSql + Sync)> =
            vec![max_id, &in_progress, &limit, &xmax, &next_xid];
        let rest = from.within.as_ref();
        let rest = rest.map(|Within { next, id }| (id, next.snapshot.to_string(), &next.max_id));
        let statement = match &rest {
            None => &self.unseen,
            Some((id, snapshot, max_id)) => {
                parameters.extend([*id as &(dyn ToSql + Sync), snapshot, *max_id]);
                &self.rest
            }
        };
        Ok(Box::pin(
            self.client.query_raw(statement, parameters).await?,
        ))
    }
}

/// A part of the journal.
#[derive(Debug)]
pub struct Page {
    /// Its events, in order.
    pub events: Vec<Arc<JournalEvent>>,
    /// The place behind it.
    pub end: Position,
    /// Whether it led up to what was visible when it was read.
    pub reached_now: bool,
    /// What may be gone from the journal; `None` if nothing was removed yet.
    pub kept_from: Option<Seen>,
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
            // Whatever began later may have left late rows.
            snapshot => Some(seen(snapshot, i64::MAX.unsigned_abs(), row.try_get(5)?)?),
        };
        let begun = row.try_get::<_, &str>(6)?.parse()?;
        Ok(Self {
            now: seen(row.try_get(1)?, begun, row.try_get(3)?)?,
            kept_from,
        })
    }
}

fn seen(snapshot: &str, begun: u64, max_id: &str) -> anyhow::Result<Seen> {
    let max_id = max_id.parse().context("read the greatest id")?;
    Seen::parse(snapshot, begun, max_id).with_context(|| format!("read the snapshot {snapshot}"))
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
    Ok(match meaning_of(row.try_get(4)?, change) {
        Meaning::Event(event) => Some(event),
        Meaning::Nothing(_) => None,
    })
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
