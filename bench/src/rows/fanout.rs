//! A middling transaction to many clients.

use anyhow::Result;

use super::burst;
use crate::figure::{Figure, Target, Unit};
use crate::side::{Bench, Side};

pub(super) const FIGURES: &[Figure] = &[
    Figure {
        title: "1,000 rows in one transaction to 1,000 clients, deliveries",
        value: 0,
        unit: Unit::PerSecond,
        against: Some(Side::Peer),
        target: Target::RatioAtLeast(150.0),
    },
    Figure {
        title: "the same, until the last client has all",
        value: 1,
        unit: Unit::Milliseconds,
        against: Some(Side::Peer),
        target: Target::Report,
    },
    Figure {
        title: "the same, memory added to the server at most",
        value: 2,
        unit: Unit::Megabytes,
        against: Some(Side::Peer),
        target: Target::AtMost(5.0),
    },
];

pub(super) async fn measure(bench: &Bench, side: Side) -> Result<Vec<f64>> {
    let clients = bench.size(1_000, 100) as usize;
    burst::deliver(bench, side, clients, 1_000).await
}
