-- Validates the constraints on control characters where the rows allow it.
--
-- This reads both tables and holds no writer up. Rows that were there before and do
-- not comply stay as they are, and the constraint stays not valid: it holds for what
-- is written from now on.

do $$
declare
    refused record;
begin
    for refused in
        values ('public.services', 'services_name_no_control'),
            ('public.pricings', 'pricings_version_no_control')
    loop
        begin
            execute format(
                'alter table %s validate constraint %I', refused.column1, refused.column2);
        exception when check_violation then
            raise warning '% holds rows that % refuses', refused.column1, refused.column2;
        end;
    end loop;
end
$$;
