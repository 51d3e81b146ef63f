-- The triggers on services and pricings. Each change is recorded once, whoever writes:
--
--   statement triggers (state: default)   fire in ordinary sessions, and cost less;
--   row triggers (ENABLE REPLICA)         fire under session_replication_role = replica and
--                                         logical replication, where the others do not;
--   truncate triggers (ENABLE ALWAYS)     fire in both.

-- Both databases of a replication count their ids from 1, so a replicated row may bring an
-- id that a row here has already. The id only pairs a row before a change with the row
-- after it, in one database. So a replicated row keeps the id that it brings if that is
-- free, and gets another if not. Later updates do not change it.
create or replace function space_events.settle_id() returns trigger
    language plpgsql security definer
    set search_path = pg_catalog, pg_temp
as $$
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
$$;
comment on function space_events.settle_id() is 'Gives a replicated row an id that is its own here.';

create trigger services_settled before insert or update on public.services
    for each row execute function space_events.settle_id();
create trigger services_hold before update of disabled on public.services
    for each row when (old.disabled <> new.disabled)
    execute function space_events.lock_service();
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

create trigger pricings_settled before insert or update on public.pricings
    for each row execute function space_events.settle_id();
create trigger pricings_inserted after insert on public.pricings
    referencing new table as new_rows
    for each statement execute function space_events.record_inserted_pricings();
create trigger pricings_updated after update on public.pricings
    referencing old table as old_rows new table as new_rows
    for each statement execute function space_events.record_updated_pricings();
create trigger pricings_deleted after delete on public.pricings
    referencing old table as old_rows
    for each statement execute function space_events.record_deleted_pricings();
create trigger pricings_replicated after insert or update or delete on public.pricings
    for each row execute function space_events.record_pricing();
create trigger pricings_truncated before truncate on public.pricings
    for each statement execute function space_events.record_truncate();
create trigger pricings_truncated_with_services after truncate on public.pricings
    for each statement execute function space_events.record_truncate();

alter table public.services enable replica trigger services_settled;
alter table public.services enable always trigger services_hold;
alter table public.services enable replica trigger services_replicated;
alter table public.services enable always trigger services_truncated;
alter table public.pricings enable replica trigger pricings_settled;
alter table public.pricings enable replica trigger pricings_replicated;
alter table public.pricings enable always trigger pricings_truncated;
alter table public.pricings enable always trigger pricings_truncated_with_services;
