-- Services belong to organisations: the column of services.

alter table public.services
    add column organization text not null default '',
    add constraint services_organization_length check (char_length(organization) <= 255) not valid,
    add constraint services_organization_no_control
        check (organization !~ '[\u0001-\u001f\u007f-\u009f\u2028\u2029]') not valid;

comment on column public.services.organization is 'Whose it is; empty: the default organisation''s. Taken from the setting space_events.organization where a writer names none.';
comment on column public.services.name is 'As it was given; unique without regard to case within its organisation.';
