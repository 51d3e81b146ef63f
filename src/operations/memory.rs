//! Gives the memory of clients that left back to the system.
//!
//! A session takes about 18 kB in small pieces. When thousands are gone, as in a quiet
//! hour, the C library keeps that memory for those to come.

use std::time::Duration;

use prometheus_client::metrics::gauge::Gauge;
use tokio::task::spawn_blocking;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

/// How often the sessions are counted.
const INTERVAL: Duration = Duration::from_secs(1);
/// It is done when there are so many fewer: about 10 MB.
const WORTH_IT: i64 = 500;

/// Gives memory back whenever many sessions have ended, until it is told to stop.
/// `sessions` counts them.
pub async fn run(sessions: Gauge, stop: CancellationToken) {
    let mut most = 0;
    let watching = async {
        loop {
            sleep(INTERVAL).await;
            let now = sessions.get();
            most = most.max(now);
            if most - now >= WORTH_IT {
                most = now;
                // It takes a while. That it panics cannot be.
                let _ = spawn_blocking(heap::trim).await;
            }
        }
    };
    stop.run_until_cancelled(watching).await;
}
