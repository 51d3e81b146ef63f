//! The migrations: which of them the database has, and applying the others.
//!
//! sqlx embeds them in the program and gives each a checksum. Its runner is not used: it
//! keeps its list where `search_path` says, perhaps in the list of another program, and
//! it writes even if nothing is pending. The list here is `space_events.migrations`.

mod earlier;
mod list;
mod surroundings;

use std::time::Duration;

use anyhow::{Context as _, ensure};
use sqlx::migrate::{Migration, Migrator};
use sqlx::{AssertSqlSafe, Connection as _, PgConnection};
use tokio::time::sleep;
use tracing::{info, warn};

use self::list::Applied;
use self::surroundings::{check_whole, look_around};
use super::capture;

static MIGRATIONS: Migrator = sqlx::migrate!();

/// So that a migration means the same, whatever the settings of the role are.
const BEGIN: &str = "begin isolation level read committed read write; \
    set local search_path = pg_catalog, pg_temp; \
    set local quote_all_identifiers = off; \
    set local client_min_messages = warning; \
    set local statement_timeout = 0; \
    set local lock_timeout = 0";

/// Of several instances that start at once, one applies a migration while the others wait.
const WAIT_FOR_ITS_TURN: &str =
    "select pg_advisory_xact_lock(hashtextextended('space_events migrations', 0))";

/// While a migration waits for a lock, writers wait behind it. So it gives up soon and
/// tries again later, but not before Postgres has looked for deadlocks: only then does
/// Postgres end an autovacuum that is in the way.
const LIMIT_LOCKS: &str = "select set_config('lock_timeout', (setting::integer + 200)::text, true) \
    from pg_settings where name = 'deadlock_timeout'";

/// The pause before the next attempt, of which up to as much again is random.
const PAUSE: Duration = Duration::from_secs(1);

const LOCK_TIMEOUT: &str = "55P03";
const DEADLOCK: &str = "40P01";

/// Applies the migrations that the database does not have. If it has them all, nothing is
/// written, so no right to write is needed.
///
/// # Errors
///
/// The database is away, or what is in it stands in the way: in one line, with
/// what to do about it.
pub async fn apply(connection: &mut PgConnection) -> anyhow::Result<()> {
    let mut told = false;
    while !is_current(connection).await? {
        match apply_next(connection).await {
            Ok(()) => {}
            Err(error) if has_lost_the_wait(&error) => {
                if !std::mem::replace(&mut told, true) {
                    warn!(
                        "the migrations wait for transactions that use public.services or \
                         public.pricings to end; trying again and again"
                    );
                }
                sleep(PAUSE.mul_f64(1.0 + fastrand::f64())).await;
            }
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

fn has_lost_the_wait(error: &anyhow::Error) -> bool {
    let code = error.chain().find_map(|cause| {
        let error: &sqlx::Error = cause.downcast_ref()?;
        error.as_database_error()?.code()
    });
    matches!(code.as_deref(), Some(LOCK_TIMEOUT | DEADLOCK))
}

async fn is_current(connection: &mut PgConnection) -> anyhow::Result<bool> {
    let found = look_around(connection).await?;
    found.check()?;
    if !found.has_list {
        return Ok(false);
    }
    let applied = list::read(connection).await?;
    if applied.is_empty() || earlier::are_applied(&applied, found.list_comment.as_deref())? {
        return Ok(false);
    }
    check_versions(connection, &applied).await?;
    if next_pending(&applied).is_some() {
        return Ok(false);
    }
    check_whole(connection).await?;
    Ok(true)
}

/// One step, in a transaction of its own: the first migration that is pending, or the list
/// as it has to be before.
async fn apply_next(connection: &mut PgConnection) -> anyhow::Result<()> {
    let mut tx = connection.begin_with(BEGIN).await?;
    sqlx::query(WAIT_FOR_ITS_TURN).execute(&mut *tx).await?;
    sqlx::query(LIMIT_LOCKS).execute(&mut *tx).await?;
    apply_within(&mut tx).await?;
    tx.commit().await.context("apply the migrations")
}

async fn apply_within(tx: &mut PgConnection) -> anyhow::Result<()> {
    let found = look_around(tx).await?;
    found.check()?;
    let comment = found.list_comment.as_deref();
    let mut applied = if found.has_list {
        list::read(tx).await?
    } else {
        Applied::new()
    };
    let is_copy = found.has_list && applied.is_empty();
    if is_copy {
        applied = list::recall(comment)?;
    }
    if earlier::are_applied(&applied, comment)? {
        repair(tx).await?;
        applied = replace_earlier(tx, &found.role).await?;
    } else if is_copy {
        list::insert_recalled(tx, &applied).await?;
    } else if let Some(migration) = next_pending(&applied) {
        repair(tx).await?;
        run(tx, migration, &found.role).await?;
        if !found.has_schema {
            list::create(tx).await?;
        }
        list::insert(tx, migration).await?;
        applied.insert(migration.version, migration.checksum.to_vec());
    } else {
        return Ok(());
    }
    list::comment(tx, &applied).await?;
    expect(tx).await?;
    Ok(())
}

fn next_pending(applied: &Applied) -> Option<&'static Migration> {
    MIGRATIONS
        .iter()
        .find(|migration| !applied.contains_key(&migration.version))
}

/// Checks that what this program has is what was applied, and that this program may run
/// with the migrations that it does not have.
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

async fn run(tx: &mut PgConnection, migration: &Migration, role: &str) -> anyhow::Result<()> {
    let ran = sqlx::raw_sql(migration.sql.clone()).execute(tx).await;
    ran.map(drop).map_err(|error| {
        let remedy = format!(
            "as a role that may create in the database and in its schema public, or grant that \
             to {role}"
        );
        explain(error, &format!("migration {}", migration.version), &remedy)
    })
}

/// Puts the present migrations into the list, in the place of those from before 0.1.0.
async fn replace_earlier(tx: &mut PgConnection, role: &str) -> anyhow::Result<Applied> {
    let refused = |error| {
        let remedy = format!("as the role that owns the schema space_events, which {role} is not");
        explain(error, "taking over a database from before 0.1.0", &remedy)
    };
    let left = sqlx::raw_sql(earlier::LEAVE).execute(&mut *tx).await;
    left.map_err(refused)?;
    for migration in MIGRATIONS
        .iter()
        .filter(|one| one.version <= earlier::REPLACED_BY)
    {
        if earlier::RUN_AGAIN.contains(&migration.version) {
            let ran = sqlx::raw_sql(migration.sql.clone()).execute(&mut *tx).await;
            ran.map_err(refused)?;
        }
        list::insert(tx, migration).await?;
    }
    info!("took over a database from before 0.1.0");
    Ok(list::read(tx).await?)
}

fn explain(error: sqlx::Error, what: &str, remedy: &str) -> anyhow::Error {
    let why = match &error {
        sqlx::Error::Database(database) => database.message().to_owned(),
        error => error.to_string(),
    };
    let code = error.as_database_error().and_then(|error| error.code());
    match code.as_deref() {
        Some("42501") => {
            anyhow::anyhow!("{what}: {why}: run `space-events migrate` once {remedy}")
        }
        // To be tried again.
        Some(LOCK_TIMEOUT | DEADLOCK) => error.into(),
        _ => anyhow::anyhow!("{what}: {why}"),
    }
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
