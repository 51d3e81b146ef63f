-- The rows of an organisation that had been seen at a position, the newest first. A limit
-- comes behind it, as a number, so that the plan is made for it.
--
-- A position has seen all of a place; and in the middle of a batch, of the place where the
-- batch ends, the rows up to an id. Between two batches both are the same place.
--
-- $1  the greatest id of the place
-- $2  its snapshot
-- $3  the id up to which the batch was seen
-- $4  the snapshot in which it ends
-- $5  the name of the service, in any case; null for all
-- $6  the organisation
select id, xid::text as xid, changed_at, relation, service_name, version_before, version_after,
    availability_before, availability_after, disabled_before, disabled_after, organization
from space_events.row_changes
where id <= greatest($1::bigint, $3::bigint)
and (id <= $1::bigint and pg_visible_in_snapshot(xid, (select $2::text::pg_snapshot))
    or id <= $3::bigint and pg_visible_in_snapshot(xid, (select $4::text::pg_snapshot)))
and organization = $6::text
and ($5::text is null
    or space_events.case_folded(service_name) = space_events.case_folded($5::text))
order by row_changes.id desc
