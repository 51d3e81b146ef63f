//! Whether a reader can go on from a position, and where the journal is.
//!
//! A connection of its own asks this, which waits for no page. It asks once for all
//! clients that come at the same time.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::Context as _;
use tokio::time::{Instant, timeout};
use tracing::debug;

use super::CatchUp;
use crate::journal::bounds::JournalBounds;
use crate::journal::{Position, PositionRefused, Reader, Watermark};

/// How long checking a position may take.
const CHECK_LIMIT: Duration = Duration::from_secs(3);

/// What is asked, and what was found last.
#[derive(Debug, Default)]
pub(super) struct Checks {
    /// The ids of the rows that the next check asks for.
    asked: Mutex<BTreeSet<i64>>,
    latest: tokio::sync::Mutex<Latest>,
}

/// The connection that checks, of the era in which it was made, and its last check.
#[derive(Debug, Default)]
struct Latest {
    reader: Option<(u64, Reader)>,
    check: Option<Check>,
}

#[derive(Debug)]
struct Check {
    begun: Instant,
    asked: BTreeSet<i64>,
    /// `None` if the database did not answer.
    found: Option<Arc<JournalBounds>>,
}

impl CatchUp {
    /// Checks that the journal still has what was seen at a position, and keeps all
    /// that came after it. However many ask at once, the database is asked a few
    /// times.
    ///
    /// # Errors
    ///
    /// Why nobody can go on from there.
    pub async fn check(&self, position: &Position) -> Result<(), PositionRefused> {
        let witnesses = position.witnessed().witnesses.iter();
        let ids = witnesses.map(|witness| witness.id).collect();
        let bounds = self.bounds_now(ids).await;
        let bounds = bounds.ok_or(PositionRefused::Unavailable)?;
        if position.base.max_id > bounds.now.max_id {
            return Err(PositionRefused::WentBack);
        }
        Ok(bounds.leads_on_from(position)?)
    }

    /// The same for a client that would not try again by itself if it were refused:
    /// while the database is away, what the feed knew last has to do.
    ///
    /// # Errors
    ///
    /// As [`CatchUp::check`], but never [`PositionRefused::Unavailable`].
    pub async fn check_or_ask_feed(&self, position: &Position) -> Result<(), PositionRefused> {
        match self.check(position).await {
            Err(PositionRefused::Unavailable) => {
                let kept_from = self.replay_buffer.kept_from();
                let is_kept = position.is_kept(kept_from.as_ref());
                is_kept.then_some(()).ok_or(PositionRefused::Expired)
            }
            checked => checked,
        }
    }

    /// The place where all that is visible now has been seen.
    ///
    /// # Errors
    ///
    /// The database is away, or took longer than three seconds.
    pub async fn end(&self) -> anyhow::Result<Position> {
        Ok(Position::after(Arc::new(self.bounds().await?.now.clone())))
    }

    /// The oldest place from which all is kept.
    ///
    /// # Errors
    ///
    /// The database is away, or took longer than three seconds.
    pub async fn beginning(&self) -> anyhow::Result<Position> {
        let kept_from = self.bounds().await?.kept_from.clone();
        Ok(Position::after(Arc::new(
            kept_from.unwrap_or_else(Watermark::nothing),
        )))
    }

    async fn bounds(&self) -> anyhow::Result<Arc<JournalBounds>> {
        let bounds = self.bounds_now(BTreeSet::new()).await;
        bounds.context("read the place of the journal")
    }

    /// Where the journal is now or later, and which of the rows with these ids it
    /// has; `None` if the database did not answer.
    async fn bounds_now(&self, mut ids: BTreeSet<i64>) -> Option<Arc<JournalBounds>> {
        self.checks.asked().extend(&ids);
        let earliest = Instant::now();
        let mut latest = self.checks.latest.lock().await;
        if let Some(last) = &latest.check
            && last.begun >= earliest
            && last.asked.is_superset(&ids)
        {
            return last.found.clone();
        }
        // For whoever waits behind this one, too.
        ids.append(&mut self.checks.asked());
        let begun = Instant::now();
        let asked: Vec<i64> = ids.iter().copied().collect();
        let found = match timeout(CHECK_LIMIT, self.read_bounds(&mut latest, &asked)).await {
            Ok(Ok(bounds)) => Some(Arc::new(bounds)),
            Ok(Err(error)) => {
                debug!(error = format!("{error:#}"), "cannot check positions");
                None
            }
            Err(_) => {
                debug!("cannot check positions in time");
                None
            }
        };
        latest.check = Some(Check {
            begun,
            asked: ids,
            found: found.clone(),
        });
        found
    }

    /// After an error, or if this is dropped, the connection is not used again.
    async fn read_bounds(&self, latest: &mut Latest, ids: &[i64]) -> anyhow::Result<JournalBounds> {
        let era = self.state().era;
        let reader = match latest.reader.take() {
            Some((of, reader)) if of == era && !reader.is_closed() => reader,
            _ => self.connect("space-events checks").await?,
        };
        let bounds = reader.bounds(ids).await?;
        latest.reader = Some((era, reader));
        Ok(bounds)
    }
}

impl Checks {
    fn asked(&self) -> MutexGuard<'_, BTreeSet<i64>> {
        self.asked.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
