//! Every SQL statement, one file per table; here, the pool they run on.
//!
//! Nothing is set on a session, since behind a transaction pooler it belongs to
//! somebody else a moment later: limits are set inside transactions, and so is that
//! nothing is compiled: that costs up to a second, and gains milliseconds. Names are
//! qualified, whatever the `search_path`.

pub mod database_url;
pub mod tls;
pub mod services;
pub mod pricings;
pub mod journal;
pub mod capture;

use std::time::Duration;

use sqlx::Connection as _;
use sqlx::postgres::{PgConnectOptions, PgPool, PgPoolOptions, PgTransaction};
use tokio::time::timeout;

const MAX_CONNECTIONS: u32 = 10;

/// How long a request waits for a connection before it is told that the database is away.
const ACQUIRE_TIMEOUT: Duration = Duration::from_secs(3);

/// A connection that was idle for longer is tested before it is used.
const TRUSTED_IDLE: Duration = Duration::from_secs(1);

/// Opens the pool. It connects when it is first used, and again by itself after
/// the database was away.
pub fn open(options: PgConnectOptions) -> PgPool {
    PgPoolOptions::new()
        .max_connections(MAX_CONNECTIONS)
        .acquire_timeout(ACQUIRE_TIMEOUT)
        .test_before_acquire(false)
        .before_acquire(|connection, about| {
            Box::pin(async move {
                if about.idle_for > TRUSTED_IDLE {
                    connection.ping().await?;
                }
                Ok(true)
            })
        })
        .connect_lazy_with(options)
}

/// Begins a transaction. One that cannot even begin has changed nothing: where a
/// connection was lost since it was used, the next one is tried.
async fn begin_with(
    pool: &PgPool,
    statement: &'static str,
) -> sqlx::Result<PgTransaction<'static>> {
    let mut lost = 0;
    loop {
        let begun = timeout(ACQUIRE_TIMEOUT, pool.begin_with(statement)).await;
        match begun.unwrap_or(Err(sqlx::Error::PoolTimedOut)) {
            Err(error) if is_lost_connection(&error) && lost < MAX_CONNECTIONS => lost += 1,
            begun => return begun,
        }
    }
}

fn is_lost_connection(error: &sqlx::Error) -> bool {
    match error {
        sqlx::Error::Io(_) | sqlx::Error::Protocol(_) | sqlx::Error::WorkerCrashed => true,
        // The server ended the session, or is about to end.
        sqlx::Error::Database(error) => error.code().is_some_and(|code| code.starts_with("57P0")),
        _ => false,
    }
}

/// Begins a transaction that reads: all of it sees one snapshot.
///
/// # Errors
///
/// The database is away.
pub async fn begin_read(pool: &PgPool) -> sqlx::Result<PgTransaction<'static>> {
    begin_with(
        pool,
        "begin isolation level repeatable read read only; \
         set local jit = off; \
         set local statement_timeout = '5s'",
    )
    .await
}

/// Begins a transaction for a change of a few rows: a lock is waited for up to
/// 4 s, a statement may take 5 s.
///
/// # Errors
///
/// The database is away.
pub async fn begin(pool: &PgPool) -> sqlx::Result<PgTransaction<'static>> {
    begin_with(
        pool,
        "begin isolation level read committed read write; \
         set local lock_timeout = '4s'; \
         set local jit = off; \
         set local statement_timeout = '5s'",
    )
    .await
}

/// Begins a transaction for a change of any number of rows: a lock is waited
/// for up to 4 s, a statement may take two minutes.
///
/// # Errors
///
/// The database is away.
pub async fn begin_long(pool: &PgPool) -> sqlx::Result<PgTransaction<'static>> {
    begin_with(
        pool,
        "begin isolation level read committed read write; \
         set local lock_timeout = '4s'; \
         set local jit = off; \
         set local statement_timeout = '120s'",
    )
    .await
}
