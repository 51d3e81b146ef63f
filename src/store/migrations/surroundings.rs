//! What the database has before anything is changed, and whether it stands in the way.

use anyhow::{bail, ensure};
use sqlx::{FromRow, PgConnection};

/// What there is before anything is changed.
#[derive(FromRow)]
pub(super) struct Surroundings {
    pub(super) has_schema: bool,
    pub(super) has_list: bool,
    pub(super) list_comment: Option<String>,
    pub(super) has_tables: bool,
    /// Tables of these names were made by the migrations.
    tables_are_ours: bool,
    may_identify_cluster: bool,
    pub(super) role: String,
}

/// Reads only the catalogs: to ask for a table by its name needs rights on its schema.
pub(super) async fn look_around(connection: &mut PgConnection) -> sqlx::Result<Surroundings> {
    sqlx::query_as(
        "select
            exists (select from pg_catalog.pg_namespace where nspname = 'space_events') as has_schema,
            list.oid is not null as has_list,
            obj_description(list.oid, 'pg_class') as list_comment,
            exists (
                select from pg_catalog.pg_class c
                where c.relnamespace = to_regnamespace('public')
                and c.relname in ('services', 'pricings')) as has_tables,
            exists (
                select from pg_catalog.pg_constraint
                where conname = 'services_name_not_blank'
                and connamespace = to_regnamespace('public')) as tables_are_ours,
            has_function_privilege('pg_catalog.pg_control_system()', 'execute') as may_identify_cluster,
            current_user::text as role
        from (select) nothing
        left join (
            select c.oid
            from pg_catalog.pg_class c
            join pg_catalog.pg_namespace n on n.oid = c.relnamespace
            where n.nspname = 'space_events' and c.relname = 'migrations'
        ) list on true",
    )
    .fetch_one(connection)
    .await
}

impl Surroundings {
    pub(super) fn check(&self) -> anyhow::Result<()> {
        let role = &self.role;
        ensure!(
            self.may_identify_cluster,
            "the role {role} may not ask which cluster this is, which is needed to tell a copy \
             from the original: grant execute on function pg_catalog.pg_control_system() to {role}"
        );
        if self.has_schema {
            ensure!(
                self.has_list,
                "the schema space_events is there without its list of migrations: restore the \
                 whole database from a dump, or, if another program has a schema of this name, \
                 give space-events a database of its own"
            );
            ensure!(
                self.has_tables,
                "the tables public.services and public.pricings are gone, while the schema \
                 space_events is there: restore them from the same dump"
            );
        } else if self.has_tables {
            ensure!(
                !self.tables_are_ours,
                "the schema space_events is gone, while public.services is there: restore it \
                 from the same dump (pg_dump of the whole database), or rename public.services \
                 and public.pricings, start again, and copy their rows into the new ones"
            );
            bail!(
                "the names public.services and public.pricings are needed, and another program \
                 has one of them: give space-events a database of its own"
            );
        }
        Ok(())
    }
}

/// Checks that everything is there that the migrations made: a restore may have brought
/// only a part.
pub(super) async fn check_whole(connection: &mut PgConnection) -> anyhow::Result<()> {
    let lost: Vec<String> = sqlx::query_scalar(
        "select name
        from unnest(array['journal', 'marks', 'row_changes', 'expected_capture', 'present_capture']) name
        where name not in (
            select relname from pg_catalog.pg_class
            where relnamespace = to_regnamespace('space_events')
            union all
            select proname from pg_catalog.pg_proc
            where pronamespace = to_regnamespace('space_events'))",
    )
    .fetch_all(connection)
    .await?;
    ensure!(
        lost.is_empty(),
        "the schema space_events has lost a part ({}): restore the whole database from a dump",
        lost.join(", ")
    );
    Ok(())
}
