-- What capture should look like, down to the functions' bodies; and a schema that
-- belongs to this database alone.
--
-- Postgres writes triggers and functions as text that depends on search_path and
-- quote_all_identifiers. Here both are pinned, so whoever looks sees the same text,
-- and it can be run to put things back.
--
-- A publication of all tables brings the publisher's space_events too. What it
-- brings is dropped where it arrives: the subscriber's own triggers record what
-- changes there, in a journal of its own.

create function space_events.present_capture()
    returns table (table_name text, name text, fires "char", definition text)
    language sql stable
    set search_path = pg_catalog, pg_temp
    set quote_all_identifiers = off
as $$
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
comment on function space_events.present_capture() is 'The functions of this schema, and the triggers on its tables, services and pricings, as they are now.';

-- Triggers that were reset or replaced before this was kept are put back first.
do $$
declare
    t record;
begin
    for t in
        select e.table_name, e.name, e.fires, p.fires as fires_now,
            format('CREATE TRIGGER %s %s', e.name, e.definition) as definition,
            p.definition as definition_now
        from (values
            ('public.services', 'services_hold', 'A', 'BEFORE UPDATE OF disabled ON public.services FOR EACH ROW WHEN ((old.disabled <> new.disabled)) EXECUTE FUNCTION space_events.hold_service()'),
            ('public.services', 'services_updated', 'O', 'AFTER UPDATE ON public.services REFERENCING OLD TABLE AS old_rows NEW TABLE AS new_rows FOR EACH STATEMENT EXECUTE FUNCTION space_events.record_services()'),
            ('public.services', 'services_deleted', 'O', 'AFTER DELETE ON public.services REFERENCING OLD TABLE AS old_rows FOR EACH STATEMENT EXECUTE FUNCTION space_events.record_services()'),
            ('public.services', 'services_replicated', 'R', 'AFTER DELETE OR UPDATE ON public.services FOR EACH ROW EXECUTE FUNCTION space_events.record_service()'),
            ('public.services', 'services_truncated', 'A', 'BEFORE TRUNCATE ON public.services FOR EACH STATEMENT EXECUTE FUNCTION space_events.record_truncate()'),
            ('public.pricings', 'pricings_inserted', 'O', 'AFTER INSERT ON public.pricings REFERENCING NEW TABLE AS new_rows FOR EACH STATEMENT EXECUTE FUNCTION space_events.record_pricings()'),
            ('public.pricings', 'pricings_updated', 'O', 'AFTER UPDATE ON public.pricings REFERENCING OLD TABLE AS old_rows NEW TABLE AS new_rows FOR EACH STATEMENT EXECUTE FUNCTION space_events.record_pricings()'),
            ('public.pricings', 'pricings_deleted', 'O', 'AFTER DELETE ON public.pricings REFERENCING OLD TABLE AS old_rows FOR EACH STATEMENT EXECUTE FUNCTION space_events.record_pricings()'),
            ('public.pricings', 'pricings_replicated', 'R', 'AFTER INSERT OR DELETE OR UPDATE ON public.pricings FOR EACH ROW EXECUTE FUNCTION space_events.record_pricing()'),
            ('public.pricings', 'pricings_truncated', 'A', 'BEFORE TRUNCATE ON public.pricings FOR EACH STATEMENT EXECUTE FUNCTION space_events.record_truncate()'),
            ('public.pricings', 'pricings_truncated_with_services', 'A', 'AFTER TRUNCATE ON public.pricings FOR EACH STATEMENT EXECUTE FUNCTION space_events.record_truncate()')
        ) e (table_name, name, fires, definition)
        left join space_events.present_capture() p using (table_name, name)
    loop
        if t.definition_now is distinct from t.definition then
            execute format('drop trigger if exists %s on %s', t.name, t.table_name);
            execute t.definition;
            t.fires_now := 'O';
        end if;
        if t.fires_now <> t.fires::"char" then
            execute format('alter table %s enable %s trigger %s', t.table_name,
                case t.fires when 'A' then 'always' when 'R' then 'replica' else '' end, t.name);
        end if;
    end loop;
end
$$;

create table space_events.expected_capture (
    table_name text not null,
    name text not null,
    fires "char",
    definition text not null,
    constraint expected_capture_pkey primary key (table_name, name)
);
comment on table space_events.expected_capture is 'The triggers and functions as the migrations made them; the program checks that they still are.';
comment on column space_events.expected_capture.table_name is 'The table of a trigger; empty for a function.';
comment on column space_events.expected_capture.fires is 'As pg_trigger.tgenabled: O in ordinary sessions, R in replica ones, A in all; null for a function.';
comment on column space_events.expected_capture.definition is 'The statement that makes it.';

create function space_events.drop_replicated() returns trigger
    language plpgsql
    set search_path = pg_catalog, pg_temp
as $$
begin
    return null;
end
$$;
comment on function space_events.drop_replicated() is 'Drops a row that replication brought to a table of this schema.';

-- A row is replicated if the session only applies what happened elsewhere, and no
-- trigger wrote it: what these sessions record of services and pricings comes from
-- a trigger. Both are asked, so that a trigger whose state was reset drops nothing
-- in an ordinary session.
create function space_events.expect_capture() returns void
    language plpgsql
    set search_path = pg_catalog, pg_temp
as $$
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
comment on function space_events.expect_capture() is 'Keeps the tables of this schema from replicated rows, and takes the triggers and functions as they are now for what they should be.';

-- What programs of before look at.
drop table space_events.capture;
create view space_events.capture as
    select split_part(table_name, '.', 2) as table_name, name as trigger_name, fires, definition
    from space_events.expected_capture
    where table_name in ('public.services', 'public.pricings');
comment on view space_events.capture is 'The triggers on services and pricings, for programs that know nothing of expected_capture.';

create function space_events.needs_migration() returns bigint
    language sql immutable parallel safe
    as 'select 6::bigint';
comment on function space_events.needs_migration() is 'A program must know the migration of this number to run here; one that knows it, but not all later ones, may.';

select space_events.expect_capture();
