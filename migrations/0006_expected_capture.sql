-- What capture should look like, down to the functions' bodies. And the tables of this
-- schema take no rows from replication: they belong to this database only.
--
-- ALTER TABLE … DISABLE TRIGGER ALL and then ENABLE TRIGGER ALL, as in restores with
-- --disable-triggers, silently resets how a trigger fires. So this schema keeps what the
-- triggers and functions should be, and the program compares and repairs them.
--
-- The text that Postgres gives for a trigger or a function depends on search_path and
-- quote_all_identifiers. Here both are set, so everybody sees the same text, and it can be
-- run to put things back.

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

-- A publication of all tables also brings the rows of the publisher's space_events. They are
-- dropped on arrival: the subscriber has its own triggers and its own journal.
create function space_events.drop_replicated() returns trigger
    language plpgsql
    set search_path = pg_catalog, pg_temp
as $$
begin
    return null;
end
$$;
comment on function space_events.drop_replicated() is 'Drops a row that replication brought to a table of this schema.';

-- A row counts as replicated if its session is a replica session and no trigger wrote it.
-- What a replica session records of services and pricings is written by a trigger, so it
-- stays. The session is asked too, although the trigger fires only in replica sessions: if
-- its state is reset, it still drops nothing in an ordinary one.
--
-- The program calls this after each migration.
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
