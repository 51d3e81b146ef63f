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
mod one_row;
mod writers;
mod rest;
mod open_transaction;
mod old_journal;
mod instances;
mod idle;
mod busy;
mod back;
mod steady;
mod storm;
mod churn;
mod growth;

use std::time::Duration;

use anyhow::Result;

use crate::disk::Disk;
use crate::figure::Figure;
use crate::side::{Bench, Side};
use crate::swarm::SERVICE;

/// How long the clients may take until all have what was sent.
const DELIVERY_LIMIT: Duration = Duration::from_secs(60);

/// What is measured: a name, on which disk, by which sides, how often.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Row {
    Latency,
    OpenTransaction,
    OldJournal,
    Instances,
    Burst,
    Fanout,
    Cpu,
    Memory,
    Single,
    Statements,
    Writers(Disk),
    Rest(Disk),
    Idle,
    Busy,
    Back,
    Steady,
    Storm,
    Churn,
    Growth,
}

impl Row {
    /// As they stand in the table.
    pub(crate) const ALL: [Self; 21] = [
        Self::Latency,
        Self::OpenTransaction,
        Self::OldJournal,
        Self::Instances,
        Self::Burst,
        Self::Fanout,
        Self::Cpu,
        Self::Memory,
        Self::Single,
        Self::Statements,
        Self::Writers(Disk::AsItIs),
        Self::Writers(Disk::Slow),
        Self::Rest(Disk::AsItIs),
        Self::Rest(Disk::Slow),
        Self::Idle,
        Self::Busy,
        Self::Back,
        Self::Steady,
        Self::Storm,
        Self::Churn,
        Self::Growth,
    ];

    /// As it is called in ROWS and in the notes.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Latency => "latency",
            Self::OpenTransaction => "open-transaction",
            Self::OldJournal => "old-journal",
            Self::Instances => "many-instances",
            Self::Burst => "burst",
            Self::Fanout => "fanout",
            Self::Cpu => "cpu",
            Self::Memory => "memory",
            Self::Single => "one-row",
            Self::Statements => "statements",
            Self::Writers(Disk::Slow) => "writers-slow-disk",
            Self::Writers(_) => "writers",
            Self::Rest(Disk::Slow) => "rest-slow-disk",
            Self::Rest(_) => "rest",
            Self::Idle => "idle",
            Self::Busy => "busy",
            Self::Back => "back",
            Self::Steady => "steady",
            Self::Storm => "storm",
            Self::Churn => "churn",
            Self::Growth => "growth",
        }
    }

    pub(crate) fn figures(self) -> &'static [Figure] {
        match self {
            Self::Latency => latency::FIGURES,
            Self::OpenTransaction => open_transaction::FIGURES,
            Self::OldJournal => old_journal::FIGURES,
            Self::Instances => instances::FIGURES,
            Self::Burst => burst::FIGURES,
            Self::Fanout => fanout::FIGURES,
            Self::Cpu => cpu::FIGURES,
            Self::Memory => memory::FIGURES,
            Self::Single => one_row::FIGURES,
            Self::Statements => statements::FIGURES,
            Self::Writers(Disk::Slow) => writers::ON_THE_SLOW_DISK,
            Self::Writers(_) => writers::FIGURES,
            Self::Rest(Disk::Slow) => rest::ON_THE_SLOW_DISK,
            Self::Rest(_) => rest::FIGURES,
            Self::Idle => idle::FIGURES,
            Self::Busy => busy::FIGURES,
            Self::Back => back::FIGURES,
            Self::Steady => steady::FIGURES,
            Self::Storm => storm::FIGURES,
            Self::Churn => churn::FIGURES,
            Self::Growth => growth::FIGURES,
        }
    }

    /// What Postgres writes to.
    pub(crate) fn disk(self) -> Disk {
        match self {
            Self::Writers(disk) | Self::Rest(disk) => disk,
            Self::Single => Disk::NotWaitedFor,
            _ => Disk::AsItIs,
        }
    }

    /// They take turns in this order.
    pub(crate) fn sides(self) -> &'static [Side] {
        match self {
            Self::Statements => &[Side::Ours, Side::Plain],
            Self::Single | Self::Writers(_) => &[Side::Ours, Side::Plain, Side::Peer],
            Self::OpenTransaction | Self::OldJournal | Self::Back | Self::Growth => &[Side::Ours],
            _ => &[Side::Ours, Side::Peer],
        }
    }

    /// How often each side is measured.
    pub(crate) fn repetitions(self) -> usize {
        match self {
            // Each run takes long.
            Self::Instances | Self::Busy | Self::Churn | Self::Growth => 1,
            // Short, and the disk has its moods.
            Self::Statements => 5,
            _ => 3,
        }
    }

    /// One run of one side.
    pub(crate) async fn measure(self, bench: &Bench, side: Side) -> Result<Vec<f64>> {
        match self {
            Self::Latency => latency::measure(bench, side).await,
            Self::OpenTransaction => open_transaction::measure(bench, side).await,
            Self::OldJournal => old_journal::measure(bench, side).await,
            Self::Instances => instances::measure(bench, side).await,
            Self::Burst => burst::measure(bench, side).await,
            Self::Fanout => fanout::measure(bench, side).await,
            Self::Cpu => cpu::measure(bench, side).await,
            Self::Memory => memory::measure(bench, side).await,
            Self::Single => one_row::measure(bench, side).await,
            Self::Statements => statements::measure(bench, side).await,
            Self::Writers(_) => writers::measure(bench, side).await,
            Self::Rest(_) => rest::measure(bench, side).await,
            Self::Idle => idle::measure(bench, side).await,
            Self::Busy => busy::measure(bench, side).await,
            Self::Back => back::measure(bench, side).await,
            Self::Steady => steady::measure(bench, side).await,
            Self::Storm => storm::measure(bench, side).await,
            Self::Churn => churn::measure(bench, side).await,
            Self::Growth => growth::measure(bench, side).await,
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
