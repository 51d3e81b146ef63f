//! The migrations: which of them the database has, and applying the others.
//!
//! sqlx embeds them in the program and gives each a checksum. Its runner is not
//! used: it keeps its list wherever `search_path` says, perhaps among the rows of
//! another program, and it writes even where nothing is pending. The list here is
//! `space_events.migrations`; a list of sqlx's runner is moved there.

mod list;
mod surroundings;

use anyhow::{Context as _, ensure};
use sqlx::migrate::{Migration, Migrator};
use sqlx::{AssertSqlSafe, Connection as _, PgConnection};
use tracing::warn;

use self::list::Applied;
use self::surroundings::{check_whole, look_around};
use super::capture;

static MIGRATIONS: Migrator = sqlx::migrate!();

/// Whatever the role's settings are, a migration means the same.
const BEGIN: &str = "begin isolation level read committed read write; \
    set local search_path = pg_catalog, pg_temp; \
    set local quote_all_identifiers = off; \
    set local statement_timeout = 0";

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
    let applied = list::read(connection).await?;
    if applied.is_empty() {
        return Ok(false);
    }
    check_versions(connection, &applied).await?;
    if pending(&applied).next().is_some() {
        return Ok(false);
    }
    check_whole(connection).await?;
    Ok(true)
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
    let mut applied = if found.has_list {
        list::read(&mut tx).await?
    } else {
        Applied::new()
    };
    if !applied.is_empty() {
        if pending(&applied).next().is_none() {
            return Ok(());
        }
        repair(&mut tx).await?;
    } else if found.has_list {
        applied = list::recall(&mut tx, found.list_comment.as_deref()).await?;
    } else if found.has_schema {
        list::create(&mut tx).await?;
        applied = list::move_here(&mut tx).await?;
    }
    let next = pending(&applied).next();
    if let Some(migration) = next {
        run(&mut tx, migration)
            .await
            .map_err(|error| explain(&error, migration, &found.role))?;
        if !found.has_schema {
            list::create(&mut tx).await?;
        }
        list::insert(&mut tx, migration).await?;
        applied.insert(migration.version, migration.checksum.to_vec());
    }
    list::comment(&mut tx, &applied).await?;
    expect(&mut tx).await?;
    tx.commit().await.context("apply the migrations")
}

fn pending(applied: &Applied) -> impl Iterator<Item = &'static Migration> + use<'_> {
    MIGRATIONS
        .iter()
        .filter(|migration| !applied.contains_key(&migration.version))
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

/// Keeps what capture should look like from now on.
async fn expect(connection: &mut PgConnection) -> sqlx::Result<()> {
    if can_expect(connection).await? {
        sqlx::query("select space_events.expect_capture()")
            .execute(connection)
            .await?;
    }
    Ok(())
}

/// Not before the migration that made it.
async fn can_expect(connection: &mut PgConnection) -> sqlx::Result<bool> {
    sqlx::query_scalar("select to_regprocedure('space_events.expect_capture()') is not null")
        .fetch_one(connection)
        .await
}
