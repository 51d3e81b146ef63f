-- Keys by organisation, and triggers that tell whose each change is.
--
-- The indexes are there already, so this takes a moment. That all pricings have a
-- service of their organisation is checked by the next migration, beside writers.

lock table public.pricings in access exclusive mode;
-- A writer that holds services waits for pricings from now on. Before Postgres finds the
-- deadlock, and may end the writer, this one gives up.
do $$
begin
    perform set_config('lock_timeout', (setting::integer * 2 / 5)::text, true)
        from pg_settings
        where name = 'deadlock_timeout';
end
$$;
lock table public.services in access exclusive mode;

alter table public.pricings drop constraint pricings_service_name_fkey;
alter table public.services drop constraint services_pkey;
alter table public.services
    add constraint services_pkey primary key using index services_name_organization_key;
drop index public.services_name_case_key;
alter index public.services_organization_name_case_key rename to services_name_case_key;
alter table public.pricings drop constraint pricings_pkey;
alter table public.pricings
    add constraint pricings_pkey primary key using index pricings_version_organization_key;
alter table public.pricings
    add constraint pricings_service_name_fkey
        foreign key (service_name, organization) references public.services (name, organization)
        on update cascade
        on delete cascade
        not valid;

alter table public.services
    alter column organization set default coalesce(current_setting('space_events.organization', true), '');
alter table public.pricings
    alter column organization set default coalesce(current_setting('space_events.organization', true), '');

-- As in migration 0019, but for the organisation. A statement that changes pricings of
-- several organisations holds their services alone, not those of the same names in
-- others.
create or replace function space_events.record_pricings() returns trigger
    language plpgsql security definer
    set search_path = pg_catalog, pg_temp
as $$
declare
    owner text;
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
        select n.organization, n.service_name, n.version, n.availability
            into owner, service, version_after, availability_after
            from new_rows n;
        perform from new_rows offset 1;
    elsif tg_op = 'UPDATE' then
        select n.organization, n.service_name, n.version, n.availability
            into owner, service, version_after, availability_after
            from new_rows n;
        select o.version, o.availability
            into version_before, availability_before
            from old_rows o;
        perform from new_rows offset 1;
    else
        select o.organization, o.service_name, o.version, o.availability
            into owner, service, version_before, availability_before
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
            where s.organization = owner and s.name = service
            for key share;
        -- Where the service went too, its own change says it all.
        if not found and tg_op = 'DELETE' then
            return null;
        end if;
        service_disabled := coalesce(service_disabled, false);
        insert into space_events.row_changes (relation, organization, service_name, version_before, version_after, availability_before, availability_after, disabled_before, disabled_after)
            values ('pricings', owner, service, version_before, version_after, availability_before, availability_after, service_disabled, service_disabled)
            returning id, xid, changed_at
            into told_id, told_xid, told_at;
        if space_events.must_ring() then
            if pg_snapshot_xmin(pg_current_snapshot()) = told_xid
                and current_setting('space_events.told', true) is distinct from told_xid::text
            then
                perform set_config('space_events.told', told_xid::text, true);
                perform pg_notify('space_events', json_build_array(
                    told_id, told_xid::text::bigint, (extract(epoch from told_at) * 1000000)::bigint, service,
                    version_before, version_after, availability_before, availability_after, service_disabled, owner)::text);
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
        with named as materialized (
            select distinct n.organization, n.service_name
            from new_rows n
        ), held as materialized (
            select s.organization, s.name, s.disabled
            from public.services s
            where s.organization = any (array(select m.organization from named m))
            and s.name = any (array(select m.service_name from named m))
            and (s.organization, s.name) in (select m.organization, m.service_name from named m)
            order by s.id
            for key share
        )
        insert into space_events.row_changes (relation, organization, service_name, version_after, availability_after, disabled_before, disabled_after)
            select 'pricings', n.organization, n.service_name, n.version, n.availability, coalesce(s.disabled, false), coalesce(s.disabled, false)
            from new_rows n
            left join held s on s.name = n.service_name and s.organization = n.organization
            order by n.id;
    elsif tg_op = 'UPDATE' then
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
    else
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
    end if;
    if found then
        perform space_events.ring();
    end if;
    perform set_config('enable_nestloop', nested_loops, true), set_config('jit', compiling, true);
    return null;
end
$$;

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
    perform space_events.ring();
    return null;
end
$$;

drop function space_events.record_service_change(text, boolean, boolean);

-- A service that moves is deleted for the one organisation and enabled for the other.
-- Its pricings follow by the foreign key, which is no change of theirs. Replication
-- brings them behind their service.
create function space_events.record_service_change(
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
    perform space_events.ring();
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

create or replace function space_events.record_truncate() returns trigger
    language plpgsql security definer
    set search_path = pg_catalog, pg_temp
as $$
begin
    -- Readers rely on it that a writer has its transaction id before it draws an
    -- id of the journal. Who changed a row has one; here nothing is changed yet.
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
    perform space_events.ring();
    return null;
end
$$;

create function space_events.change_availability(organization text, service_name text, version text, availability text)
    returns table (id bigint, name text, disabled boolean, created_at timestamptz, updated_at timestamptz, pricings json)
    language plpgsql
    set search_path = pg_catalog, pg_temp
as $$
#variable_conflict use_column
declare
    held record;
begin
    select s.id, s.name into held
        from public.services s
        where s.organization = $1
        and space_events.case_folded(s.name) = space_events.case_folded($2)
        and not s.disabled
        for key share;
    if not found then
        return;
    end if;
    update public.pricings p
        set availability = $4, updated_at = now()
        where p.organization = $1 and p.service_name = held.name and p.version = $3 and p.availability <> $4;
    if not found then
        perform from public.pricings p
            where p.organization = $1 and p.service_name = held.name and p.version = $3;
        if not found then
            return;
        end if;
    end if;
    return query
        select s.id, s.name, s.disabled, s.created_at, greatest(s.updated_at, listed.updated_at), listed.pricings
        from public.services s
        cross join lateral (
            select max(p.updated_at) as updated_at,
                json_agg(json_build_object(
                    'id', p.id,
                    'version', p.version,
                    'availability', p.availability,
                    'url', p.url) order by p.id) as pricings
            from public.pricings p
            where p.organization = s.organization and p.service_name = s.name) listed
        where s.id = held.id;
end
$$;
comment on function space_events.change_availability(text, text, text, text) is 'Archives or activates a pricing of an organisation, unless it is so already, and returns its service; no row if there is no such enabled service or no such pricing.';

-- For instances of before that still run beside.
create or replace function space_events.change_availability(service_name text, version text, availability text)
    returns table (id bigint, name text, disabled boolean, created_at timestamptz, updated_at timestamptz, pricings json)
    language sql
    set search_path = pg_catalog, pg_temp
    as $$ select * from space_events.change_availability('', $1, $2, $3) $$;

-- A program of before would announce everything to everybody.
create or replace function space_events.needs_migration() returns bigint
    language sql immutable parallel safe
    as 'select 24::bigint';

select space_events.expect_capture();
