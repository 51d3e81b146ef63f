//! The list of the migrations that were applied: `space_events.migrations`.
//!
//! A dump of the schema without its rows is enough to go on from: the comment on the table
//! carries their numbers.

use std::collections::BTreeMap;

use anyhow::ensure;
use sqlx::migrate::Migration;
use sqlx::{AssertSqlSafe, PgConnection};

/// What its comment says before the numbers.
const COMMENT: &str = "The applied migrations: ";

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

/// The numbers that the comment on the list says: where the schema was copied without its
/// rows, the comment came with it. Builds from before 0.1.0 wrote another comment, of the
/// same form.
pub(super) fn recall(comment: Option<&str>) -> anyhow::Result<Applied> {
    let numbers = comment.and_then(|comment| comment.split_once(": "));
    let applied: Applied = numbers
        .unwrap_or_default()
        .1
        .split(", ")
        .filter_map(|number| Some((number.parse().ok()?, Vec::new())))
        .collect();
    ensure!(
        !applied.is_empty(),
        "space_events.migrations is empty, and its comment is gone: restore the rows of the \
         schema space_events too"
    );
    Ok(applied)
}

/// Writes down what was applied where this schema was copied from.
pub(super) async fn insert_recalled(
    connection: &mut PgConnection,
    applied: &Applied,
) -> sqlx::Result<()> {
    let versions: Vec<i64> = applied.keys().copied().collect();
    sqlx::query(
        "insert into space_events.migrations (version, description, checksum)
        select version, 'applied where this schema was copied from', '' from unnest($1::bigint[]) version",
    )
    .bind(versions)
    .execute(connection)
    .await?;
    Ok(())
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
