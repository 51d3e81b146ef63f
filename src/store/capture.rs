//! The triggers: whether they are as the migrations made them.

use sqlx::{FromRow, PgExecutor};

/// A trigger that is not as it should be.
#[derive(Clone, Debug, PartialEq, Eq, FromRow)]
pub struct Fault {
    /// `services` or `pricings`.
    pub table_name: String,
    /// The trigger.
    pub trigger_name: String,
    /// What is wrong with it: `missing`, `another definition` or `fires otherwise`.
    pub fault: String,
    /// The statements that make it as it should be.
    pub repair: String,
}

/// The triggers that are not as they should be.
///
/// # Errors
///
/// The database is away, or the table `space_events.capture` is not there.
pub async fn faults(executor: impl PgExecutor<'_>) -> sqlx::Result<Vec<Fault>> {
    sqlx::query_as(
        "select c.table_name, c.trigger_name,
            case
                when t.oid is null then 'missing'
                when pg_get_triggerdef(t.oid) <> c.definition then 'another definition'
                else 'fires otherwise'
            end as fault,
            case
                when t.oid is null then c.definition || ';'
                when pg_get_triggerdef(t.oid) <> c.definition then
                    format('drop trigger %I on public.%I; %s;', c.trigger_name, c.table_name, c.definition)
                else ''
            end
            || format('alter table public.%I enable %s trigger %I',
                c.table_name,
                case c.fires when 'A' then 'always' when 'R' then 'replica' else '' end,
                c.trigger_name) as repair
        from space_events.capture c
        left join pg_catalog.pg_trigger t
            on t.tgname = c.trigger_name
            and t.tgrelid = to_regclass(format('public.%I', c.table_name))
            and not t.tgisinternal
        where t.oid is null
        or t.tgenabled <> c.fires
        or pg_get_triggerdef(t.oid) <> c.definition
        order by c.table_name, c.trigger_name",
    )
    .fetch_all(executor)
    .await
}
