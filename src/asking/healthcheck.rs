//! Asks a running instance whether it serves: a container's health check, where
//! there is neither a shell nor curl.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context as _, bail};
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::reachable;

const TIME_LIMIT: Duration = Duration::from_secs(5);
const MAX_LINE_BYTES: u64 = 1024;

/// `GET /api/v1/healthcheck` at one of the addresses that the settings listen on.
///
/// # Errors
///
/// Nobody answers within five seconds, or not with 200.
pub async fn check(listen: &[SocketAddr]) -> anyhow::Result<()> {
    let addresses: Vec<SocketAddr> = listen.iter().copied().map(reachable).collect();
    let line = timeout(TIME_LIMIT, ask(&addresses))
        .await
        .with_context(|| format!("no answer in time from {addresses:?}"))?
        .with_context(|| format!("no answer from {addresses:?}"))?;
    if line.split(' ').nth(1) != Some("200") {
        bail!("answered with `{}`", line.trim());
    }
    Ok(())
}

/// The first line of the answer.
async fn ask(addresses: &[SocketAddr]) -> std::io::Result<String> {
    let mut stream = TcpStream::connect(addresses).await?;
    stream
        .write_all(
            b"GET /api/v1/healthcheck HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n",
        )
        .await?;
    let mut line = String::new();
    BufReader::new(stream.take(MAX_LINE_BYTES))
        .read_line(&mut line)
        .await?;
    Ok(line)
}
