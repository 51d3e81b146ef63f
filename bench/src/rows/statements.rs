//! What the triggers cost a large statement, without any server.

use std::time::Instant;

use anyhow::Result;

use super::insert_versions;
use crate::figure::{Figure, Target, Unit};
use crate::side::{Bench, Side};
use crate::swarm::SERVICE;

pub(super) const FIGURES: &[Figure] = &[
    figure("100,000 rows in one INSERT", 0, 1.4),
    figure("100,000 rows in one UPDATE", 1, 1.9),
];

const fn figure(title: &'static str, value: usize, ratio: f64) -> Figure {
    Figure {
        title,
        value,
        unit: Unit::Milliseconds,
        against: Some(Side::Plain),
        target: Target::RatioAtMost(ratio),
    }
}

/// From sending each statement, which commits by itself, to its answer.
pub(super) async fn measure(bench: &Bench, side: Side) -> Result<Vec<f64>> {
    let rows = bench.size(100_000, 10_000);
    let database = bench.database(side, &[SERVICE]).await?;
    let sql = &database.sql;
    let mut times = Vec::new();
    for statement in [
        insert_versions(0, rows),
        "update pricings set availability = 'archived'".to_owned(),
    ] {
        sql.run("checkpoint").await?;
        let sent = Instant::now();
        sql.run(&statement).await?;
        times.push(sent.elapsed().as_secs_f64() * 1e3);
    }
    Ok(times)
}
