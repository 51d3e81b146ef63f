//! Commits at a steady rate, to many clients.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result};
use tokio::time::{MissedTickBehavior, interval};

use super::{DELIVERY_LIMIT, insert_versions};
use crate::figure::{Figure, Target, Unit};
use crate::quantile;
use crate::side::{Bench, Side};
use crate::swarm::{Expected, SERVICE, Swarm, Times};

pub(super) const FIGURES: &[Figure] = &[
    figure(
        "64 one-row commits a second to 500 clients, COMMIT sent → client, p95",
        0,
        Target::RatioAtMost(0.75),
    ),
    figure("the same to 1,000 clients", 1, Target::RatioAtMost(0.75)),
    Figure {
        against: None,
        ..figure("the same, in itself", 1, Target::AtMost(184.0))
    },
];

const fn figure(title: &'static str, value: usize, target: Target) -> Figure {
    Figure {
        title,
        value,
        unit: Unit::Milliseconds,
        against: Some(Side::Peer),
        target,
    }
}

/// Between two commits.
const INTERVAL: Duration = Duration::from_micros(1_000_000 / 64);

pub(super) async fn measure(bench: &Bench, side: Side) -> Result<Vec<f64>> {
    let mut values = Vec::new();
    for clients in [bench.size(500, 50), bench.size(1_000, 100)] {
        values.push(p95(bench, side, clients as usize).await?);
    }
    Ok(values)
}

/// From just before a statement is sent until a client has read its event.
async fn p95(bench: &Bench, side: Side, clients: usize) -> Result<f64> {
    let commits = bench.size(640, 64);
    let running = bench.start(side, &[SERVICE]).await?;
    let times = Arc::new(Times::of(commits));
    let expected = Expected::Timed(Arc::clone(&times));
    let swarm = Swarm::join(running.server.address, clients, expected).await?;
    let mut ticks = interval(INTERVAL);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Burst);
    for version in 0..commits {
        ticks.tick().await;
        times.send(version);
        let insert = insert_versions(version, version + 1);
        running.database.sql.run(&insert).await?;
    }
    swarm.all_received(DELIVERY_LIMIT).await?;
    swarm.check()?;
    quantile(&times.took(), 0.95).context("no latency")
}
