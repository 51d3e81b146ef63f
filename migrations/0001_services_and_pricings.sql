-- The state: services and the availability of their pricing versions.
--
-- These two tables are a contract with everything that writes SQL: this program's REST
-- API, psql, batch jobs, other services, replication. A writer has to give only the `name`
-- of a service, and the `service_name` and `version` of a pricing. Where there are
-- organisations, it also gives `organization`, in the column or by the setting
-- space_events.organization.

create schema space_events;
comment on schema space_events is 'What the emitter keeps for itself: the journal of row changes and its functions.';

-- Older programs can go on running after most migrations that a newer program adds. A
-- migration that they cannot run with replaces this function, to give its own number.
create function space_events.needs_migration() returns bigint
    language sql immutable parallel safe
    as 'select 1::bigint';
comment on function space_events.needs_migration() is 'A program must know the migration of this number to run here; one that knows it, but not all later ones, may.';

-- Names match without regard to case, whatever the locale of the database. With the locale
-- C, lower() knows only the letters of ASCII, so ICU is used, which knows them all. On a
-- server that was built without ICU, lower() has to do.
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

-- Names and versions appear in lists, logs and events, where a line break would begin a new
-- line. So they hold no control characters.
--
-- In the primary keys the organisation comes last, because other writers look rows up by
-- name. In the index of folded names it comes first, because only this program uses that
-- index, and it always names the organisation.
create table public.services (
    id bigint generated always as identity constraint services_id_key unique,
    name text not null,
    disabled boolean not null default false,
    created_at timestamptz not null default now(),
    updated_at timestamptz not null default now(),
    organization text not null default coalesce(current_setting('space_events.organization', true), ''),
    constraint services_pkey primary key (name, organization),
    constraint services_name_not_blank check (btrim(name, E' \t\n\r') <> ''),
    constraint services_name_length check (char_length(name) <= 255),
    constraint services_name_no_control
        check (name !~ '[\u0001-\u001f\u007f-\u009f\u2028\u2029]'),
    constraint services_organization_length check (char_length(organization) <= 255),
    constraint services_organization_no_control
        check (organization !~ '[\u0001-\u001f\u007f-\u009f\u2028\u2029]')
);
create unique index services_name_case_key
    on public.services (organization, space_events.case_folded(name));

comment on table public.services is 'A service of a SaaS company. A disabled one keeps its pricings and is announced no more.';
comment on column public.services.id is 'Never changes; pairs the row before a change with the row after it.';
comment on column public.services.name is 'As it was given; unique without regard to case within its organisation.';
comment on column public.services.organization is 'Whose it is; empty: the default organisation''s. Taken from the setting space_events.organization where a writer names none.';

create table public.pricings (
    id bigint generated always as identity constraint pricings_id_key unique,
    service_name text not null,
    version text not null,
    availability text not null default 'active',
    url text,
    document jsonb,
    source bytea,
    created_at timestamptz not null default now(),
    updated_at timestamptz not null default now(),
    organization text not null default coalesce(current_setting('space_events.organization', true), ''),
    constraint pricings_pkey primary key (service_name, version, organization),
    constraint pricings_service_name_fkey
        foreign key (service_name, organization) references public.services (name, organization)
        on update cascade
        on delete cascade,
    constraint pricings_version_not_blank check (btrim(version, E' \t\n\r') <> ''),
    constraint pricings_version_length check (char_length(version) <= 255),
    constraint pricings_version_no_control
        check (version !~ '[\u0001-\u001f\u007f-\u009f\u2028\u2029]'),
    constraint pricings_availability_known check (availability in ('active', 'archived'))
);

comment on table public.pricings is 'A version of a service''s pricing, and whether it is offered.';
comment on column public.pricings.id is 'Never changes; pairs the row before a change with the row after it.';
comment on column public.pricings.availability is 'active or archived.';
comment on column public.pricings.url is 'Where the document was fetched from, if it was given by URL.';
comment on column public.pricings.document is 'The pricing as JSON, as it was written.';
comment on column public.pricings.source is 'The uploaded file, byte for byte (Pricing2Yaml).';
comment on column public.pricings.organization is 'That of its service.';
