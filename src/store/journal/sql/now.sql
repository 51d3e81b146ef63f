-- Where the journal is now, with its newest rows, and how far back it goes: one row with
-- one column, a JSON object. A row of the journal is told as [id, transaction,
-- microseconds after 1970].
--
-- $1  the ids of rows that are asked for; null for none
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
        where $1::bigint[] is not null and id = any ($1::bigint[])),
    -- The newest rows, the newest first.
    'newest', array(
        select json_build_array(id, xid::text::bigint, (extract(epoch from changed_at) * 1000000)::bigint)
        from space_events.row_changes
        order by id desc
        limit 8)
)::text as header
from space_events.journal j, pg_current_snapshot() s (now)
