//! Gives memory that was freed back to the system.
//!
//! The C library keeps what was freed for later. That is much after the start, after the
//! handshakes of many clients, and when thousands have left, whose sessions took about
//! 18 kB each in small pieces.

use std::time::Duration;

use prometheus_client::metrics::gauge::Gauge;
use tokio::task::spawn_blocking;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

/// How often the sessions are counted.
const INTERVAL: Duration = Duration::from_secs(1);
/// It is done when there are so many more or fewer than the last time: sessions that
/// took about 10 MB.
const WORTH_IT: u64 = 500;

/// Gives memory back soon after the start, and whenever many sessions have begun or ended,
/// until it is told to stop. `sessions` counts them.
pub async fn run(sessions: Gauge, stop: CancellationToken) {
    let mut last = None;
    let watching = async {
        loop {
            sleep(INTERVAL).await;
            let now = sessions.get();
            if last.is_none_or(|last| now.abs_diff(last) >= WORTH_IT) {
                last = Some(now);
                // It takes a while. That it panics cannot be.
                let _ = spawn_blocking(heap::trim).await;
            }
        }
    };
    stop.run_until_cancelled(watching).await;
}
