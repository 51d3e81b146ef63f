-- Names and versions hold no control characters and no line breaks.
--
-- They are shown in lists, logs and events, where a line break would begin a line of
-- its own. Not valid at first: adding such a constraint holds a lock that writers wait
-- for, so it must not read the tables meanwhile. What is there is checked by the next
-- migration. A row that holds such characters can be read, deleted and renamed; every
-- other update of it is refused.

alter table public.services
    add constraint services_name_no_control
    check (name !~ '[\u0001-\u001f\u007f-\u009f\u2028\u2029]') not valid;

alter table public.pricings
    add constraint pricings_version_no_control
    check (version !~ '[\u0001-\u001f\u007f-\u009f\u2028\u2029]') not valid;
