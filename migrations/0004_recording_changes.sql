-- The functions that record changes of services and pricings in the journal. The next
-- migration has the triggers that call them.
--
-- They only record. The program decides, when it reads the journal, which event a change
-- means, if any. Statement triggers record all rows that a statement changed. Where they do
-- not fire, row triggers record one row each.
--
-- Every trigger function is SECURITY DEFINER. So a writer needs rights on the two tables
-- only. Such a function must not look for names and operators where its caller says. So it
-- sets its search_path, which it also needs in an apply worker of logical replication, where
-- there is none. Only where it would cost too much, names and operators are qualified instead.

-- What a change of a pricing means depends on its service. So the service must not be
-- enabled or disabled while the change is under way. Otherwise a pricing that is added while
-- its service is being enabled would be announced by neither transaction. A change of a
-- pricing locks its service's row FOR KEY SHARE (as the foreign key does at an insert), and
-- enabling or disabling a service locks the row FOR UPDATE. Other updates of a service do
-- not wait.
create or replace function space_events.lock_service() returns trigger
    language plpgsql security definer
    set search_path = pg_catalog, pg_temp
as $$
begin
    perform from public.services where id = old.id for update;
    return new;
end
$$;
comment on function space_events.lock_service() is 'Locks a service that is about to be enabled or disabled, which waits until nobody is changing its pricings.';

-- On the way from a commit to a client, reading the journal takes the most time. So the
-- notification of one changed pricing carries what the journal says of it. A reader uses it
-- only if no other change can come before it: this id is the only one that was drawn since
-- its last read, and no transaction that was running then has ended. For that, the
-- notification has the snapshot in which the journal's row was written, if an older
-- transaction still runs. Otherwise the reader reads the journal, as it does for an empty
-- notification.
--
-- A notification is empty while several older transactions are listed as running, because
-- then readers can seldom use what it would carry; and in a transaction with one snapshot for
-- all its statements, which does not tell what has ended meanwhile. It is also empty for a
-- transaction's second change. All further ones would be equal to that, and Postgres sends
-- equal ones once: so a transaction notifies at most twice. The longest names and versions
-- take half of the 8,000 bytes that a notification may have.
--
-- Every role may notify. So what is told begins with a signature by the journal's key, and a
-- reader takes any other text as an empty one.
create or replace function space_events.tell_readers(
    id bigint, changed_at timestamptz, organization text, service_name text,
    version_before text, version_after text, availability_before text, availability_after text,
    disabled boolean) returns void
    language plpgsql
    set search_path = pg_catalog, pg_temp
as $$
declare
    xid constant xid8 := pg_current_xact_id();
    written_in pg_snapshot := pg_current_snapshot();
    told text;
begin
    if pg_snapshot_xmin(written_in) = xid then
        written_in := null;
    end if;
    if current_setting('space_events.told', true) is distinct from xid::text
        and (written_in is null
            or written_in::text not like '%,%' and current_setting('transaction_isolation') = 'read committed')
    then
        perform set_config('space_events.told', xid::text, true);
        told := json_build_array(
            id, xid::text::bigint, (extract(epoch from changed_at) * 1000000)::bigint, service_name,
            version_before, version_after, availability_before, availability_after, disabled, organization,
            written_in);
        select encode(substring(sha256(j.key || sha256(j.key || convert_to(told, 'UTF8'))) for 16), 'base64') || told
            into told
            from space_events.journal j;
    end if;
    perform pg_notify('space_events', coalesce(told, ''));
end
$$;
comment on function space_events.tell_readers(bigint, timestamptz, text, text, text, text, text, text, boolean) is 'Wakes the readers of the journal at commit, and tells them the pricing that changed.';

-- Several rows are recorded by one statement. A session keeps the plan that it made for the
-- first such statement. A nested loop, which is good for a few rows, takes hours for a
-- million, so the statement is planned without nested loops. JIT compilation is off because
-- it costs more than it saves.
create or replace function space_events.plan_with(settings text[]) returns text[]
    language plpgsql
as $$
declare
    settings_before constant pg_catalog.text[] := array[
        pg_catalog.current_setting('search_path'),
        pg_catalog.current_setting('enable_nestloop'),
        pg_catalog.current_setting('jit')];
begin
    perform pg_catalog.set_config('search_path', settings[1], true),
        pg_catalog.set_config('enable_nestloop', settings[2], true),
        pg_catalog.set_config('jit', settings[3], true);
    return settings_before;
end
$$;
comment on function space_events.plan_with(text[]) is 'Sets search_path, enable_nestloop and jit, and returns what they were.';

-- There are two ways to record what a statement changed. Most statements change one row. For
-- one row, preparing to join sets of rows would take most of the time. So it is read into
-- variables, and each step is a simple statement. To set a search_path would take a fifth of
-- what is left, so these steps qualify all names, types and operators. Each operation has its
-- own function, because to ask which it is takes time too.
--
-- Several rows are recorded by one statement, which is planned for many.
--
-- A statement may change pricings of several organisations. It locks only the services of
-- those pricings, not services of the same names in other organisations. If it changed no row,
-- are_many is null, and nothing is done.
--
-- The services of new pricings are locked already, by the foreign key.
create or replace function space_events.record_inserted_pricings() returns trigger
    language plpgsql security definer
as $$
declare
    are_many pg_catalog.bool;
    owner pg_catalog.text;
    service pg_catalog.text;
    version_after pg_catalog.text;
    availability_after pg_catalog.text;
    disabled_owners pg_catalog.text[];
    disabled_names pg_catalog.text[];
    service_disabled pg_catalog.bool;
    told_id pg_catalog.int8;
    told_at pg_catalog.timestamptz;
    settings_before pg_catalog.text[];
begin
    select exists (select from new_rows offset 1), n.organization, n.service_name, n.version, n.availability
        into are_many, owner, service, version_after, availability_after
        from new_rows n;
    if not are_many then
        select s.disabled into service_disabled
            from public.services s
            where s.organization operator(pg_catalog.=) owner and s.name operator(pg_catalog.=) service;
        insert into space_events.row_changes (relation, organization, service_name, version_after, availability_after, disabled_before, disabled_after)
            values ('pricings', owner, service, version_after, availability_after, service_disabled is true, service_disabled is true)
            returning id, changed_at into told_id, told_at;
        if space_events.must_notify() then
            perform space_events.tell_readers(told_id, told_at, owner, service, null, version_after, null, availability_after, service_disabled is true);
        end if;
    elsif are_many then
        settings_before := space_events.plan_with(array['pg_catalog, pg_temp', 'off', 'off']);
        with named as materialized (
            select distinct n.organization, n.service_name
            from new_rows n
        )
        select array_agg(s.organization), array_agg(s.name)
            into disabled_owners, disabled_names
            from public.services s
            where s.organization = any (array(select m.organization from named m))
            and s.name = any (array(select m.service_name from named m))
            and (s.organization, s.name) in (select m.organization, m.service_name from named m)
            and s.disabled;
        if disabled_names is null then
            -- They come in the order in which they were inserted, unless they are joined.
            insert into space_events.row_changes (relation, organization, service_name, version_after, availability_after, disabled_before, disabled_after)
                select 'pricings', n.organization, n.service_name, n.version, n.availability, false, false
                from new_rows n;
        else
            insert into space_events.row_changes (relation, organization, service_name, version_after, availability_after, disabled_before, disabled_after)
                select 'pricings', n.organization, n.service_name, n.version, n.availability, s.name is not null, s.name is not null
                from new_rows n
                left join unnest(disabled_owners, disabled_names) s (organization, name) on s.name = n.service_name and s.organization = n.organization
                order by n.id;
        end if;
        perform space_events.notify_readers();
        perform space_events.plan_with(settings_before);
    end if;
    return null;
end
$$;
comment on function space_events.record_inserted_pricings() is 'Records the pricings that a statement inserted.';

create or replace function space_events.record_updated_pricings() returns trigger
    language plpgsql security definer
as $$
declare
    are_many pg_catalog.bool;
    owner pg_catalog.text;
    service pg_catalog.text;
    version_before pg_catalog.text;
    availability_before pg_catalog.text;
    version_after pg_catalog.text;
    availability_after pg_catalog.text;
    service_disabled pg_catalog.bool;
    told_id pg_catalog.int8;
    told_at pg_catalog.timestamptz;
    settings_before pg_catalog.text[];
begin
    -- However many rows there are, the LIMIT keeps the plan cheap, so it is not compiled.
    select exists (select from new_rows offset 1), n.organization, n.service_name, o.version, n.version, o.availability, n.availability
        into are_many, owner, service, version_before, version_after, availability_before, availability_after
        from new_rows n
        cross join (select r.version, r.availability from old_rows r limit 1) o;
    if not are_many
        and (version_before operator(pg_catalog.<>) version_after or availability_before operator(pg_catalog.<>) availability_after)
    then
        select s.disabled into service_disabled
            from public.services s
            where s.organization operator(pg_catalog.=) owner and s.name operator(pg_catalog.=) service
            for key share;
        insert into space_events.row_changes (relation, organization, service_name, version_before, version_after, availability_before, availability_after, disabled_before, disabled_after)
            values ('pricings', owner, service, version_before, version_after, availability_before, availability_after, service_disabled is true, service_disabled is true)
            returning id, changed_at into told_id, told_at;
        if space_events.must_notify() then
            perform space_events.tell_readers(told_id, told_at, owner, service, version_before, version_after, availability_before, availability_after, service_disabled is true);
        end if;
    elsif are_many then
        settings_before := space_events.plan_with(array['pg_catalog, pg_temp', 'off', 'off']);
        with changed as materialized (
            select n.id, n.organization, n.service_name, o.version as version_before, n.version as version_after,
                o.availability as availability_before, n.availability as availability_after
            from new_rows n
            join old_rows o using (id)
            where n.version <> o.version or n.availability <> o.availability
        ), named as materialized (
            select distinct c.organization, c.service_name
            from changed c
        ), held as materialized (
            select s.organization, s.name, s.disabled
            from public.services s
            where s.organization = any (array(select m.organization from named m))
            and s.name = any (array(select m.service_name from named m))
            and (s.organization, s.name) in (select m.organization, m.service_name from named m)
            order by s.id
            for key share
        )
        insert into space_events.row_changes (relation, organization, service_name, version_before, version_after, availability_before, availability_after, disabled_before, disabled_after)
            select 'pricings', c.organization, c.service_name, c.version_before, c.version_after, c.availability_before, c.availability_after, coalesce(s.disabled, false), coalesce(s.disabled, false)
            from changed c
            left join held s on s.name = c.service_name and s.organization = c.organization
            order by c.id;
        if found then
            perform space_events.notify_readers();
        end if;
        perform space_events.plan_with(settings_before);
    end if;
    return null;
end
$$;
comment on function space_events.record_updated_pricings() is 'Records the pricings whose version or availability a statement changed.';

-- If the service of a deleted pricing is gone too, the change of the service is announced
-- instead.
create or replace function space_events.record_deleted_pricings() returns trigger
    language plpgsql security definer
as $$
declare
    are_many pg_catalog.bool;
    owner pg_catalog.text;
    service pg_catalog.text;
    version_before pg_catalog.text;
    availability_before pg_catalog.text;
    service_disabled pg_catalog.bool;
    told_id pg_catalog.int8;
    told_at pg_catalog.timestamptz;
    settings_before pg_catalog.text[];
begin
    select exists (select from old_rows offset 1), o.organization, o.service_name, o.version, o.availability
        into are_many, owner, service, version_before, availability_before
        from old_rows o;
    if not are_many then
        select s.disabled into service_disabled
            from public.services s
            where s.organization operator(pg_catalog.=) owner and s.name operator(pg_catalog.=) service
            for key share;
        if not found then
            return null;
        end if;
        insert into space_events.row_changes (relation, organization, service_name, version_before, availability_before, disabled_before, disabled_after)
            values ('pricings', owner, service, version_before, availability_before, service_disabled, service_disabled)
            returning id, changed_at into told_id, told_at;
        if space_events.must_notify() then
            perform space_events.tell_readers(told_id, told_at, owner, service, version_before, null, availability_before, null, service_disabled);
        end if;
    elsif are_many then
        settings_before := space_events.plan_with(array['pg_catalog, pg_temp', 'off', 'off']);
        with named as materialized (
            select distinct o.organization, o.service_name
            from old_rows o
        ), held as materialized (
            select s.organization, s.name, s.disabled
            from public.services s
            where s.organization = any (array(select m.organization from named m))
            and s.name = any (array(select m.service_name from named m))
            and (s.organization, s.name) in (select m.organization, m.service_name from named m)
            order by s.id
            for key share
        )
        insert into space_events.row_changes (relation, organization, service_name, version_before, availability_before, disabled_before, disabled_after)
            select 'pricings', o.organization, o.service_name, o.version, o.availability, s.disabled, s.disabled
            from old_rows o
            join held s on s.name = o.service_name and s.organization = o.organization
            order by o.id;
        if found then
            perform space_events.notify_readers();
        end if;
        perform space_events.plan_with(settings_before);
    end if;
    return null;
end
$$;
comment on function space_events.record_deleted_pricings() is 'Records the pricings that a statement deleted.';

create or replace function space_events.record_pricing() returns trigger
    language plpgsql security definer
    set search_path = pg_catalog, pg_temp
as $$
declare
    service_disabled boolean;
    owner constant text := case when tg_op = 'DELETE' then old.organization else new.organization end;
    service constant text := case when tg_op = 'DELETE' then old.service_name else new.service_name end;
begin
    if tg_op = 'UPDATE' and new.version = old.version and new.availability = old.availability then
        return null;
    end if;
    select s.disabled into service_disabled
        from public.services s
        where s.organization = owner and s.name = service
        for key share;
    -- The initial copy of a subscription may bring a pricing before its service.
    if tg_op = 'DELETE' and not found then
        return null;
    end if;
    service_disabled := coalesce(service_disabled, false);
    if tg_op = 'INSERT' then
        insert into space_events.row_changes (relation, organization, service_name, version_after, availability_after, disabled_before, disabled_after)
            values ('pricings', owner, service, new.version, new.availability, service_disabled, service_disabled);
    elsif tg_op = 'UPDATE' then
        insert into space_events.row_changes (relation, organization, service_name, version_before, version_after, availability_before, availability_after, disabled_before, disabled_after)
            values ('pricings', owner, service, old.version, new.version, old.availability, new.availability, service_disabled, service_disabled);
    else
        insert into space_events.row_changes (relation, organization, service_name, version_before, availability_before, disabled_before, disabled_after)
            values ('pricings', owner, service, old.version, old.availability, service_disabled, service_disabled);
    end if;
    perform space_events.notify_readers();
    return null;
end
$$;
comment on function space_events.record_pricing() is 'Records one changed pricing, where statement triggers do not fire.';

-- A service that moves to another organisation is recorded as deleted in the one and enabled
-- in the other. The foreign key takes its pricings along, which is no change of theirs. Under
-- replication they arrive after their service.
create or replace function space_events.record_service_change(
    organization_before text, organization_after text,
    name_before text, name_after text,
    disabled_before boolean, disabled_after boolean) returns void
    language plpgsql
    set search_path = pg_catalog, pg_temp
as $$
declare
    moves constant boolean := coalesce(organization_after <> organization_before, false);
begin
    if moves then
        insert into space_events.row_changes (relation, organization, service_name, disabled_before)
            values ('services', organization_before, name_before, disabled_before);
        insert into space_events.row_changes (relation, organization, service_name, disabled_after)
            values ('services', organization_after, name_after, disabled_after);
    else
        insert into space_events.row_changes (relation, organization, service_name, disabled_before, disabled_after)
            values ('services', organization_before, coalesce(name_after, name_before), disabled_before, disabled_after);
    end if;
    -- A service that is enabled brings its active pricings back.
    if not disabled_after and (disabled_before or moves) then
        insert into space_events.row_changes (relation, organization, service_name, version_before, version_after, availability_before, availability_after, disabled_before, disabled_after)
            select 'pricings', organization_after, name_after, p.version, p.version, p.availability, p.availability, true, false
            from public.pricings p
            where (p.organization = organization_after and p.service_name = name_after
                or p.organization = organization_before and p.service_name = name_before
                    and current_setting('session_replication_role') = 'replica')
            and p.availability = 'active'
            order by p.id;
    end if;
    perform space_events.notify_readers();
end
$$;
comment on function space_events.record_service_change(text, text, text, text, boolean, boolean) is 'Records one changed service, and the pricings that come back with it.';

create or replace function space_events.record_services() returns trigger
    language plpgsql security definer
    set search_path = pg_catalog, pg_temp
    set enable_nestloop = off
as $$
begin
    if tg_op = 'UPDATE' then
        perform space_events.record_service_change(c.organization_before, c.organization_after, c.name_before, c.name_after, c.disabled_before, c.disabled_after)
            from (
                select o.organization as organization_before, n.organization as organization_after,
                    o.name as name_before, n.name as name_after,
                    o.disabled as disabled_before, n.disabled as disabled_after
                from new_rows n
                join old_rows o using (id)
                where n.disabled <> o.disabled or n.organization <> o.organization
                order by n.id) c;
    else
        perform space_events.record_service_change(o.organization, null, o.name, null, o.disabled, null)
            from (select organization, name, disabled from old_rows order by id) o;
    end if;
    return null;
end
$$;
comment on function space_events.record_services() is 'Records the services that a statement enabled, disabled or deleted.';

create or replace function space_events.record_service() returns trigger
    language plpgsql security definer
    set search_path = pg_catalog, pg_temp
as $$
begin
    if tg_op = 'DELETE' then
        perform space_events.record_service_change(old.organization, null, old.name, null, old.disabled, null);
    elsif new.disabled <> old.disabled or new.organization <> old.organization then
        perform space_events.record_service_change(old.organization, new.organization, old.name, new.name, old.disabled, new.disabled);
    end if;
    return null;
end
$$;
comment on function space_events.record_service() is 'Records one changed service, where statement triggers do not fire.';

-- TRUNCATE fires only statement triggers, so what is about to go is read before. Whether the
-- service of a pricing stays is known only afterwards, since one TRUNCATE may empty both
-- tables, in either order.
create or replace function space_events.record_truncate() returns trigger
    language plpgsql security definer
    set search_path = pg_catalog, pg_temp
as $$
begin
    -- Readers need a writer to have its transaction id before it draws an id of the
    -- journal. Whoever changed a row has one, but here nothing is changed yet.
    perform pg_current_xact_id();
    if tg_table_name = 'services' then
        insert into space_events.row_changes (relation, organization, service_name, disabled_before)
            select 'services', organization, name, disabled
            from public.services
            order by id;
    elsif tg_when = 'BEFORE' then
        perform set_config('space_events.truncated_after', coalesce((select max(id) from space_events.row_changes where xid = pg_current_xact_id()), 0)::text, true);
        insert into space_events.row_changes (relation, organization, service_name, version_before, availability_before, disabled_before, disabled_after)
            select 'pricings', p.organization, p.service_name, p.version, p.availability, s.disabled, s.disabled
            from public.pricings p
            join public.services s on s.organization = p.organization and s.name = p.service_name
            where p.availability = 'active'
            order by p.id;
    else
        delete from space_events.row_changes c
            where c.xid = pg_current_xact_id()
            and c.id > current_setting('space_events.truncated_after')::bigint
            and c.relation = 'pricings'
            and not exists (
                select from public.services s
                where s.organization = c.organization and s.name = c.service_name);
    end if;
    perform space_events.notify_readers();
    return null;
end
$$;
comment on function space_events.record_truncate() is 'Records what a TRUNCATE of services or pricings is about to remove.';
