-- The rows behind a place at which no transaction was running, so that none can have left
-- late rows: all with greater ids.
--
-- The first row has the header alone, as JSON: where the journal is now, how far back it
-- goes, and which of the witnesses it has. The others are changes, without a header.
--
-- $1  the greatest id that was seen
-- $2  the most rows
-- $3  the ids of the witnesses
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
            where id = any ($3::bigint[]))
    )::text as header
    from space_events.journal j, pg_current_snapshot() s (now)
), later as (
    select null::text as header, id, xid::text as xid, changed_at, relation, service_name,
        version_before, version_after, availability_before, availability_after,
        disabled_before, disabled_after, organization
    from space_events.row_changes
    where id > $1::bigint
    order by row_changes.id
    limit $2::bigint
)
select header, null::bigint as id, null::text as xid, null::timestamptz as changed_at, null::text as relation,
    null::text as service_name, null::text as version_before, null::text as version_after,
    null::text as availability_before, null::text as availability_after,
    null::boolean as disabled_before, null::boolean as disabled_after, null::text as organization
from header
union all
select * from later
