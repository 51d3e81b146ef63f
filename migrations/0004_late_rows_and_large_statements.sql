-- Late rows found in order, large statements after small ones, and an exact end
-- of what is kept.
--
-- A reader finds the rows of each transaction that was in progress, a page at a
-- time, in the order of their ids; so the index has both. And a session keeps the
-- plan of a trigger's statement: made for a statement of one row, a nested loop
-- over the rows before and after it takes hours for a million. So these functions
-- plan without nested loops, and look services up by a list of their names.

create index row_changes_xid_id_idx on space_events.row_changes (xid, id);
drop index space_events.row_changes_xid_idx;

create or replace function space_events.record_pricings() returns trigger
    language plpgsql security definer
    set search_path = pg_catalog, pg_temp
    set enable_nestloop = off
as $$
begin
    if tg_op = 'INSERT' then
        with held as materialized (
            select s.name, s.disabled
            from public.services s
            where s.name = any (array(select distinct n.service_name from new_rows n))
            order by s.id
            for key share
        )
        insert into space_events.row_changes (relation, service_name, version_after, availability_after, disabled_before, disabled_after)
            select 'pricings', n.service_name, n.version, n.availability, coalesce(s.disabled, false), coalesce(s.disabled, false)
            from new_rows n
            left join held s on s.name = n.service_name
            order by n.id;
    elsif tg_op = 'UPDATE' then
        with changed as materialized (
            select n.id, n.service_name, o.version as version_before, n.version as version_after,
                o.availability as availability_before, n.availability as availability_after
            from new_rows n
            join old_rows o using (id)
            where n.version <> o.version or n.availability <> o.availability
        ), held as materialized (
            select s.name, s.disabled
            from public.services s
            where s.name = any (array(select distinct c.service_name from changed c))
            order by s.id
            for key share
        )
        insert into space_events.row_changes (relation, service_name, version_before, version_after, availability_before, availability_after, disabled_before, disabled_after)
            select 'pricings', c.service_name, c.version_before, c.version_after, c.availability_before, c.availability_after, coalesce(s.disabled, false), coalesce(s.disabled, false)
            from changed c
            left join held s on s.name = c.service_name
            order by c.id;
    else
        -- Where the service went too, its own change says it all.
        with held as materialized (
            select s.name, s.disabled
            from public.services s
            where s.name = any (array(select distinct o.service_name from old_rows o))
            order by s.id
            for key share
        )
        insert into space_events.row_changes (relation, service_name, version_before, availability_before, disabled_before, disabled_after)
            select 'pricings', o.service_name, o.version, o.availability, s.disabled, s.disabled
            from old_rows o
            join held s on s.name = o.service_name
            order by o.id;
    end if;
    if found then
        perform space_events.ring();
    end if;
    return null;
end
$$;

alter function space_events.record_services() set enable_nestloop = off;

comment on column space_events.journal.pruned_snapshot is 'What this saw, up to pruned_max_id, may be gone; null: nothing was removed yet. It sees no more than the newest row that went.';
