-- Replicated rows beside a database's own.
--
-- Both databases count their ids from 1, so a replicated row may bring an id that
-- a row here has already. The id means nothing elsewhere: it pairs a row before a
-- change with the row after it. So a replicated row keeps the id that it brings if
-- that is free, gets another if not, and keeps for good the one that it has here.

create function space_events.settle_id() returns trigger
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
create trigger pricings_settled before insert or update on public.pricings
    for each row execute function space_events.settle_id();
alter table public.services enable replica trigger services_settled;
alter table public.pricings enable replica trigger pricings_settled;
