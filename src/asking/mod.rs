//! Asks a running instance, as any client does: `space-events tail`,
//! `space-events explain` and `space-events healthcheck`.

mod explain;
pub mod healthcheck;
mod tail;

use std::io::Write as _;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use anyhow::Context as _;
use clap::Args;

pub use explain::{Explain, explain};
pub use tail::{Tail, tail};

/// The key for the server.
#[derive(Args, Clone, Debug, PartialEq, Eq)]
pub struct Access {
    /// One of the server's API_KEYS, if it needs one.
    #[arg(long, env = "API_KEY", hide_env_values = true)]
    pub api_key: Option<String>,
}

/// An instance that listens on every address is asked over loopback.
pub fn reachable(mut address: SocketAddr) -> SocketAddr {
    match address.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => address.set_ip(Ipv4Addr::LOCALHOST.into()),
        IpAddr::V6(ip) if ip.is_unspecified() => address.set_ip(Ipv6Addr::LOCALHOST.into()),
        _ => {}
    }
    address
}

/// Prints a line. Fails when nobody reads any more, as behind `| head`.
fn print(line: &str) -> std::io::Result<()> {
    let mut output = std::io::stdout().lock();
    writeln!(output, "{line}")?;
    output.flush()
}

/// A name or version on one line, whatever it holds.
fn shown(text: &str) -> String {
    let is_plain = |char: char| !char.is_control() && !char.is_whitespace();
    match !text.is_empty() && text.chars().all(is_plain) {
        true => text.to_owned(),
        false => format!("{text:?}"),
    }
}

fn first(addresses: &[SocketAddr]) -> anyhow::Result<SocketAddr> {
    let address = addresses.first().copied().map(reachable);
    address.context("HOST: no address")
}
