//! What idle clients cost.

use std::time::Duration;

use anyhow::Result;
use tokio::time::sleep;

use crate::figure::{Figure, Target, Unit};
use crate::side::{Bench, Side};
use crate::swarm::{Expected, SERVICE, Swarm};

pub(super) const FIGURES: &[Figure] = &[
    Figure {
        title: "memory of the server with 1,000 idle clients",
        value: 0,
        unit: Unit::Megabytes,
        against: Some(Side::Peer),
        target: Target::RatioAtMost(0.32),
    },
    Figure {
        title: "the same, before the first client",
        value: 1,
        unit: Unit::Megabytes,
        against: Some(Side::Peer),
        target: Target::Report,
    },
];

/// What is resident a while after the last has joined, and before the first.
pub(super) async fn measure(bench: &Bench, side: Side) -> Result<Vec<f64>> {
    let running = bench.start(side, &[SERVICE]).await?;
    sleep(Duration::from_secs(1)).await;
    let before = running.server.resident()?;
    let clients = bench.size(1_000, 100) as usize;
    let swarm = Swarm::join(running.server.address, clients, Expected::Any).await?;
    sleep(Duration::from_secs(4)).await;
    let resident = running.server.resident()?;
    swarm.check()?;
    Ok(vec![resident, before])
}
