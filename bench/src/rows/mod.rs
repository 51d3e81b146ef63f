//! The rows: what is done to a side, and what is read off.
//!
//! A run of a row gives its values in an order of its own; the row's figures
//! say what they are and what is to be reached.

mod latency;
mod burst;
mod fanout;
mod cpu;
mod memory;
mod statements;
mod writers;
mod rest;
mod idle;
mod back;

use std::time::Duration;

use anyhow::Result;

use crate::figure::Figure;
use crate::side::{Bench, Side};
use crate::swarm::SERVICE;

/// How long the clients may take until all have what was sent.
const DELIVERY_LIMIT: Duration = Duration::from_secs(60);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Row {
    Latency,
    Burst,
    Fanout,
    Cpu,
    Memory,
    Statements,
    Writers,
    Rest,
    Idle,
    Back,
}

impl Row {
    /// As they stand in the table.
    pub(crate) const ALL: [Self; 10] = [
        Self::Latency,
        Self::Burst,
        Self::Fanout,
        Self::Cpu,
        Self::Memory,
        Self::Statements,
        Self::Writers,
        Self::Rest,
        Self::Idle,
        Self::Back,
    ];

    /// As it is called in ROWS and in the notes.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Latency => "latency",
            Self::Burst => "burst",
            Self::Fanout => "fanout",
            Self::Cpu => "cpu",
            Self::Memory => "memory",
            Self::Statements => "statements",
            Self::Writers => "writers",
            Self::Rest => "rest",
            Self::Idle => "idle",
            Self::Back => "back",
        }
    }

    pub(crate) fn figures(self) -> &'static [Figure] {
        match self {
            Self::Latency => latency::FIGURES,
            Self::Burst => burst::FIGURES,
            Self::Fanout => fanout::FIGURES,
            Self::Cpu => cpu::FIGURES,
            Self::Memory => memory::FIGURES,
            Self::Statements => statements::FIGURES,
            Self::Writers => writers::FIGURES,
            Self::Rest => rest::FIGURES,
            Self::Idle => idle::FIGURES,
            Self::Back => back::FIGURES,
        }
    }

    /// They take turns in this order.
    pub(crate) fn sides(self) -> &'static [Side] {
        match self {
            Self::Statements => &[Side::Ours, Side::Plain],
            Self::Writers => &[Side::Ours, Side::Plain, Side::Peer],
            Self::Back => &[Side::Ours],
            _ => &[Side::Ours, Side::Peer],
        }
    }

    /// How often each side is measured.
    pub(crate) fn repetitions(self) -> usize {
        match self {
            // Short, and the disk has its moods.
            Self::Statements => 5,
            _ => 3,
        }
    }

    /// One run of one side.
    pub(crate) async fn measure(self, bench: &Bench, side: Side) -> Result<Vec<f64>> {
        match self {
            Self::Latency => latency::measure(bench, side).await,
            Self::Burst => burst::measure(bench, side).await,
            Self::Fanout => fanout::measure(bench, side).await,
            Self::Cpu => cpu::measure(bench, side).await,
            Self::Memory => memory::measure(bench, side).await,
            Self::Statements => statements::measure(bench, side).await,
            Self::Writers => writers::measure(bench, side).await,
            Self::Rest => rest::measure(bench, side).await,
            Self::Idle => idle::measure(bench, side).await,
            Self::Back => back::measure(bench, side).await,
        }
    }
}

/// Inserts versions from `first` to below `end`, in one statement.
fn insert_versions(first: u64, end: u64) -> String {
    format!(
        "insert into pricings (service_name, version)
        select '{SERVICE}', n from generate_series({first}::bigint, {end} - 1) n order by n"
    )
}
