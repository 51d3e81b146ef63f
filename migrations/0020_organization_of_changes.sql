-- Services belong to organisations: the column of the journal.
--
-- Rows that name no organisation belong to the default one, ''. So the columns change
-- nothing yet, and the rows are not touched. Each table gets its own in a transaction of
-- its own: whoever waits for the lock of one table holds none of another, and so ends up
-- in no deadlock with writers.

do $$
declare
    theirs record;
begin
    select c.conrelid::regclass as table_name, c.conname, c.confrelid::regclass as referenced
        into theirs
        from pg_constraint c
        where c.contype = 'f'
        and c.conindid in (to_regclass('public.services_pkey'), to_regclass('public.pricings_pkey'))
        and c.conrelid <> 'public.pricings'::regclass;
    if found then
        raise exception 'the table % refers to % by a name, and a name is unique within its organisation only from now on: drop its constraint %, or let it refer to the column id',
            theirs.table_name, theirs.referenced, theirs.conname;
    end if;
end
$$;

alter table space_events.row_changes
    add column organization text not null default '';

comment on column space_events.row_changes.organization is 'Whose service it was; nobody else hears of it.';
