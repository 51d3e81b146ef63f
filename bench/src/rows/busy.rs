//! A great many clients while events come.

use std::time::Duration;

use anyhow::Result;
use tokio::time::{MissedTickBehavior, interval};

use super::insert_versions;
use crate::figure::{Figure, Target, Unit};
use crate::side::{Bench, Side};
use crate::swarm::{Expected, SERVICE, Swarm};

pub(super) const FIGURES: &[Figure] = &[Figure {
    title: "memory of the server with 10,000 clients after a minute of ten events a second",
    value: 0,
    unit: Unit::Megabytes,
    against: Some(Side::Peer),
    target: Target::RatioAtMost(0.42),
}];

/// Between two commits.
const INTERVAL: Duration = Duration::from_millis(100);

/// What is resident after the last commit; a side may not have delivered all by then.
pub(super) async fn measure(bench: &Bench, side: Side) -> Result<Vec<f64>> {
    let clients = bench.size(10_000, 500).min(bench.most_clients()) as usize;
    let commits = bench.size(600, 30);
    let running = bench.start(side, &[SERVICE]).await?;
    let swarm = Swarm::join(running.server.address, clients, Expected::Any).await?;
    let mut ticks = interval(INTERVAL);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    for version in 0..commits {
        ticks.tick().await;
        let insert = insert_versions(version, version + 1);
        running.database.sql.run(&insert).await?;
    }
    let resident = running.server.resident()?;
    swarm.check()?;
    Ok(vec![resident])
}
