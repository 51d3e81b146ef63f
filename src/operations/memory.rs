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
/// It is done when there are so many more or fewer than at some time since the last:
/// sessions that took about 10 MB …
const WORTH_IT: i64 = 500;
/// … and within an interval no more than so many came or went: while many do, there is
/// more to come.
const AT_REST: u64 = 50;

/// Gives memory back soon after the start, and whenever many sessions have begun or ended,
/// until it is told to stop. `sessions` counts them.
pub async fn run(sessions: Gauge, stop: CancellationToken) {
    let watching = async {
        loop {
            // It takes a while. That it panics cannot be.
            let _ = spawn_blocking(heap::trim).await;
            wait_for_change(&sessions).await;
        }
    };
    stop.run_until_cancelled(watching).await;
}

async fn wait_for_change(sessions: &Gauge) {
    let mut now = sessions.get();
    let (mut least, mut most) = (now, now);
    loop {
        sleep(INTERVAL).await;
        let before = now;
        now = sessions.get();
        (least, most) = (least.min(now), most.max(now));
        let is_worth_it = now - least >= WORTH_IT || most - now >= WORTH_IT;
        if is_worth_it && now.abs_diff(before) <= AT_REST {
            return;
        }
    }
}
