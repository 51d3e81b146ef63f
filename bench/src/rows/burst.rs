//! A large transaction to a few clients.

use std::time::Instant;

use anyhow::Result;

use super::{DELIVERY_LIMIT, insert_versions};
use crate::figure::{Figure, Target, Unit};
use crate::side::{Bench, Side};
use crate::swarm::{Expected, SERVICE, Swarm};

pub(super) const FIGURES: &[Figure] = &figures(
    "100,000 rows in one transaction to 10 clients, deliveries",
    35.0,
    12.0,
);

/// The figures of what [`deliver`] reads off: how many times as many deliveries are
/// to be reached, and how much memory at most.
pub(super) const fn figures(title: &'static str, ratio: f64, megabytes: f64) -> [Figure; 3] {
    [
        figure(title, 0, Unit::PerSecond, Target::RatioAtLeast(ratio)),
        figure(
            "the same, until the last client has all",
            1,
            Unit::Milliseconds,
            Target::Report,
        ),
        figure(
            "the same, memory added to the server at most",
            2,
            Unit::Megabytes,
            Target::AtMost(megabytes),
        ),
    ]
}

const fn figure(title: &'static str, value: usize, unit: Unit, target: Target) -> Figure {
    Figure {
        title,
        value,
        unit,
        against: Some(Side::Peer),
        target,
    }
}

const CLIENTS: usize = 10;

/// From just before COMMIT is sent until the last client has all.
pub(super) async fn measure(bench: &Bench, side: Side) -> Result<Vec<f64>> {
    deliver(bench, side, CLIENTS, bench.size(100_000, 10_000)).await
}

/// Deliveries a second, milliseconds, and megabytes more than before.
pub(super) async fn deliver(
    bench: &Bench,
    side: Side,
    clients: usize,
    rows: u64,
) -> Result<Vec<f64>> {
    let running = bench.start(side, &[SERVICE]).await?;
    let expected = Expected::Created(0..rows);
    let swarm = Swarm::join(running.server.address, clients, expected).await?;
    let before = running.server.peak_resident()?;
    let sql = &running.database.sql;
    sql.run(&format!("begin; {}", insert_versions(0, rows)))
        .await?;
    let sent = Instant::now();
    sql.run("commit").await?;
    let took = swarm.all_received(DELIVERY_LIMIT).await? - sent;
    let added = running.server.peak_resident()? - before;
    let deliveries = rows as f64 * clients as f64;
    swarm.check()?;
    Ok(vec![
        deliveries / took.as_secs_f64(),
        took.as_secs_f64() * 1e3,
        added,
    ])
}
