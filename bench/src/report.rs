//! The table, and BENCHMARKS.md around it.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, Result};

use crate::figure::{Figure, number};
use crate::rows::Row;
use crate::side::Side;
use crate::{HERE, median};

/// What the runs of a row gave.
pub(crate) struct Measured {
    row: Row,
    runs: Vec<(Side, Result<Vec<f64>>)>,
}

impl Measured {
    pub(crate) fn new(row: Row) -> Self {
        Self {
            row,
            runs: Vec::new(),
        }
    }

    pub(crate) fn add(&mut self, side: Side, run: Result<Vec<f64>>) {
        self.runs.push((side, run));
    }

    pub(crate) fn has_nothing(&self) -> bool {
        self.runs.iter().all(|(_, run)| run.is_err())
    }

    /// A side's values of a figure, of the runs that succeeded.
    fn values(&self, side: Side, figure: &Figure) -> Vec<f64> {
        let runs = self.runs.iter().filter(|(of, _)| *of == side);
        runs.filter_map(|(_, run)| run.as_ref().ok()?.get(figure.value).copied())
            .collect()
    }

    fn has_failed(&self, side: Side) -> bool {
        self.runs
            .iter()
            .any(|(of, run)| *of == side && run.is_err())
    }

    fn line(&self, figure: &Figure) -> String {
        let values = self.values(Side::Ours, figure);
        let ours = median(&values);
        let other = figure.against.map(|side| self.values(side, figure));
        let theirs = other.as_deref().and_then(median);
        let ratio = ours.zip(theirs).map(|(ours, theirs)| ours / theirs);
        let reached = match ours {
            // Half of a promise is none.
            _ if self.has_failed(Side::Ours) => Some(false),
            Some(ours) => figure.target.is_reached(ours, ratio),
            None => None,
        };
        let with = match (figure.against, &other) {
            (Some(side), Some(values)) => format!("{}: {}", side.name(), spread(figure, values)),
            _ => "–".to_owned(),
        };
        format!(
            "| {} | {} | {with} | {} | {} | {} |",
            figure.title,
            spread(figure, &values),
            ratio.map_or_else(|| "–".to_owned(), number),
            figure.target.text(figure.unit),
            match reached {
                Some(true) => "yes",
                Some(false) => "**no**",
                None => "–",
            },
        )
    }
}

/// The median, and the least and the greatest value.
fn spread(figure: &Figure, values: &[f64]) -> String {
    let Some(middle) = median(values) else {
        return "failed".to_owned();
    };
    let middle = figure.unit.text(middle);
    let least = number(values.iter().copied().fold(f64::INFINITY, f64::min));
    let greatest = number(values.iter().copied().fold(f64::NEG_INFINITY, f64::max));
    if least == greatest {
        return middle;
    }
    format!("{middle} ({least} to {greatest})")
}

/// The values of one run, for whoever waits.
pub(crate) fn run_in_words(row: Row, values: &[f64]) -> String {
    let mut said = Vec::new();
    for figure in row.figures() {
        if said.len() == figure.value
            && let Some(value) = values.get(figure.value)
        {
            said.push(figure.unit.text(*value));
        }
    }
    said.join(", ")
}

/// The text of BENCHMARKS.md.
pub(crate) fn text(
    machine: &[(&str, String)],
    measured: &[Measured],
    took: Duration,
) -> Result<String> {
    let mut text = String::from(
        "# Benchmarks\n\n\
        `make bench` measures this program beside a peer, on one Postgres, and writes this page.\n\
        The peer is what one would write by hand ([bench/peer](bench/peer)): row triggers send each event as the payload of a NOTIFY, and a server in Node broadcasts it by Socket.IO.\n\
        It does less: commits are lost while its connection is away, and clients cannot come back to where they were.\n\n\
        Each run has its own database and process, and the two sides take turns. The table shows the median, with the least and the greatest in brackets.\n\
        The clients run on the same cores. They are raw websockets, and check that every event comes once and in order.\n\
        On the slow disk each flush takes 2 ms more: [bench/flush.c](bench/flush.c) is loaded into Postgres.\n\n\
        | figure | this program | compared with | ratio | to reach | reached |\n\
        | --- | --- | --- | --- | --- | --- |\n",
    );
    for row in measured {
        for figure in row.row.figures() {
            writeln!(text, "{}", row.line(figure))?;
        }
    }
    let failures = failures(measured);
    if !failures.is_empty() {
        write!(text, "\n## What failed\n\n{failures}")?;
    }
    text.push_str("\n## What limits each\n\n");
    let notes = notes()?;
    for row in measured {
        let name = row.row.name();
        let note = notes
            .get(name)
            .map_or("not looked into yet.", String::as_str);
        writeln!(text, "- **{name}**: {note}")?;
    }
    text.push_str("\n## Measured on\n\n| | |\n| --- | --- |\n");
    for (name, value) in machine {
        writeln!(text, "| {name} | {value} |")?;
    }
    writeln!(text, "| the whole run took | {:.0} s |", took.as_secs_f64())?;
    Ok(text)
}

fn failures(measured: &[Measured]) -> String {
    let mut text = String::new();
    for row in measured {
        for (side, run) in &row.runs {
            if let Err(error) = run {
                let error = format!("{error:#}").replace('\n', " ");
                text += &format!("- {}, {}: {error}\n", row.row.name(), side.name());
            }
        }
    }
    text
}

/// A sentence for each row, kept beside the code: `row: sentence`.
fn notes() -> Result<HashMap<String, String>> {
    let text = std::fs::read_to_string(Path::new(HERE).join("notes")).context("read the notes")?;
    Ok(text
        .lines()
        .filter_map(|line| line.split_once(':'))
        .map(|(row, note)| (row.trim().to_owned(), note.trim().to_owned()))
        .collect())
}
