//! A great many clients come back at once, and have missed nothing.

use std::time::Instant;

use anyhow::{Context as _, Result};

use super::back::first_position;
use super::{DELIVERY_LIMIT, insert_versions};
use crate::figure::{Figure, Target, Unit};
use crate::side::{Bench, Side};
use crate::swarm::{Expected, SERVICE, Swarm};

pub(super) const FIGURES: &[Figure] = &[
    Figure {
        title: "10,000 clients come back at once, having missed nothing (to the peer: come), until the last has joined",
        value: 0,
        unit: Unit::Seconds,
        against: Some(Side::Peer),
        target: Target::RatioAtMost(0.5),
    },
    Figure {
        title: "the same, CPU time of the server for each",
        value: 1,
        unit: Unit::Microseconds,
        against: Some(Side::Peer),
        target: Target::RatioAtMost(0.4),
    },
    Figure {
        title: "one event to them right then, until the last has it",
        value: 2,
        unit: Unit::Milliseconds,
        against: Some(Side::Peer),
        target: Target::Report,
    },
];

/// From before the first connects.
pub(super) async fn measure(bench: &Bench, side: Side) -> Result<Vec<f64>> {
    let clients = bench.size(10_000, 500).min(bench.most_clients());
    let running = bench.start(side, &[SERVICE]).await?;
    let (address, sql) = (running.server.address, &running.database.sql);
    let connect = match side {
        Side::Ours => {
            let position = first_position(address, sql).await?;
            format!(r#"40/pricings,{{"since":"{position}"}}"#)
        }
        _ => "40/pricings,".to_owned(),
    };
    let before = running.server.cpu_seconds()?;
    let begun = Instant::now();
    let swarm = Swarm::begin(
        address,
        clients as usize,
        &connect,
        Expected::Created(1..2),
        None,
    );
    swarm.all_joined().await?;
    let joined = begun.elapsed().as_secs_f64();
    let took = running.server.cpu_seconds()? - before;
    let sent = Instant::now();
    sql.run(&insert_versions(1, 2)).await?;
    let received = swarm.all_received(DELIVERY_LIMIT).await;
    let last = received.context("the event after it")? - sent;
    swarm.check()?;
    Ok(vec![
        joined,
        took * 1e6 / clients as f64,
        last.as_secs_f64() * 1e3,
    ])
}
