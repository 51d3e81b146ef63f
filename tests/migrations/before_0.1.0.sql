-- A database that the last build from before 0.1.0 has made and filled, as
-- `pg_dump --no-owner` of Postgres 15 wrote it.

--
-- PostgreSQL database dump
--


-- Dumped from database version 15.18 (Debian 15.18-0+deb12u1)
-- Dumped by pg_dump version 15.18 (Debian 15.18-0+deb12u1)

SET statement_timeout = 0;
SET lock_timeout = 0;
SET idle_in_transaction_session_timeout = 0;
SET client_encoding = 'UTF8';
SET standard_conforming_strings = on;
SELECT pg_catalog.set_config('search_path', '', false);
SET check_function_bodies = false;
SET xmloption = content;
SET client_min_messages = warning;
SET row_security = off;

--
-- Name: space_events; Type: SCHEMA; Schema: -; Owner: -
--

CREATE SCHEMA space_events;


--
-- Name: SCHEMA space_events; Type: COMMENT; Schema: -; Owner: -
--

COMMENT ON SCHEMA space_events IS 'What the emitter keeps for itself: the journal of row changes and its functions.';


--
-- Name: case_folded(text); Type: FUNCTION; Schema: space_events; Owner: -
--

CREATE FUNCTION space_events.case_folded(name text) RETURNS text
    LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE
    AS $$ select pg_catalog.lower(name collate pg_catalog."und-x-icu") collate pg_catalog."C" $$;


--
-- Name: FUNCTION case_folded(name text); Type: COMMENT; Schema: space_events; Owner: -
--

COMMENT ON FUNCTION space_events.case_folded(name text) IS 'A name as it is compared: without regard to case.';


--
-- Name: change_availability(text, text, text); Type: FUNCTION; Schema: space_events; Owner: -
--

CREATE FUNCTION space_events.change_availability(service_name text, version text, availability text) RETURNS TABLE(id bigint, name text, disabled boolean, created_at timestamp with time zone, updated_at timestamp with time zone, pricings json)
    LANGUAGE sql
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $_$ select * from space_events.change_availability('', $1, $2, $3) $_$;


--
-- Name: FUNCTION change_availability(service_name text, version text, availability text); Type: COMMENT; Schema: space_events; Owner: -
--

COMMENT ON FUNCTION space_events.change_availability(service_name text, version text, availability text) IS 'Archives or activates a pricing, unless it is so already, and returns its service; no row if there is no such enabled service or no such pricing.';


--
-- Name: change_availability(text, text, text, text); Type: FUNCTION; Schema: space_events; Owner: -
--

CREATE FUNCTION space_events.change_availability(organization text, service_name text, version text, availability text) RETURNS TABLE(id bigint, name text, disabled boolean, created_at timestamp with time zone, updated_at timestamp with time zone, pricings json)
    LANGUAGE plpgsql
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $_$
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
$_$;


--
-- Name: FUNCTION change_availability(organization text, service_name text, version text, availability text); Type: COMMENT; Schema: space_events; Owner: -
--

COMMENT ON FUNCTION space_events.change_availability(organization text, service_name text, version text, availability text) IS 'Archives or activates a pricing of an organisation, unless it is so already, and returns its service; no row if there is no such enabled service or no such pricing.';


--
-- Name: drop_replicated(); Type: FUNCTION; Schema: space_events; Owner: -
--

CREATE FUNCTION space_events.drop_replicated() RETURNS trigger
    LANGUAGE plpgsql
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
begin
    return null;
end
$$;


--
-- Name: FUNCTION drop_replicated(); Type: COMMENT; Schema: space_events; Owner: -
--

COMMENT ON FUNCTION space_events.drop_replicated() IS 'Drops a row that replication brought to a table of this schema.';


--
-- Name: expect_capture(); Type: FUNCTION; Schema: space_events; Owner: -
--

CREATE FUNCTION space_events.expect_capture() RETURNS void
    LANGUAGE plpgsql
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
declare
    unguarded text;
begin
    for unguarded in
        select c.oid::regclass::text
        from pg_class c
        where c.relnamespace = 'space_events'::regnamespace and c.relkind = 'r'
        and not exists (select from pg_trigger t where t.tgrelid = c.oid and t.tgname = 'not_replicated')
    loop
        execute format(
            'create trigger not_replicated before insert or update or delete on %s
                for each row when (pg_trigger_depth() = 0 and current_setting(''session_replication_role'') = ''replica'')
                execute function space_events.drop_replicated()', unguarded);
        execute format('alter table %s enable replica trigger not_replicated', unguarded);
    end loop;
    delete from space_events.expected_capture;
    insert into space_events.expected_capture (table_name, name, fires, definition)
        select p.table_name, p.name, p.fires, p.definition
        from space_events.present_capture() p
        where p.table_name = '' or p.definition like '% EXECUTE FUNCTION space_events.%';
end
$$;


--
-- Name: FUNCTION expect_capture(); Type: COMMENT; Schema: space_events; Owner: -
--

COMMENT ON FUNCTION space_events.expect_capture() IS 'Keeps the tables of this schema from replicated rows, and takes the triggers and functions as they are now for what they should be.';


--
-- Name: fall_asleep(); Type: FUNCTION; Schema: space_events; Owner: -
--

CREATE FUNCTION space_events.fall_asleep() RETURNS boolean
    LANGUAGE sql
    AS $$select pg_catalog.pg_try_advisory_lock_shared(959289095, -1684204852)$$;


--
-- Name: FUNCTION fall_asleep(); Type: COMMENT; Schema: space_events; Owner: -
--

COMMENT ON FUNCTION space_events.fall_asleep() IS 'From now on writers ring for this session; false: one of them is looking, try again.';


--
-- Name: hold_service(); Type: FUNCTION; Schema: space_events; Owner: -
--

CREATE FUNCTION space_events.hold_service() RETURNS trigger
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
begin
    perform from public.services where id = old.id for update;
    return new;
end
$$;


--
-- Name: FUNCTION hold_service(); Type: COMMENT; Schema: space_events; Owner: -
--

COMMENT ON FUNCTION space_events.hold_service() IS 'Waits for the pricing changes of a service that is about to be enabled or disabled.';


--
-- Name: must_ring(); Type: FUNCTION; Schema: space_events; Owner: -
--

CREATE FUNCTION space_events.must_ring() RETURNS boolean
    LANGUAGE sql
    AS $$
    select case
        when pg_catalog.current_setting('space_events.wake', true) = 'poll' then false
        when pg_catalog.pg_try_advisory_lock(959289095, -1684204852)
            then not pg_catalog.pg_advisory_unlock(959289095, -1684204852)
        else true
    end
$$;


--
-- Name: FUNCTION must_ring(); Type: COMMENT; Schema: space_events; Owner: -
--

COMMENT ON FUNCTION space_events.must_ring() IS 'Whether a reader sleeps. Where space_events.wake is poll nobody is woken: a transaction that notified cannot be prepared.';


--
-- Name: needs_migration(); Type: FUNCTION; Schema: space_events; Owner: -
--

CREATE FUNCTION space_events.needs_migration() RETURNS bigint
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
    AS $$select 24::bigint$$;


--
-- Name: FUNCTION needs_migration(); Type: COMMENT; Schema: space_events; Owner: -
--

COMMENT ON FUNCTION space_events.needs_migration() IS 'A program must know the migration of this number to run here; one that knows it, but not all later ones, may.';


--
-- Name: present_capture(); Type: FUNCTION; Schema: space_events; Owner: -
--

CREATE FUNCTION space_events.present_capture() RETURNS TABLE(table_name text, name text, fires "char", definition text)
    LANGUAGE sql STABLE
    SET search_path TO 'pg_catalog', 'pg_temp'
    SET quote_all_identifiers TO 'off'
    AS $$
    select '', p.oid::regprocedure::text, null::"char", pg_get_functiondef(p.oid)
    from pg_proc p
    where p.pronamespace = 'space_events'::regnamespace and p.prokind = 'f'
    union all
    select t.tgrelid::regclass::text, t.tgname::text, t.tgenabled, pg_get_triggerdef(t.oid)
    from pg_trigger t
    join pg_class c on c.oid = t.tgrelid
    where not t.tgisinternal
    and (c.relnamespace = 'space_events'::regnamespace
        or c.oid in (to_regclass('public.services'), to_regclass('public.pricings')))
$$;


--
-- Name: FUNCTION present_capture(); Type: COMMENT; Schema: space_events; Owner: -
--

COMMENT ON FUNCTION space_events.present_capture() IS 'The functions of this schema, and the triggers on its tables, services and pricings, as they are now.';


--
-- Name: record_pricing(); Type: FUNCTION; Schema: space_events; Owner: -
--

CREATE FUNCTION space_events.record_pricing() RETURNS trigger
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
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


--
-- Name: FUNCTION record_pricing(); Type: COMMENT; Schema: space_events; Owner: -
--

COMMENT ON FUNCTION space_events.record_pricing() IS 'Records one changed pricing, where statement triggers do not fire.';


--
-- Name: record_pricings(); Type: FUNCTION; Schema: space_events; Owner: -
--

CREATE FUNCTION space_events.record_pricings() RETURNS trigger
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
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


--
-- Name: FUNCTION record_pricings(); Type: COMMENT; Schema: space_events; Owner: -
--

COMMENT ON FUNCTION space_events.record_pricings() IS 'Records the pricings that a statement changed.';


--
-- Name: record_service(); Type: FUNCTION; Schema: space_events; Owner: -
--

CREATE FUNCTION space_events.record_service() RETURNS trigger
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
begin
    if tg_op = 'DELETE' then
        perform space_events.record_service_change(old.organization, null, old.name, null, old.disabled, null);
    elsif new.disabled <> old.disabled or new.organization <> old.organization then
        perform space_events.record_service_change(old.organization, new.organization, old.name, new.name, old.disabled, new.disabled);
    end if;
    return null;
end
$$;


--
-- Name: FUNCTION record_service(); Type: COMMENT; Schema: space_events; Owner: -
--

COMMENT ON FUNCTION space_events.record_service() IS 'Records one changed service, where statement triggers do not fire.';


--
-- Name: record_service_change(text, text, text, text, boolean, boolean); Type: FUNCTION; Schema: space_events; Owner: -
--

CREATE FUNCTION space_events.record_service_change(organization_before text, organization_after text, name_before text, name_after text, disabled_before boolean, disabled_after boolean) RETURNS void
    LANGUAGE plpgsql
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
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


--
-- Name: FUNCTION record_service_change(organization_before text, organization_after text, name_before text, name_after text, disabled_before boolean, disabled_after boolean); Type: COMMENT; Schema: space_events; Owner: -
--

COMMENT ON FUNCTION space_events.record_service_change(organization_before text, organization_after text, name_before text, name_after text, disabled_before boolean, disabled_after boolean) IS 'Records one changed service, and the pricings that come back with it.';


--
-- Name: record_services(); Type: FUNCTION; Schema: space_events; Owner: -
--

CREATE FUNCTION space_events.record_services() RETURNS trigger
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'pg_temp'
    SET enable_nestloop TO 'off'
    AS $$
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


--
-- Name: FUNCTION record_services(); Type: COMMENT; Schema: space_events; Owner: -
--

COMMENT ON FUNCTION space_events.record_services() IS 'Records the services that a statement enabled, disabled or deleted.';


--
-- Name: record_truncate(); Type: FUNCTION; Schema: space_events; Owner: -
--

CREATE FUNCTION space_events.record_truncate() RETURNS trigger
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
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


--
-- Name: FUNCTION record_truncate(); Type: COMMENT; Schema: space_events; Owner: -
--

COMMENT ON FUNCTION space_events.record_truncate() IS 'Records what a TRUNCATE of services or pricings is about to remove.';


--
-- Name: ring(); Type: FUNCTION; Schema: space_events; Owner: -
--

CREATE FUNCTION space_events.ring() RETURNS void
    LANGUAGE plpgsql
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
begin
    if space_events.must_ring() then
        notify space_events;
    end if;
end
$$;


--
-- Name: FUNCTION ring(); Type: COMMENT; Schema: space_events; Owner: -
--

COMMENT ON FUNCTION space_events.ring() IS 'Wakes the readers of the journal that sleep, at commit.';


--
-- Name: settle_id(); Type: FUNCTION; Schema: space_events; Owner: -
--

CREATE FUNCTION space_events.settle_id() RETURNS trigger
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $_$
declare
    sequence regclass;
    taken boolean;
begin
    if tg_op = 'UPDATE' then
        new.id := old.id;
        return new;
    end if;
    sequence := pg_get_serial_sequence(tg_relid::regclass::text, 'id');
    execute format('select exists (select from %s where id = $1)', tg_relid::regclass) into taken using new.id;
    if taken then
        new.id := nextval(sequence);
    elsif new.id > coalesce(pg_sequence_last_value(sequence), 0) then
        -- Whoever inserts here next gets one that is free.
        perform setval(sequence, new.id);
    end if;
    return new;
end
$_$;


--
-- Name: FUNCTION settle_id(); Type: COMMENT; Schema: space_events; Owner: -
--

COMMENT ON FUNCTION space_events.settle_id() IS 'Gives a replicated row an id that is its own here.';


--
-- Name: wake_up(); Type: FUNCTION; Schema: space_events; Owner: -
--

CREATE FUNCTION space_events.wake_up() RETURNS boolean
    LANGUAGE sql
    AS $$select pg_catalog.pg_advisory_unlock_shared(959289095, -1684204852)$$;


--
-- Name: FUNCTION wake_up(); Type: COMMENT; Schema: space_events; Owner: -
--

COMMENT ON FUNCTION space_events.wake_up() IS 'From now on writers need not ring for this session.';


SET default_tablespace = '';

SET default_table_access_method = heap;

--
-- Name: pricings; Type: TABLE; Schema: public; Owner: -
--

CREATE TABLE public.pricings (
    id bigint NOT NULL,
    service_name text NOT NULL,
    version text NOT NULL,
    availability text DEFAULT 'active'::text NOT NULL,
    url text,
    document jsonb,
    source bytea,
    created_at timestamp with time zone DEFAULT now() NOT NULL,
    updated_at timestamp with time zone DEFAULT now() NOT NULL,
    organization text DEFAULT COALESCE(current_setting('space_events.organization'::text, true), ''::text) NOT NULL,
    CONSTRAINT pricings_availability_known CHECK ((availability = ANY (ARRAY['active'::text, 'archived'::text]))),
    CONSTRAINT pricings_version_length CHECK ((char_length(version) <= 255)),
    CONSTRAINT pricings_version_no_control CHECK ((version !~ '[\u0001-\u001f\u007f-\u009f\u2028\u2029]'::text)),
    CONSTRAINT pricings_version_not_blank CHECK ((btrim(version, ' 	
'::text) <> ''::text))
);


--
-- Name: TABLE pricings; Type: COMMENT; Schema: public; Owner: -
--

COMMENT ON TABLE public.pricings IS 'A version of a service''s pricing, and whether it is offered.';


--
-- Name: COLUMN pricings.id; Type: COMMENT; Schema: public; Owner: -
--

COMMENT ON COLUMN public.pricings.id IS 'Never changes; pairs the row before a change with the row after it.';


--
-- Name: COLUMN pricings.availability; Type: COMMENT; Schema: public; Owner: -
--

COMMENT ON COLUMN public.pricings.availability IS 'active or archived.';


--
-- Name: COLUMN pricings.url; Type: COMMENT; Schema: public; Owner: -
--

COMMENT ON COLUMN public.pricings.url IS 'Where the document was fetched from, if it was given by URL.';


--
-- Name: COLUMN pricings.document; Type: COMMENT; Schema: public; Owner: -
--

COMMENT ON COLUMN public.pricings.document IS 'The pricing as JSON, as it was written.';


--
-- Name: COLUMN pricings.source; Type: COMMENT; Schema: public; Owner: -
--

COMMENT ON COLUMN public.pricings.source IS 'The uploaded file, byte for byte (Pricing2Yaml).';


--
-- Name: COLUMN pricings.organization; Type: COMMENT; Schema: public; Owner: -
--

COMMENT ON COLUMN public.pricings.organization IS 'That of its service.';


--
-- Name: pricings_id_seq; Type: SEQUENCE; Schema: public; Owner: -
--

ALTER TABLE public.pricings ALTER COLUMN id ADD GENERATED ALWAYS AS IDENTITY (
    SEQUENCE NAME public.pricings_id_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1
);


--
-- Name: services; Type: TABLE; Schema: public; Owner: -
--

CREATE TABLE public.services (
    id bigint NOT NULL,
    name text NOT NULL,
    disabled boolean DEFAULT false NOT NULL,
    created_at timestamp with time zone DEFAULT now() NOT NULL,
    updated_at timestamp with time zone DEFAULT now() NOT NULL,
    organization text DEFAULT COALESCE(current_setting('space_events.organization'::text, true), ''::text) NOT NULL,
    CONSTRAINT services_name_length CHECK ((char_length(name) <= 255)),
    CONSTRAINT services_name_no_control CHECK ((name !~ '[\u0001-\u001f\u007f-\u009f\u2028\u2029]'::text)),
    CONSTRAINT services_name_not_blank CHECK ((btrim(name, ' 	
'::text) <> ''::text)),
    CONSTRAINT services_organization_length CHECK ((char_length(organization) <= 255)),
    CONSTRAINT services_organization_no_control CHECK ((organization !~ '[\u0001-\u001f\u007f-\u009f\u2028\u2029]'::text))
);


--
-- Name: TABLE services; Type: COMMENT; Schema: public; Owner: -
--

COMMENT ON TABLE public.services IS 'A service of a SaaS company. A disabled one keeps its pricings and is announced no more.';


--
-- Name: COLUMN services.id; Type: COMMENT; Schema: public; Owner: -
--

COMMENT ON COLUMN public.services.id IS 'Never changes; pairs the row before a change with the row after it.';


--
-- Name: COLUMN services.name; Type: COMMENT; Schema: public; Owner: -
--

COMMENT ON COLUMN public.services.name IS 'As it was given; unique without regard to case within its organisation.';


--
-- Name: COLUMN services.organization; Type: COMMENT; Schema: public; Owner: -
--

COMMENT ON COLUMN public.services.organization IS 'Whose it is; empty: the default organisation''s. Taken from the setting space_events.organization where a writer names none.';


--
-- Name: services_id_seq; Type: SEQUENCE; Schema: public; Owner: -
--

ALTER TABLE public.services ALTER COLUMN id ADD GENERATED ALWAYS AS IDENTITY (
    SEQUENCE NAME public.services_id_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1
);


--
-- Name: expected_capture; Type: TABLE; Schema: space_events; Owner: -
--

CREATE TABLE space_events.expected_capture (
    table_name text NOT NULL,
    name text NOT NULL,
    fires "char",
    definition text NOT NULL
);


--
-- Name: TABLE expected_capture; Type: COMMENT; Schema: space_events; Owner: -
--

COMMENT ON TABLE space_events.expected_capture IS 'The triggers and functions as the migrations made them; the program checks that they still are.';


--
-- Name: COLUMN expected_capture.table_name; Type: COMMENT; Schema: space_events; Owner: -
--

COMMENT ON COLUMN space_events.expected_capture.table_name IS 'The table of a trigger; empty for a function.';


--
-- Name: COLUMN expected_capture.fires; Type: COMMENT; Schema: space_events; Owner: -
--

COMMENT ON COLUMN space_events.expected_capture.fires IS 'As pg_trigger.tgenabled: O in ordinary sessions, R in replica ones, A in all; null for a function.';


--
-- Name: COLUMN expected_capture.definition; Type: COMMENT; Schema: space_events; Owner: -
--

COMMENT ON COLUMN space_events.expected_capture.definition IS 'The statement that makes it.';


--
-- Name: capture; Type: VIEW; Schema: space_events; Owner: -
--

CREATE VIEW space_events.capture AS
 SELECT split_part(expected_capture.table_name, '.'::text, 2) AS table_name,
    expected_capture.name AS trigger_name,
    expected_capture.fires,
    expected_capture.definition
   FROM space_events.expected_capture
  WHERE (expected_capture.table_name = ANY (ARRAY['public.services'::text, 'public.pricings'::text]));


--
-- Name: VIEW capture; Type: COMMENT; Schema: space_events; Owner: -
--

COMMENT ON VIEW space_events.capture IS 'The triggers on services and pricings, for programs that know nothing of expected_capture.';


--
-- Name: journal; Type: TABLE; Schema: space_events; Owner: -
--

CREATE TABLE space_events.journal (
    singleton boolean DEFAULT true NOT NULL,
    identity bigint NOT NULL,
    system_identifier bigint NOT NULL,
    database_oid oid NOT NULL,
    pruned_snapshot pg_snapshot,
    pruned_max_id bigint DEFAULT 0 NOT NULL,
    key bytea DEFAULT sha256(((uuid_send(gen_random_uuid()) || uuid_send(gen_random_uuid())) || uuid_send(gen_random_uuid()))) NOT NULL,
    pruned_xid xid8,
    pruned_changed_at timestamp with time zone,
    CONSTRAINT journal_key_length CHECK ((octet_length(key) = 32)),
    CONSTRAINT journal_singleton CHECK (singleton)
);


--
-- Name: TABLE journal; Type: COMMENT; Schema: space_events; Owner: -
--

COMMENT ON TABLE space_events.journal IS 'One row: which journal row_changes is, and in which cluster and database it was written.';


--
-- Name: COLUMN journal.identity; Type: COMMENT; Schema: space_events; Owner: -
--

COMMENT ON COLUMN space_events.journal.identity IS 'Random; a position of another journal is refused by it.';


--
-- Name: COLUMN journal.pruned_snapshot; Type: COMMENT; Schema: space_events; Owner: -
--

COMMENT ON COLUMN space_events.journal.pruned_snapshot IS 'What this saw, up to pruned_max_id, may be gone; null: nothing was removed yet. It sees no more than the newest row that went.';


--
-- Name: COLUMN journal.key; Type: COMMENT; Schema: space_events; Owner: -
--

COMMENT ON COLUMN space_events.journal.key IS 'Random; signs positions. A journal that was copied gets another.';


--
-- Name: COLUMN journal.pruned_xid; Type: COMMENT; Schema: space_events; Owner: -
--

COMMENT ON COLUMN space_events.journal.pruned_xid IS 'The transaction of the row pruned_max_id; null: not known.';


--
-- Name: COLUMN journal.pruned_changed_at; Type: COMMENT; Schema: space_events; Owner: -
--

COMMENT ON COLUMN space_events.journal.pruned_changed_at IS 'When the row pruned_max_id changed; null: not known.';


--
-- Name: marks; Type: TABLE; Schema: space_events; Owner: -
--

CREATE TABLE space_events.marks (
    taken_at timestamp with time zone DEFAULT now() NOT NULL,
    snapshot pg_snapshot DEFAULT pg_current_snapshot() NOT NULL,
    max_id bigint NOT NULL
);


--
-- Name: TABLE marks; Type: COMMENT; Schema: space_events; Owner: -
--

COMMENT ON TABLE space_events.marks IS 'Places in the journal, and when they were now.';


--
-- Name: migrations; Type: TABLE; Schema: space_events; Owner: -
--

CREATE TABLE space_events.migrations (
    version bigint NOT NULL,
    description text NOT NULL,
    installed_on timestamp with time zone DEFAULT now() NOT NULL,
    checksum bytea NOT NULL
);


--
-- Name: TABLE migrations; Type: COMMENT; Schema: space_events; Owner: -
--

COMMENT ON TABLE space_events.migrations IS 'The migrations that were applied: 1, 2, 3, 4, 5, 6, 7, 15, 16, 17, 18, 19, 20, 21, 22, 23, 24, 25';


--
-- Name: row_changes; Type: TABLE; Schema: space_events; Owner: -
--

CREATE TABLE space_events.row_changes (
    id bigint NOT NULL,
    xid xid8 DEFAULT pg_current_xact_id() NOT NULL,
    changed_at timestamp with time zone DEFAULT clock_timestamp() NOT NULL,
    relation text NOT NULL,
    service_name text NOT NULL,
    version_before text,
    version_after text,
    availability_before text,
    availability_after text,
    disabled_before boolean,
    disabled_after boolean,
    organization text DEFAULT ''::text NOT NULL
)
WITH (autovacuum_vacuum_scale_factor='0.02', autovacuum_vacuum_threshold='5000');


--
-- Name: TABLE row_changes; Type: COMMENT; Schema: space_events; Owner: -
--

COMMENT ON TABLE space_events.row_changes IS 'The journal: one row per changed row of services and pricings, written in the writer''s transaction.';


--
-- Name: COLUMN row_changes.id; Type: COMMENT; Schema: space_events; Owner: -
--

COMMENT ON COLUMN space_events.row_changes.id IS 'Rises in commit order for one row; becomes visible in any order.';


--
-- Name: COLUMN row_changes.xid; Type: COMMENT; Schema: space_events; Owner: -
--

COMMENT ON COLUMN space_events.row_changes.xid IS 'The writing transaction; a position tells by it what has been seen.';


--
-- Name: COLUMN row_changes.changed_at; Type: COMMENT; Schema: space_events; Owner: -
--

COMMENT ON COLUMN space_events.row_changes.changed_at IS 'When the trigger ran.';


--
-- Name: COLUMN row_changes.relation; Type: COMMENT; Schema: space_events; Owner: -
--

COMMENT ON COLUMN space_events.row_changes.relation IS 'The table that changed: services or pricings.';


--
-- Name: COLUMN row_changes.service_name; Type: COMMENT; Schema: space_events; Owner: -
--

COMMENT ON COLUMN space_events.row_changes.service_name IS 'The service as it was called then.';


--
-- Name: COLUMN row_changes.version_before; Type: COMMENT; Schema: space_events; Owner: -
--

COMMENT ON COLUMN space_events.row_changes.version_before IS 'The version before; null if the pricing was not there.';


--
-- Name: COLUMN row_changes.version_after; Type: COMMENT; Schema: space_events; Owner: -
--

COMMENT ON COLUMN space_events.row_changes.version_after IS 'The version after; null if the pricing is gone.';


--
-- Name: COLUMN row_changes.disabled_before; Type: COMMENT; Schema: space_events; Owner: -
--

COMMENT ON COLUMN space_events.row_changes.disabled_before IS 'Whether the service was disabled before the change; null if it was not there.';


--
-- Name: COLUMN row_changes.disabled_after; Type: COMMENT; Schema: space_events; Owner: -
--

COMMENT ON COLUMN space_events.row_changes.disabled_after IS 'Whether the service is disabled after the change; null if it is gone.';


--
-- Name: COLUMN row_changes.organization; Type: COMMENT; Schema: space_events; Owner: -
--

COMMENT ON COLUMN space_events.row_changes.organization IS 'Whose service it was; nobody else hears of it.';


--
-- Name: row_changes_id_seq; Type: SEQUENCE; Schema: space_events; Owner: -
--

ALTER TABLE space_events.row_changes ALTER COLUMN id ADD GENERATED ALWAYS AS IDENTITY (
    SEQUENCE NAME space_events.row_changes_id_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1
);


--
-- Data for Name: pricings; Type: TABLE DATA; Schema: public; Owner: -
--

COPY public.pricings (id, service_name, version, availability, url, document, source, created_at, updated_at, organization) FROM stdin;
1	Zoom	2023	active	\N	{"version": "2023", "saasName": "Zoom"}	\\x736161734e616d653a205a6f6f6d0a76657273696f6e3a202232303233220a	2026-11-28 09:58:14.460053+00	2026-11-28 09:58:14.460053+00	
2	Zoom	2024	active	https://example.com/zoom.yml	{"version": "2024", "saasName": "Zoom"}	\N	2026-11-28 09:58:14.460053+00	2026-11-28 09:58:14.460053+00	
3	Slack	1	active	\N	\N	\N	2026-11-28 09:58:14.463825+00	2026-11-28 09:58:14.463825+00	
4	Slack	2	active	\N	\N	\N	2026-11-28 09:58:14.463825+00	2026-11-28 09:58:14.463825+00	
6	Slack	4	active	\N	\N	\N	2026-11-28 09:58:14.463825+00	2026-11-28 09:58:14.463825+00	
7	Slack	5	active	\N	\N	\N	2026-11-28 09:58:14.463825+00	2026-11-28 09:58:14.463825+00	
9	Slack	7	active	\N	\N	\N	2026-11-28 09:58:14.463825+00	2026-11-28 09:58:14.463825+00	
10	Slack	8	active	\N	\N	\N	2026-11-28 09:58:14.463825+00	2026-11-28 09:58:14.463825+00	
13	Petclinic	1.0	active	\N	\N	\N	2026-11-28 09:58:14.464315+00	2026-11-28 09:58:14.464315+00	
14	Zoom	2024	active	\N	\N	\N	2026-11-28 09:58:14.464626+00	2026-11-28 09:58:14.464626+00	acme
15	Café	été	active	\N	\N	\N	2026-11-28 09:58:14.464626+00	2026-11-28 09:58:14.464626+00	Größe & Söhne
5	Slack	3	archived	\N	\N	\N	2026-11-28 09:58:14.463825+00	2026-11-28 09:58:14.463825+00	
8	Slack	6	archived	\N	\N	\N	2026-11-28 09:58:14.463825+00	2026-11-28 09:58:14.463825+00	
11	Slack	9	archived	\N	\N	\N	2026-11-28 09:58:14.463825+00	2026-11-28 09:58:14.463825+00	
\.


--
-- Data for Name: services; Type: TABLE DATA; Schema: public; Owner: -
--

COPY public.services (id, name, disabled, created_at, updated_at, organization) FROM stdin;
1	Zoom	f	2026-11-28 09:58:14.457962+00	2026-11-28 09:58:14.457962+00	
3	Petclinic	t	2026-11-28 09:58:14.457962+00	2026-11-28 09:58:14.457962+00	
4	Zoom	f	2026-11-28 09:58:14.459922+00	2026-11-28 09:58:14.459922+00	acme
5	Café	f	2026-11-28 09:58:14.459922+00	2026-11-28 09:58:14.459922+00	Größe & Söhne
2	Slack	f	2026-11-28 09:58:14.457962+00	2026-11-28 09:58:14.457962+00	
\.


--
-- Data for Name: expected_capture; Type: TABLE DATA; Schema: space_events; Owner: -
--

COPY space_events.expected_capture (table_name, name, fires, definition) FROM stdin;
	space_events.case_folded(text)	\N	CREATE OR REPLACE FUNCTION space_events.case_folded(name text)\n RETURNS text\n LANGUAGE sql\n IMMUTABLE PARALLEL SAFE STRICT\nAS $function$ select pg_catalog.lower(name collate pg_catalog."und-x-icu") collate pg_catalog."C" $function$\n
	space_events.hold_service()	\N	CREATE OR REPLACE FUNCTION space_events.hold_service()\n RETURNS trigger\n LANGUAGE plpgsql\n SECURITY DEFINER\n SET search_path TO 'pg_catalog', 'pg_temp'\nAS $function$\nbegin\n    perform from public.services where id = old.id for update;\n    return new;\nend\n$function$\n
	space_events.record_service()	\N	CREATE OR REPLACE FUNCTION space_events.record_service()\n RETURNS trigger\n LANGUAGE plpgsql\n SECURITY DEFINER\n SET search_path TO 'pg_catalog', 'pg_temp'\nAS $function$\nbegin\n    if tg_op = 'DELETE' then\n        perform space_events.record_service_change(old.organization, null, old.name, null, old.disabled, null);\n    elsif new.disabled <> old.disabled or new.organization <> old.organization then\n        perform space_events.record_service_change(old.organization, new.organization, old.name, new.name, old.disabled, new.disabled);\n    end if;\n    return null;\nend\n$function$\n
public.services	services_replicated	R	CREATE TRIGGER services_replicated AFTER DELETE OR UPDATE ON public.services FOR EACH ROW EXECUTE FUNCTION space_events.record_service()
	space_events.present_capture()	\N	CREATE OR REPLACE FUNCTION space_events.present_capture()\n RETURNS TABLE(table_name text, name text, fires "char", definition text)\n LANGUAGE sql\n STABLE\n SET search_path TO 'pg_catalog', 'pg_temp'\n SET quote_all_identifiers TO 'off'\nAS $function$\n    select '', p.oid::regprocedure::text, null::"char", pg_get_functiondef(p.oid)\n    from pg_proc p\n    where p.pronamespace = 'space_events'::regnamespace and p.prokind = 'f'\n    union all\n    select t.tgrelid::regclass::text, t.tgname::text, t.tgenabled, pg_get_triggerdef(t.oid)\n    from pg_trigger t\n    join pg_class c on c.oid = t.tgrelid\n    where not t.tgisinternal\n    and (c.relnamespace = 'space_events'::regnamespace\n        or c.oid in (to_regclass('public.services'), to_regclass('public.pricings')))\n$function$\n
	space_events.drop_replicated()	\N	CREATE OR REPLACE FUNCTION space_events.drop_replicated()\n RETURNS trigger\n LANGUAGE plpgsql\n SET search_path TO 'pg_catalog', 'pg_temp'\nAS $function$\nbegin\n    return null;\nend\n$function$\n
	space_events.expect_capture()	\N	CREATE OR REPLACE FUNCTION space_events.expect_capture()\n RETURNS void\n LANGUAGE plpgsql\n SET search_path TO 'pg_catalog', 'pg_temp'\nAS $function$\ndeclare\n    unguarded text;\nbegin\n    for unguarded in\n        select c.oid::regclass::text\n        from pg_class c\n        where c.relnamespace = 'space_events'::regnamespace and c.relkind = 'r'\n        and not exists (select from pg_trigger t where t.tgrelid = c.oid and t.tgname = 'not_replicated')\n    loop\n        execute format(\n            'create trigger not_replicated before insert or update or delete on %s\n                for each row when (pg_trigger_depth() = 0 and current_setting(''session_replication_role'') = ''replica'')\n                execute function space_events.drop_replicated()', unguarded);\n        execute format('alter table %s enable replica trigger not_replicated', unguarded);\n    end loop;\n    delete from space_events.expected_capture;\n    insert into space_events.expected_capture (table_name, name, fires, definition)\n        select p.table_name, p.name, p.fires, p.definition\n        from space_events.present_capture() p\n        where p.table_name = '' or p.definition like '% EXECUTE FUNCTION space_events.%';\nend\n$function$\n
	space_events.fall_asleep()	\N	CREATE OR REPLACE FUNCTION space_events.fall_asleep()\n RETURNS boolean\n LANGUAGE sql\nAS $function$select pg_catalog.pg_try_advisory_lock_shared(959289095, -1684204852)$function$\n
	space_events.wake_up()	\N	CREATE OR REPLACE FUNCTION space_events.wake_up()\n RETURNS boolean\n LANGUAGE sql\nAS $function$select pg_catalog.pg_advisory_unlock_shared(959289095, -1684204852)$function$\n
	space_events.must_ring()	\N	CREATE OR REPLACE FUNCTION space_events.must_ring()\n RETURNS boolean\n LANGUAGE sql\nAS $function$\n    select case\n        when pg_catalog.current_setting('space_events.wake', true) = 'poll' then false\n        when pg_catalog.pg_try_advisory_lock(959289095, -1684204852)\n            then not pg_catalog.pg_advisory_unlock(959289095, -1684204852)\n        else true\n    end\n$function$\n
	space_events.ring()	\N	CREATE OR REPLACE FUNCTION space_events.ring()\n RETURNS void\n LANGUAGE plpgsql\n SET search_path TO 'pg_catalog', 'pg_temp'\nAS $function$\nbegin\n    if space_events.must_ring() then\n        notify space_events;\n    end if;\nend\n$function$\n
	space_events.settle_id()	\N	CREATE OR REPLACE FUNCTION space_events.settle_id()\n RETURNS trigger\n LANGUAGE plpgsql\n SECURITY DEFINER\n SET search_path TO 'pg_catalog', 'pg_temp'\nAS $function$\ndeclare\n    sequence regclass;\n    taken boolean;\nbegin\n    if tg_op = 'UPDATE' then\n        new.id := old.id;\n        return new;\n    end if;\n    sequence := pg_get_serial_sequence(tg_relid::regclass::text, 'id');\n    execute format('select exists (select from %s where id = $1)', tg_relid::regclass) into taken using new.id;\n    if taken then\n        new.id := nextval(sequence);\n    elsif new.id > coalesce(pg_sequence_last_value(sequence), 0) then\n        -- Whoever inserts here next gets one that is free.\n        perform setval(sequence, new.id);\n    end if;\n    return new;\nend\n$function$\n
	space_events.change_availability(text,text,text)	\N	CREATE OR REPLACE FUNCTION space_events.change_availability(service_name text, version text, availability text)\n RETURNS TABLE(id bigint, name text, disabled boolean, created_at timestamp with time zone, updated_at timestamp with time zone, pricings json)\n LANGUAGE sql\n SET search_path TO 'pg_catalog', 'pg_temp'\nAS $function$ select * from space_events.change_availability('', $1, $2, $3) $function$\n
	space_events.needs_migration()	\N	CREATE OR REPLACE FUNCTION space_events.needs_migration()\n RETURNS bigint\n LANGUAGE sql\n IMMUTABLE PARALLEL SAFE\nAS $function$select 24::bigint$function$\n
	space_events.record_pricings()	\N	CREATE OR REPLACE FUNCTION space_events.record_pricings()\n RETURNS trigger\n LANGUAGE plpgsql\n SECURITY DEFINER\n SET search_path TO 'pg_catalog', 'pg_temp'\nAS $function$\ndeclare\n    owner text;\n    service text;\n    version_before text;\n    version_after text;\n    availability_before text;\n    availability_after text;\n    service_disabled boolean;\n    told_id bigint;\n    told_xid xid8;\n    told_at timestamptz;\n    nested_loops text;\n    compiling text;\nbegin\n    if tg_op = 'INSERT' then\n        select n.organization, n.service_name, n.version, n.availability\n            into owner, service, version_after, availability_after\n            from new_rows n;\n        perform from new_rows offset 1;\n    elsif tg_op = 'UPDATE' then\n        select n.organization, n.service_name, n.version, n.availability\n            into owner, service, version_after, availability_after\n            from new_rows n;\n        select o.version, o.availability\n            into version_before, availability_before\n            from old_rows o;\n        perform from new_rows offset 1;\n    else\n        select o.organization, o.service_name, o.version, o.availability\n            into owner, service, version_before, availability_before\n            from old_rows o;\n        perform from old_rows offset 1;\n    end if;\n\n    if not found then\n        if service is null\n            or version_before = version_after and availability_before = availability_after\n        then\n            return null;\n        end if;\n        select s.disabled into service_disabled\n            from public.services s\n            where s.organization = owner and s.name = service\n            for key share;\n        -- Where the service went too, its own change says it all.\n        if not found and tg_op = 'DELETE' then\n            return null;\n        end if;\n        service_disabled := coalesce(service_disabled, false);\n        insert into space_events.row_changes (relation, organization, service_name, version_before, version_after, availability_before, availability_after, disabled_before, disabled_after)\n            values ('pricings', owner, service, version_before, version_after, availability_before, availability_after, service_disabled, service_disabled)\n            returning id, xid, changed_at\n            into told_id, told_xid, told_at;\n        if space_events.must_ring() then\n            if pg_snapshot_xmin(pg_current_snapshot()) = told_xid\n                and current_setting('space_events.told', true) is distinct from told_xid::text\n            then\n                perform set_config('space_events.told', told_xid::text, true);\n                perform pg_notify('space_events', json_build_array(\n                    told_id, told_xid::text::bigint, (extract(epoch from told_at) * 1000000)::bigint, service,\n                    version_before, version_after, availability_before, availability_after, service_disabled, owner)::text);\n            else\n                notify space_events;\n            end if;\n        end if;\n        return null;\n    end if;\n\n    nested_loops := current_setting('enable_nestloop');\n    compiling := current_setting('jit');\n    perform set_config('enable_nestloop', 'off', true), set_config('jit', 'off', true);\n    if tg_op = 'INSERT' then\n        with named as materialized (\n            select distinct n.organization, n.service_name\n            from new_rows n\n        ), held as materialized (\n            select s.organization, s.name, s.disabled\n            from public.services s\n            where s.organization = any (array(select m.organization from named m))\n            and s.name = any (array(select m.service_name from named m))\n            and (s.organization, s.name) in (select m.organization, m.service_name from named m)\n            order by s.id\n            for key share\n        )\n        insert into space_events.row_changes (relation, organization, service_name, version_after, availability_after, disabled_before, disabled_after)\n            select 'pricings', n.organization, n.service_name, n.version, n.availability, coalesce(s.disabled, false), coalesce(s.disabled, false)\n            from new_rows n\n            left join held s on s.name = n.service_name and s.organization = n.organization\n            order by n.id;\n    elsif tg_op = 'UPDATE' then\n        with changed as materialized (\n            select n.id, n.organization, n.service_name, o.version as version_before, n.version as version_after,\n                o.availability as availability_before, n.availability as availability_after\n            from new_rows n\n            join old_rows o using (id)\n            where n.version <> o.version or n.availability <> o.availability\n        ), named as materialized (\n            select distinct c.organization, c.service_name\n            from changed c\n        ), held as materialized (\n            select s.organization, s.name, s.disabled\n            from public.services s\n            where s.organization = any (array(select m.organization from named m))\n            and s.name = any (array(select m.service_name from named m))\n            and (s.organization, s.name) in (select m.organization, m.service_name from named m)\n            order by s.id\n            for key share\n        )\n        insert into space_events.row_changes (relation, organization, service_name, version_before, version_after, availability_before, availability_after, disabled_before, disabled_after)\n            select 'pricings', c.organization, c.service_name, c.version_before, c.version_after, c.availability_before, c.availability_after, coalesce(s.disabled, false), coalesce(s.disabled, false)\n            from changed c\n            left join held s on s.name = c.service_name and s.organization = c.organization\n            order by c.id;\n    else\n        with named as materialized (\n            select distinct o.organization, o.service_name\n            from old_rows o\n        ), held as materialized (\n            select s.organization, s.name, s.disabled\n            from public.services s\n            where s.organization = any (array(select m.organization from named m))\n            and s.name = any (array(select m.service_name from named m))\n            and (s.organization, s.name) in (select m.organization, m.service_name from named m)\n            order by s.id\n            for key share\n        )\n        insert into space_events.row_changes (relation, organization, service_name, version_before, availability_before, disabled_before, disabled_after)\n            select 'pricings', o.organization, o.service_name, o.version, o.availability, s.disabled, s.disabled\n            from old_rows o\n            join held s on s.name = o.service_name and s.organization = o.organization\n            order by o.id;\n    end if;\n    if found then\n        perform space_events.ring();\n    end if;\n    perform set_config('enable_nestloop', nested_loops, true), set_config('jit', compiling, true);\n    return null;\nend\n$function$\n
	space_events.record_pricing()	\N	CREATE OR REPLACE FUNCTION space_events.record_pricing()\n RETURNS trigger\n LANGUAGE plpgsql\n SECURITY DEFINER\n SET search_path TO 'pg_catalog', 'pg_temp'\nAS $function$\ndeclare\n    service_disabled boolean;\n    owner constant text := case when tg_op = 'DELETE' then old.organization else new.organization end;\n    service constant text := case when tg_op = 'DELETE' then old.service_name else new.service_name end;\nbegin\n    if tg_op = 'UPDATE' and new.version = old.version and new.availability = old.availability then\n        return null;\n    end if;\n    select s.disabled into service_disabled\n        from public.services s\n        where s.organization = owner and s.name = service\n        for key share;\n    -- The initial copy of a subscription may bring a pricing before its service.\n    if tg_op = 'DELETE' and not found then\n        return null;\n    end if;\n    service_disabled := coalesce(service_disabled, false);\n    if tg_op = 'INSERT' then\n        insert into space_events.row_changes (relation, organization, service_name, version_after, availability_after, disabled_before, disabled_after)\n            values ('pricings', owner, service, new.version, new.availability, service_disabled, service_disabled);\n    elsif tg_op = 'UPDATE' then\n        insert into space_events.row_changes (relation, organization, service_name, version_before, version_after, availability_before, availability_after, disabled_before, disabled_after)\n            values ('pricings', owner, service, old.version, new.version, old.availability, new.availability, service_disabled, service_disabled);\n    else\n        insert into space_events.row_changes (relation, organization, service_name, version_before, availability_before, disabled_before, disabled_after)\n            values ('pricings', owner, service, old.version, old.availability, service_disabled, service_disabled);\n    end if;\n    perform space_events.ring();\n    return null;\nend\n$function$\n
public.services	services_hold	A	CREATE TRIGGER services_hold BEFORE UPDATE OF disabled ON public.services FOR EACH ROW WHEN ((old.disabled <> new.disabled)) EXECUTE FUNCTION space_events.hold_service()
	space_events.record_service_change(text,text,text,text,boolean,boolean)	\N	CREATE OR REPLACE FUNCTION space_events.record_service_change(organization_before text, organization_after text, name_before text, name_after text, disabled_before boolean, disabled_after boolean)\n RETURNS void\n LANGUAGE plpgsql\n SET search_path TO 'pg_catalog', 'pg_temp'\nAS $function$\ndeclare\n    moves constant boolean := coalesce(organization_after <> organization_before, false);\nbegin\n    if moves then\n        insert into space_events.row_changes (relation, organization, service_name, disabled_before)\n            values ('services', organization_before, name_before, disabled_before);\n        insert into space_events.row_changes (relation, organization, service_name, disabled_after)\n            values ('services', organization_after, name_after, disabled_after);\n    else\n        insert into space_events.row_changes (relation, organization, service_name, disabled_before, disabled_after)\n            values ('services', organization_before, coalesce(name_after, name_before), disabled_before, disabled_after);\n    end if;\n    -- A service that is enabled brings its active pricings back.\n    if not disabled_after and (disabled_before or moves) then\n        insert into space_events.row_changes (relation, organization, service_name, version_before, version_after, availability_before, availability_after, disabled_before, disabled_after)\n            select 'pricings', organization_after, name_after, p.version, p.version, p.availability, p.availability, true, false\n            from public.pricings p\n            where (p.organization = organization_after and p.service_name = name_after\n                or p.organization = organization_before and p.service_name = name_before\n                    and current_setting('session_replication_role') = 'replica')\n            and p.availability = 'active'\n            order by p.id;\n    end if;\n    perform space_events.ring();\nend\n$function$\n
	space_events.record_services()	\N	CREATE OR REPLACE FUNCTION space_events.record_services()\n RETURNS trigger\n LANGUAGE plpgsql\n SECURITY DEFINER\n SET search_path TO 'pg_catalog', 'pg_temp'\n SET enable_nestloop TO 'off'\nAS $function$\nbegin\n    if tg_op = 'UPDATE' then\n        perform space_events.record_service_change(c.organization_before, c.organization_after, c.name_before, c.name_after, c.disabled_before, c.disabled_after)\n            from (\n                select o.organization as organization_before, n.organization as organization_after,\n                    o.name as name_before, n.name as name_after,\n                    o.disabled as disabled_before, n.disabled as disabled_after\n                from new_rows n\n                join old_rows o using (id)\n                where n.disabled <> o.disabled or n.organization <> o.organization\n                order by n.id) c;\n    else\n        perform space_events.record_service_change(o.organization, null, o.name, null, o.disabled, null)\n            from (select organization, name, disabled from old_rows order by id) o;\n    end if;\n    return null;\nend\n$function$\n
	space_events.record_truncate()	\N	CREATE OR REPLACE FUNCTION space_events.record_truncate()\n RETURNS trigger\n LANGUAGE plpgsql\n SECURITY DEFINER\n SET search_path TO 'pg_catalog', 'pg_temp'\nAS $function$\nbegin\n    -- Readers rely on it that a writer has its transaction id before it draws an\n    -- id of the journal. Who changed a row has one; here nothing is changed yet.\n    perform pg_current_xact_id();\n    if tg_table_name = 'services' then\n        insert into space_events.row_changes (relation, organization, service_name, disabled_before)\n            select 'services', organization, name, disabled\n            from public.services\n            order by id;\n    elsif tg_when = 'BEFORE' then\n        perform set_config('space_events.truncated_after', coalesce((select max(id) from space_events.row_changes where xid = pg_current_xact_id()), 0)::text, true);\n        insert into space_events.row_changes (relation, organization, service_name, version_before, availability_before, disabled_before, disabled_after)\n            select 'pricings', p.organization, p.service_name, p.version, p.availability, s.disabled, s.disabled\n            from public.pricings p\n            join public.services s on s.organization = p.organization and s.name = p.service_name\n            where p.availability = 'active'\n            order by p.id;\n    else\n        delete from space_events.row_changes c\n            where c.xid = pg_current_xact_id()\n            and c.id > current_setting('space_events.truncated_after')::bigint\n            and c.relation = 'pricings'\n            and not exists (\n                select from public.services s\n                where s.organization = c.organization and s.name = c.service_name);\n    end if;\n    perform space_events.ring();\n    return null;\nend\n$function$\n
	space_events.change_availability(text,text,text,text)	\N	CREATE OR REPLACE FUNCTION space_events.change_availability(organization text, service_name text, version text, availability text)\n RETURNS TABLE(id bigint, name text, disabled boolean, created_at timestamp with time zone, updated_at timestamp with time zone, pricings json)\n LANGUAGE plpgsql\n SET search_path TO 'pg_catalog', 'pg_temp'\nAS $function$\n#variable_conflict use_column\ndeclare\n    held record;\nbegin\n    select s.id, s.name into held\n        from public.services s\n        where s.organization = $1\n        and space_events.case_folded(s.name) = space_events.case_folded($2)\n        and not s.disabled\n        for key share;\n    if not found then\n        return;\n    end if;\n    update public.pricings p\n        set availability = $4, updated_at = now()\n        where p.organization = $1 and p.service_name = held.name and p.version = $3 and p.availability <> $4;\n    if not found then\n        perform from public.pricings p\n            where p.organization = $1 and p.service_name = held.name and p.version = $3;\n        if not found then\n            return;\n        end if;\n    end if;\n    return query\n        select s.id, s.name, s.disabled, s.created_at, greatest(s.updated_at, listed.updated_at), listed.pricings\n        from public.services s\n        cross join lateral (\n            select max(p.updated_at) as updated_at,\n                json_agg(json_build_object(\n                    'id', p.id,\n                    'version', p.version,\n                    'availability', p.availability,\n                    'url', p.url) order by p.id) as pricings\n            from public.pricings p\n            where p.organization = s.organization and p.service_name = s.name) listed\n        where s.id = held.id;\nend\n$function$\n
public.services	services_updated	O	CREATE TRIGGER services_updated AFTER UPDATE ON public.services REFERENCING OLD TABLE AS old_rows NEW TABLE AS new_rows FOR EACH STATEMENT EXECUTE FUNCTION space_events.record_services()
public.services	services_deleted	O	CREATE TRIGGER services_deleted AFTER DELETE ON public.services REFERENCING OLD TABLE AS old_rows FOR EACH STATEMENT EXECUTE FUNCTION space_events.record_services()
public.pricings	pricings_inserted	O	CREATE TRIGGER pricings_inserted AFTER INSERT ON public.pricings REFERENCING NEW TABLE AS new_rows FOR EACH STATEMENT EXECUTE FUNCTION space_events.record_pricings()
public.pricings	pricings_updated	O	CREATE TRIGGER pricings_updated AFTER UPDATE ON public.pricings REFERENCING OLD TABLE AS old_rows NEW TABLE AS new_rows FOR EACH STATEMENT EXECUTE FUNCTION space_events.record_pricings()
public.pricings	pricings_deleted	O	CREATE TRIGGER pricings_deleted AFTER DELETE ON public.pricings REFERENCING OLD TABLE AS old_rows FOR EACH STATEMENT EXECUTE FUNCTION space_events.record_pricings()
public.services	services_truncated	A	CREATE TRIGGER services_truncated BEFORE TRUNCATE ON public.services FOR EACH STATEMENT EXECUTE FUNCTION space_events.record_truncate()
public.pricings	pricings_replicated	R	CREATE TRIGGER pricings_replicated AFTER INSERT OR DELETE OR UPDATE ON public.pricings FOR EACH ROW EXECUTE FUNCTION space_events.record_pricing()
public.pricings	pricings_truncated	A	CREATE TRIGGER pricings_truncated BEFORE TRUNCATE ON public.pricings FOR EACH STATEMENT EXECUTE FUNCTION space_events.record_truncate()
public.pricings	pricings_truncated_with_services	A	CREATE TRIGGER pricings_truncated_with_services AFTER TRUNCATE ON public.pricings FOR EACH STATEMENT EXECUTE FUNCTION space_events.record_truncate()
space_events.migrations	not_replicated	R	CREATE TRIGGER not_replicated BEFORE INSERT OR DELETE OR UPDATE ON space_events.migrations FOR EACH ROW WHEN (((pg_trigger_depth() = 0) AND (current_setting('session_replication_role'::text) = 'replica'::text))) EXECUTE FUNCTION space_events.drop_replicated()
space_events.marks	not_replicated	R	CREATE TRIGGER not_replicated BEFORE INSERT OR DELETE OR UPDATE ON space_events.marks FOR EACH ROW WHEN (((pg_trigger_depth() = 0) AND (current_setting('session_replication_role'::text) = 'replica'::text))) EXECUTE FUNCTION space_events.drop_replicated()
space_events.row_changes	not_replicated	R	CREATE TRIGGER not_replicated BEFORE INSERT OR DELETE OR UPDATE ON space_events.row_changes FOR EACH ROW WHEN (((pg_trigger_depth() = 0) AND (current_setting('session_replication_role'::text) = 'replica'::text))) EXECUTE FUNCTION space_events.drop_replicated()
space_events.journal	not_replicated	R	CREATE TRIGGER not_replicated BEFORE INSERT OR DELETE OR UPDATE ON space_events.journal FOR EACH ROW WHEN (((pg_trigger_depth() = 0) AND (current_setting('session_replication_role'::text) = 'replica'::text))) EXECUTE FUNCTION space_events.drop_replicated()
space_events.expected_capture	not_replicated	R	CREATE TRIGGER not_replicated BEFORE INSERT OR DELETE OR UPDATE ON space_events.expected_capture FOR EACH ROW WHEN (((pg_trigger_depth() = 0) AND (current_setting('session_replication_role'::text) = 'replica'::text))) EXECUTE FUNCTION space_events.drop_replicated()
public.services	services_settled	R	CREATE TRIGGER services_settled BEFORE INSERT OR UPDATE ON public.services FOR EACH ROW EXECUTE FUNCTION space_events.settle_id()
public.pricings	pricings_settled	R	CREATE TRIGGER pricings_settled BEFORE INSERT OR UPDATE ON public.pricings FOR EACH ROW EXECUTE FUNCTION space_events.settle_id()
\.


--
-- Data for Name: journal; Type: TABLE DATA; Schema: space_events; Owner: -
--

COPY space_events.journal (singleton, identity, system_identifier, database_oid, pruned_snapshot, pruned_max_id, key, pruned_xid, pruned_changed_at) FROM stdin;
t	781360895135195281	7713159496485563708	16385	\N	0	\\x777c217af5f8698a8ebc15d5cb158d8fbd9396d6db25797cefbe77a78b5024a0	\N	\N
\.


--
-- Data for Name: marks; Type: TABLE DATA; Schema: space_events; Owner: -
--

COPY space_events.marks (taken_at, snapshot, max_id) FROM stdin;
2026-11-28 09:58:14.467776+00	796:796:	27
\.


--
-- Data for Name: migrations; Type: TABLE DATA; Schema: space_events; Owner: -
--

COPY space_events.migrations (version, description, installed_on, checksum) FROM stdin;
1	services and pricings	2026-11-28 09:58:14.246135+00	\\x3bb286da4e8c75e0c6d4d86bbfd885f1f6be7bb9d259c956d94737f9c5b0a41eee940889426fb450d1ab06d9db1c9071
2	row changes	2026-11-28 09:58:14.259117+00	\\xb4311782e9f4359e838c57b676f5b70de4bb34b6bcdc4a6a8d208c2462611c0843983e61f5c96f4e6ee14ed90c65dcbd
3	keeping the journal	2026-11-28 09:58:14.266497+00	\\xbfa96924882dc0d35ca05629f5c2d04be7e77656104b6eafec551661ad509bf842cf8079c250d40f6197ae1e56c03a46
4	late rows and large statements	2026-11-28 09:58:14.272384+00	\\x2969bd0359529fc8d4f3b797a8a8180eeb7e0e9f92cf4d2252439daf561ea520763356e946fc5526cf9d12916bd17231
5	positions that are checked	2026-11-28 09:58:14.282461+00	\\xa505e1e767dc2a3b70f2802d0d16fd46313bcc270f34db14e676cb34cb338907d616c7f872cf8f2e7a699eb5b69a5ae9
6	expected capture	2026-11-28 09:58:14.287861+00	\\xad2be839c9be52a8355b432142b0dcdfb9e15611895b083ad3ea1bd6d5904ce5700dc56145d6889f4573964186396082
7	ring for sleepers	2026-11-28 09:58:14.300092+00	\\x1be705a8c1037c589b7b14c3d3a9656b3d4247b66e41d006c0fc3d15da63bcf0eba60b0d5a768ced9656ad9faa2c2b46
15	availability in one statement	2026-11-28 09:58:14.312022+00	\\x2ff2f865e03baf2bd2728436be538f524ffc19d36dd55774da709be2725f78b37562de756208e870c2a1ca79b7bc719c
16	ids of replicated rows	2026-11-28 09:58:14.328864+00	\\x3c530cfd25ffb00dc595ee5b0af649dfd7dc5220a884b99b479a89924cbf4fba034741e25786830c53163b296a05a185
17	no control characters	2026-11-28 09:58:14.341468+00	\\xb70e1ec1e09ac9f3e3f28795fcc162007b2964f8a1eb81dd079c4340bee990d646d53454fb984b06719f6fc9838154d5
18	check for control characters	2026-11-28 09:58:14.351699+00	\\xc48a953cc7b90e223e04749b231f804c8921cad0ac294a1ad469455cdd458d58c76a1fbb8be69244749936f06c0ef2b5
19	changes that are told	2026-11-28 09:58:14.361549+00	\\x2df0603e6144373838171cd7ffc87b69840f00d1ac70c83bca84af97455de31dd30cd4d2cd134d398c385693da4b5223
20	organization of changes	2026-11-28 09:58:14.376019+00	\\x4aa52cadf04303d6f953cb906f4f77d5f8f0b6d19b4ba9da5a142df05982c421cef472a2689a3c26c6c689fb515ffaab
21	organization of services	2026-11-28 09:58:14.38268+00	\\x7a9c021c2c806dab7b8893fa4f26001f757404128e07f61ab918c65398806d6f074408f268170512490eae73cfa942cb
22	organization of pricings	2026-11-28 09:58:14.389297+00	\\x52f0f45ac4cd1b3b35fe10362781a803723c018d35099bbfb404c083c786f70766a4691f141df1e6f3763e40116ad281
23	keys of organizations	2026-11-28 09:58:14.399443+00	\\xd60f51ddfcf2888b2192e36ccdc3fc78f99523b8aec6f1a1953ceacec7c3d4bc7fd52c5e5f7eddca318cac0269873e68
24	changes of organizations	2026-11-28 09:58:14.400983+00	\\x26ed2772c482023f52cd5a81c1c0fc635d51b96c8904c2ffaa8748c2e00b99c60fe8de6c1db4298c085efef39c222fb3
25	check organizations	2026-11-28 09:58:14.413521+00	\\x1cef40dbfc553cde3a5f9841e6bbdbb447399fcd33ffd30ed41d306a124a695a568a9edc955df398868ee933064547cc
\.


--
-- Data for Name: row_changes; Type: TABLE DATA; Schema: space_events; Owner: -
--

COPY space_events.row_changes (id, xid, changed_at, relation, service_name, version_before, version_after, availability_before, availability_after, disabled_before, disabled_after, organization) FROM stdin;
1	788	2026-11-28 09:58:14.463224+00	pricings	Zoom	\N	2023	\N	active	f	f	
2	788	2026-11-28 09:58:14.463374+00	pricings	Zoom	\N	2024	\N	active	f	f	
3	789	2026-11-28 09:58:14.464219+00	pricings	Slack	\N	1	\N	active	f	f	
4	789	2026-11-28 09:58:14.464226+00	pricings	Slack	\N	2	\N	active	f	f	
5	789	2026-11-28 09:58:14.464228+00	pricings	Slack	\N	3	\N	active	f	f	
6	789	2026-11-28 09:58:14.46423+00	pricings	Slack	\N	4	\N	active	f	f	
7	789	2026-11-28 09:58:14.464231+00	pricings	Slack	\N	5	\N	active	f	f	
8	789	2026-11-28 09:58:14.464233+00	pricings	Slack	\N	6	\N	active	f	f	
9	789	2026-11-28 09:58:14.464235+00	pricings	Slack	\N	7	\N	active	f	f	
10	789	2026-11-28 09:58:14.464236+00	pricings	Slack	\N	8	\N	active	f	f	
11	789	2026-11-28 09:58:14.464238+00	pricings	Slack	\N	9	\N	active	f	f	
12	789	2026-11-28 09:58:14.46424+00	pricings	Slack	\N	10	\N	active	f	f	
13	790	2026-11-28 09:58:14.46454+00	pricings	Petclinic	\N	1.0	\N	active	t	t	
14	791	2026-11-28 09:58:14.464804+00	pricings	Zoom	\N	2024	\N	active	f	f	acme
15	791	2026-11-28 09:58:14.464809+00	pricings	Café	\N	été	\N	active	f	f	Größe & Söhne
16	792	2026-11-28 09:58:14.466011+00	pricings	Slack	3	3	active	archived	f	f	
17	792	2026-11-28 09:58:14.466019+00	pricings	Slack	6	6	active	archived	f	f	
18	792	2026-11-28 09:58:14.466021+00	pricings	Slack	9	9	active	archived	f	f	
19	793	2026-11-28 09:58:14.466593+00	pricings	Slack	10	\N	active	\N	f	f	
20	794	2026-11-28 09:58:14.467194+00	services	Slack	\N	\N	\N	\N	f	t	
21	795	2026-11-28 09:58:14.46744+00	services	Slack	\N	\N	\N	\N	t	f	
22	795	2026-11-28 09:58:14.467686+00	pricings	Slack	1	1	active	active	t	f	
23	795	2026-11-28 09:58:14.467696+00	pricings	Slack	2	2	active	active	t	f	
24	795	2026-11-28 09:58:14.467698+00	pricings	Slack	4	4	active	active	t	f	
25	795	2026-11-28 09:58:14.4677+00	pricings	Slack	5	5	active	active	t	f	
26	795	2026-11-28 09:58:14.467702+00	pricings	Slack	7	7	active	active	t	f	
27	795	2026-11-28 09:58:14.467704+00	pricings	Slack	8	8	active	active	t	f	
\.


--
-- Name: pricings_id_seq; Type: SEQUENCE SET; Schema: public; Owner: -
--

SELECT pg_catalog.setval('public.pricings_id_seq', 15, true);


--
-- Name: services_id_seq; Type: SEQUENCE SET; Schema: public; Owner: -
--

SELECT pg_catalog.setval('public.services_id_seq', 5, true);


--
-- Name: row_changes_id_seq; Type: SEQUENCE SET; Schema: space_events; Owner: -
--

SELECT pg_catalog.setval('space_events.row_changes_id_seq', 27, true);


--
-- Name: pricings pricings_id_key; Type: CONSTRAINT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.pricings
    ADD CONSTRAINT pricings_id_key UNIQUE (id);


--
-- Name: pricings pricings_pkey; Type: CONSTRAINT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.pricings
    ADD CONSTRAINT pricings_pkey PRIMARY KEY (service_name, version, organization);


--
-- Name: services services_id_key; Type: CONSTRAINT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.services
    ADD CONSTRAINT services_id_key UNIQUE (id);


--
-- Name: services services_pkey; Type: CONSTRAINT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.services
    ADD CONSTRAINT services_pkey PRIMARY KEY (name, organization);


--
-- Name: expected_capture expected_capture_pkey; Type: CONSTRAINT; Schema: space_events; Owner: -
--

ALTER TABLE ONLY space_events.expected_capture
    ADD CONSTRAINT expected_capture_pkey PRIMARY KEY (table_name, name);


--
-- Name: journal journal_pkey; Type: CONSTRAINT; Schema: space_events; Owner: -
--

ALTER TABLE ONLY space_events.journal
    ADD CONSTRAINT journal_pkey PRIMARY KEY (singleton);


--
-- Name: marks marks_pkey; Type: CONSTRAINT; Schema: space_events; Owner: -
--

ALTER TABLE ONLY space_events.marks
    ADD CONSTRAINT marks_pkey PRIMARY KEY (taken_at);


--
-- Name: migrations migrations_pkey; Type: CONSTRAINT; Schema: space_events; Owner: -
--

ALTER TABLE ONLY space_events.migrations
    ADD CONSTRAINT migrations_pkey PRIMARY KEY (version);


--
-- Name: row_changes row_changes_pkey; Type: CONSTRAINT; Schema: space_events; Owner: -
--

ALTER TABLE ONLY space_events.row_changes
    ADD CONSTRAINT row_changes_pkey PRIMARY KEY (id);


--
-- Name: services_name_case_key; Type: INDEX; Schema: public; Owner: -
--

CREATE UNIQUE INDEX services_name_case_key ON public.services USING btree (organization, space_events.case_folded(name));


--
-- Name: row_changes_xid_id_idx; Type: INDEX; Schema: space_events; Owner: -
--

CREATE INDEX row_changes_xid_id_idx ON space_events.row_changes USING btree (xid, id);


--
-- Name: pricings pricings_deleted; Type: TRIGGER; Schema: public; Owner: -
--

CREATE TRIGGER pricings_deleted AFTER DELETE ON public.pricings REFERENCING OLD TABLE AS old_rows FOR EACH STATEMENT EXECUTE FUNCTION space_events.record_pricings();


--
-- Name: pricings pricings_inserted; Type: TRIGGER; Schema: public; Owner: -
--

CREATE TRIGGER pricings_inserted AFTER INSERT ON public.pricings REFERENCING NEW TABLE AS new_rows FOR EACH STATEMENT EXECUTE FUNCTION space_events.record_pricings();


--
-- Name: pricings pricings_replicated; Type: TRIGGER; Schema: public; Owner: -
--

CREATE TRIGGER pricings_replicated AFTER INSERT OR DELETE OR UPDATE ON public.pricings FOR EACH ROW EXECUTE FUNCTION space_events.record_pricing();

ALTER TABLE public.pricings ENABLE REPLICA TRIGGER pricings_replicated;


--
-- Name: pricings pricings_settled; Type: TRIGGER; Schema: public; Owner: -
--

CREATE TRIGGER pricings_settled BEFORE INSERT OR UPDATE ON public.pricings FOR EACH ROW EXECUTE FUNCTION space_events.settle_id();

ALTER TABLE public.pricings ENABLE REPLICA TRIGGER pricings_settled;


--
-- Name: pricings pricings_truncated; Type: TRIGGER; Schema: public; Owner: -
--

CREATE TRIGGER pricings_truncated BEFORE TRUNCATE ON public.pricings FOR EACH STATEMENT EXECUTE FUNCTION space_events.record_truncate();

ALTER TABLE public.pricings ENABLE ALWAYS TRIGGER pricings_truncated;


--
-- Name: pricings pricings_truncated_with_services; Type: TRIGGER; Schema: public; Owner: -
--

CREATE TRIGGER pricings_truncated_with_services AFTER TRUNCATE ON public.pricings FOR EACH STATEMENT EXECUTE FUNCTION space_events.record_truncate();

ALTER TABLE public.pricings ENABLE ALWAYS TRIGGER pricings_truncated_with_services;


--
-- Name: pricings pricings_updated; Type: TRIGGER; Schema: public; Owner: -
--

CREATE TRIGGER pricings_updated AFTER UPDATE ON public.pricings REFERENCING OLD TABLE AS old_rows NEW TABLE AS new_rows FOR EACH STATEMENT EXECUTE FUNCTION space_events.record_pricings();


--
-- Name: services services_deleted; Type: TRIGGER; Schema: public; Owner: -
--

CREATE TRIGGER services_deleted AFTER DELETE ON public.services REFERENCING OLD TABLE AS old_rows FOR EACH STATEMENT EXECUTE FUNCTION space_events.record_services();


--
-- Name: services services_hold; Type: TRIGGER; Schema: public; Owner: -
--

CREATE TRIGGER services_hold BEFORE UPDATE OF disabled ON public.services FOR EACH ROW WHEN ((old.disabled <> new.disabled)) EXECUTE FUNCTION space_events.hold_service();

ALTER TABLE public.services ENABLE ALWAYS TRIGGER services_hold;


--
-- Name: services services_replicated; Type: TRIGGER; Schema: public; Owner: -
--

CREATE TRIGGER services_replicated AFTER DELETE OR UPDATE ON public.services FOR EACH ROW EXECUTE FUNCTION space_events.record_service();

ALTER TABLE public.services ENABLE REPLICA TRIGGER services_replicated;


--
-- Name: services services_settled; Type: TRIGGER; Schema: public; Owner: -
--

CREATE TRIGGER services_settled BEFORE INSERT OR UPDATE ON public.services FOR EACH ROW EXECUTE FUNCTION space_events.settle_id();

ALTER TABLE public.services ENABLE REPLICA TRIGGER services_settled;


--
-- Name: services services_truncated; Type: TRIGGER; Schema: public; Owner: -
--

CREATE TRIGGER services_truncated BEFORE TRUNCATE ON public.services FOR EACH STATEMENT EXECUTE FUNCTION space_events.record_truncate();

ALTER TABLE public.services ENABLE ALWAYS TRIGGER services_truncated;


--
-- Name: services services_updated; Type: TRIGGER; Schema: public; Owner: -
--

CREATE TRIGGER services_updated AFTER UPDATE ON public.services REFERENCING OLD TABLE AS old_rows NEW TABLE AS new_rows FOR EACH STATEMENT EXECUTE FUNCTION space_events.record_services();


--
-- Name: expected_capture not_replicated; Type: TRIGGER; Schema: space_events; Owner: -
--

CREATE TRIGGER not_replicated BEFORE INSERT OR DELETE OR UPDATE ON space_events.expected_capture FOR EACH ROW WHEN (((pg_trigger_depth() = 0) AND (current_setting('session_replication_role'::text) = 'replica'::text))) EXECUTE FUNCTION space_events.drop_replicated();

ALTER TABLE space_events.expected_capture ENABLE REPLICA TRIGGER not_replicated;


--
-- Name: journal not_replicated; Type: TRIGGER; Schema: space_events; Owner: -
--

CREATE TRIGGER not_replicated BEFORE INSERT OR DELETE OR UPDATE ON space_events.journal FOR EACH ROW WHEN (((pg_trigger_depth() = 0) AND (current_setting('session_replication_role'::text) = 'replica'::text))) EXECUTE FUNCTION space_events.drop_replicated();

ALTER TABLE space_events.journal ENABLE REPLICA TRIGGER not_replicated;


--
-- Name: marks not_replicated; Type: TRIGGER; Schema: space_events; Owner: -
--

CREATE TRIGGER not_replicated BEFORE INSERT OR DELETE OR UPDATE ON space_events.marks FOR EACH ROW WHEN (((pg_trigger_depth() = 0) AND (current_setting('session_replication_role'::text) = 'replica'::text))) EXECUTE FUNCTION space_events.drop_replicated();

ALTER TABLE space_events.marks ENABLE REPLICA TRIGGER not_replicated;


--
-- Name: migrations not_replicated; Type: TRIGGER; Schema: space_events; Owner: -
--

CREATE TRIGGER not_replicated BEFORE INSERT OR DELETE OR UPDATE ON space_events.migrations FOR EACH ROW WHEN (((pg_trigger_depth() = 0) AND (current_setting('session_replication_role'::text) = 'replica'::text))) EXECUTE FUNCTION space_events.drop_replicated();

ALTER TABLE space_events.migrations ENABLE REPLICA TRIGGER not_replicated;


--
-- Name: row_changes not_replicated; Type: TRIGGER; Schema: space_events; Owner: -
--

CREATE TRIGGER not_replicated BEFORE INSERT OR DELETE OR UPDATE ON space_events.row_changes FOR EACH ROW WHEN (((pg_trigger_depth() = 0) AND (current_setting('session_replication_role'::text) = 'replica'::text))) EXECUTE FUNCTION space_events.drop_replicated();

ALTER TABLE space_events.row_changes ENABLE REPLICA TRIGGER not_replicated;


--
-- Name: pricings pricings_service_name_fkey; Type: FK CONSTRAINT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.pricings
    ADD CONSTRAINT pricings_service_name_fkey FOREIGN KEY (service_name, organization) REFERENCES public.services(name, organization) ON UPDATE CASCADE ON DELETE CASCADE;


--
-- PostgreSQL database dump complete
--


