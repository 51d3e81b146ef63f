-- A changed pricing that its notification tells.
--
-- Reading the journal takes a reader longer than all else between a commit and a
-- client. So the notification says of a changed pricing what the journal says, and a
-- reader takes it from there if nothing can have come between: if no transaction
-- that had begun was still running at its last read, and no id was drawn since but
-- this one. Else it reads the journal, as it does for an empty notification.
--
-- A writer beside which an older transaction runs does not tell, since no reader
-- could take it. Nor does it tell a second change: a transaction notifies twice at
-- most. The longest names and versions take half of the 8,000 bytes that there are.

-- As in migration 0007, but for what is told.
create or replace function space_events.record_pricings() returns trigger
    language plpgsql security definer
    set search_path = pg_catalog, pg_temp
as $$
declare
    service text;
    version_before text;
    version_after text;
    availability_before text;
    availability_after text;
    service_disabled boolean;
    told_id bigint;
    told_xid xid8;
    told_at timestamptz;
    nested_loops text;
    compiling text;
begin
    if tg_op = 'INSERT' then
        select n.service_name, n.version, n.availability
            into service, version_after, availability_after
            from new_rows n;
        perform from new_rows offset 1;
    elsif tg_op = 'UPDATE' then
        select n.service_name, n.version, n.availability
            into service, version_after, availability_after
            from new_rows n;
        select o.version, o.availability
            into version_before, availability_before
            from old_rows o;
        perform from new_rows offset 1;
    else
        select o.service_name, o.version, o.availability
            into service, version_before, availability_before
            from old_rows o;
        perform from old_rows offset 1;
    end if;

    if not found then
        if service is null
            or version_before = version_after and availability_before = availability_after
        then
            return null;
        end if;
        select s.disabled into service_disabled
            from public.services s
            where s.name = service
            for key share;
        -- Where the service went too, its own change says it all.
        if not found and tg_op = 'DELETE' then
            return null;
        end if;
        service_disabled := coalesce(service_disabled, false);
        insert into space_events.row_changes (relation, service_name, version_before, version_after, availability_before, availability_after, disabled_before, disabled_after)
            values ('pricings', service, version_before, version_after, availability_before, availability_after, service_disabled, service_disabled)
            returning id, xid, changed_at
            into told_id, told_xid, told_at;
        if space_events.must_ring() then
            if pg_snapshot_xmin(pg_current_snapshot()) = told_xid
                and current_setting('space_events.told', true) is distinct from told_xid::text
            then
                perform set_config('space_events.told', told_xid::text, true);
                perform pg_notify('space_events', json_build_array(
                    told_id, told_xid::text::bigint, (extract(epoch from told_at) * 1000000)::bigint, service,
                    version_before, version_after, availability_before, availability_after, service_disabled)::text);
            else
                notify space_events;
            end if;
        end if;
        return null;
    end if;

    nested_loops := current_setting('enable_nestloop');
    compiling := current_setting('jit');
    perform set_config('enable_nestloop', 'off', true), set_config('jit', 'off', true);
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
    perform set_config('enable_nestloop', nested_loops, true), set_config('jit', compiling, true);
    return null;
end
$$;

select space_events.expect_capture();
