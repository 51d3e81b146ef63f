-- What the peer adds to the tables of migrations/0001: row triggers that send
-- each event's JSON as the payload of a NOTIFY.

create function announce_pricing() returns trigger
    language plpgsql
as $$
declare
    code text;
    pricing record;
begin
    if tg_op = 'INSERT' then
        code := 'PRICING_CREATED';
        pricing := new;
    elsif tg_op = 'DELETE' then
        code := 'PRICING_ARCHIVED';
        pricing := old;
    else
        code := case new.availability when 'archived' then 'PRICING_ARCHIVED' else 'PRICING_ACTIVED' end;
        pricing := new;
    end if;
    perform pg_notify('events', json_build_object(
        'code', code,
        'details', json_build_object(
            'serviceName', pricing.service_name,
            'pricingVersion', pricing.version))::text);
    return null;
end
$$;

create function announce_service() returns trigger
    language plpgsql
as $$
begin
    perform pg_notify('events', json_build_object(
        'code', 'SERVICE_DISABLED',
        'details', json_build_object('serviceName', old.name))::text);
    return null;
end
$$;

create trigger pricings_inserted after insert on pricings
    for each row execute function announce_pricing();
create trigger pricings_updated after update on pricings
    for each row when (old.availability <> new.availability)
    execute function announce_pricing();
create trigger pricings_deleted after delete on pricings
    for each row when (old.availability = 'active')
    execute function announce_pricing();
create trigger services_disabled after update on services
    for each row when (new.disabled and not old.disabled)
    execute function announce_service();
create trigger services_deleted after delete on services
    for each row when (not old.disabled)
    execute function announce_service();
