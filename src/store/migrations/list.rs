//! The list of the migrations that were applied: `space_events.migrations`.

use std::collections::BTreeMap;

use anyhow::ensure;
use sqlx::migrate::Migration;
use sqlx::{AssertSqlSafe, PgConnection};
use tracing::info;

use super::MIGRATIONS;

/// What its comment says before the numbers.
const COMMENT: &str = "The migrations that were applied: ";

/// The checksum of each migration that was applied, by its number. Empty: it was
/// applied to the database that this one's schema was copied from.
pub(super) type Applied = BTreeMap<i64, Vec<u8>>;

pub(super) async fn read(connection: &mut PgConnection) -> sqlx::Result<Applied> {
    let rows: Vec<(i64, Vec<u8>)> =
        sqlx::query_as("select version, checksum from space_events.migrations")
            .fetch_all(connection)
            .await?;
    Ok(rows.into_iter().collect())
}

pub(super) async fn create(connection: &mut PgConnection) -> sqlx::Result<()> {
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

pub(super) async fn insert(
    connection: &mut PgConnection,
    migration: &Migration,
) -> sqlx::Result<()> {
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
pub(super) async fn move_here(connection: &mut PgConnection) -> anyhow::Result<Applied> {
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
    let applied = read(connection).await?;
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
pub(super) async fn recall(
    connection: &mut PgConnection,
    comment: Option<&str>,
) -> anyhow::Result<Applied> {
    let numbers = comment.and_then(|comment| comment.strip_prefix(COMMENT));
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

/// Writes the numbers into the comment, which a copy without rows has too.
pub(super) async fn comment(connection: &mut PgConnection, applied: &Applied) -> sqlx::Result<()> {
    let numbers: Vec<String> = applied.keys().map(ToString::to_string).collect();
    let numbers = numbers.join(", ");
    let statement = format!("comment on table space_events.migrations is '{COMMENT}{numbers}'");
    sqlx::query(AssertSqlSafe(statement))
        .execute(connection)
        .await?;
    Ok(())
}
