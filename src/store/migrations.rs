//! The migrations: which of them the database has, and applying the others.
//!
//! sqlx embeds them in the program and gives each a checksum. Its runner is not
//! used: it keeps its list wherever `search_path` says, perhaps among the rows of
//! another program, and it writes even where nothing is pending. The list here is
//! `space_events.migrations`; a list of sqlx's runner is moved there.

use std::collections::BTreeMap;

use anyhow::{Context as _, bail, ensure};
use sqlx::migrate::{Migration, Migrator};
use sqlx::{AssertSqlSafe, Connection as _, FromRow, PgConnection};
use tracing::{info, warn};

use super::capture;

static MIGRATIONS: Migrator = sqlx::migrate!();

/// Whatever the role's settings are, a migration means the same.
const BEGIN: &str = "begin isolation level read committed read write; \
    set local search_path = pg_catalog, pg_temp; \
    set local quote_all_identifiers = off; \
    set local statement_timeout = 0";

/// What the list is called, and what its comment says before the numbers.
const LIST_COMMENT: &str = "The migrations that were applied: ";

/// The checksum of each migration that was applied, by its number. Empty: it was
/// applied to the database that this one's schema was copied from.
type Applied = BTreeMap<i64, Vec<u8>>;

/// Applies the migrations that the database does not have. Where it has them all,
/// nothing is written, so no right to write is needed.
///
/// # Errors
///
/// The database is away, or what is in it stands in the way: in one line, with
/// what to do about it.
pub async fn apply(connection: &mut PgConnection) -> anyhow::Result<()> {
    while !is_current(connection).await? {
        apply_next(connection).await?;
    }
    Ok(())
}

async fn is_current(connection: &mut PgConnection) -> anyhow::Result<bool> {
    let found = look_around(connection).await?;
    found.check()?;
    if !found.has_list {
        return Ok(false);
    }
    let applied = list(connection).await?;
    if applied.is_empty() {
        return Ok(false);
    }
    check_versions(connection, &applied).await?;
    Ok(pending(&applied).next().is_none())
}

/// Applies the first that is pending, in a transaction of its own. Of several
/// instances that start at once, one does so, while the others wait.
async fn apply_next(connection: &mut PgConnection) -> anyhow::Result<()> {
    let mut tx = connection.begin_with(BEGIN).await?;
    sqlx::query("select pg_advisory_xact_lock(hashtextextended('space_events migrations', 0))")
        .execute(&mut *tx)
        .await?;
    let found = look_around(&mut tx).await?;
    found.check()?;
    let mut applied = Applied::new();
    if found.has_list {
        applied = list(&mut tx).await?;
        if applied.is_empty() {
            applied = recall(&mut tx, found.list_comment.as_deref()).await?;
        } else {
            repair(&mut tx).await?;
        }
    } else if found.has_schema {
        create_list(&mut tx).await?;
        applied = move_list(&mut tx).await?;
    }
    let next = pending(&applied).next();
    if let Some(migration) = next {
        run(&mut tx, migration)
            .await
            .map_err(|error| explain(&error, migration, &found.role))?;
        if !found.has_schema {
            create_list(&mut tx).await?;
        }
        insert(&mut tx, migration).await?;
        applied.insert(migration.version, migration.checksum.to_vec());
    }
    remember(&mut tx, &applied).await?;
    tx.commit().await.context("apply the migrations")
}

fn pending(applied: &Applied) -> impl Iterator<Item = &'static Migration> + use<'_> {
    MIGRATIONS
        .iter()
        .filter(|migration| !applied.contains_key(&migration.version))
}

/// What there is before anything is changed.
#[derive(FromRow)]
struct Surroundings {
    has_schema: bool,
    has_list: bool,
    list_comment: Option<String>,
    has_tables: bool,
    /// Tables of these names were made by the migrations.
    tables_are_ours: bool,
    may_identify_cluster: bool,
    role: String,
}

/// By the catalogs alone: asking for a table by its name needs rights on its schema.
async fn look_around(connection: &mut PgConnection) -> sqlx::Result<Surroundings> {
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
    fn check(&self) -> anyhow::Result<()> {
        let role = &self.role;
        ensure!(
            self.may_identify_cluster,
            "the role {role} may not ask which cluster this is, by which a copy is told from \
             the original: grant execute on function pg_catalog.pg_control_system() to {role}"
        );
        if self.has_schema {
            ensure!(
                self.has_tables || !self.has_list,
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

async fn list(connection: &mut PgConnection) -> sqlx::Result<Applied> {
    let rows: Vec<(i64, Vec<u8>)> =
        sqlx::query_as("select version, checksum from space_events.migrations")
            .fetch_all(connection)
            .await?;
    Ok(rows.into_iter().collect())
}

/// What this program has is what was applied, and what it does not have lets it run.
async fn check_versions(connection: &mut PgConnection, applied: &Applied) -> anyhow::Result<()> {
    for migration in MIGRATIONS.iter() {
        let version = migration.version;
        let checksum = applied
            .get(&version)
            .filter(|checksum| !checksum.is_empty());
        ensure!(
            checksum.is_none_or(|checksum| *checksum == *migration.checksum),
            "migration {version} of this space-events is not the one that was applied to the \
             database: run the version that made it, or a later one"
        );
    }
    if applied
        .keys()
        .all(|version| MIGRATIONS.version_exists(*version))
    {
        return Ok(());
    }
    let needed: i64 = sqlx::query_scalar("select space_events.needs_migration()")
        .fetch_one(connection)
        .await?;
    ensure!(
        MIGRATIONS.version_exists(needed),
        "this space-events is too old for its database, which a newer one has migrated: \
         upgrade it (it must know migration {needed})"
    );
    Ok(())
}

async fn run(connection: &mut PgConnection, migration: &Migration) -> sqlx::Result<()> {
    sqlx::raw_sql(migration.sql.clone())
        .execute(connection)
        .await?;
    Ok(())
}

fn explain(error: &sqlx::Error, migration: &Migration, role: &str) -> anyhow::Error {
    let why = match error {
        sqlx::Error::Database(database) => database.message().to_owned(),
        error => error.to_string(),
    };
    let code = error.as_database_error().and_then(|error| error.code());
    let remedy = if code.as_deref() == Some("42501") {
        format!(
            ": run `space-events migrate` once as a role that may create in the database and in \
             its schema public, or grant that to {role}"
        )
    } else {
        String::new()
    };
    anyhow::anyhow!("migration {}: {why}{remedy}", migration.version)
}

async fn create_list(connection: &mut PgConnection) -> sqlx::Result<()> {
    sqlx::query(
        "create table space_events.migrations (
            version bigint constraint migrations_pkey primary key,
            description text not null,
            installed_on timestamptz not null default now(),
            checksum bytea not null
        )",
    )
    .execute(connection)
    .await?;
    Ok(())
}

async fn insert(connection: &mut PgConnection, migration: &Migration) -> sqlx::Result<()> {
    sqlx::query(
        "insert into space_events.migrations (version, description, checksum) values ($1, $2, $3)",
    )
    .bind(migration.version)
    .bind(&*migration.description)
    .bind(&*migration.checksum)
    .execute(connection)
    .await?;
    Ok(())
}

/// Moves what sqlx's runner wrote down for this program, and leaves what it wrote
/// down for others. Ours are known by their checksums.
async fn move_list(connection: &mut PgConnection) -> anyhow::Result<Applied> {
    let versions: Vec<i64> = MIGRATIONS
        .iter()
        .map(|migration| migration.version)
        .collect();
    let checksums: Vec<&[u8]> = MIGRATIONS
        .iter()
        .map(|migration| &*migration.checksum)
        .collect();
    let ours = "(version, checksum) in (select * from unnest($1::bigint[], $2::bytea[]))";
    let lists: Vec<(String, bool, bool)> = sqlx::query_as(
        "select c.oid::regclass::text,
            has_table_privilege(c.oid, 'delete'),
            pg_has_role(c.relowner, 'usage')
        from pg_catalog.pg_class c
        where c.relname = '_sqlx_migrations'
        and c.relkind = 'r'
        and has_schema_privilege(c.relnamespace, 'usage')
        and has_table_privilege(c.oid, 'select')
        and (
            select count(*) from pg_catalog.pg_attribute
            where attrelid = c.oid
            and (attname, atttypid) in (
                ('version', 'bigint'::regtype), ('description', 'text'::regtype),
                ('installed_on', 'timestamptz'::regtype), ('checksum', 'bytea'::regtype))) = 4",
    )
    .fetch_all(&mut *connection)
    .await?;
    for (name, may_delete, is_owner) in lists {
        let statement = format!(
            "insert into space_events.migrations (version, description, installed_on, checksum)
            select version, description, installed_on, checksum from {name} where {ours}
            on conflict do nothing"
        );
        let moved = sqlx::query(AssertSqlSafe(statement))
            .bind(&versions)
            .bind(&checksums)
            .execute(&mut *connection)
            .await?;
        if moved.rows_affected() == 0 {
            continue;
        }
        info!("moved the list of migrations from {name} to space_events.migrations");
        if may_delete {
            sqlx::query(AssertSqlSafe(format!("delete from {name} where {ours}")))
                .bind(&versions)
                .bind(&checksums)
                .execute(&mut *connection)
                .await?;
        }
        let statement = format!("select exists (select from {name})");
        let has_others: bool = sqlx::query_scalar(AssertSqlSafe(statement))
            .fetch_one(&mut *connection)
            .await?;
        if is_owner && !has_others {
            sqlx::query(AssertSqlSafe(format!("drop table {name}")))
                .execute(&mut *connection)
                .await?;
        }
    }
    let applied = list(connection).await?;
    ensure!(
        !applied.is_empty(),
        "the schema space_events is there without its list of migrations: restore the whole \
         database from a dump, or, if another program has a schema of this name, give \
         space-events a database of its own"
    );
    Ok(applied)
}

/// Fills the list where the schema was copied without its rows, from the comment
/// that came with it.
async fn recall(connection: &mut PgConnection, comment: Option<&str>) -> anyhow::Result<Applied> {
    let numbers = comment.and_then(|comment| comment.strip_prefix(LIST_COMMENT));
    let applied: Vec<i64> = numbers
        .unwrap_or_default()
        .split(", ")
        .filter_map(|number| number.parse().ok())
        .collect();
    ensure!(
        !applied.is_empty(),
        "space_events.migrations is empty, and its comment is gone: restore the rows of the \
         schema space_events too"
    );
    sqlx::query(
        "insert into space_events.migrations (version, description, checksum)
        select version, 'applied where this schema was copied from', '' from unnest($1::bigint[]) version",
    )
    .bind(&applied)
    .execute(connection)
    .await?;
    Ok(applied
        .into_iter()
        .map(|version| (version, Vec::new()))
        .collect())
}

/// Puts capture back as it should be, before a migration builds on it.
async fn repair(connection: &mut PgConnection) -> anyhow::Result<()> {
    if !can_expect(connection).await? {
        return Ok(());
    }
    for fault in capture::faults(&mut *connection).await? {
        if let Some(statements) = &fault.repair {
            warn!("repairing, before migrating: {fault}");
            sqlx::raw_sql(AssertSqlSafe(statements.clone()))
                .execute(&mut *connection)
                .await
                .with_context(|| fault.to_string())?;
        }
    }
    Ok(())
}

/// Keeps what was applied where a copy without rows has it too, and what capture
/// should look like from now on.
async fn remember(connection: &mut PgConnection, applied: &Applied) -> sqlx::Result<()> {
    let numbers: Vec<String> = applied.keys().map(ToString::to_string).collect();
    let numbers = numbers.join(", ");
    let statement =
        format!("comment on table space_events.migrations is '{LIST_COMMENT}{numbers}'");
    sqlx::query(AssertSqlSafe(statement))
        .execute(&mut *connection)
        .await?;
    if can_expect(connection).await? {
        sqlx::query("select space_events.expect_capture()")
            .execute(connection)
            .await?;
    }
    Ok(())
}

async fn can_expect(connection: &mut PgConnection) -> sqlx::Result<bool> {
    sqlx::query_scalar("select to_regprocedure('space_events.expect_capture()') is not null")
        .fetch_one(connection)
        .await
}
