//! Several servers on one database.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use tokio::time::{MissedTickBehavior, interval, sleep, timeout};

use super::latency::quantiles;
use super::{DELIVERY_LIMIT, insert_versions};
use crate::figure::{Figure, Target, Unit};
use crate::side::{Bench, Side};
use crate::swarm::{Expected, SERVICE, Swarm};

macro_rules! figures {
    ($($count:literal from $first:literal),*) => {
        &[$(
            figure(
                concat!("100 one-row commits a second, instances: ", $count, "; CPU of Postgres"),
                $first,
                Unit::Percent,
            ),
            figure("the same, CPU of an instance", $first + 1, Unit::Percent),
            figure(
                "the same, COMMIT sent → the last instance's client, p50",
                $first + 2,
                Unit::Milliseconds,
            ),
            figure("the same, p99", $first + 3, Unit::Milliseconds),
        )*]
    };
}

pub(super) const FIGURES: &[Figure] = figures!(1 from 0, 4 from 4, 16 from 8);

const fn figure(title: &'static str, value: usize, unit: Unit) -> Figure {
    Figure {
        title,
        value,
        unit,
        against: Some(Side::Peer),
        target: Target::Report,
    }
}

const INTERVAL: Duration = Duration::from_millis(10);

/// Each instance has one client.
pub(super) async fn measure(bench: &Bench, side: Side) -> Result<Vec<f64>> {
    let mut values = Vec::new();
    for instances in [1, 4, 16] {
        values.extend(measure_with(bench, side, instances).await?);
    }
    Ok(values)
}

async fn measure_with(bench: &Bench, side: Side, instances: usize) -> Result<Vec<f64>> {
    let warm_up = bench.size(100, 20);
    let commits = bench.size(500, 50);
    let database = bench.database(side, &[SERVICE]).await?;
    let sql = &database.sql;
    let mut servers = Vec::new();
    let mut clients = Vec::new();
    for _ in 0..instances {
        let server = bench.server(side, &database).await?;
        let expected = Expected::Created(0..warm_up + commits);
        clients.push(Swarm::listen(server.address, "40/pricings,", expected).await?);
        servers.push(server);
    }
    sleep(Duration::from_millis(500)).await;
    let mut sent = Vec::new();
    let mut ticks = interval(INTERVAL);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut before = None;
    for version in 0..warm_up + commits {
        ticks.tick().await;
        if version == warm_up {
            let cpu: Result<Vec<f64>> = servers.iter().map(|server| server.cpu_seconds()).collect();
            before = Some((bench.postgres_cpu_seconds().await?, cpu?, Instant::now()));
        }
        sql.run(&format!("begin; {}", insert_versions(version, version + 1)))
            .await?;
        sent.push(Instant::now());
        sql.run("commit").await?;
    }
    let (postgres, cpu, begun) = before.context("no commits")?;
    let took = begun.elapsed().as_secs_f64();
    let postgres = (bench.postgres_cpu_seconds().await? - postgres) / took;
    let mut own = 0.0;
    for (server, before) in servers.iter().zip(cpu) {
        own += (server.cpu_seconds()? - before) / took / instances as f64;
    }
    let mut last = vec![0.0f64; sent.len()];
    for (swarm, arrivals) in &mut clients {
        for (last, sent) in last.iter_mut().zip(&sent) {
            let arrival = timeout(DELIVERY_LIMIT, arrivals.recv())
                .await
                .context("no event came")?
                .context("the client was cut")?;
            *last = last.max(arrival.at.duration_since(*sent).as_secs_f64() * 1e3);
        }
        swarm.check()?;
    }
    let latencies = quantiles(&last[warm_up as usize..])?;
    Ok([vec![postgres * 100.0, own * 100.0], latencies].concat())
}
