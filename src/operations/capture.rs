//! Checks that the triggers and their functions are as the migrations made them, and
//! repairs them.
//!
//! `ALTER TABLE … DISABLE TRIGGER ALL` and then `ENABLE TRIGGER ALL`, as in restores with
//! `--disable-triggers`, silently resets how a trigger fires. Everything here that asks
//! the database fails while it is away.

use std::time::Duration;

use sqlx::AssertSqlSafe;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;
use tracing::{debug, error, warn};

use crate::store::capture::Fault;
use crate::store::{self, Pool};

/// How often capture is looked at, and repaired.
const INTERVAL: Duration = Duration::from_secs(60);

/// How long looking may take, repairs included: a half-open connection says nothing.
const TIME_LIMIT: Duration = Duration::from_secs(30);

/// Checks once a minute until it is cancelled.
pub async fn run(pool: Pool, stop: CancellationToken) {
    loop {
        match timeout(TIME_LIMIT, check(&pool)).await {
            Ok(Ok(_)) => {}
            // The pool says so, once.
            Ok(Err(error)) if store::is_lost_connection(&error) => {
                debug!("not checking the triggers")
            }
            Ok(Err(error)) => warn!(error = format!("{error:#}"), "cannot check the triggers"),
            Err(_) => warn!("cannot check the triggers in time"),
        }
        if stop.run_until_cancelled(sleep(INTERVAL)).await.is_none() {
            return;
        }
    }
}

/// What is not as it should be. It changes nothing, so it may be called often without
/// holding anybody up.
pub async fn look(pool: &Pool) -> sqlx::Result<Vec<Fault>> {
    let mut tx = store::begin_read(pool).await?;
    store::capture::faults(&mut tx).await
}

/// Repairs what is not as it should be, and returns what could not be repaired.
pub async fn check(pool: &Pool) -> sqlx::Result<Vec<Fault>> {
    let mut left = Vec::new();
    for fault in look(pool).await? {
        let Some(statements) = &fault.repair else {
            error!("changes may not be announced: {fault}");
            left.push(fault);
            continue;
        };
        match repair(pool, statements.clone()).await {
            Ok(()) => warn!(
                "repaired capture; changes made meanwhile may not have been recorded: {fault}"
            ),
            Err(cause) => {
                error!(
                    error = format!("{cause:#}"),
                    "changes may not be announced, and this cannot be repaired: {fault}"
                );
                left.push(fault);
            }
        }
    }
    Ok(left)
}

async fn repair(pool: &Pool, statements: String) -> sqlx::Result<()> {
    let mut tx = store::begin(pool).await?;
    // Written by Postgres itself, from what the migrations made.
    sqlx::raw_sql(AssertSqlSafe(statements))
        .execute(&mut tx)
        .await?;
    tx.commit().await
}
