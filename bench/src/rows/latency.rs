//! How long after a one-row commit its one client has the event.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use tokio::sync::mpsc::UnboundedReceiver;
use tokio::time::{sleep, timeout};

use super::{DELIVERY_LIMIT, insert_versions};
use crate::figure::{Figure, Target, Unit};
use crate::quantile;
use crate::side::{Bench, Running, Side};
use crate::swarm::{Arrival, Expected, SERVICE, Swarm};

pub(super) const FIGURES: &[Figure] = &[
    figure(
        "latency of one-row commits, COMMIT sent → client, p50",
        0,
        Target::RatioAtMost(1.0),
    ),
    figure("the same, p99", 1, Target::RatioAtMost(0.8)),
    figure(
        "latency with the INSERT and its triggers, p50",
        2,
        Target::Report,
    ),
    figure("the same, p99", 3, Target::Report),
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

/// Between an event and the next commit.
const PAUSE: Duration = Duration::from_millis(2);

/// From just before a statement is sent until its event is read.
pub(super) async fn measure(bench: &Bench, side: Side) -> Result<Vec<f64>> {
    let warm_up = bench.size(100, 20);
    let commits = bench.size(800, 50);
    let running = bench.start(side, &[SERVICE]).await?;
    let expected = Expected::Created(0..warm_up + 2 * commits);
    let (swarm, mut arrivals) =
        Swarm::listen(running.server.address, "40/pricings,", expected).await?;
    let mut insert = Latencies::default();
    let mut commit = Latencies::default();
    for version in 0..warm_up + commits {
        let latency = one(&running, &mut arrivals, version, Timed::Insert).await?;
        if version >= warm_up {
            insert.0.push(latency);
        }
    }
    for version in warm_up + commits..warm_up + 2 * commits {
        let latency = one(&running, &mut arrivals, version, Timed::Commit).await?;
        commit.0.push(latency);
    }
    swarm.check()?;
    Ok([commit.quantiles()?, insert.quantiles()?].concat())
}

/// What the time begins before.
enum Timed {
    /// An INSERT that commits by itself.
    Insert,
    /// The COMMIT after an INSERT.
    Commit,
}

/// In milliseconds.
#[derive(Default)]
struct Latencies(Vec<f64>);

impl Latencies {
    fn quantiles(&self) -> Result<Vec<f64>> {
        [0.5, 0.99]
            .into_iter()
            .map(|part| quantile(&self.0, part).context("no latency"))
            .collect()
    }
}

/// Inserts a version, and waits for its event.
async fn one(
    running: &Running,
    arrivals: &mut UnboundedReceiver<Arrival>,
    version: u64,
    timed: Timed,
) -> Result<f64> {
    sleep(PAUSE).await;
    let sql = &running.database.sql;
    let insert = insert_versions(version, version + 1);
    let statement = match timed {
        Timed::Insert => insert,
        Timed::Commit => {
            sql.run(&format!("begin; {insert}")).await?;
            "commit".to_owned()
        }
    };
    let sent = Instant::now();
    sql.run(&statement).await?;
    let arrival = timeout(DELIVERY_LIMIT, arrivals.recv())
        .await
        .context("no event came")?
        .context("the client was cut")?;
    Ok(arrival.at.duration_since(sent).as_secs_f64() * 1e3)
}
