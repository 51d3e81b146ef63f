//! Measures this program and a peer, side by side, and writes BENCHMARKS.md.
//!
//! ```text
//! space-events-bench <the program>
//!     ROWS=latency,burst   these rows alone
//!     QUICK=1              small numbers, once
//! ```
//!
//! Both sides run on one Postgres, each run in a database and a process of its
//! own. The sides take turns, and of the repetitions the median counts. Only a
//! whole run writes BENCHMARKS.md.

mod rows;
mod swarm;
mod frames;
mod side;
mod disk;
mod server;
mod sql;
mod figure;
mod machine;
mod report;

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use tokio::signal::unix::{SignalKind, signal};
use tokio::time::timeout;

use disk::{Disk, SlowFlushes};
use embedded_postgres::EmbeddedPostgres;
use report::Measured;
use rows::Row;
use side::{Bench, Sizes};

/// How long one run of a row may take.
const TIME_LIMIT: Duration = Duration::from_secs(240);

/// The benchmark's own directory.
pub(crate) const HERE: &str = env!("CARGO_MANIFEST_DIR");

fn main() -> Result<()> {
    let slow_flushes = SlowFlushes::load()?;
    tokio::runtime::Runtime::new()?.block_on(run(slow_flushes))
}

async fn run(slow_flushes: SlowFlushes) -> Result<()> {
    let program = std::env::args_os()
        .nth(1)
        .map(PathBuf::from)
        .context("the path of the program is missing")?;
    let rows = rows_of(&std::env::var("ROWS").unwrap_or_default())?;
    let sizes = match std::env::var("QUICK") {
        Ok(quick) if !quick.is_empty() && quick != "0" => Sizes::Quick,
        _ => Sizes::Whole,
    };
    let open_files = raise_open_files()?;

    let dir = std::env::temp_dir().join(format!("space-events-bench-{}", std::process::id()));
    let postgres = EmbeddedPostgres::start(&dir)
        .await
        .context("start Postgres")?;
    let url = postgres.url();
    let bench = Bench::new(&program, &url, slow_flushes, sizes, open_files).await?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    let done = tokio::select! {
        done = measure_all(&bench, &rows) => done,
        _ = interrupt.recv() => Err(anyhow::anyhow!("interrupted")),
        _ = terminate.recv() => Err(anyhow::anyhow!("terminated")),
    };
    drop(bench);
    let stopped = postgres.stop().await;
    let removed = std::fs::remove_dir_all(&dir).context("remove the files of Postgres");
    done?;
    stopped?;
    removed
}

fn rows_of(names: &str) -> Result<Vec<Row>> {
    let names: Vec<&str> = names.split([',', ' ']).filter(|n| !n.is_empty()).collect();
    if names.is_empty() {
        return Ok(Row::ALL.to_vec());
    }
    names
        .into_iter()
        .map(|name| {
            let all = Row::ALL.map(Row::name).join(", ");
            let row = Row::ALL.into_iter().find(|row| row.name() == name);
            row.with_context(|| format!("ROWS: no row `{name}`; there are {all}"))
        })
        .collect()
}

/// As many as allowed, for this process and those that it starts.
fn raise_open_files() -> Result<u64> {
    let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE).context("read RLIMIT_NOFILE")?;
    // More than that only costs: some programs walk through all of them.
    let wanted = hard.min(65_536);
    setrlimit(Resource::RLIMIT_NOFILE, wanted, hard).context("raise RLIMIT_NOFILE")?;
    Ok(wanted)
}

async fn measure_all(bench: &Bench, rows: &[Row]) -> Result<()> {
    let begun = Instant::now();
    let machine = machine::describe(bench).await;
    let mut measured = Vec::new();
    for row in rows.iter().copied() {
        measured.push(measure_row(bench, row).await);
    }
    let report = report::text(&machine, &measured, begun.elapsed())?;
    println!("{report}");
    if rows == Row::ALL && bench.sizes == Sizes::Whole {
        let path = Path::new(HERE).join("../BENCHMARKS.md");
        std::fs::write(path, &report).context("write BENCHMARKS.md")?;
    }
    if measured.iter().all(Measured::has_nothing) {
        bail!("nothing could be measured");
    }
    Ok(())
}

/// A run that fails says so, and the others go on.
async fn measure_row(bench: &Bench, row: Row) -> Measured {
    let repetitions = match bench.sizes {
        Sizes::Quick => 1,
        Sizes::Whole => row.repetitions(),
    };
    let mut measured = Measured::new(row);
    for repetition in 1..=repetitions {
        for side in row.sides().iter().copied() {
            let begun = Instant::now();
            let run = async {
                bench.use_disk(row.disk()).await?;
                row.measure(bench, side).await
            };
            let run = match timeout(TIME_LIMIT, run).await {
                Ok(run) => run,
                Err(_) => Err(anyhow::anyhow!("took over {} s", TIME_LIMIT.as_secs())),
            };
            let words = match &run {
                Ok(values) => report::run_in_words(row, values),
                Err(error) => format!("failed: {error:#}"),
            };
            eprintln!(
                "{} {repetition}/{repetitions}, {}: {words} ({:.1} s)",
                row.name(),
                side.name(),
                begun.elapsed().as_secs_f64(),
            );
            measured.add(side, run);
            if let Err(error) = clean_up(bench).await {
                eprintln!("cannot clean up: {error:#}");
            }
        }
    }
    measured
}

/// On the disk as it is, or it would take long.
async fn clean_up(bench: &Bench) -> Result<()> {
    bench.use_disk(Disk::AsItIs).await?;
    bench.clean_up().await
}

/// The middle one; of two the mean.
pub(crate) fn median(values: &[f64]) -> Option<f64> {
    quantile(values, 0.5)
}

/// Between the two values that are nearest, in proportion.
pub(crate) fn quantile(values: &[f64], part: f64) -> Option<f64> {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let place = part * sorted.len().checked_sub(1)? as f64;
    let (low, high) = (place.floor() as usize, place.ceil() as usize);
    let share = place - place.floor();
    Some(sorted[low] * (1.0 - share) + sorted[high] * share)
}
