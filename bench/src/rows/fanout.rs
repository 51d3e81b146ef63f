//! A middling transaction to many clients.

use anyhow::Result;

use super::burst;
use crate::figure::Figure;
use crate::side::{Bench, Side};

pub(super) const FIGURES: &[Figure] = &burst::figures(
    "1,000 rows in one transaction to 1,000 clients, deliveries",
    150.0,
    5.0,
);

pub(super) async fn measure(bench: &Bench, side: Side) -> Result<Vec<f64>> {
    let clients = bench.size(1_000, 100) as usize;
    burst::deliver(bench, side, clients, 1_000).await
}
