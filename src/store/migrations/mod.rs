//! The migrations: which of them the database has, and applying the others.
//!
//! sqlx embeds them in the program and gives each a checksum. Its runner is not
//! used: it keeps its list wherever `search_path` says, perhaps among the rows of
//! another program, and it writes even where nothing is pending. The list here is
//! `space_events.migrations`; a list of sqlx's runner is moved there.

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

/// Whatever the role's settings are, a migration means the same.
const BEGIN: &str = "begin isolation level read committed read write; \
    set local search_path = pg_catalog, pg_temp; \
    set local quote_all_identifiers = off; \
    set local client_min_messages = warning; \
    set local statement_timeout = 0";

/// While a migration waits for a lock, writers wait behind it: so it gives up soon, and
/// tries again later. But not before Postgres has looked for deadlocks, which is when it
/// ends an autovacuum that is in the way.
const LIMIT_LOCKS: &str = "select set_config('lock_timeout', (setting::integer + 200)::text, true) \
    from pg_settings where name = 'deadlock_timeout'";

/// The pause before the next attempt, of which up to as much again is random.
const PAUSE: Duration = Duration::from_millis(50);
const PAUSE_AFTER_LOCK_TIMEOUT: Duration = Duration::from_secs(1);

const LOCK_TIMEOUT: &str = "55P03";
const DEADLOCK: &str = "40P01";

/// What an attempt to apply a migration led to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Attempt {
    /// It is applied, or somebody else has applied it.
    Done,
    /// Another instance is at it.
    NotItsTurn,
    /// A transaction is open that uses the tables.
    LockTimeout,
}

/// Applies the migrations that the database does not have. Where it has them all,
/// nothing is written, so no right to write is needed.
///
/// # Errors
///
/// The database is away, or what is in it stands in the way: in one line, with
/// what to do about it.
pub async fn apply(connection: &mut PgConnection) -> anyhow::Result<()> {
    let mut told = false;
    while !is_current(connection).await? {
        let pause = match apply_next(connection).await? {
            Attempt::Done => continue,
            Attempt::NotItsTurn => PAUSE,
            Attempt::LockTimeout => {
                if !std::mem::replace(&mut told, true) {
                    warn!(
                        "the migrations wait for transactions that use public.services or \
                         public.pricings to end; trying again and again"
                    );
                }
                PAUSE_AFTER_LOCK_TIMEOUT
            }
        };
        sleep(pause.mul_f64(1.0 + fastrand::f64())).await;
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

/// Applies the first that is pending. Of several instances that start at once, one does
/// so, while the others ask again and again whether it is their turn: an index that is
/// built beside writers waits for every statement that runs, also for one that waits.
async fn apply_next(connection: &mut PgConnection) -> anyhow::Result<Attempt> {
    const LOCK: &str =
        "select pg_try_advisory_lock(hashtextextended('space_events migrations', 0))";
    const UNLOCK: &str =
        "select pg_advisory_unlock(hashtextextended('space_events migrations', 0))";
    let is_its_turn: bool = sqlx::query_scalar(LOCK).fetch_one(&mut *connection).await?;
    if !is_its_turn {
        return Ok(Attempt::NotItsTurn);
    }
    let attempt = apply_in_turn(connection).await;
    // After an error the connection is closed, which unlocks too.
    if attempt.is_ok() {
        sqlx::query(UNLOCK).execute(connection).await?;
    }
    attempt
}

async fn apply_in_turn(connection: &mut PgConnection) -> anyhow::Result<Attempt> {
    match apply_first_pending(connection).await {
        Ok(()) => Ok(Attempt::Done),
        Err(error) if has_lost_the_wait(&error) => Ok(Attempt::LockTimeout),
        Err(error) => Err(error),
    }
}

fn has_lost_the_wait(error: &anyhow::Error) -> bool {
    let code = error.chain().find_map(|cause| {
        let error: &sqlx::Error = cause.downcast_ref()?;
        error.as_database_error()?.code()
    });
    matches!(code.as_deref(), Some(LOCK_TIMEOUT | DEADLOCK))
}

async fn apply_first_pending(connection: &mut PgConnection) -> anyhow::Result<()> {
    let mut tx = connection.begin_with(BEGIN).await?;
    sqlx::query(LIMIT_LOCKS).execute(&mut *tx).await?;
    let outside = apply_within(&mut tx).await?;
    tx.commit().await.context("apply the migrations")?;
    let Some((migration, role)) = outside else {
        return Ok(());
    };
    run_outside(connection, migration)
        .await
        .map_err(|error| explain(error, migration, &role))?;
    let mut tx = connection.begin_with(BEGIN).await?;
    list::insert(&mut tx, migration).await?;
    let applied = list::read(&mut tx).await?;
    list::comment(&mut tx, &applied).await?;
    tx.commit().await.context("apply the migrations")
}

/// Applies the first that is pending in a transaction of its own; gives it back, with
/// the role that runs it, and has done nothing, if it must not run in one.
async fn apply_within(
    tx: &mut PgConnection,
) -> anyhow::Result<Option<(&'static Migration, String)>> {
    let found = look_around(tx).await?;
    found.check()?;
    let mut applied = if found.has_list {
        list::read(tx).await?
    } else {
        Applied::new()
    };
    if !applied.is_empty() {
        match pending(&applied).next() {
            None => return Ok(None),
            Some(migration) if migration.no_tx => return Ok(Some((migration, found.role))),
            Some(_) => repair(tx).await?,
        }
    } else if found.has_list {
        applied = list::recall(tx, found.list_comment.as_deref()).await?;
    } else if found.has_schema {
        list::create(tx).await?;
        applied = list::move_here(tx).await?;
    }
    let next = pending(&applied).next().filter(|next| !next.no_tx);
    if let Some(migration) = next {
        run(tx, migration)
            .await
            .map_err(|error| explain(error, migration, &found.role))?;
        if !found.has_schema {
            list::create(tx).await?;
        }
        list::insert(tx, migration).await?;
        applied.insert(migration.version, migration.checksum.to_vec());
    }
    list::comment(tx, &applied).await?;
    expect(tx).await?;
    Ok(None)
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

/// Runs the statements of a migration one by one, each in a transaction of its own. The
/// migration may be repeated: what it does when it breaks off is done again.
async fn run_outside(connection: &mut PgConnection, migration: &Migration) -> sqlx::Result<()> {
    info!(
        "migration {}: building indexes beside writers, which waits for transactions that are open",
        migration.version
    );
    // Back to what the role has when the connection is given back.
    let settings = "set statement_timeout = 0; set lock_timeout = 0; \
        set default_transaction_read_only = off; set client_min_messages = warning";
    sqlx::raw_sql(settings).execute(&mut *connection).await?;
    for statement in migration.sql.as_str().split(";\n") {
        if statement
            .lines()
            .all(|line| line.is_empty() || line.starts_with("--"))
        {
            continue;
        }
        sqlx::raw_sql(AssertSqlSafe(statement.to_owned()))
            .execute(&mut *connection)
            .await?;
    }
    let settings = "reset statement_timeout; reset lock_timeout; \
        reset default_transaction_read_only; reset client_min_messages";
    sqlx::raw_sql(settings).execute(&mut *connection).await?;
    Ok(())
}

fn explain(error: sqlx::Error, migration: &Migration, role: &str) -> anyhow::Error {
    let why = match &error {
        sqlx::Error::Database(database) => database.message().to_owned(),
        error => error.to_string(),
    };
    let code = error.as_database_error().and_then(|error| error.code());
    let remedy = match code.as_deref() {
        Some("42501") => format!(
            ": run `space-events migrate` once as a role that may create in the database and in \
             its schema public, or grant that to {role}"
        ),
        // To be tried again.
        Some(LOCK_TIMEOUT | DEADLOCK) => return error.into(),
        _ => String::new(),
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
