//! Sessions that come and go.

use std::time::Duration;

use anyhow::Result;
use tokio::time::sleep;

use crate::figure::{Figure, Target, Unit};
use crate::side::{Bench, Side};
use crate::swarm::{Expected, SERVICE, Swarm};

pub(super) const FIGURES: &[Figure] = &[
    Figure {
        title: "10,000 clients come and go 5 times, memory added to the server after a minute",
        value: 0,
        unit: Unit::Megabytes,
        against: Some(Side::Peer),
        target: Target::AtMost(5.0),
    },
    Figure {
        title: "the same, added from the first to the last time that they were there",
        value: 1,
        unit: Unit::Megabytes,
        against: Some(Side::Peer),
        target: Target::Report,
    },
];

const ROUNDS: usize = 5;

/// What is resident, less what was before the first came.
pub(super) async fn measure(bench: &Bench, side: Side) -> Result<Vec<f64>> {
    let clients = bench.size(10_000, 500).min(bench.most_clients()) as usize;
    let minute = Duration::from_secs(bench.size(60, 5));
    let running = bench.start(side, &[SERVICE]).await?;
    sleep(Duration::from_secs(1)).await;
    let before = running.server.resident()?;
    let mut there = Vec::new();
    for _ in 0..ROUNDS {
        let swarm = Swarm::join(running.server.address, clients, Expected::Any).await?;
        there.push(running.server.resident()?);
        swarm.check()?;
        drop(swarm);
        sleep(Duration::from_secs(2)).await;
    }
    sleep(minute).await;
    let after = running.server.resident()?;
    let grown = there.last().copied().unwrap_or(before) - there.first().copied().unwrap_or(before);
    Ok(vec![after - before, grown])
}
