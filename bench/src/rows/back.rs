//! Many clients come back at once, with a position.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use tokio::time::timeout;

use super::{DELIVERY_LIMIT, insert_versions};
use crate::figure::{Figure, Target, Unit};
use crate::side::{Bench, Side};
use crate::sql::Session;
use crate::swarm::{Expected, SERVICE, Swarm};

pub(super) const FIGURES: &[Figure] = &[
    Figure::of_ours(
        "1,000 clients come back, each having missed 10,000 events, until the last has all",
        0,
        Unit::Seconds,
        Target::Report,
    ),
    Figure::of_ours("the same, deliveries", 1, Unit::PerSecond, Target::Report),
    Figure::of_ours(
        "the same, memory added to the server at most",
        2,
        Unit::Megabytes,
        Target::Report,
    ),
];

const LIMIT: Duration = Duration::from_secs(120);

/// From before the first connects.
pub(super) async fn measure(bench: &Bench, side: Side) -> Result<Vec<f64>> {
    let clients = bench.size(1_000, 100);
    let missed = bench.size(10_000, 1_000);
    let running = bench.start(side, &[SERVICE]).await?;
    let address = running.server.address;
    let sql = &running.database.sql;
    let position = first_position(address, sql).await?;
    sql.run(&insert_versions(1, missed + 1)).await?;

    let before = running.server.peak_resident()?;
    let connect = format!(r#"40/pricings,{{"since":"{position}"}}"#);
    let expected = Expected::Created(1..missed + 1);
    let begun = Instant::now();
    let swarm = Swarm::begin(address, clients as usize, &connect, expected, None);
    let took = (swarm.all_received(LIMIT).await? - begun).as_secs_f64();
    let added = running.server.peak_resident()? - before;
    swarm.check()?;
    Ok(vec![took, (clients * missed) as f64 / took, added])
}

/// Inserts version 0; the position behind it.
pub(super) async fn first_position(address: SocketAddr, sql: &Session) -> Result<String> {
    let connect = r#"40/pricings,{"since":""}"#;
    let (_swarm, mut arrivals) = Swarm::listen(address, connect, Expected::Any).await?;
    sql.run(&insert_versions(0, 1)).await?;
    let first = loop {
        let arrival = timeout(DELIVERY_LIMIT, arrivals.recv())
            .await
            .context("no event came")?
            .context("the client was cut")?;
        // Where it is without an event.
        if !arrival.text.contains(r#"["position","#) {
            break arrival;
        }
    };
    position(&first.text).with_context(|| format!("in {}", first.text))
}

/// The position in the second argument of a message; the peer sends it alone.
fn position(message: &str) -> Result<String> {
    let (_, arguments) = message.split_once(',').context("find the arguments")?;
    let arguments: serde_json::Value = serde_json::from_str(arguments)?;
    let reference = arguments.get(2).context("find the second argument")?;
    let position = reference.get("position").unwrap_or(reference).as_str();
    Ok(position.context("find the position")?.to_owned())
}
