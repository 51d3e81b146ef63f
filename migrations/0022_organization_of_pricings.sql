-- Services belong to organisations: the column of pricings.

alter table public.pricings
    add column organization text not null default '';

comment on column public.pricings.organization is 'That of its service.';
