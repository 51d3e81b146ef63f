-- A change of availability in one round trip, for the REST API.
--
-- It is a function of several statements, because each of them sees what was committed
-- before it began. A single statement would not do: after it has waited for a lock, it still
-- sees what there was before.
--
-- The service's row is locked before its pricing, in the same order as by the triggers, and
-- it is not changed. So changes of pricings of one service do not wait for each other.

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
