-- Validates what the last migrations added. This reads both tables and holds no writer
-- up.

alter table public.services validate constraint services_organization_length;
alter table public.services validate constraint services_organization_no_control;
alter table public.pricings validate constraint pricings_service_name_fkey;
