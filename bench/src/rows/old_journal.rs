//! A journal that has been kept for long.

use std::time::Instant;

use anyhow::Result;

use super::latency::{Timed, of_each, quantiles_and_times};
use crate::figure::{Figure, Target, Unit};
use crate::side::{Bench, Side};
use crate::swarm::{Expected, SERVICE, Swarm};

pub(super) const FIGURES: &[Figure] = &[
    Figure::of_ours(
        "one-row commits with 5 million rows in the journal, COMMIT sent → client, p50",
        0,
        Unit::Milliseconds,
        Target::Report,
    ),
    Figure::of_ours("the same, p99", 1, Unit::Milliseconds, Target::Report),
    Figure::of_ours(
        "the same, p50, times that with an empty journal",
        2,
        Unit::Times,
        Target::Report,
    ),
    Figure::of_ours(
        "the same, p99, times that with an empty journal",
        3,
        Unit::Times,
        Target::Report,
    ),
    Figure::of_ours(
        "the same, from the start of the server until it listens",
        4,
        Unit::Milliseconds,
        Target::Report,
    ),
    Figure::of_ours(
        "the same, size of the journal with its indexes",
        5,
        Unit::Megabytes,
        Target::Report,
    ),
];

/// How many rows a statement adds.
const AT_A_TIME: u64 = 100_000;

/// First with an empty journal, then with a full one, each on a server of its own.
pub(super) async fn measure(bench: &Bench, side: Side) -> Result<Vec<f64>> {
    let rows = bench.size(5_000_000, 200_000);
    let warm_up = bench.size(100, 20);
    let span = warm_up + bench.size(500, 50);
    let database = bench.database(side, &[SERVICE]).await?;
    let sql = &database.sql;
    let mut measured = Vec::new();
    for first in [0, span] {
        if first > 0 {
            // As if they had been written long ago, by any number of transactions.
            for _ in 0..rows / AT_A_TIME {
                sql.run(&copy_journal()).await?;
            }
            sql.run("vacuum (analyze) space_events.row_changes").await?;
            sql.run("checkpoint").await?;
        }
        let begun = Instant::now();
        let server = bench.server(side, &database).await?;
        let started = begun.elapsed().as_secs_f64() * 1e3;
        let expected = Expected::Created(first..first + span);
        let (swarm, mut arrivals) = Swarm::listen(server.address, "40/pricings,", expected).await?;
        let warm = first + warm_up;
        of_each(sql, &mut arrivals, Timed::Commit, first..warm).await?;
        let commits = of_each(sql, &mut arrivals, Timed::Commit, warm..first + span).await?;
        swarm.check()?;
        measured.push((commits.since_sent, started));
    }
    let [(empty, _), (full, started)] = measured.as_slice() else {
        anyhow::bail!("two servers");
    };
    let size = "select pg_total_relation_size('space_events.row_changes') / 1e6";
    let mut values = quantiles_and_times(full, empty)?;
    values.push(*started);
    values.push(sql.text(size).await?.parse()?);
    Ok(values)
}

/// Adds copies of the rows that are there, whatever columns they have.
fn copy_journal() -> String {
    format!(
        "do $do$
        declare
            columns text := (
                select string_agg(quote_ident(attname), ', ' order by attnum)
                from pg_attribute
                where attrelid = 'space_events.row_changes'::regclass
                and attnum > 0 and not attisdropped and attname not in ('id', 'xid'));
        begin
            execute format(
                'insert into space_events.row_changes (%1$s)
                select %1$s from (select * from space_events.row_changes order by id limit 100) r,
                    generate_series(1, {AT_A_TIME} / 100)',
                columns);
        end
        $do$"
    )
}
