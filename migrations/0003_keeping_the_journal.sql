-- How far back the journal goes, and what its capture should look like.
--
-- Retention is exact in terms of commits, not of when a row was written: a mark
-- is a place in the journal and the time when it was now. What the newest mark
-- older than the retention has seen may go, and a reader that has not seen all
-- of it is told so. A row of a transaction that stayed open for days goes when
-- its commit is old enough.

create table space_events.marks (
    taken_at timestamptz not null default now(),
    snapshot pg_snapshot not null default pg_current_snapshot(),
    max_id bigint not null,
    constraint marks_pkey primary key (taken_at)
);
comment on table space_events.marks is 'Places in the journal, and when they were now.';

alter table space_events.journal
    add column pruned_snapshot pg_snapshot,
    add column pruned_max_id bigint not null default 0;
comment on column space_events.journal.pruned_snapshot is 'What this saw, up to pruned_max_id, may be gone; null: nothing was removed yet.';

-- Removing the oldest rows all the time should not wait for a fifth of the table
-- to be dead.
alter table space_events.row_changes set (
    autovacuum_vacuum_scale_factor = 0.02,
    autovacuum_vacuum_threshold = 5000
);

-- ALTER TABLE … DISABLE TRIGGER ALL and back, as restores with
-- --disable-triggers do, silently resets how a trigger fires. This is how it
-- should be.
create table space_events.capture (
    table_name text not null,
    trigger_name text not null,
    fires "char" not null,
    definition text not null,
    constraint capture_pkey primary key (table_name, trigger_name)
);
comment on table space_events.capture is 'The triggers as the migrations made them; the program checks that they still are.';
comment on column space_events.capture.fires is 'As pg_trigger.tgenabled: O in ordinary sessions, R in replica ones, A in all.';
insert into space_events.capture (table_name, trigger_name, fires, definition)
    select c.relname, t.tgname, t.tgenabled, pg_get_triggerdef(t.oid)
    from pg_trigger t
    join pg_class c on c.oid = t.tgrelid
    where t.tgrelid in ('public.services'::regclass, 'public.pricings'::regclass)
    and not t.tgisinternal
    and t.tgfoid in (select oid from pg_proc where pronamespace = 'space_events'::regnamespace);
