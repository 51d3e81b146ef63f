//! A part of the journal, put together from its rows.

use std::sync::{Arc, OnceLock};

use anyhow::ensure;
use chrono::{DateTime, Utc};
use serde_json::value::to_raw_value;

use super::batch::{Batch, JournalEvent};
use super::position::Position;
use super::recorded::RowChange;
use super::translate::{Meaning, meaning_of};
use super::watermark::Watermark;
use super::witness::{Witness, Witnesses};
use crate::event::{Event, Reason};

/// A part of the journal.
#[derive(Debug)]
pub struct Page {
    /// Its events, in order.
    pub events: Vec<Arc<JournalEvent>>,
    /// How many rows it has, those that are no events too.
    pub rows: usize,
    /// Why the others of its rows mean none.
    pub silent: Vec<Reason>,
    /// The place behind it.
    pub end: Position,
    /// Whether it led up to what was visible when it was read.
    pub reached_now: bool,
    /// What may be gone from the journal; `None` if nothing was removed yet.
    pub kept_from: Option<Watermark>,
}

/// The rows of a page, as they come.
#[derive(Default)]
pub(super) struct Rows {
    events: Vec<RowEvent>,
    silent: Vec<Reason>,
    /// The last row of each transaction.
    pub(super) witnesses: Witnesses,
    pub(super) count: usize,
    pub(super) last_id: i64,
}

/// A row that means an event, before it is known where its batch ends.
struct RowEvent {
    event: Event,
    organization: Box<str>,
    witness: Witness,
    through: i64,
    xid: u64,
    changed_at: DateTime<Utc>,
}

impl Rows {
    /// Takes the next row.
    ///
    /// # Errors
    ///
    /// Its id is not above the last.
    pub(super) fn take(&mut self, row: RowChange) -> anyhow::Result<()> {
        let id = row.witness.id;
        ensure!(id > self.last_id, "the journal came out of order");
        self.count += 1;
        self.last_id = id;
        self.witnesses.take(row.xid, row.witness);
        match meaning_of(&row.service_name, row.change) {
            Meaning::Event(event) => self.events.push(RowEvent {
                event,
                organization: row.organization,
                witness: row.witness,
                through: id,
                xid: row.xid,
                changed_at: row.changed_at,
            }),
            Meaning::Nothing(reason) => {
                self.silent.push(reason);
                if let Some(last) = self.events.last_mut() {
                    last.through = id;
                }
            }
        }
        Ok(())
    }

    /// The page of these rows, which are of a batch; `is_end`: none of it come after
    /// them.
    pub(super) fn into_page(
        self,
        batch: &Arc<Batch>,
        is_end: bool,
        reached_now: bool,
        kept_from: Option<Watermark>,
    ) -> anyhow::Result<Page> {
        let events = self.events.into_iter().map(|row| row.of(batch));
        Ok(Page {
            silent: self.silent,
            events: events.collect::<anyhow::Result<_>>()?,
            rows: self.count,
            reached_now,
            end: if is_end {
                Position::after(Arc::clone(&batch.next))
            } else {
                Position::within(&batch.base, &batch.next, self.last_id)
            },
            kept_from,
        })
    }
}

impl RowEvent {
    fn of(self, batch: &Arc<Batch>) -> anyhow::Result<Arc<JournalEvent>> {
        Ok(Arc::new(JournalEvent {
            json: to_raw_value(&self.event)?,
            event: self.event,
            organization: self.organization,
            row: self.witness,
            through: self.through,
            xid: self.xid,
            changed_at: self.changed_at,
            batch: Arc::clone(batch),
            reference: OnceLock::new(),
        }))
    }
}
