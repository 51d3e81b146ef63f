-- Writers that do not wait for each other, and triggers that cost one row little.
--
-- Postgres lets transactions that notify commit one after another only, each with
-- a flush of the disk of its own. So a writer rings only while a reader sleeps.
-- While many write at once the readers stay awake, and look every millisecond.
--
-- A reader that sleeps holds an advisory lock, shared with the others that sleep.
-- It goes with its session, however that ends. A writer that can have the lock for
-- itself, for a moment, after it wrote to the journal, need not ring. Two that try
-- at once ring though nobody sleeps, which does no harm.
--
-- Why no change is missed: whoever tries after the lock was taken rings. Whoever
-- tried before had written to the journal, so it had a transaction id, below the
-- next one of any snapshot taken later. A reader takes the lock, then reads: what
-- had ended is read then. Until all others below that id have ended too, the reader
-- goes on looking by itself.

-- The two numbers of the lock are hashtext('space_events') and hashtext('asleep').
create function space_events.fall_asleep() returns boolean
    language sql
    as 'select pg_catalog.pg_try_advisory_lock_shared(959289095, -1684204852)';
comment on function space_events.fall_asleep() is 'From now on writers ring for this session; false: one of them is looking, try again.';

create function space_events.wake_up() returns boolean
    language sql
    as 'select pg_catalog.pg_advisory_unlock_shared(959289095, -1684204852)';
comment on function space_events.wake_up() is 'From now on writers need not ring for this session.';

-- Postgres puts a function of one expression, without settings of its own, in
-- the place of its call.
create function space_events.must_ring() returns boolean
    language sql
    as $$
    select case
        when pg_catalog.current_setting('space_events.wake', true) = 'poll' then false
        when pg_catalog.pg_try_advisory_lock(959289095, -1684204852)
            then not pg_catalog.pg_advisory_unlock(959289095, -1684204852)
        else true
    end
$$;
comment on function space_events.must_ring() is 'Whether a reader sleeps. Where space_events.wake is poll nobody is woken: a transaction that notified cannot be prepared.';

create or replace function space_events.ring() returns void
    language plpgsql
    set search_path = pg_catalog, pg_temp
as $$
begin
    if space_events.must_ring() then
        notify space_events;
    end if;
end
$$;
comment on function space_events.ring() is 'Wakes the readers of the journal that sleep, at commit.';

-- Only the triggers write here, and checking costs as much as an index does.
alter table space_events.row_changes drop constraint row_changes_relation_known;

-- There are two ways to record. Most statements change one row, for which
-- preparing to join sets of rows takes longer than all else: so one row is read
-- into variables. Any number of rows is recorded by one statement, whose plan the
-- session keeps, whatever number it was made for: so without nested loops, which
-- would take hours for a million. Compiling costs more than it saves.
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
            values ('pricings', service, version_before, version_after, availability_before, availability_after, service_disabled, service_disabled);
        if space_events.must_ring() then
            notify space_events;
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
