//! How long the journal is kept, counted from the commit of a row.
//!
//! Now and then the program marks its place in the journal, with the time. Of the marks
//! that are older than the retention the newest decides: the rows that it has seen may go.
//! A position expires only when a row that it has not seen was removed, so on a quiet
//! database old positions stay valid.

use sqlx::{FromRow, PgExecutor};

use crate::store::Transaction;

/// Whether this transaction may prune: one at a time does, until it ends.
pub async fn try_prune_lock(executor: impl PgExecutor<'_>) -> sqlx::Result<bool> {
    sqlx::query_scalar("select pg_try_advisory_xact_lock(hashtext('space_events prune'))")
        .fetch_one(executor)
        .await
}

/// Drops the marks from the future. Returns how many there were.
pub async fn drop_marks_from_the_future(executor: impl PgExecutor<'_>) -> sqlx::Result<u64> {
    let dropped = sqlx::query("delete from space_events.marks where taken_at > clock_timestamp()")
        .execute(executor)
        .await?;
    Ok(dropped.rows_affected())
}

/// Takes a mark, unless the last one is younger than `interval_s` seconds.
pub async fn mark(executor: impl PgExecutor<'_>, interval_s: f64) -> sqlx::Result<()> {
    sqlx::query(
        "insert into space_events.marks (max_id)
        select greatest(
            (select coalesce(max(id), 0) from space_events.row_changes),
            (select pruned_max_id from space_events.journal))
        where not exists (
            select from space_events.marks
            where taken_at > now() - make_interval(secs => $1))
        on conflict do nothing",
    )
    .bind(interval_s)
    .execute(executor)
    .await?;
    Ok(())
}

/// What is old enough to go.
#[derive(Clone, Debug, FromRow)]
pub struct Expired {
    /// A `pg_snapshot`: the newest mark that is old enough.
    pub mark: String,
    /// The greatest id of the rows that it saw and that are still there …
    pub max_id: i64,
    /// … and the greatest id of their transactions.
    pub max_xid: i64,
    /// A `pg_snapshot`: what may be gone already, up to `pruned_max_id`.
    pub pruned_snapshot: Option<String>,
    /// 0 if nothing is gone.
    pub pruned_max_id: i64,
}

/// Drops the newest mark that is older than `retention_s` seconds, and those before it.
/// Returns what the mark lets go; `None` if none of the rows that it saw are left.
pub async fn take_expired(
    executor: impl PgExecutor<'_>,
    retention_s: f64,
) -> sqlx::Result<Option<Expired>> {
    sqlx::query_as(
        "with mark as (
            select taken_at, snapshot, max_id
            from space_events.marks
            where taken_at < now() - make_interval(secs => $1)
            order by taken_at desc
            limit 1
        ), dropped as (
            delete from space_events.marks
            where taken_at <= (select taken_at from mark)
        ), going as (
            select max(c.id) as max_id, max(c.xid::text::bigint) as max_xid
            from space_events.row_changes c, mark
            where c.id <= mark.max_id
            and pg_visible_in_snapshot(c.xid, mark.snapshot)
        )
        select mark.snapshot::text as mark, going.max_id, going.max_xid,
            j.pruned_snapshot::text as pruned_snapshot, j.pruned_max_id
        from mark, going, space_events.journal j
        where going.max_id is not null",
    )
    .bind(retention_s)
    .fetch_optional(executor)
    .await
}

/// Says that what `snapshot` saw may be gone, up to the id `max_id`.
pub async fn set_pruned(
    executor: impl PgExecutor<'_>,
    snapshot: &str,
    max_id: i64,
) -> sqlx::Result<()> {
    // The row of that id may have gone before: then it is known already.
    sqlx::query(
        "update space_events.journal j
        set pruned_snapshot = $1::text::pg_snapshot,
            pruned_max_id = gone.max_id,
            pruned_xid = coalesce(newest.xid, j.pruned_xid),
            pruned_changed_at = coalesce(newest.changed_at, j.pruned_changed_at)
        from (values ($2::bigint)) gone (max_id)
        left join space_events.row_changes newest on newest.id = gone.max_id",
    )
    .bind(snapshot)
    .bind(max_id)
    .execute(executor)
    .await?;
    Ok(())
}

/// Removes at most `limit` rows that are too old, with ids above `after_id`.
/// Returns how many, and the id of the last.
///
/// It goes on after `after_id` because from the front it would pass over all rows that
/// were removed before: they are dead, but stay until nobody can see them any more. The
/// rows are found in the order of their ids: a plan that sorted them would read all that
/// are left, however few go.
pub async fn prune(tx: &mut Transaction, after_id: i64, limit: i64) -> sqlx::Result<(i64, i64)> {
    sqlx::raw_sql("set local enable_sort = off; set local enable_bitmapscan = off")
        .execute(&mut *tx)
        .await?;
    sqlx::query_as(
        "with going as (
            select id
            from space_events.row_changes
            where id > $1
            and id <= (select pruned_max_id from space_events.journal)
            and pg_visible_in_snapshot(xid, (select pruned_snapshot from space_events.journal))
            order by id
            limit $2
        ), pruned as (
            delete from space_events.row_changes
            where id > $1
            and id <= (select max(id) from going)
            and pg_visible_in_snapshot(xid, (select pruned_snapshot from space_events.journal))
            returning id
        )
        select count(*), coalesce(max(id), $1) from pruned",
    )
    .bind(after_id)
    .bind(limit)
    .fetch_one(tx)
    .await
}
