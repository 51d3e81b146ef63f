-- The journal of row changes, and the doorbell that rings at each commit.
--
-- Triggers insert one row per changed row in the writer's own transaction, so
-- a rolled-back change leaves no trace. NOTIFY carries no data: the journal is
-- the truth, and a reader that missed the bell finds the rows all the same.
--
-- Triggers only record; which event a change means, if any, is decided where
-- the journal is read. Each change is recorded once, whoever writes:
--   statement triggers (state: default)         ordinary sessions, at the lower price;
--   row triggers (ENABLE REPLICA)               session_replication_role = replica and
--                                               logical replication, where the others rest;
--   truncate triggers (ENABLE ALWAYS)           both.
--
-- Every function is SECURITY DEFINER with a pinned search_path: a writer needs
-- rights on the two tables alone, and an apply worker has no search_path.

create table space_events.row_changes (
    id bigint generated always as identity constraint row_changes_pkey primary key,
    xid xid8 not null default pg_current_xact_id(),
    changed_at timestamptz not null default clock_timestamp(),
    relation text not null,
    service_name text not null,
    version_before text,
    version_after text,
    availability_before text,
    availability_after text,
    disabled_before boolean,
    disabled_after boolean,
    constraint row_changes_relation_known check (relation in ('services', 'pricings'))
);
create index row_changes_xid_idx on space_events.row_changes (xid);

comment on table space_events.row_changes is 'The journal: one row per changed row of services and pricings, written in the writer''s transaction.';
comment on column space_events.row_changes.id is 'Rises in commit order for one row; becomes visible in any order.';
comment on column space_events.row_changes.xid is 'The writing transaction; a position tells by it what has been seen.';
comment on column space_events.row_changes.changed_at is 'When the trigger ran.';
comment on column space_events.row_changes.relation is 'The table that changed: services or pricings.';
comment on column space_events.row_changes.service_name is 'The service as it was called then.';
comment on column space_events.row_changes.version_before is 'The version before; null if the pricing was not there.';
comment on column space_events.row_changes.version_after is 'The version after; null if the pricing is gone.';
comment on column space_events.row_changes.disabled_before is 'Whether the service was disabled before the change; null if it was not there.';
comment on column space_events.row_changes.disabled_after is 'Whether the service is disabled after the change; null if it is gone.';

create function space_events.ring() returns void
    language plpgsql
    set search_path = pg_catalog, pg_temp
as $$
begin
    -- A transaction that notified cannot be prepared: writers with two-phase
    -- commit choose to be found by the poll.
    if coalesce(current_setting('space_events.wake', true), '') <> 'poll' then
        notify space_events;
    end if;
end
$$;
comment on function space_events.ring() is 'Wakes the readers of the journal at commit, unless space_events.wake is poll.';

-- What a pricing's change means depends on its service, so the service must not
-- be enabled or disabled while the change is under way: else a pricing added
-- beside a service that is being enabled would be announced by neither. A change
-- of a pricing holds its service's row FOR KEY SHARE (as the foreign key does at
-- an insert); enabling or disabling a service takes it FOR UPDATE. Other updates
-- of a service are not held up.
create function space_events.hold_service() returns trigger
    language plpgsql security definer
    set search_path = pg_catalog, pg_temp
as $$
begin
    perform from public.services where id = old.id for update;
    return new;
end
$$;
comment on function space_events.hold_service() is 'Waits for the pricing changes of a service that is about to be enabled or disabled.';

create function space_events.record_pricings() returns trigger
    language plpgsql security definer
    set search_path = pg_catalog, pg_temp
as $$
begin
    if tg_op = 'INSERT' then
        perform from public.services s
            where s.name in (select distinct n.service_name from new_rows n)
            order by s.id
            for key share;
        insert into space_events.row_changes (relation, service_name, version_after, availability_after, disabled_before, disabled_after)
            select 'pricings', n.service_name, n.version, n.availability, coalesce(s.disabled, false), coalesce(s.disabled, false)
            from new_rows n
            left join public.services s on s.name = n.service_name
            order by n.id;
    elsif tg_op = 'UPDATE' then
        perform from public.services s
            where s.name in (
                select distinct n.service_name
                from new_rows n
                join old_rows o using (id)
                where n.version <> o.version or n.availability <> o.availability)
            order by s.id
            for key share;
        insert into space_events.row_changes (relation, service_name, version_before, version_after, availability_before, availability_after, disabled_before, disabled_after)
            select 'pricings', n.service_name, o.version, n.version, o.availability, n.availability, coalesce(s.disabled, false), coalesce(s.disabled, false)
            from new_rows n
            join old_rows o using (id)
            left join public.services s on s.name = n.service_name
            where n.version <> o.version or n.availability <> o.availability
            order by n.id;
    else
        -- Where the service went too, its own change says it all.
        perform from public.services s
            where s.name in (select distinct o.service_name from old_rows o)
            order by s.id
            for key share;
        insert into space_events.row_changes (relation, service_name, version_before, availability_before, disabled_before, disabled_after)
            select 'pricings', o.service_name, o.version, o.availability, s.disabled, s.disabled
            from old_rows o
            join public.services s on s.name = o.service_name
            order by o.id;
    end if;
    if found then
        perform space_events.ring();
    end if;
    return null;
end
$$;
comment on function space_events.record_pricings() is 'Records the pricings that a statement changed.';

create function space_events.record_pricing() returns trigger
    language plpgsql security definer
    set search_path = pg_catalog, pg_temp
as $$
declare
    service_disabled boolean;
begin
    if tg_op = 'UPDATE' and new.version = old.version and new.availability = old.availability then
        return null;
    end if;
    perform from public.services s
        where s.name = case when tg_op = 'DELETE' then old.service_name else new.service_name end
        for key share;
    select s.disabled into service_disabled
        from public.services s
        where s.name = case when tg_op = 'DELETE' then old.service_name else new.service_name end;
    -- The initial copy of a subscription may bring a pricing before its service.
    if tg_op = 'DELETE' and not found then
        return null;
    end if;
    service_disabled := coalesce(service_disabled, false);
    if tg_op = 'INSERT' then
        insert into space_events.row_changes (relation, service_name, version_after, availability_after, disabled_before, disabled_after)
            values ('pricings', new.service_name, new.version, new.availability, service_disabled, service_disabled);
    elsif tg_op = 'UPDATE' then
        insert into space_events.row_changes (relation, service_name, version_before, version_after, availability_before, availability_after, disabled_before, disabled_after)
            values ('pricings', new.service_name, old.version, new.version, old.availability, new.availability, service_disabled, service_disabled);
    else
        insert into space_events.row_changes (relation, service_name, version_before, availability_before, disabled_before, disabled_after)
            values ('pricings', old.service_name, old.version, old.availability, service_disabled, service_disabled);
    end if;
    perform space_events.ring();
    return null;
end
$$;
comment on function space_events.record_pricing() is 'Records one changed pricing, where statement triggers do not fire.';

create function space_events.record_service_change(name text, disabled_before boolean, disabled_after boolean) returns void
    language plpgsql
    set search_path = pg_catalog, pg_temp
as $$
begin
    insert into space_events.row_changes (relation, service_name, disabled_before, disabled_after)
        values ('services', name, disabled_before, disabled_after);
    -- A service that is enabled brings its active pricings back.
    if disabled_before and not disabled_after then
        insert into space_events.row_changes (relation, service_name, version_before, version_after, availability_before, availability_after, disabled_before, disabled_after)
            select 'pricings', p.service_name, p.version, p.version, p.availability, p.availability, true, false
            from public.pricings p
            where p.service_name = name and p.availability = 'active'
            order by p.id;
    end if;
    perform space_events.ring();
end
$$;
comment on function space_events.record_service_change(text, boolean, boolean) is 'Records one changed service, and the pricings that come back with it.';

create function space_events.record_services() returns trigger
    language plpgsql security definer
    set search_path = pg_catalog, pg_temp
as $$
begin
    if tg_op = 'UPDATE' then
        perform space_events.record_service_change(c.name, c.disabled_before, c.disabled_after)
            from (
                select n.name, o.disabled as disabled_before, n.disabled as disabled_after
                from new_rows n
                join old_rows o using (id)
                where n.disabled <> o.disabled
                order by n.id) c;
    else
        perform space_events.record_service_change(o.name, o.disabled, null)
            from (select name, disabled from old_rows order by id) o;
    end if;
    return null;
end
$$;
comment on function space_events.record_services() is 'Records the services that a statement enabled, disabled or deleted.';

create function space_events.record_service() returns trigger
    language plpgsql security definer
    set search_path = pg_catalog, pg_temp
as $$
begin
    if tg_op = 'DELETE' then
        perform space_events.record_service_change(old.name, old.disabled, null);
    elsif new.disabled <> old.disabled then
        perform space_events.record_service_change(new.name, old.disabled, new.disabled);
    end if;
    return null;
end
$$;
comment on function space_events.record_service() is 'Records one changed service, where statement triggers do not fire.';

-- TRUNCATE fires statement triggers alone, and what is about to vanish must be
-- read before. Whether a pricing's service stays is known only after, since one
-- TRUNCATE may empty both tables, in either order.
create function space_events.record_truncate() returns trigger
    language plpgsql security definer
    set search_path = pg_catalog, pg_temp
as $$
begin
    -- Readers rely on it that a writer has its transaction id before it draws an
    -- id of the journal. Who changed a row has one; here nothing is changed yet.
    perform pg_current_xact_id();
    if tg_table_name = 'services' then
        insert into space_events.row_changes (relation, service_name, disabled_before)
            select 'services', name, disabled
            from public.services
            order by id;
    elsif tg_when = 'BEFORE' then
        perform set_config('space_events.truncated_after', coalesce((select max(id) from space_events.row_changes where xid = pg_current_xact_id()), 0)::text, true);
        insert into space_events.row_changes (relation, service_name, version_before, availability_before, disabled_before, disabled_after)
            select 'pricings', p.service_name, p.version, p.availability, s.disabled, s.disabled
            from public.pricings p
            join public.services s on s.name = p.service_name
            where p.availability = 'active'
            order by p.id;
    else
        delete from space_events.row_changes c
            where c.xid = pg_current_xact_id()
            and c.id > current_setting('space_events.truncated_after')::bigint
            and c.relation = 'pricings'
            and not exists (select from public.services s where s.name = c.service_name);
    end if;
    perform space_events.ring();
    return null;
end
$$;
comment on function space_events.record_truncate() is 'Records what a TRUNCATE of services or pricings is about to remove.';

create trigger services_hold before update of disabled on public.services
    for each row when (old.disabled <> new.disabled)
    execute function space_events.hold_service();
create trigger services_updated after update on public.services
    referencing old table as old_rows new table as new_rows
    for each statement execute function space_events.record_services();
create trigger services_deleted after delete on public.services
    referencing old table as old_rows
    for each statement execute function space_events.record_services();
create trigger services_replicated after update or delete on public.services
    for each row execute function space_events.record_service();
create trigger services_truncated before truncate on public.services
    for each statement execute function space_events.record_truncate();

create trigger pricings_inserted after insert on public.pricings
    referencing new table as new_rows
    for each statement execute function space_events.record_pricings();
create trigger pricings_updated after update on public.pricings
    referencing old table as old_rows new table as new_rows
    for each statement execute function space_events.record_pricings();
create trigger pricings_deleted after delete on public.pricings
    referencing old table as old_rows
    for each statement execute function space_events.record_pricings();
create trigger pricings_replicated after insert or update or delete on public.pricings
    for each row execute function space_events.record_pricing();
create trigger pricings_truncated before truncate on public.pricings
    for each statement execute function space_events.record_truncate();
create trigger pricings_truncated_with_services after truncate on public.pricings
    for each statement execute function space_events.record_truncate();

alter table public.services enable always trigger services_hold;
alter table public.services enable replica trigger services_replicated;
alter table public.services enable always trigger services_truncated;
alter table public.pricings enable replica trigger pricings_replicated;
alter table public.pricings enable always trigger pricings_truncated;
alter table public.pricings enable always trigger pricings_truncated_with_services;

-- Which journal this is. A dump that is restored elsewhere brings rows whose
-- transactions mean nothing there; positions carry the identity, and are refused
-- by any other journal.
create table space_events.journal (
    singleton boolean constraint journal_pkey primary key default true,
    identity bigint not null,
    system_identifier bigint not null,
    database_oid oid not null,
    constraint journal_singleton check (singleton)
);
comment on table space_events.journal is 'One row: which journal row_changes is, and in which cluster and database it was written.';
comment on column space_events.journal.identity is 'Random; a position of another journal is refused by it.';
insert into space_events.journal (identity, system_identifier, database_oid)
    select
        ('x' || encode(uuid_send(gen_random_uuid()), 'hex'))::bit(63)::bigint,
        (select system_identifier from pg_control_system()),
        (select oid from pg_database where datname = current_database());
