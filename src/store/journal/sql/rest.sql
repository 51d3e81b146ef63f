-- The rest of a batch, for a reader in the middle of it: as in unseen.sql, but only the rows
-- behind the last that it has, and of those only what the end of the batch had seen.
--
-- The first row has the header alone, as JSON: where the journal is now, how far back it
-- goes, and which of the witnesses it has. The others are changes, without a header; their
-- ids rise.
--
-- The late rows are two branches, each on an index: written as one OR they would be a scan
-- of the whole journal. The row comparisons and `id + 0` keep the planner from the primary
-- key, where it would read all that was seen to find the few late rows.
--
-- $1  the greatest id that was seen
-- $2  the transactions that were in progress then
-- $3  the most late rows, and the most others
-- $4  the first transaction id that was not listed then
-- $5  the first that had not begun then
-- $6  the ids of the witnesses
-- $7  the id of the last row of the batch that the reader has
-- $8  the snapshot in which the batch ends
-- $9  the greatest id of the batch
with header as (
    select json_build_object(
        'snapshot', s.now,
        -- How many transaction ids from the snapshot's xmax on had been given out. It is
        -- read after the snapshot, so it counts all that had begun by then.
        'begun', age(pg_snapshot_xmax(s.now)::xid),
        -- What may be gone. An earlier version did not keep the newest row of it.
        'pruned', case when j.pruned_snapshot is not null then json_build_object(
            'snapshot', j.pruned_snapshot,
            'max_id', j.pruned_max_id,
            'row', case when j.pruned_xid is not null then json_build_array(
                j.pruned_max_id, j.pruned_xid::text::bigint, (extract(epoch from j.pruned_changed_at) * 1000000)::bigint) end) end,
        -- Those of the rows asked for that are there.
        'found', array(
            select json_build_array(id, xid::text::bigint, (extract(epoch from changed_at) * 1000000)::bigint)
            from space_events.row_changes
            where id = any ($6::bigint[]))
    )::text as header
    from space_events.journal j, pg_current_snapshot() s (now)
), listed as (
    -- Late rows of transactions that were listed as in progress. One that still is has left
    -- nothing yet, however many rows it wrote: they are not looked through.
    select c.*
    from unnest($2::text[]) x (xid)
    cross join lateral (
        select id, xid::text as xid, changed_at, relation, service_name, version_before, version_after,
            availability_before, availability_after, disabled_before, disabled_after, organization
        from space_events.row_changes
        where $7::bigint < $1::bigint
        and (row_changes.xid, row_changes.id) > (x.xid::xid8, $7::bigint)
        and (row_changes.xid, row_changes.id) <= (x.xid::xid8, $1::bigint)
        and pg_visible_in_snapshot(row_changes.xid, (select $8::text::pg_snapshot))
        order by row_changes.xid, row_changes.id
        limit $3::bigint) c
    where pg_visible_in_snapshot(x.xid::xid8, pg_current_snapshot())
), unlisted as (
    -- Late rows of transactions that had begun but were not listed: a snapshot ends at the
    -- last transaction that completed, and later ones may have been running.
    select id, xid::text as xid, changed_at, relation, service_name, version_before, version_after,
        availability_before, availability_after, disabled_before, disabled_after, organization
    from space_events.row_changes
    where $7::bigint < $1::bigint
    and (row_changes.xid, row_changes.id) >= ($4::text::xid8, 0)
    and (row_changes.xid, row_changes.id)
        < (least($5::text::xid8, pg_snapshot_xmax(pg_current_snapshot())), 0)
    and id + 0 > $7::bigint
    and id + 0 <= $1::bigint
    and pg_visible_in_snapshot(row_changes.xid, (select $8::text::pg_snapshot))
), late as (
    -- They are few, and sorted.
    select null::text as header, late.*
    from (select * from listed union all select * from unlisted) late
    order by id
    limit $3::bigint
), later as (
    select null::text as header, id, xid::text as xid, changed_at, relation, service_name,
        version_before, version_after, availability_before, availability_after,
        disabled_before, disabled_after, organization
    from space_events.row_changes
    where id > greatest($1::bigint, $7::bigint)
    and id <= $9::bigint
    and pg_visible_in_snapshot(xid, (select $8::text::pg_snapshot))
    order by row_changes.id
    limit $3::bigint
)
select header, null::bigint as id, null::text as xid, null::timestamptz as changed_at, null::text as relation,
    null::text as service_name, null::text as version_before, null::text as version_after,
    null::text as availability_before, null::text as availability_after,
    null::boolean as disabled_before, null::boolean as disabled_after, null::text as organization
from header
union all
select * from late
union all
select * from later
