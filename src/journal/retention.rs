//! Removes what is older than the journal is kept, in small batches.
//!
//! Any number of instances try; one at a time does.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;
use tracing::{debug, info, warn};

use crate::metrics::Metrics;
use crate::store::{self, Pool};

/// How many rows go in one transaction.
const BATCH_ROWS: i64 = 5000;
/// The pause between two such transactions, for whoever else needs the disk.
const PAUSE: Duration = Duration::from_millis(50);
/// The journal is looked at so many times within its retention …
const LOOKS: u32 = 100;
/// … but not more often than this, …
const SHORTEST_INTERVAL: Duration = Duration::from_secs(1);
/// … nor less often.
const LONGEST_INTERVAL: Duration = Duration::from_secs(600);

/// How long pruning may take at a time: a half-open connection says nothing.
const TIME_LIMIT: Duration = Duration::from_secs(600);

/// Prunes until it is cancelled.
pub async fn run(pool: Pool, retention: Duration, metrics: Arc<Metrics>, stop: CancellationToken) {
    let interval = (retention / LOOKS).clamp(SHORTEST_INTERVAL, LONGEST_INTERVAL);
    loop {
        let pruning = prune(&pool, retention, interval, &metrics, &stop);
        match timeout(TIME_LIMIT, pruning).await {
            Ok(Ok(0)) => {}
            Ok(Ok(rows)) => info!(rows, "pruned the journal"),
            // The pool says so, once.
            Ok(Err(error)) if store::is_lost_connection(&error) => {
                debug!("not pruning the journal")
            }
            Ok(Err(error)) => warn!(error = format!("{error:#}"), "cannot prune the journal"),
            Err(_) => warn!("pruning the journal takes long; going on with it later"),
        }
        if stop.run_until_cancelled(sleep(interval)).await.is_none() {
            return;
        }
    }
}

async fn prune(
    pool: &Pool,
    retention: Duration,
    interval: Duration,
    metrics: &Metrics,
    stop: &CancellationToken,
) -> sqlx::Result<u64> {
    let mut total = 0;
    let mut first = true;
    let mut last_id = 0;
    while !stop.is_cancelled() {
        let mut tx = store::begin_long(pool).await?;
        if !store::journal::try_prune_lock(&mut tx).await? {
            break;
        }
        if first {
            // They would be the newest for as long as the clock was ahead.
            let marks = store::journal::drop_marks_from_the_future(&mut tx).await?;
            if marks > 0 {
                warn!(
                    marks,
                    "the database's clock was ahead for a while: what was written until now \
                     is kept as if it were written now"
                );
            }
            store::journal::mark(&mut tx, interval.as_secs_f64() / 2.0).await?;
            store::journal::expire(&mut tx, retention.as_secs_f64()).await?;
            first = false;
        }
        let (rows, through) = store::journal::prune(&mut tx, last_id, BATCH_ROWS).await?;
        tx.commit().await?;
        last_id = through;
        metrics.pruned(rows.unsigned_abs());
        total += rows.unsigned_abs();
        if rows < BATCH_ROWS {
            break;
        }
        sleep(PAUSE).await;
    }
    Ok(total)
}
