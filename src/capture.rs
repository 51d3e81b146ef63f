//! Capture watches itself: the triggers are as the migrations made them, or are
//! made so again.
//!
//! `ALTER TABLE … DISABLE TRIGGER ALL` and back, as restores with
//! `--disable-triggers` do, silently resets how a trigger fires.

use std::time::Duration;

use sqlx::AssertSqlSafe;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;
use tracing::{error, warn};

use crate::store::capture::Fault;
use crate::store::{self, Pool};

/// How often the triggers are looked at.
const INTERVAL: Duration = Duration::from_secs(60);

/// How long looking may take, repairs included: a half-open connection says nothing.
const TIME_LIMIT: Duration = Duration::from_secs(30);

/// Checks once a minute until it is cancelled.
pub async fn run(pool: Pool, stop: CancellationToken) {
    loop {
        match timeout(TIME_LIMIT, check(&pool)).await {
            Ok(Ok(_)) => {}
            Ok(Err(error)) => warn!(error = format!("{error:#}"), "cannot check the triggers"),
            Err(_) => warn!("cannot check the triggers in time"),
        }
        if stop.run_until_cancelled(sleep(INTERVAL)).await.is_none() {
            return;
        }
    }
}

/// Repairs the triggers that are not as they should be, and returns those that
/// could not be repaired.
///
/// # Errors
///
/// The database is away.
pub async fn check(pool: &Pool) -> sqlx::Result<Vec<Fault>> {
    let mut tx = store::begin_read(pool).await?;
    let faults = store::capture::faults(&mut tx).await?;
    drop(tx);
    let mut left = Vec::new();
    for fault in faults {
        match repair(pool, &fault).await {
            Ok(()) => warn!(
                table.name = fault.table_name,
                trigger.name = fault.trigger_name,
                fault = fault.fault,
                "repaired a trigger; changes made meanwhile may not have been recorded"
            ),
            Err(cause) => {
                error!(
                    table.name = fault.table_name,
                    trigger.name = fault.trigger_name,
                    fault = fault.fault,
                    error = format!("{cause:#}"),
                    "cannot repair a trigger: changes are not announced"
                );
                left.push(fault);
            }
        }
    }
    Ok(left)
}

async fn repair(pool: &Pool, fault: &Fault) -> sqlx::Result<()> {
    let mut tx = store::begin(pool).await?;
    // Written by Postgres itself, from what the migrations made.
    sqlx::raw_sql(AssertSqlSafe(fault.repair.clone()))
        .execute(&mut tx)
        .await?;
    tx.commit().await
}
