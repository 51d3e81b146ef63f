//! A witness: a row of the journal by which a reader knows that all it has seen is still
//! there.
//!
//! A journal that goes back loses the transactions that committed last: what is left is
//! always all that had committed up to some moment. So everything that a reader has seen
//! is there as long as the transaction that committed last among it is. Nobody knows
//! which one that is, but it was among those that the last read brought. So a position
//! names the last row of each of these transactions. If they are too many, it names the
//! four lowest and the four highest of these rows.
//!
//! Each read from a position looks its witnesses up by primary key, in the same statement.
//!
//! A place that no read ended at takes the newest rows as its witnesses: the
//! `Event-Position` of a list, and `since: ""`. A transaction that was open for long and
//! committed last may not be among those.

use std::collections::HashMap;
use std::fmt;

use serde::Deserialize;

/// The most rows that are kept of one read.
pub const MOST_WITNESSES: usize = 8;

/// A row of the journal, and whether it is the same one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Witness {
    /// Its id, which may be given out again.
    pub id: i64,
    /// Of its id, its transaction and its time.
    pub fingerprint: u32,
}

/// A row of the journal and the transaction that wrote it. The statements tell it as
/// `[id, transaction, microseconds after 1970]`.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(from = "(i64, u64, i64)")]
pub(super) struct WrittenRow {
    pub(super) xid: u64,
    pub(super) witness: Witness,
}

impl From<(i64, u64, i64)> for WrittenRow {
    fn from((id, xid, changed_at_us): (i64, u64, i64)) -> Self {
        Self {
            xid,
            witness: Witness::new(id, xid, changed_at_us),
        }
    }
}

impl Witness {
    /// Of a row that a transaction wrote so many microseconds after 1970.
    pub fn new(id: i64, xid: u64, changed_at_us: i64) -> Self {
        let parts = [id.cast_unsigned(), xid, changed_at_us.cast_unsigned()];
        let hash = parts.into_iter().fold(0, |hash, part| mix(hash ^ part));
        Self {
            id,
            fingerprint: (hash >> 32) as u32,
        }
    }
}

/// As text: different for any two rows, also of a journal that went back.
impl fmt::Display for Witness {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{:08x}", self.id, self.fingerprint)
    }
}

/// The step of SplitMix64: each bit of the outcome depends on each that comes in.
fn mix(number: u64) -> u64 {
    let mut mixed = number.wrapping_add(0x9e37_79b9_7f4a_7c15);
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}

/// Gathers the witnesses of a read: the last row of each of its transactions.
#[derive(Debug, Default)]
pub struct Witnesses(HashMap<u64, Witness>);

impl Witnesses {
    /// Takes a row; those of one transaction come rising.
    pub fn take(&mut self, xid: u64, row: Witness) {
        self.0.insert(xid, row);
    }

    /// Those that are kept, rising by their ids. Where the greatest id is not among
    /// them, since the read brought only late rows, its row is that of `before`.
    pub fn kept(self, before: &[Witness]) -> Vec<Witness> {
        let mut rows: Vec<Witness> = self.0.into_values().collect();
        rows.sort_unstable();
        if rows.is_empty() {
            return before.to_vec();
        }
        rows.extend(before.last().filter(|newest| Some(*newest) > rows.last()));
        if let Some(too_many) = rows.len().checked_sub(MOST_WITNESSES) {
            // Who was open for long stays, and those that came last.
            rows.drain(MOST_WITNESSES / 2..MOST_WITNESSES / 2 + too_many);
        }
        rows
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kept(rows: &[(i64, u64)], before: &[i64]) -> Vec<i64> {
        let mut witnesses = Witnesses::default();
        for (id, xid) in rows {
            witnesses.take(*xid, Witness::new(*id, *xid, 0));
        }
        let before: Vec<_> = before.iter().map(|id| Witness::new(*id, 1, 0)).collect();
        let kept = witnesses.kept(&before);
        kept.iter().map(|witness| witness.id).collect()
    }

    #[test]
    fn a_row_of_each_transaction_of_the_last_read_is_kept() {
        assert!(kept(&[], &[]).is_empty());
        assert_eq!(kept(&[], &[5, 9]), [5, 9]);
        assert_eq!(kept(&[(10, 2), (11, 3), (12, 2)], &[5, 9]), [11, 12]);
        assert_eq!(kept(&[(3, 2), (7, 3)], &[5, 9]), [3, 7, 9]);
        let many: Vec<_> = (1..=20).map(|xid: u64| (xid.cast_signed(), xid)).collect();
        assert_eq!(kept(&many, &[]), [1, 2, 3, 4, 17, 18, 19, 20]);
    }

    #[test]
    fn rows_that_differ_in_anything_have_other_fingerprints() {
        let row = Witness::new(7, 8, 9);
        assert_eq!(row, Witness::new(7, 8, 9));
        for other in [(8, 8, 9), (7, 9, 9), (7, 8, 10), (7, 9, 8)] {
            let (id, xid, changed_at_us) = other;
            let other = Witness::new(id, xid, changed_at_us);
            assert_ne!(row.fingerprint, other.fingerprint, "{other:?}");
        }
        assert_eq!(row.to_string(), "7-6433a56a");
    }
}
