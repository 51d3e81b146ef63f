//! How many changes REST makes.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::task::JoinSet;

use crate::figure::{Figure, Target, Unit};
use crate::side::{Bench, Side};
use crate::swarm::{Expected, Swarm};

pub(super) const FIGURES: &[Figure] = &[
    figure(
        "REST at 16 connections, each with a pricing of a service of its own: PUT availability",
        0,
        Target::RatioAtLeast(1.1),
    ),
    figure(
        "the same, 16 pricings of one service",
        1,
        Target::RatioAtLeast(1.1),
    ),
];

pub(super) const ON_THE_SLOW_DISK: &[Figure] = &[
    figure(
        "REST on the slow disk, each with a pricing of a service of its own",
        0,
        Target::RatioAtLeast(6.0),
    ),
    figure(
        "the same, 16 pricings of one service",
        1,
        Target::RatioAtLeast(6.0),
    ),
];

const fn figure(title: &'static str, value: usize, target: Target) -> Figure {
    Figure {
        title,
        value,
        unit: Unit::PerSecond,
        against: Some(Side::Peer),
        target,
    }
}

const CONNECTIONS: u64 = 16;

/// One client has to get the event of each change.
pub(super) async fn measure(bench: &Bench, side: Side) -> Result<Vec<f64>> {
    let running = bench.start(side, &["One"]).await?;
    let sql = &running.database.sql;
    sql.run(&format!(
        "insert into services (name) select 'Service' || n from generate_series(1, {CONNECTIONS}) n;
        insert into pricings (service_name, version)
            select 'Service' || n, n from generate_series(1, {CONNECTIONS}) n;
        insert into pricings (service_name, version)
            select 'One', n from generate_series(1, {CONNECTIONS}) n;"
    ))
    .await?;
    let address = running.server.address;
    let warm_up = Duration::from_millis(bench.size(500, 200));
    let span = Duration::from_millis(bench.size(3_000, 500));
    // Its own pricings are announced before it joins.
    tokio::time::sleep(Duration::from_millis(500)).await;
    let swarm = Swarm::join(address, 1, Expected::Any).await?;
    let own = |number| format!("Service{number}");
    let (first, _) = change(address, own, warm_up).await?;
    let (second, own_rate) = change(address, own, span).await?;
    let (third, one_rate) = change(address, |_| "One".to_owned(), span).await?;
    swarm.received_in_all(first + second + third).await?;
    Ok(vec![own_rate, one_rate])
}

/// How many changes were made, and how many a second.
async fn change(
    address: SocketAddr,
    service: impl Fn(u64) -> String,
    span: Duration,
) -> Result<(u64, f64)> {
    let begun = Instant::now();
    let mut connections = JoinSet::new();
    for number in 1..=CONNECTIONS {
        let path = format!("/api/v1/services/{}/pricings/{number}", service(number));
        connections.spawn(alternate(address, path, begun + span));
    }
    let mut changes = 0;
    while let Some(count) = connections.join_next().await {
        changes += count??;
    }
    Ok((changes, changes as f64 / begun.elapsed().as_secs_f64()))
}

/// Archives and activates in turn, and leaves the pricing active.
async fn alternate(address: SocketAddr, path: String, until: Instant) -> Result<u64> {
    let mut stream = TcpStream::connect(address).await?;
    stream.set_nodelay(true)?;
    stream.set_zero_linger()?;
    let mut changes = 0;
    let mut answer = Vec::new();
    while Instant::now() < until {
        for availability in ["archived", "active"] {
            let request = format!(
                "PUT {path}?availability={availability} HTTP/1.1\r\nHost: {address}\r\nContent-Length: 0\r\n\r\n"
            );
            stream.write_all(request.as_bytes()).await?;
            read_answer(&mut stream, &mut answer).await?;
            changes += 1;
        }
    }
    Ok(changes)
}

/// Reads one answer, which has to be a 200.
async fn read_answer(stream: &mut TcpStream, answer: &mut Vec<u8>) -> Result<()> {
    answer.clear();
    loop {
        let read = stream.read_buf(answer).await?;
        ensure!(read > 0, "closed instead of answered");
        let Some(end) = answer.windows(4).position(|four| four == b"\r\n\r\n") else {
            continue;
        };
        let head = std::str::from_utf8(&answer[..end])?.to_ascii_lowercase();
        let is_whole = match head.split_once("content-length:") {
            Some((_, rest)) => {
                let length = rest.lines().next().context("a length")?;
                answer.len() >= end + 4 + length.trim().parse::<usize>()?
            }
            // In chunks, of which the last is empty.
            None => answer.ends_with(b"\r\n0\r\n\r\n"),
        };
        if is_whole {
            let text = String::from_utf8_lossy(answer);
            ensure!(text.starts_with("HTTP/1.1 200"), "answered: {text}");
            return Ok(());
        }
    }
}
