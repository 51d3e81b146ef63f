//! The journal's housekeeping: which one it is, where it is now, how far back it
//! goes; and the statements with which it is read.

use std::collections::HashMap;

use chrono::{DateTime, Utc};
use sqlx::{Connection as _, FromRow, PgConnection, PgExecutor};

pub mod retention;

/// The rows of an organisation that had been seen, the newest first.
pub const BEFORE: &str = include_str!("sql/before.sql");
/// The rows behind a place at which no transaction was running.
pub const LATER: &str = include_str!("sql/later.sql");
/// The newest rows that a snapshot saw.
pub const NEWEST: &str = include_str!("sql/newest.sql");
/// The key of the journal.
pub const KEY: &str = "select key from space_events.journal";
/// Where the journal is now, and how far back it goes.
pub const NOW: &str = include_str!("sql/now.sql");
/// The rest of a batch.
pub const REST: &str = include_str!("sql/rest.sql");
/// The rows that are visible now and were not seen.
pub const UNSEEN: &str = include_str!("sql/unseen.sql");

/// Where the journal is, in the snapshot of the statement or transaction: a header, as
/// [`NOW`] tells it.
pub async fn now(executor: impl PgExecutor<'_>) -> sqlx::Result<String> {
    sqlx::query_scalar(NOW)
        .bind(None::<Vec<i64>>)
        .fetch_one(executor)
        .await
}

/// When each of these transactions committed, as far as Postgres knows: it keeps the
/// times only with `track_commit_timestamp`, and not for ever.
pub async fn commit_times(
    executor: impl PgExecutor<'_>,
    xids: &[u64],
) -> sqlx::Result<HashMap<u64, DateTime<Utc>>> {
    let xids: Vec<i64> = xids.iter().map(|xid| xid.cast_signed()).collect();
    // The time is kept by the lower half of the number, which comes again.
    let times: Vec<(i64, DateTime<Utc>)> = sqlx::query_as(
        "select xid, committed_at
        from unnest($1::bigint[]) given (xid)
        cross join lateral (
            select case when current_setting('track_commit_timestamp')::boolean
                then pg_xact_commit_timestamp(xid::text::xid8::xid) end) kept (committed_at)
        where committed_at is not null
        and xid > pg_snapshot_xmax(pg_current_snapshot())::text::bigint - 2000000000",
    )
    .bind(xids)
    .fetch_all(executor)
    .await?;
    let times = times.into_iter();
    Ok(times.map(|(xid, at)| (xid.cast_unsigned(), at)).collect())
}

/// Gives the journal a new identity and empties it, if it was written in another
/// cluster or database: its transaction ids mean nothing here, and those from the
/// future would be new at every read. Returns whether it was so.
pub async fn adopt(connection: &mut PgConnection) -> sqlx::Result<bool> {
    let mut tx = connection
        .begin_with("begin isolation level read committed read write")
        .await?;
    // Of several instances that start at once, one does it; each looks only when
    // the one before it has.
    let found = sqlx::query("select from space_events.journal for update")
        .fetch_optional(&mut *tx)
        .await?;
    if found.is_none() {
        // The schema was copied without its rows: this one is of no cluster.
        sqlx::query(
            "insert into space_events.journal (identity, system_identifier, database_oid)
            values (0, 0, 0)
            on conflict do nothing",
        )
        .execute(&mut *tx)
        .await?;
    }
    let adopted = sqlx::query(
        "with here as (
            select
                (select system_identifier from pg_control_system()) as system_identifier,
                (select oid from pg_database where datname = current_database()) as database_oid
        ), adopted as (
            update space_events.journal j
            set identity = ('x' || encode(uuid_send(gen_random_uuid()), 'hex'))::bit(63)::bigint,
                key = default,
                system_identifier = here.system_identifier,
                database_oid = here.database_oid,
                pruned_snapshot = null,
                pruned_max_id = 0,
                pruned_xid = null,
                pruned_changed_at = null
            from here
            where j.system_identifier <> here.system_identifier
            or j.database_oid <> here.database_oid
            or exists (
                select from space_events.row_changes
                where xid >= pg_snapshot_xmax(pg_current_snapshot()))
            returning 1
        ), emptied as (
            delete from space_events.row_changes
            where exists (select from adopted)
        ), unmarked as (
            delete from space_events.marks
            where exists (select from adopted)
        )
        select from adopted",
    )
    .fetch_optional(&mut *tx)
    .await?;
    tx.commit().await?;
    Ok(adopted.is_some())
}

/// The key of the journal.
pub async fn key(executor: impl PgExecutor<'_>) -> sqlx::Result<Vec<u8>> {
    sqlx::query_scalar(KEY).fetch_one(executor).await
}

/// How the journal is.
#[derive(Clone, Copy, Debug, PartialEq, FromRow)]
pub struct Vitals {
    /// About how many rows it has.
    pub rows: i64,
    /// How long ago, in seconds, the oldest was written; 0 if there is none.
    pub oldest_age_s: f64,
    /// How many bytes it takes on disk, with its indexes.
    pub bytes: i64,
    /// How long, in seconds, the oldest transaction of this database has been open; 0
    /// if there is none, or none that this role is told of.
    pub oldest_transaction_age_s: f64,
    /// How full the queue of NOTIFY is, from 0 to 1.
    pub notify_queue_usage: f64,
}

/// How the journal is.
pub async fn vitals(executor: impl PgExecutor<'_>) -> sqlx::Result<Vitals> {
    sqlx::query_as(
        "select
            pg_stat_get_live_tuples('space_events.row_changes'::regclass) as rows,
            coalesce((
                select extract(epoch from clock_timestamp() - changed_at)
                from space_events.row_changes
                order by id
                limit 1), 0)::float8 as oldest_age_s,
            pg_total_relation_size('space_events.row_changes'::regclass) as bytes,
            coalesce(extract(epoch from clock_timestamp() - least(
                (select min(xact_start) from pg_stat_activity
                    where datname = current_database() and pid <> pg_backend_pid()),
                (select min(prepared) from pg_prepared_xacts
                    where database = current_database()))), 0)::float8 as oldest_transaction_age_s,
            pg_notification_queue_usage() as notify_queue_usage",
    )
    .fetch_one(executor)
    .await
}
