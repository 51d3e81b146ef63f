-- The newest rows that a snapshot saw, the newest first. A page that does not bring all of
-- its batch takes the end of the batch, and the witnesses there, from these.
--
-- $1  the id from which on to look
-- $2  the snapshot
select id, xid::text as xid, (extract(epoch from changed_at) * 1000000)::bigint as changed_at_us
from space_events.row_changes
where id >= $1::bigint and pg_visible_in_snapshot(xid, $2::text::pg_snapshot)
order by id desc
limit 8
