//! A watermark: what had been seen of the journal at one time.
//!
//! Its three parts are a snapshot, the next transaction id, and the highest journal id
//! seen. A row is new if the snapshot did not see its transaction, **or if its id is
//! higher**. Simpler rules fail:
//!
//! - Ids alone lose rows: rows become visible in another order than their ids.
//! - To wait for the oldest transaction stalls everybody while one stays open.
//! - Transaction ids alone lose rows after a crash, when Postgres gives some of them out
//!   a second time. It never gives out the id of a row that is still there.
//!
//! The next transaction id is there because a snapshot ends at the first transaction
//! that had not completed. Those from there up to the next id may have been running,
//! but the snapshot does not list them. So their rows are looked for too.

use std::fmt;

use super::witness::{Witness, Witnesses, WrittenRow};

/// The most transactions that may begin to be listed without a read.
const MOST_UNLISTED: u64 = 64;

/// A `pg_snapshot`: which transactions had ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Snapshot {
    /// Transactions from this one on had not completed; some may have been running.
    pub(super) xmax: u64,
    /// Those below `xmax` that were in progress, rising.
    pub(super) in_progress: Vec<u64>,
}

impl Snapshot {
    /// Reads Postgres' text form, `xmin:xmax:xip,xip,…`.
    pub fn parse(text: &str) -> Option<Self> {
        let mut parts = text.split(':');
        let xmin: u64 = parts.next()?.parse().ok()?;
        let xmax: u64 = parts.next()?.parse().ok()?;
        let list = parts.next()?;
        let in_progress = list
            .split(',')
            .filter(|xid| !xid.is_empty())
            .map(|xid| xid.parse().ok())
            .collect::<Option<Vec<u64>>>()?;
        let rising = in_progress.is_sorted_by(|a, b| a < b);
        let within = in_progress.iter().all(|xid| (xmin..xmax).contains(xid));
        (parts.next().is_none() && xmin <= xmax && rising && within)
            .then_some(Self { xmax, in_progress })
    }

    /// All transactions below an id had ended.
    pub(super) fn of_all_below(xid: u64) -> Self {
        Self {
            xmax: xid,
            in_progress: Vec::new(),
        }
    }

    /// Whether the effects of a transaction were visible, if it committed.
    pub fn sees(&self, xid: u64) -> bool {
        xid < self.xmax && self.in_progress.binary_search(&xid).is_err()
    }

    /// The same without the transactions from an id on.
    pub(super) fn cut_at(mut self, xmax: u64) -> Self {
        self.in_progress.retain(|xid| *xid < xmax);
        Self { xmax, ..self }
    }

    /// The first transaction id above all that had completed.
    pub fn xmax(&self) -> u64 {
        self.xmax
    }

    /// The transactions that were in progress, rising.
    pub fn in_progress(&self) -> &[u64] {
        &self.in_progress
    }
}

impl fmt::Display for Snapshot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let xmin = self.in_progress.first().unwrap_or(&self.xmax);
        write!(f, "{xmin}:{}:", self.xmax)?;
        for (nth, xid) in self.in_progress.iter().enumerate() {
            let comma = if nth == 0 { "" } else { "," };
            write!(f, "{comma}{xid}")?;
        }
        Ok(())
    }
}

/// All rows that were visible in a snapshot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Watermark {
    /// What was visible.
    pub snapshot: Snapshot,
    /// The first transaction id that had not been given out. Those from the
    /// snapshot's `xmax` up to it may have been running, and are not listed.
    pub next_xid: u64,
    /// The greatest id among it, or above it.
    pub max_id: i64,
    /// Rows among it that are there as long as all of it is, rising by their ids;
    /// none if nothing was there, or it is not known what.
    pub witnesses: Vec<Witness>,
}

impl Watermark {
    /// From Postgres' text form of the snapshot, how many transactions from its
    /// `xmax` on had begun, and the greatest id that it sees.
    pub fn parse(snapshot: &str, begun: u64, max_id: i64) -> Option<Self> {
        let snapshot = Snapshot::parse(snapshot)?;
        let next_xid = snapshot.xmax.saturating_add(begun);
        Some(Self {
            next_xid: next_xid.min(i64::MAX.unsigned_abs()),
            snapshot,
            max_id,
            witnesses: Vec::new(),
        })
    }

    /// Takes the greatest id and the witnesses from the newest rows that it sees, the
    /// newest first, or else from what was pruned.
    pub(super) fn end_at_newest(&mut self, rows: &[WrittenRow], pruned: Option<&Self>) {
        let mut newest = Witnesses::default();
        self.max_id = pruned.map_or(0, |pruned| pruned.max_id);
        for row in rows.iter().rev() {
            self.max_id = self.max_id.max(row.witness.id);
            newest.take(row.xid, row.witness);
        }
        self.witnesses = newest.kept(pruned.map_or(&[], |pruned| &pruned.witnesses));
    }

    /// Whether a row had been seen.
    pub fn has(&self, id: i64, xid: u64) -> bool {
        id <= self.max_id && self.snapshot.sees(xid)
    }

    /// Whether every transaction that had begun had ended: none can become visible
    /// late.
    pub fn is_settled(&self) -> bool {
        self.snapshot.in_progress.is_empty() && self.next_xid == self.snapshot.xmax
    }

    /// All of this and one more row, if nothing that comes before it can be between: no id
    /// was drawn since but this one, and no transaction that was in progress here had ended
    /// when the row was `written`. What began later draws greater ids. Those in progress
    /// stay listed, so that their rows are looked for.
    pub fn with_next(&self, xid: u64, row: Witness, written: &Snapshot) -> Option<Self> {
        let is_next = self.max_id.checked_add(1) == Some(row.id) && xid >= self.next_xid;
        let unlisted = self.snapshot.xmax..self.next_xid;
        if !is_next || self.next_xid.saturating_sub(self.snapshot.xmax) > MOST_UNLISTED {
            return None;
        }
        let in_progress: Vec<u64> = self
            .snapshot
            .in_progress
            .iter()
            .copied()
            .chain(unlisted)
            .collect();
        if in_progress.iter().any(|xid| written.sees(*xid)) {
            return None;
        }
        let next_xid = xid.checked_add(1)?;
        let mut newest = Witnesses::default();
        newest.take(xid, row);
        Some(Self {
            snapshot: Snapshot {
                xmax: next_xid,
                in_progress,
            },
            next_xid,
            max_id: row.id,
            witnesses: newest.kept(&self.witnesses),
        })
    }

    /// Whether every transaction below an id had ended.
    pub fn has_ended_below(&self, xid: u64) -> bool {
        let Snapshot { xmax, in_progress } = &self.snapshot;
        *xmax >= xid && in_progress.first().is_none_or(|first| *first >= xid)
    }

    /// About how many transactions were in progress, of those from an id on: those
    /// that are not listed count, though some may have ended.
    pub fn in_progress_from(&self, xid: u64) -> usize {
        let Snapshot { xmax, in_progress } = &self.snapshot;
        let listed = in_progress
            .iter()
            .rev()
            .take_while(|listed| **listed >= xid);
        let unlisted = self.next_xid.saturating_sub(xid.max(*xmax));
        listed.count() + usize::try_from(unlisted).unwrap_or(usize::MAX / 2)
    }

    /// Whether all that another place had seen had been seen here too.
    pub fn covers(&self, earlier: &Self) -> bool {
        let Snapshot { xmax, in_progress } = &self.snapshot;
        self.max_id >= earlier.max_id
            && *xmax >= earlier.snapshot.xmax
            && !in_progress.iter().any(|xid| earlier.snapshot.sees(*xid))
    }

    /// Nothing: the place before the first row.
    pub fn nothing() -> Self {
        Self {
            snapshot: Snapshot {
                xmax: 0,
                in_progress: Vec::new(),
            },
            next_xid: 0,
            max_id: 0,
            witnesses: Vec::new(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_snapshot_is_read_as_one() {
        for text in [
            "", "1", "1:2", "1:2:3", "2:1:", "1:5:4,3", "1:5:2,2", "1:5:2:3", "a:5:", "1:5:x",
        ] {
            assert_eq!(Snapshot::parse(text), None, "{text}");
        }
        let snapshot = Snapshot::parse("10:20:10,15").expect("a snapshot");
        let seen: Vec<u64> = (8..22).filter(|xid| snapshot.sees(*xid)).collect();
        assert_eq!(seen, [8, 9, 11, 12, 13, 14, 16, 17, 18, 19]);
    }

    #[test]
    fn a_place_covers_those_before_it() {
        let seen = |snapshot: &str, max_id| Watermark {
            snapshot: Snapshot::parse(snapshot).expect("a snapshot"),
            next_xid: 30,
            max_id,
            witnesses: Vec::new(),
        };
        let earlier = seen("10:20:10,15", 100);
        for (later, covers) in [
            (seen("10:20:10,15", 100), true),
            (seen("25:25:", 100), true),
            (seen("10:25:10,22", 120), true),
            (seen("10:20:10,15", 99), false),
            (seen("10:19:10,15", 100), false),
            (seen("10:25:12", 120), false),
            (Watermark::nothing(), false),
        ] {
            assert_eq!(later.covers(&earlier), covers, "{later:?}");
        }
    }

    #[test]
    fn a_row_with_a_reused_transaction_id_is_new() {
        let seen = Watermark {
            snapshot: Snapshot::parse("10:20:").expect("a snapshot"),
            next_xid: 20,
            max_id: 100,
            witnesses: Vec::new(),
        };
        assert!(seen.has(100, 12));
        assert!(!seen.has(101, 12));
        assert!(!seen.has(99, 20));
    }
}
