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
use std::sync::{Arc, OnceLock};

use anyhow::{Context as _, ensure};
use chrono::{DateTime, Utc};
use futures_util::StreamExt as _;
use serde_json::value::to_raw_value;
use tokio_postgres::types::ToSql;
use tokio_postgres::{Client, Row, RowStream, Statement};
use tokio_util::task::AbortOnDropHandle;

use super::batch::{Batch, JournalEvent};
use super::key::JournalKey;
use super::position::{Position, Within};
use super::recorded::{Recorded, change_of};
use super::seen::Seen;
use super::translate::{Meaning, meaning_of};
use super::witness::{Witness, Witnesses, witness, witnesses};
use crate::event::{Event, Reason};
use crate::organization::Organization;

/// The columns of a row change, in the order that [`change_of`] reads.
macro_rules! columns {
    () => {
        "id, xid::text, changed_at, relation, service_name, version_before, version_after, \
         availability_before, availability_after, disabled_before, disabled_after, organization"
    };
}

/// A row as [`witness`] reads it.
macro_rules! witness {
    ($id:literal, $xid:literal, $changed_at:literal) => {
        concat!(
            "concat_ws(':', ",
            $id,
            ", ",
            $xid,
            ", (extract(epoch from ",
            $changed_at,
            ") * 1000000)::bigint)"
        )
    };
}

/// The first row of every read, with the id 0: where the journal is now, as a
/// snapshot and how many transaction ids behind it were given out; how far back it
/// goes; and those of its rows whose ids are in the list `$witnesses`.
///
/// `age` counts from the next transaction id; it is read after the snapshot was
/// taken, so it is above all that had begun by then.
macro_rules! header {
    ($witnesses:literal) => {
        header!($witnesses, "null")
    };
    ($witnesses:literal, $newest:literal) => {
        concat!(
            "
select 0::bigint as id, s.now::text as xid, now() as changed_at,
    coalesce(j.pruned_snapshot::text, '') as relation,
    j.pruned_max_id::text as service_name,
    ",
            witness!("j.pruned_max_id", "j.pruned_xid", "j.pruned_changed_at"),
            " as version_before,
    age(pg_snapshot_xmax(s.now)::xid)::text as version_after,
    array_to_string(array(
        select ",
            witness!("id", "xid", "changed_at"),
            "
        from space_events.row_changes
        where id = any (",
            $witnesses,
            "::bigint[])), ',') as availability_before,
    ",
            $newest,
            "::text as availability_after,
    null::boolean as disabled_before, null::boolean as disabled_after, '' as organization
from space_events.journal j, pg_current_snapshot() s (now)"
        )
    };
}

/// The late rows with ids above `$after` and, if `$seen` says so, of the batch
/// alone. `$1` the greatest id that was seen, `$2` the transactions in progress,
/// `$3` the greatest number of rows, `$4` and `$5` the first transaction
/// id that was not listed and the first that had not begun.
///
/// A transaction that is still in progress has left nothing yet, however many rows
/// it wrote: they are not looked through.
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
    where pg_visible_in_snapshot(x.xid::xid8, pg_current_snapshot())
    union all
    select ",
            columns!(),
            " from space_events.row_changes
    where ",
            $after,
            " < $1::bigint
    and (row_changes.xid, row_changes.id) >= ($4::text::xid8, 0)
    and (row_changes.xid, row_changes.id)
        < (least($5::text::xid8, pg_snapshot_xmax(pg_current_snapshot())), 0)
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

/// Where the journal is now, with its newest rows, and how far back it goes. `$1`
/// the ids of rows that are asked for.
const NOW: &str = header!(
    "$1",
    "array_to_string(array(
        select concat_ws(':', id, xid, (extract(epoch from changed_at) * 1000000)::bigint)
        from space_events.row_changes
        order by id desc
        limit 8), ',')"
);

/// The newest rows that the snapshot `$2` saw, of those from the id `$1` on.
const NEWEST: &str = concat!(
    "select ",
    witness!("id", "xid", "changed_at"),
    "
from space_events.row_changes
where id >= $1::bigint and pg_visible_in_snapshot(xid, $2::text::pg_snapshot)
order by id desc
limit 8"
);

/// The rows that are visible now and were not seen. `$6` the ids of the witnesses.
const UNSEEN: &str = concat!(
    header!("$6"),
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
/// `$1` the greatest id that was seen, `$2` the greatest number of rows, `$3` the
/// ids of the witnesses.
const LATER: &str = concat!(
    header!("$3"),
    "
union all
(select ",
    columns!(),
    " from space_events.row_changes
where id > $1::bigint
order by row_changes.id
limit $2::bigint)"
);

/// The rest of a batch: the unseen rows behind the id `$7` that the snapshot `$8`
/// saw, up to its greatest id `$9`.
const REST: &str = concat!(
    header!("$6"),
    late!(
        "$7::bigint",
        " and pg_visible_in_snapshot(row_changes.xid, (select $8::text::pg_snapshot))"
    ),
    "
union all
(select ",
    columns!(),
    " from space_events.row_changes
where id > greatest($1::bigint, $7::bigint) and id <= $9::bigint
and pg_visible_in_snapshot(xid, (select $8::text::pg_snapshot))
order by row_changes.id
limit $3::bigint)"
);

/// The rows that had been seen at a position, the newest first: those up to the id
/// `$1` that the snapshot `$2` saw, and those up to `$3` that `$4` saw; of the
/// organisation `$6`, and of the service `$5` alone, if that is not null.
const BEFORE: &str = concat!(
    "select ",
    columns!(),
    " from space_events.row_changes
where id <= greatest($1::bigint, $3::bigint)
and (id <= $1::bigint and pg_visible_in_snapshot(xid, (select $2::text::pg_snapshot))
    or id <= $3::bigint and pg_visible_in_snapshot(xid, (select $4::text::pg_snapshot)))
and organization = $6::text
and ($5::text is null
    or space_events.case_folded(service_name) = space_events.case_folded($5::text))
order by row_changes.id desc"
);

/// Compiling and planning anew cost more than they save in statements that find a
/// few rows by an index, whatever the parameters; and the branches come in order only
/// if one process reads them. A plan that was made while the journal was small would
/// go on reading all of it, a million rows that are not committed too.
const SESSION: &str = "set jit = off; set plan_cache_mode = force_generic_plan; \
    set max_parallel_workers_per_gather = 0; \
    set enable_seqscan = off; set enable_bitmapscan = off";

/// Reads the journal over one connection.
#[derive(Debug)]
pub struct Reader {
    client: Client,
    _driver: AbortOnDropHandle<()>,
    now: Statement,
    newest: Statement,
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
        let newest = client.prepare(NEWEST).await.context(context)?;
        let later = client.prepare(LATER).await.context(context)?;
        let unseen = client.prepare(UNSEEN).await.context(context)?;
        let rest = client.prepare(REST).await.context(context)?;
        Ok(Self {
            client,
            _driver: driver,
            now,
            newest,
            later,
            unseen,
            rest,
        })
    }

    /// The connection itself.
    pub fn client(&self) -> &Client {
        &self.client
    }

    /// Whether its connection has ended.
    pub fn is_closed(&self) -> bool {
        self.client.is_closed()
    }

    /// The key of the journal: another key is another journal.
    ///
    /// # Errors
    ///
    /// The connection is lost.
    pub async fn key(&self) -> anyhow::Result<JournalKey> {
        let statement = "select key from space_events.journal";
        let row = self.client.query_one(statement, &[]).await;
        let row = row.context("read the key of the journal")?;
        Ok(JournalKey::new(row.try_get(0)?))
    }

    /// Where the journal is now, and how far back it goes; and which rows with these
    /// ids it has.
    ///
    /// # Errors
    ///
    /// The connection is lost.
    pub async fn extent(&self, ids: &[i64]) -> anyhow::Result<Extent> {
        let context = "read the place of the journal";
        let row = self.client.query_one(&self.now, &[&ids]).await;
        let row = row.context(context)?;
        let Header {
            mut now,
            kept_from,
            found,
        } = Header::from_row(&row)?;
        let newest = witnesses(row.try_get(8)?)?;
        match &kept_from {
            None => now.end_at_newest(newest, 0, &[]),
            Some(Seen {
                max_id, witnesses, ..
            }) => now.end_at_newest(newest, *max_id, witnesses),
        }
        Ok(Extent {
            now,
            kept_from,
            found,
        })
    }

    /// The page behind a position: at most `limit` rows, in order, as part of the
    /// batch numbered `number`.
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
    ) -> anyhow::Result<Result<Page, Gap>> {
        self.read(from, limit, number, None).await
    }

    /// As [`Reader::page`], and with it each of its rows, those too that mean no event.
    ///
    /// # Errors
    ///
    /// As [`Reader::page`].
    pub async fn page_and_rows(
        &self,
        from: &Position,
        limit: usize,
    ) -> anyhow::Result<Result<(Page, Vec<Recorded>), Gap>> {
        let mut rows = Vec::new();
        let page = self.read(from, limit, 0, Some(&mut rows)).await?;
        Ok(page.map(|page| (page, rows)))
    }

    async fn read(
        &self,
        from: &Position,
        limit: usize,
        number: u64,
        mut recorded: Option<&mut Vec<Recorded>>,
    ) -> anyhow::Result<Result<Page, Gap>> {
        let context = "read the journal";
        let mut rows = self.rows(from, limit).await.context(context)?;
        let first = rows.next().await.context(context)?.context(context)?;
        let header = Header::from_row(&first)?;
        if let Err(gap) = header.leads_on_from(from) {
            return Ok(Err(gap));
        }
        let mut read = Vec::new();
        let mut silent = Vec::new();
        let mut seen = Witnesses::default();
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
            let xid = row.try_get::<_, &str>(1)?.parse()?;
            let changed_at = row.try_get::<_, DateTime<Utc>>(2)?;
            let witness = Witness::new(id, xid, changed_at.timestamp_micros());
            seen.take(xid, witness);
            let (service, change) = change_of(&row)?;
            if let Some(recorded) = &mut recorded {
                let position = from.clone();
                let change = change.clone();
                recorded.push(Recorded::new(
                    (xid, witness),
                    changed_at,
                    service,
                    change,
                    position,
                ));
            }
            match meaning_of(service.name, change) {
                Meaning::Event(event) => read.push(RowEvent {
                    event,
                    organization: service.organization.into(),
                    witness,
                    through: id,
                    xid,
                    changed_at,
                }),
                Meaning::Nothing(reason) => {
                    silent.push(reason);
                    if let Some(last) = read.last_mut() {
                        last.through = id;
                    }
                }
            }
        }
        let whole = count < limit;
        let base = &from.base;
        let next = match &from.within {
            Some(Within { next, .. }) => Arc::clone(next),
            None => {
                let mut now = header.now;
                now.max_id = base.max_id.max(last_id);
                if !whole {
                    // Not all rows of the batch are here.
                    for (xid, newest) in self.newest(last_id, &now).await? {
                        now.max_id = now.max_id.max(newest.id);
                        seen.take(xid, newest);
                    }
                }
                now.witnesses = seen.kept(&base.witnesses);
                Arc::new(now)
            }
        };
        let batch = Arc::new(Batch {
            base: Arc::clone(base),
            next,
            number,
        });
        let end = if whole {
            Position::after(Arc::clone(&batch.next))
        } else {
            Position::within(base, &batch.next, last_id)
        };
        for row in recorded.into_iter().flatten() {
            row.position = Position::within(base, &batch.next, row.row.id);
        }
        let events = read.into_iter().map(|row| row.within(&batch));
        Ok(Ok(Page {
            silent,
            events: events.collect::<anyhow::Result<_>>()?,
            rows: count,
            reached_now: whole && from.within.is_none(),
            end,
            kept_from: header.kept_from,
        }))
    }

    /// The newest rows of an organisation that had been seen at a position, at most
    /// `limit`, the newest first; of the service of a name, in any case, if one is given.
    ///
    /// # Errors
    ///
    /// The connection is lost, or a row cannot be read.
    pub async fn rows_before(
        &self,
        position: &Position,
        organization: &Organization,
        service_name: Option<&str>,
        limit: usize,
    ) -> anyhow::Result<Vec<Recorded>> {
        let context = "read the journal backwards";
        let organization = organization.as_str();
        let (base_id, base) = (position.base.max_id, &position.base.snapshot);
        let (next_id, next) = match &position.within {
            Some(Within { next, id }) => (*id, &next.snapshot),
            None => (base_id, base),
        };
        // Postgres knows no snapshot that sees nothing.
        let seen = [(base_id, base), (next_id, next)].map(|(id, snapshot)| {
            let snapshot = (snapshot.xmax() > 0).then(|| snapshot.to_string());
            (id, snapshot)
        });
        let [(base_id, base), (next_id, next)] = seen;
        let parameters: [&(dyn ToSql + Sync); 6] = [
            &base_id,
            &base,
            &next_id,
            &next,
            &service_name,
            &organization,
        ];
        // The limit is in the text, so that the plan is made for it.
        let statement = format!("{BEFORE} limit {limit}");
        let rows = self.client.query(&statement, &parameters).await;
        let rows = rows.context(context)?;
        rows.iter()
            .map(|row| {
                let (service, change) = change_of(row)?;
                let changed_at = row.try_get::<_, DateTime<Utc>>(2)?;
                let xid = row.try_get::<_, &str>(1)?.parse()?;
                let witness = Witness::new(row.try_get(0)?, xid, changed_at.timestamp_micros());
                let position = position.up_to(witness.id);
                Ok(Recorded::new(
                    (xid, witness),
                    changed_at,
                    service,
                    change,
                    position,
                ))
            })
            .collect()
    }

    /// The newest rows that were visible at a place, of those from an id on, and the
    /// transactions that wrote them.
    async fn newest(&self, from_id: i64, now: &Seen) -> anyhow::Result<Vec<(u64, Witness)>> {
        let context = "read the newest rows of the journal";
        let snapshot = now.snapshot.to_string();
        let parameters: [&(dyn ToSql + Sync); 2] = [&from_id, &snapshot];
        let rows = self.client.query(&self.newest, &parameters).await;
        let rows = rows.context(context)?;
        rows.iter()
            .rev()
            .map(|row| witness(row.try_get(0)?))
            .collect()
    }

    /// At most `limit` late rows, and as many others behind them.
    async fn rows(&self, from: &Position, limit: usize) -> anyhow::Result<Pin<Box<RowStream>>> {
        let Seen {
            snapshot,
            next_xid,
            max_id,
            ..
        } = &*from.base;
        let limit = i64::try_from(limit)?;
        let witnesses: Vec<i64> = from
            .witnessed()
            .witnesses
            .iter()
            .map(|row| row.id)
            .collect();
        if from.within.is_none() && from.base.is_settled() {
            let parameters: [&(dyn ToSql + Sync); 3] = [max_id, &limit, &witnesses];
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
            vec![max_id, &in_progress, &limit, &xmax, &next_xid, &witnesses];
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
    /// How many rows it has, those that are no events too.
    pub rows: usize,
    /// Why the others of its rows mean none.
    pub silent: Vec<Reason>,
    /// The place behind it.
    pub end: Position,
    /// Whether it led up to what was visible when it was read.
    pub reached_now: bool,
    /// What may be gone from the journal; `None` if nothing was removed yet.
    pub kept_from: Option<Seen>,
}

/// Why nobody can go on from a place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Gap {
    /// What came after it is kept no more.
    Pruned,
    /// What was seen there is not in the journal any more, and was not pruned.
    WentBack,
}

/// From where to where the journal goes.
#[derive(Clone, Debug)]
pub struct Extent {
    /// All that is visible now.
    pub now: Seen,
    /// What may be gone; `None` if nothing was removed yet.
    pub kept_from: Option<Seen>,
    /// Those of its rows that were asked for.
    pub found: Vec<Witness>,
}

impl Extent {
    /// Of a journal in which nothing has happened yet.
    pub fn nothing() -> Self {
        Self {
            now: Seen::nothing(),
            kept_from: None,
            found: Vec::new(),
        }
    }

    /// Whether the journal still has rows that were asked for, or has pruned them:
    /// else it went back.
    pub fn has(&self, rows: &[Witness]) -> bool {
        has(rows, &self.found, self.kept_from.as_ref())
    }

    /// Whether a reader can go on from a position whose witnesses were asked for.
    ///
    /// # Errors
    ///
    /// Why it cannot.
    pub fn leads_on_from(&self, position: &Position) -> Result<(), Gap> {
        leads_on_from(position, &self.found, self.kept_from.as_ref())
    }
}

fn leads_on_from(
    position: &Position,
    found: &[Witness],
    kept_from: Option<&Seen>,
) -> Result<(), Gap> {
    if !has(&position.witnessed().witnesses, found, kept_from) {
        return Err(Gap::WentBack);
    }
    if kept_from.is_some_and(|kept_from| !position.base.covers(kept_from)) {
        return Err(Gap::Pruned);
    }
    Ok(())
}

/// `found` are those of the journal's rows that have the ids of `rows`, rising.
fn has(rows: &[Witness], found: &[Witness], kept_from: Option<&Seen>) -> bool {
    let pruned = |row: &Witness| {
        kept_from.is_some_and(|kept_from| {
            let newest = kept_from.witnesses.last();
            row.id < kept_from.max_id
                || row.id == kept_from.max_id && newest.is_none_or(|newest| newest == row)
        })
    };
    rows.iter().all(
        |row| match found.binary_search_by_key(&row.id, |found| found.id) {
            Ok(at) => found.get(at) == Some(row),
            Err(_) => pruned(row),
        },
    )
}

/// The first row of a read.
struct Header {
    /// All that is visible now, without its greatest id and its witnesses.
    now: Seen,
    kept_from: Option<Seen>,
    found: Vec<Witness>,
}

impl Header {
    fn from_row(row: &Row) -> anyhow::Result<Self> {
        let kept_from = match row.try_get::<_, &str>(3)? {
            "" => None,
            snapshot => {
                let max_id = row.try_get::<_, &str>(4)?.parse();
                let max_id = max_id.context("read the greatest id that was pruned")?;
                // Whatever began later may have left late rows.
                let mut kept_from = seen(snapshot, i64::MAX.unsigned_abs(), max_id)?;
                // An earlier version did not keep the row.
                if let Ok((_, newest)) = witness(row.try_get(5)?) {
                    kept_from.witnesses.push(newest);
                }
                Some(kept_from)
            }
        };
        let begun = row.try_get::<_, &str>(6)?.parse()?;
        let found = witnesses(row.try_get(7)?)?;
        let mut found: Vec<Witness> = found.into_iter().map(|(_, row)| row).collect();
        found.sort_unstable();
        Ok(Self {
            now: seen(row.try_get(1)?, begun, 0)?,
            kept_from,
            found,
        })
    }

    fn leads_on_from(&self, position: &Position) -> Result<(), Gap> {
        leads_on_from(position, &self.found, self.kept_from.as_ref())
    }
}

fn seen(snapshot: &str, begun: u64, max_id: i64) -> anyhow::Result<Seen> {
    Seen::parse(snapshot, begun, max_id).with_context(|| format!("read the snapshot {snapshot}"))
}

/// A row that means an event, before it is known where its batch ends.
struct RowEvent {
    event: Event,
    organization: Box<str>,
    witness: Witness,
    through: i64,
    xid: u64,
    changed_at: DateTime<Utc>,
}

impl RowEvent {
    fn within(self, batch: &Arc<Batch>) -> anyhow::Result<Arc<JournalEvent>> {
        Ok(Arc::new(JournalEvent {
            json: to_raw_value(&self.event)?,
            event: self.event,
            organization: self.organization,
            row: self.witness,
            through: self.through,
            xid: self.xid,
            changed_at: self.changed_at,
            batch: Arc::clone(batch),
            reference: OnceLock::new(),
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_there_or_pruned_or_the_journal_went_back() {
        let [late, newest] = [(80, 7), (100, 9)].map(|(id, xid)| Witness::new(id, xid, 0));
        let another = Witness::new(100, 9, 1);
        let rows = [late, newest];
        let kept_from = |max_id, witnesses: &[Witness]| {
            Some(Seen {
                max_id,
                witnesses: witnesses.to_vec(),
                ..Seen::nothing()
            })
        };
        for (found, kept_from, there) in [
            (vec![late, newest], None, true),
            (vec![newest], None, false),
            (vec![late], None, false),
            (vec![late, another], None, false),
            (vec![newest], kept_from(90, &[Witness::new(90, 8, 0)]), true),
            (
                vec![another],
                kept_from(90, &[Witness::new(90, 8, 0)]),
                false,
            ),
            (vec![], kept_from(90, &[Witness::new(90, 8, 0)]), false),
            (vec![], kept_from(100, &[newest]), true),
            (vec![], kept_from(100, &[another]), false),
            // Pruned by a version that did not keep it.
            (vec![], kept_from(100, &[]), true),
        ] {
            assert_eq!(
                has(&rows, &found, kept_from.as_ref()),
                there,
                "{found:?}, {kept_from:?}"
            );
        }
        assert!(has(&[], &[], None));
    }
}
