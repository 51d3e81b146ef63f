//! How long after a one-row commit its one client has the event.

use std::ops::Range;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use tokio::sync::mpsc::UnboundedReceiver;
use tokio::time::{sleep, timeout};

use super::{DELIVERY_LIMIT, insert_versions};
use crate::figure::{Figure, Target, Unit};
use crate::quantile;
use crate::side::{Bench, Side};
use crate::sql::Session;
use crate::swarm::{Arrival, Expected, SERVICE, Swarm};

pub(super) const FIGURES: &[Figure] = &[
    figure(
        "latency of one-row commits, COMMIT sent → client, p50",
        0,
        Target::RatioAtMost(0.8),
    ),
    figure("the same, p99", 1, Target::RatioAtMost(0.5)),
    figure(
        "latency of one-row commits, COMMIT's answer → client, p50",
        2,
        Target::RatioAtMost(0.75),
    ),
    figure("the same, p99", 3, Target::RatioAtMost(0.5)),
    figure(
        "latency with the INSERT and its triggers, p50",
        4,
        Target::Report,
    ),
    figure("the same, p99", 5, Target::Report),
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
    let sql = &running.database.sql;
    let inserted = warm_up + commits;
    of_each(sql, &mut arrivals, Timed::Insert, 0..warm_up).await?;
    let insert = of_each(sql, &mut arrivals, Timed::Insert, warm_up..inserted).await?;
    let commit = of_each(
        sql,
        &mut arrivals,
        Timed::Commit,
        inserted..inserted + commits,
    )
    .await?;
    swarm.check()?;
    Ok([
        quantiles(&commit.since_sent)?,
        quantiles(&commit.since_answer)?,
        quantiles(&insert.since_sent)?,
    ]
    .concat())
}

/// What the time begins before.
#[derive(Clone, Copy)]
pub(super) enum Timed {
    /// An INSERT that commits by itself.
    Insert,
    /// The COMMIT after an INSERT.
    Commit,
}

/// Until the event is read, in milliseconds.
#[derive(Default)]
pub(super) struct Latencies {
    /// Since the statement was sent.
    pub(super) since_sent: Vec<f64>,
    /// Since its answer came; 0 if the event was there before.
    since_answer: Vec<f64>,
}

/// p50 and p99.
pub(super) fn quantiles(latencies: &[f64]) -> Result<Vec<f64>> {
    [0.5, 0.99]
        .into_iter()
        .map(|part| quantile(latencies, part).context("no latency"))
        .collect()
}

/// p50 and p99, then each divided by that of other latencies.
pub(super) fn quantiles_and_times(latencies: &[f64], others: &[f64]) -> Result<Vec<f64>> {
    let mut values = quantiles(latencies)?;
    let others = quantiles(others)?;
    let times: Vec<f64> = values.iter().zip(others).map(|(a, b)| a / b).collect();
    values.extend(times);
    Ok(values)
}

/// Inserts versions one by one, and waits for each one's event.
pub(super) async fn of_each(
    sql: &Session,
    arrivals: &mut UnboundedReceiver<Arrival>,
    timed: Timed,
    versions: Range<u64>,
) -> Result<Latencies> {
    let mut latencies = Latencies::default();
    for version in versions {
        sleep(PAUSE).await;
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
        let answered = Instant::now();
        let arrival = timeout(DELIVERY_LIMIT, arrivals.recv())
            .await
            .context("no event came")?
            .context("the client was cut")?;
        let until_read = |since| arrival.at.saturating_duration_since(since).as_secs_f64() * 1e3;
        latencies.since_sent.push(until_read(sent));
        latencies.since_answer.push(until_read(answered));
    }
    Ok(latencies)
}
