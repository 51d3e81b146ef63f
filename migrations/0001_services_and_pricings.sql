-- The state: services and the availability of their pricing versions.
--
-- These two tables are a contract with everything that writes SQL: this
-- program's REST API, psql, batch jobs, other services, replication. `name`
-- and `(service_name, version)` are all that a writer has to give.

create schema space_events;
comment on schema space_events is 'What the emitter keeps for itself: the journal of row changes and its functions.';

-- Names match without regard to case, whatever the locale of the database: in
-- a database with the locale C, lower() knows the letters of ASCII alone. ICU
-- knows the others; where the server was built without it, lower() has to do.
do $$
begin
    if exists (select from pg_catalog.pg_collation where collname = 'und-x-icu') then
        create function space_events.case_folded(name text) returns text
            language sql immutable strict parallel safe
            as $f$ select pg_catalog.lower(name collate pg_catalog."und-x-icu") collate pg_catalog."C" $f$;
    else
        create function space_events.case_folded(name text) returns text
            language sql immutable strict parallel safe
            as $f$ select pg_catalog.lower(name) collate pg_catalog."C" $f$;
    end if;
end
$$;
comment on function space_events.case_folded(text) is 'A name as it is compared: without regard to case.';

create table public.services (
    id bigint generated always as identity constraint services_id_key unique,
    name text constraint services_pkey primary key,
    disabled boolean not null default false,
    created_at timestamptz not null default now(),
    updated_at timestamptz not null default now(),
    constraint services_name_not_blank check (btrim(name, E' \t\n\r') <> ''),
    constraint services_name_length check (char_length(name) <= 255)
);
create unique index services_name_case_key on public.services (space_events.case_folded(name));

comment on table public.services is 'A service of a SaaS company. A disabled one keeps its pricings and is announced no more.';
comment on column public.services.id is 'Never changes; pairs the row before a change with the row after it.';
comment on column public.services.name is 'As it was given; unique without regard to case.';

create table public.pricings (
    id bigint generated always as identity constraint pricings_id_key unique,
    service_name text not null
        constraint pricings_service_name_fkey references public.services (name)
        on update cascade
        on delete cascade,
    version text not null,
    availability text not null default 'active',
    url text,
    document jsonb,
    source bytea,
    created_at timestamptz not null default now(),
    updated_at timestamptz not null default now(),
    constraint pricings_pkey primary key (service_name, version),
    constraint pricings_version_not_blank check (btrim(version, E' \t\n\r') <> ''),
    constraint pricings_version_length check (char_length(version) <= 255),
    constraint pricings_availability_known check (availability in ('active', 'archived'))
);

comment on table public.pricings is 'A version of a service''s pricing, and whether it is offered.';
comment on column public.pricings.id is 'Never changes; pairs the row before a change with the row after it.';
comment on column public.pricings.availability is 'active or archived.';
comment on column public.pricings.url is 'Where the document was fetched from, if it was given by URL.';
comment on column public.pricings.document is 'The pricing as JSON, as it was written.';
comment on column public.pricings.source is 'The uploaded file, byte for byte (Pricing2Yaml).';
