-- no-transaction
-- The indexes of the keys by organisation, built beside writers: a million pricings
-- take seconds, in which a transaction would hold all of them up.
--
-- The organisation comes last where plain writers look rows up by name, and first where
-- only this program does. What an attempt that was cut off has left is dropped first.

drop index concurrently if exists public.services_name_organization_key;
create unique index concurrently services_name_organization_key
    on public.services (name, organization);

drop index concurrently if exists public.services_organization_name_case_key;
create unique index concurrently services_organization_name_case_key
    on public.services (organization, space_events.case_folded(name));

drop index concurrently if exists public.pricings_version_organization_key;
create unique index concurrently pricings_version_organization_key
    on public.pricings (service_name, version, organization);
