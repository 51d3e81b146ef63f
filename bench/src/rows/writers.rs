//! How many small transactions go through.

use std::time::{Duration, Instant};

use anyhow::Result;
use tokio::task::JoinSet;

use crate::figure::{Figure, Target, Unit};
use crate::side::{Bench, Side};
use crate::sql::Session;
use crate::swarm::{Expected, Swarm};

pub(super) const FIGURES: &[Figure] = &[
    figure(
        "one-row transactions with 16 writers, against the tables without triggers",
        Side::Plain,
        Target::RatioAtLeast(0.65),
    ),
    figure(
        "the same, against the peer",
        Side::Peer,
        Target::RatioAtLeast(2.8),
    ),
];

pub(super) const ON_THE_SLOW_DISK: &[Figure] = &[
    figure(
        "16 writers on the slow disk, against the tables without triggers",
        Side::Plain,
        Target::Report,
    ),
    figure(
        "the same, against the peer",
        Side::Peer,
        Target::RatioAtLeast(4.0),
    ),
];

const fn figure(title: &'static str, against: Side, target: Target) -> Figure {
    Figure {
        title,
        value: 0,
        unit: Unit::PerSecond,
        against: Some(against),
        target,
    }
}

const WRITERS: u64 = 16;

/// Each writer inserts pricings of a service of its own. The server follows, with
/// one client that has to get them all.
pub(super) async fn measure(bench: &Bench, side: Side) -> Result<Vec<f64>> {
    let span = Duration::from_millis(bench.size(4_000, 500));
    let database = bench.database(side, &[]).await?;
    database
        .sql
        .run(&format!(
            "insert into services (name) select 'Service ' || n from generate_series(1, {WRITERS}) n"
        ))
        .await?;
    database.sql.run("checkpoint").await?;
    let follower = match side {
        Side::Plain => None,
        _ => {
            let server = bench.server(side, &database).await?;
            let swarm = Swarm::join(server.address, 1, Expected::Any).await?;
            Some((server, swarm))
        }
    };
    let mut sessions = Vec::new();
    for _ in 0..WRITERS {
        sessions.push(Session::connect(&database.url).await?);
    }
    let begun = Instant::now();
    let mut writers = JoinSet::new();
    for (session, number) in sessions.into_iter().zip(1..) {
        writers.spawn(write(session, number, begun + span));
    }
    let mut written = 0;
    while let Some(count) = writers.join_next().await {
        written += count??;
    }
    let took = begun.elapsed().as_secs_f64();
    if let Some((_server, swarm)) = &follower {
        swarm.received_in_all(written).await?;
    }
    Ok(vec![written as f64 / took])
}

async fn write(session: Session, number: u64, until: Instant) -> Result<u64> {
    let client = session.client();
    let insert = client
        .prepare("insert into pricings (service_name, version) values ($1, $2)")
        .await?;
    let service = format!("Service {number}");
    let mut written = 0u64;
    while Instant::now() < until {
        let version = written.to_string();
        client.execute(&insert, &[&service, &version]).await?;
        written += 1;
    }
    Ok(written)
}
