//! What one delivery costs the server where events come one at a time.

use std::time::Duration;

use anyhow::Result;
use tokio::time::{MissedTickBehavior, interval};

use super::{DELIVERY_LIMIT, insert_versions};
use crate::figure::{Figure, Target, Unit};
use crate::side::{Bench, Running, Side};
use crate::swarm::{Expected, SERVICE, Swarm};

pub(super) const FIGURES: &[Figure] = &[Figure {
    title: "1,000 clients, ten one-row commits a second: CPU time of the server per delivery",
    value: 0,
    unit: Unit::Microseconds,
    against: Some(Side::Peer),
    target: Target::RatioAtMost(0.55),
}];

/// Between two commits.
const INTERVAL: Duration = Duration::from_millis(100);

/// The CPU time from before the first commit until all clients have the last.
pub(super) async fn measure(bench: &Bench, side: Side) -> Result<Vec<f64>> {
    let clients = bench.size(1_000, 100);
    let warm_up = bench.size(20, 5);
    let commits = bench.size(80, 20);
    let running = bench.start(side, &[SERVICE]).await?;
    let expected = Expected::Created(0..warm_up + commits);
    let swarm = Swarm::join(running.server.address, clients as usize, expected).await?;
    commit_each(&running, 0, warm_up).await?;
    let before = running.server.cpu_seconds()?;
    commit_each(&running, warm_up, warm_up + commits).await?;
    swarm.all_received(DELIVERY_LIMIT).await?;
    let took = running.server.cpu_seconds()? - before;
    swarm.check()?;
    Ok(vec![took * 1e6 / (clients * commits) as f64])
}

/// And waits for an interval after the last.
async fn commit_each(running: &Running, first: u64, end: u64) -> Result<()> {
    let mut ticks = interval(INTERVAL);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    ticks.tick().await;
    for version in first..end {
        running
            .database
            .sql
            .run(&insert_versions(version, version + 1))
            .await?;
        ticks.tick().await;
    }
    Ok(())
}
