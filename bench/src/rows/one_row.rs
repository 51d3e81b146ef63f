//! What the triggers cost a statement of one row, where no disk hides it.

use std::time::Instant;

use anyhow::Result;

use crate::figure::{Figure, Target, Unit};
use crate::side::{Bench, Database, Side};
use crate::swarm::{Expected, SERVICE, Swarm};

pub(super) const FIGURES: &[Figure] = &[
    figure(
        "one-row INSERT of one session without fsync, until its answer",
        0,
        Target::RatioAtMost(1.2),
    ),
    figure("one-row UPDATE, the same", 1, Target::RatioAtMost(1.4)),
    figure(
        "one-row INSERT, the same, with a server and its client beside it",
        2,
        Target::Report,
    ),
    figure(
        "one-row UPDATE, the same, with a server and its client beside it",
        3,
        Target::Report,
    ),
];

const fn figure(title: &'static str, value: usize, target: Target) -> Figure {
    Figure {
        title,
        value,
        unit: Unit::Microseconds,
        against: Some(Side::Plain),
        target,
    }
}

/// Each statement commits by itself. First without any server, then with one.
pub(super) async fn measure(bench: &Bench, side: Side) -> Result<Vec<f64>> {
    let rows = bench.size(6_000, 500);
    let database = bench.database(side, &[SERVICE]).await?;
    let warm_up = rows / 10;
    statements(&database, 0, warm_up).await?;
    let mut values = statements(&database, warm_up, warm_up + rows).await?;
    let follower = match side {
        Side::Plain => None,
        Side::Ours | Side::Peer => {
            let server = bench.server(side, &database).await?;
            let swarm = Swarm::join(server.address, 1, Expected::Any).await?;
            Some((server, swarm))
        }
    };
    let first = warm_up + rows;
    values.extend(statements(&database, first, first + rows).await?);
    if let Some((_server, swarm)) = &follower {
        swarm.received_in_all(2 * rows).await?;
    }
    Ok(values)
}

/// Inserts versions, then archives them; how long one took of each, in microseconds.
async fn statements(database: &Database, first: u64, end: u64) -> Result<Vec<f64>> {
    let client = database.sql.client();
    let mut values = Vec::new();
    for sql in [
        "insert into pricings (service_name, version) values ($1, $2)",
        "update pricings set availability = 'archived' where service_name = $1 and version = $2",
    ] {
        let statement = client.prepare(sql).await?;
        let begun = Instant::now();
        for version in first..end {
            client
                .execute(&statement, &[&SERVICE, &version.to_string()])
                .await?;
        }
        values.push(begun.elapsed().as_secs_f64() * 1e6 / (end - first) as f64);
    }
    Ok(values)
}
