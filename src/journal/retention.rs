//! Removes what is older than the journal is kept, in small batches.
//!
//! All instances try; one at a time does it.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;
use tracing::{debug, info, warn};

use super::watermark::Snapshot;
use crate::metrics::Metrics;
use crate::store::journal::retention::{self, Expired};
use crate::store::{self, Pool, Transaction};

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
    kept_for: Duration,
    interval: Duration,
    metrics: &Metrics,
    stop: &CancellationToken,
) -> sqlx::Result<u64> {
    let mut total = 0;
    let mut first = true;
    let mut last_id = 0;
    while !stop.is_cancelled() {
        let mut tx = store::begin_long(pool).await?;
        if !retention::try_prune_lock(&mut tx).await? {
            break;
        }
        if first {
            // They would be the newest for as long as the clock was ahead.
            let marks = retention::drop_marks_from_the_future(&mut tx).await?;
            if marks > 0 {
                warn!(
                    marks,
                    "the database's clock was ahead for a while: what was written until now \
                     is kept as if it were written now"
                );
            }
            retention::mark(&mut tx, interval.as_secs_f64() / 2.0).await?;
            expire(&mut tx, kept_for).await?;
            first = false;
        }
        let (rows, through) = retention::prune(&mut tx, last_id, BATCH_ROWS).await?;
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

/// Moves the end of what is kept to the newest mark that is old enough. If nothing that
/// the mark saw is there to be removed, the end stays: on a quiet database an old
/// position is as good as a new one.
async fn expire(tx: &mut Transaction, kept_for: Duration) -> sqlx::Result<()> {
    let Some(expired) = retention::take_expired(&mut *tx, kept_for.as_secs_f64()).await? else {
        return Ok(());
    };
    let (snapshot, max_id) = gone(&expired).ok_or_else(|| {
        sqlx::Error::Decode(format!("cannot read a snapshot: {expired:?}").into())
    })?;
    retention::set_pruned(tx, &snapshot.to_string(), max_id).await
}

/// What may be gone when what expired goes: it ends at the newest row that goes, not at
/// the mark, so that whoever has seen that row can go on from there. `None` if a
/// snapshot cannot be read.
fn gone(expired: &Expired) -> Option<(Snapshot, i64)> {
    let mark = Snapshot::parse(&expired.mark)?;
    let mut xmax = expired.max_xid.cast_unsigned() + 1;
    if let Some(pruned) = &expired.pruned_snapshot {
        xmax = xmax.max(Snapshot::parse(pruned)?.xmax());
    }
    let max_id = expired.max_id.max(expired.pruned_max_id);
    Some((mark.cut_at(xmax), max_id))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_may_be_gone_ends_at_the_newest_row_that_goes() {
        let gone = |mark: &str, (max_id, max_xid), pruned: Option<(&str, i64)>| {
            let expired = Expired {
                mark: mark.to_owned(),
                max_id,
                max_xid,
                pruned_snapshot: pruned.map(|(snapshot, _)| snapshot.to_owned()),
                pruned_max_id: pruned.map_or(0, |(_, max_id)| max_id),
            };
            gone(&expired).map(|(snapshot, max_id)| (snapshot.to_string(), max_id))
        };
        for (mark, going, pruned, expected) in [
            ("20:20:", (7, 15), None, ("16:16:", 7)),
            // Who was in progress below that row's transaction may still write.
            ("10:20:10,12,18", (7, 15), None, ("10:16:10,12", 7)),
            ("17:20:17,18", (7, 15), None, ("16:16:", 7)),
            // What went before stays gone.
            (
                "18:30:18,25",
                (7, 15),
                Some(("14:20:14", 9)),
                ("18:20:18", 9),
            ),
            (
                "18:30:18,25",
                (9, 26),
                Some(("14:20:14", 7)),
                ("18:27:18,25", 9),
            ),
        ] {
            let expected = (expected.0.to_owned(), expected.1);
            assert_eq!(
                gone(mark, going, pruned),
                Some(expected),
                "{mark} {going:?}"
            );
        }
        assert_eq!(gone("20", (7, 15), None), None);
        assert_eq!(gone("20:20:", (7, 15), Some(("20", 7))), None);
    }
}
