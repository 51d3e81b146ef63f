//! One event to a great many clients that were idle.

use std::time::{Duration, Instant};

use anyhow::Result;
use tokio::time::sleep;

use super::{DELIVERY_LIMIT, insert_versions};
use crate::figure::{Figure, Target, Unit};
use crate::side::{Bench, Side};
use crate::swarm::{Expected, SERVICE, Swarm};

pub(super) const FIGURES: &[Figure] = &[
    Figure {
        title: "one event to 10,000 idle clients, until the last has it",
        value: 0,
        unit: Unit::Milliseconds,
        against: Some(Side::Peer),
        target: Target::RatioAtMost(0.45),
    },
    Figure {
        title: "the same, memory of the server",
        value: 1,
        unit: Unit::Megabytes,
        against: Some(Side::Peer),
        target: Target::RatioAtMost(0.88),
    },
    Figure {
        title: "the same, how many clients the limit of open files let in",
        value: 2,
        unit: Unit::Count,
        against: None,
        target: Target::Report,
    },
];

/// From just before the INSERT is sent.
pub(super) async fn measure(bench: &Bench, side: Side) -> Result<Vec<f64>> {
    let clients = bench.size(10_000, 500).min(bench.most_clients());
    let running = bench.start(side, &[SERVICE]).await?;
    let expected = Expected::Created(0..1);
    let swarm = Swarm::join(running.server.address, clients as usize, expected).await?;
    sleep(Duration::from_secs(2)).await;
    let resident = running.server.resident()?;
    let sent = Instant::now();
    running.database.sql.run(&insert_versions(0, 1)).await?;
    let took = swarm.all_received(DELIVERY_LIMIT).await? - sent;
    swarm.check()?;
    Ok(vec![took.as_secs_f64() * 1e3, resident, clients as f64])
}
