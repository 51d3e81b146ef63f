//! What it is measured on.

use std::path::Path;
use std::process::Command;
use std::time::Instant;

use anyhow::Context as _;

use crate::disk::Disk;
use crate::figure::Unit;
use crate::side::{Bench, Side};
use crate::{HERE, median};

/// How many commits say how long a flush takes.
const COMMITS: u32 = 100;

/// Names and values.
pub(crate) async fn describe(bench: &Bench) -> Vec<(&'static str, String)> {
    let cores = std::thread::available_parallelism().map_or(0, std::num::NonZero::get);
    let processor = field("/proc/cpuinfo", "model name").unwrap_or_else(unknown);
    let memory = field("/proc/meminfo", "MemTotal")
        .and_then(|kib| kib.strip_suffix(" kB")?.trim().parse::<f64>().ok())
        .map_or_else(unknown, |kib| format!("{:.0} GB", kib * 1024.0 / 1e9));
    let load = std::fs::read_to_string("/proc/loadavg").ok();
    let load = load.and_then(|load| load.split_whitespace().next().map(str::to_owned));
    let postgres = bench.admin.text("show server_version").await;
    vec![
        ("cores", cores.to_string()),
        ("processor", processor),
        ("memory", memory),
        ("system", output("uname", &["-sr"])),
        ("load before", load.unwrap_or_else(unknown)),
        ("open files at most", bench.open_files.to_string()),
        (
            "Postgres",
            format!(
                "{}, fsync on",
                postgres.unwrap_or_else(|error| format!("unknown: {error:#}"))
            ),
        ),
        (
            "one-row commit of one session, no triggers",
            commit(bench, Disk::AsItIs).await,
        ),
        ("the same on the slow disk", commit(bench, Disk::Slow).await),
        ("Rust", output("rustc", &["--version"])),
        ("Node", output("node", &["--version"])),
        ("socket.io", package("socket.io")),
        ("pg", package("pg")),
    ]
}

/// The median of some commits, which is about what a flush of the disk takes.
async fn commit(bench: &Bench, disk: Disk) -> String {
    let measured = async {
        bench.use_disk(disk).await?;
        let database = bench.database(Side::Plain, &[]).await?;
        let mut times = Vec::new();
        for number in 0..COMMITS {
            let begun = Instant::now();
            let insert = format!("insert into services (name) values ('Service {number}')");
            database.sql.run(&insert).await?;
            times.push(begun.elapsed().as_secs_f64() * 1e3);
        }
        bench.use_disk(Disk::AsItIs).await?;
        bench.clean_up().await?;
        median(&times).context("no commits")
    };
    match measured.await {
        Ok(ms) => Unit::Milliseconds.text(ms),
        Err(error) => format!("unknown: {error:#}"),
    }
}

fn unknown() -> String {
    "unknown".to_owned()
}

/// The value of the first line `name: value` of a file.
fn field(path: &str, name: &str) -> Option<String> {
    let text = std::fs::read_to_string(path).ok()?;
    text.lines().find_map(|line| {
        let (key, value) = line.split_once(':')?;
        (key.trim() == name).then(|| value.trim().to_owned())
    })
}

fn output(program: &str, arguments: &[&str]) -> String {
    match Command::new(program).args(arguments).output() {
        Ok(output) => String::from_utf8_lossy(&output.stdout).trim().to_owned(),
        Err(_) => unknown(),
    }
}

/// The version that the peer has installed.
fn package(name: &str) -> String {
    let path = Path::new(HERE).join(format!("peer/node_modules/{name}/package.json"));
    let text = std::fs::read_to_string(path).unwrap_or_default();
    let package: serde_json::Value = serde_json::from_str(&text).unwrap_or_default();
    package["version"]
        .as_str()
        .map_or_else(unknown, str::to_owned)
}
