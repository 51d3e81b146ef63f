//! Capture: whether the triggers and their functions are as the migrations made them, and
//! can read what they need.

use std::fmt;

use sqlx::{FromRow, PgExecutor};

/// A part of capture that is not as it should be.
#[derive(Clone, Debug, PartialEq, Eq, FromRow)]
pub struct Fault {
    /// A trigger, function or table, such as `trigger services_hold on public.services`.
    pub part: String,
    /// What is wrong with it, such as `missing`.
    pub fault: String,
    /// The statements that make it as it should be; none: somebody has to decide.
    pub repair: Option<String>,
}

impl fmt::Display for Fault {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}: {}", self.part, self.fault)
    }
}

/// The parts that are not as they should be, in the order in which to repair them.
///
/// # Errors
///
/// The database is away, or has lost the schema `space_events`.
pub async fn faults(executor: impl PgExecutor<'_>) -> sqlx::Result<Vec<Fault>> {
    // A trigger of another name that calls our functions records each change a second
    // time. Somebody made it, so it is switched off rather than dropped.
    //
    // Exempt from row level security, as in Postgres, are superusers, roles with
    // BYPASSRLS, and the owner of a table unless it is forced.
    sqlx::query_as(
        "with compared as (
            select table_name, name,
                e.fires, e.definition,
                p.definition as definition_now,
                case
                    when p.name is null then 'missing'
                    when e.name is null then 'records a second time'
                    when p.definition <> e.definition then 'another definition'
                    else 'fires otherwise'
                end as fault
            from space_events.expected_capture e
            full join space_events.present_capture() p using (table_name, name)
            where p.name is null
            or p.definition <> e.definition
            or p.fires <> e.fires
            or (e.name is null
                and p.table_name in ('public.services', 'public.pricings')
                and p.definition like '% EXECUTE FUNCTION space_events.%'
                and p.fires <> 'D'
                and exists (select from space_events.expected_capture))
        ), owners as (
            select distinct r.oid, r.rolname, r.rolsuper or r.rolbypassrls as exempt
            from pg_catalog.pg_proc f
            join pg_catalog.pg_roles r on r.oid = f.proowner
            where f.pronamespace = 'space_events'::regnamespace and f.prosecdef
        ), seen as (
            select t.name, c.oid, c.relowner, c.relrowsecurity, c.relforcerowsecurity, t.needed
            from (values
                ('public.services', 'select'),
                ('public.pricings', 'select'),
                ('space_events.row_changes', 'insert')) t (name, needed)
            join pg_catalog.pg_class c on c.oid = to_regclass(t.name)
        ), said as (
            select 1 as step, table_name, name,
                case when table_name = '' then 'function ' || name else format('trigger %s on %s', name, table_name) end as part,
                fault,
                case
                    when fault = 'records a second time' then
                        format('alter table %s disable trigger %I', table_name, name)
                    when table_name = '' then definition
                    else concat_ws('; ',
                        case
                            when fault = 'missing' then definition
                            when fault <> 'another definition' then null
                            when current_setting('server_version_num')::integer >= 140000 then
                                regexp_replace(definition, '^CREATE ', 'CREATE OR REPLACE ')
                            else format('drop trigger %I on %s; %s', name, table_name, definition)
                        end,
                        format('alter table %s enable %s trigger %I', table_name,
                            case fires when 'A' then 'always' when 'R' then 'replica' else '' end, name))
                end as repair
            from compared
            union all
            select 2, '', '', 'table space_events.expected_capture',
                'empty, so nobody knows how capture should be: restore its rows', null
            where not exists (select from space_events.expected_capture)
            union all
            select 2, seen.name, '', 'table ' || seen.name,
                format('row level security hides its rows from the triggers, whose functions belong to %1$I: alter role %1$I bypassrls', owners.rolname),
                null
            from seen
            join owners on not owners.exempt
            where seen.relrowsecurity
            and (seen.relforcerowsecurity or not pg_has_role(owners.oid, seen.relowner, 'usage'))
            union all
            select 2, seen.name, '', 'table ' || seen.name,
                format('the triggers'' functions belong to %1$I, who may not use it: grant %2$s on %3$s to %1$I', owners.rolname, seen.needed, seen.name),
                null
            from seen
            join owners on not has_table_privilege(owners.oid, seen.oid, seen.needed)
            union all
            select 2, seen.name, '', 'table ' || seen.name,
                format('row level security hides its rows from this program: alter role %I bypassrls', current_user),
                null
            from seen
            where seen.name = 'space_events.row_changes' and row_security_active(seen.oid)
        )
        select part, fault, repair
        from said
        order by step, fault = 'records a second time', table_name, name",
    )
    .fetch_all(executor)
    .await
}
