//! One-row commits beside a transaction that has changed a great many rows and stays
//! open.

use anyhow::Result;

use super::latency::{Timed, of_each, quantiles_and_times};
use crate::figure::{Figure, Target, Unit};
use crate::side::{Bench, Side};
use crate::sql::Session;
use crate::swarm::{Expected, SERVICE, Swarm};

pub(super) const FIGURES: &[Figure] = &[
    Figure::of_ours(
        "one-row commits beside a million uncommitted rows, COMMIT sent → client, p50",
        0,
        Unit::Milliseconds,
        Target::Report,
    ),
    Figure::of_ours("the same, p99", 1, Unit::Milliseconds, Target::Report),
    Figure::of_ours(
        "the same, p50, times that without them",
        2,
        Unit::Times,
        Target::AtMost(1.2),
    ),
    Figure::of_ours(
        "the same, p99, times that without them",
        3,
        Unit::Times,
        Target::Report,
    ),
];

/// The rows of the open transaction are of another service.
const OPEN: &str = "Open";

/// First without the open transaction, then beside it, on one server.
pub(super) async fn measure(bench: &Bench, side: Side) -> Result<Vec<f64>> {
    let rows = bench.size(1_000_000, 20_000);
    let warm_up = bench.size(100, 20);
    let commits = bench.size(500, 50);
    let running = bench.start(side, &[SERVICE, OPEN]).await?;
    let span = warm_up + commits;
    let expected = Expected::Created(0..2 * span);
    let (swarm, mut arrivals) =
        Swarm::listen(running.server.address, "40/pricings,", expected).await?;
    let sql = &running.database.sql;
    of_each(sql, &mut arrivals, Timed::Commit, 0..warm_up).await?;
    let without = of_each(sql, &mut arrivals, Timed::Commit, warm_up..span).await?;

    let open = Session::connect(&running.database.url).await?;
    open.run(&format!(
        "begin; insert into pricings (service_name, version)
        select '{OPEN}', n from generate_series(1, {rows}) n"
    ))
    .await?;
    of_each(sql, &mut arrivals, Timed::Commit, span..span + warm_up).await?;
    let beside = of_each(sql, &mut arrivals, Timed::Commit, span + warm_up..2 * span).await?;
    swarm.check()?;
    open.run("rollback").await?;

    quantiles_and_times(&beside.since_sent, &without.since_sent)
}
