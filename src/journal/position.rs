//! A place in the journal: what has been seen, as a Postgres snapshot.
//!
//! Rows become visible in another order than their ids, so `id > last` loses
//! some. What has been seen is therefore a snapshot S and the greatest id M
//! seen in it: a row is new if S did not see its transaction, **or if its id is
//! above M**. The second half is for crashes, after which Postgres gives out
//! transaction ids a second time, but never an id of the journal.
//!
//! A batch is what one read finds between two such places. In the middle of it,
//! at the row k, a reader has seen all of the first place and, of what the
//! second adds to it, the ids up to k: late rows with low ids come in the order
//! of their ids too.

use std::fmt;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

/// A `pg_snapshot`: which transactions had ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Snapshot {
    /// Transactions from this one on had not completed; some may have been running.
    xmax: u64,
    /// Those below `xmax` that were in progress, rising.
    in_progress: Vec<u64>,
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

    /// Whether the effects of a transaction were visible, if it committed.
    pub fn sees(&self, xid: u64) -> bool {
        xid < self.xmax && self.in_progress.binary_search(&xid).is_err()
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
pub struct Seen {
    /// What was visible.
    pub snapshot: Snapshot,
    /// The first transaction id that had not been given out. Those from the
    /// snapshot's `xmax` up to it may have been running, and are not listed.
    pub next_xid: u64,
    /// The greatest id among it, or above it.
    pub max_id: i64,
}

impl Seen {
    /// From Postgres' text form of the snapshot, how many transactions from its
    /// `xmax` on had begun, and the greatest id that it sees.
    pub fn parse(snapshot: &str, begun: u64, max_id: i64) -> Option<Self> {
        let snapshot = Snapshot::parse(snapshot)?;
        let next_xid = snapshot.xmax.saturating_add(begun);
        Some(Self {
            next_xid: next_xid.min(i64::MAX.unsigned_abs()),
            snapshot,
            max_id,
        })
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
        }
    }
}

/// What one reader has seen of the journal: the place it goes on from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Position {
    /// All of this has been seen …
    pub base: Arc<Seen>,
    /// … and this part of the batch after it.
    pub within: Option<Within>,
}

/// A place in the middle of a batch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Within {
    /// Where the batch ends.
    pub next: Arc<Seen>,
    /// The rows of the batch up to this id have been seen.
    pub id: i64,
}

impl Position {
    /// Between two batches.
    pub fn after(base: Arc<Seen>) -> Self {
        Self { base, within: None }
    }

    /// Behind the row `id` of the batch from `base` to `next`.
    pub fn within(base: &Arc<Seen>, next: &Arc<Seen>, id: i64) -> Self {
        if id >= next.max_id {
            return Self::after(Arc::clone(next));
        }
        Self {
            base: Arc::clone(base),
            within: Some(Within {
                next: Arc::clone(next),
                id,
            }),
        }
    }

    /// The opaque text that clients keep. `identity` is the journal's.
    pub fn encode(&self, identity: i64) -> String {
        let mut bytes = identity.to_be_bytes().to_vec();
        put_seen(&mut bytes, &self.base);
        if let Some(Within { next, id }) = &self.within {
            put_seen(&mut bytes, next);
            put_number(&mut bytes, id.unsigned_abs());
        }
        bytes.extend(checksum(&bytes).to_be_bytes());
        URL_SAFE_NO_PAD.encode(bytes)
    }

    /// Reads what [`Position::encode`] wrote.
    ///
    /// # Errors
    ///
    /// [`Foreign::Malformed`] if nobody was ever given this text, and
    /// [`Foreign::OtherJournal`] if another journal gave it.
    pub fn decode(text: &str, identity: i64) -> Result<Self, Foreign> {
        let (identity_found, position) = decode(text).ok_or(Foreign::Malformed)?;
        if identity_found == identity {
            Ok(position)
        } else {
            Err(Foreign::OtherJournal)
        }
    }
}

/// Why a text is not a position of this journal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Foreign {
    /// It is no position at all.
    Malformed,
    /// It is a position of another journal.
    OtherJournal,
}

fn decode(text: &str) -> Option<(i64, Position)> {
    let bytes = URL_SAFE_NO_PAD.decode(text).ok()?;
    let (bytes, sum) = bytes.split_last_chunk::<4>()?;
    if checksum(bytes).to_be_bytes() != *sum {
        return None;
    }
    let (identity, mut rest) = bytes.split_first_chunk::<8>()?;
    let base = Arc::new(take_seen(&mut rest)?);
    let within = if rest.is_empty() {
        None
    } else {
        let next = Arc::new(take_seen(&mut rest)?);
        let id = i64::try_from(take_number(&mut rest)?).ok()?;
        Some(Within { next, id })
    };
    rest.is_empty()
        .then(|| (i64::from_be_bytes(*identity), Position { base, within }))
}

fn put_seen(bytes: &mut Vec<u8>, seen: &Seen) {
    let Seen {
        snapshot,
        next_xid,
        max_id,
    } = seen;
    put_number(bytes, max_id.unsigned_abs());
    put_number(bytes, snapshot.xmax);
    put_number(bytes, next_xid.saturating_sub(snapshot.xmax));
    put_number(bytes, snapshot.in_progress.len() as u64);
    let mut below = snapshot.xmax;
    for xid in snapshot.in_progress.iter().rev() {
        put_number(bytes, below - xid);
        below = *xid;
    }
}

fn take_seen(bytes: &mut &[u8]) -> Option<Seen> {
    let max_id = i64::try_from(take_number(bytes)?).ok()?;
    let xmax = take_number(bytes)?;
    let next_xid = xmax.checked_add(take_number(bytes)?)?;
    let mut in_progress = Vec::new();
    let mut below = xmax;
    for _ in 0..take_number(bytes)? {
        below = below.checked_sub(take_number(bytes)?.max(1))?;
        in_progress.push(below);
    }
    in_progress.reverse();
    Some(Seen {
        snapshot: Snapshot { xmax, in_progress },
        next_xid,
        max_id,
    })
}

/// Seven bits a byte, the lowest first; the top bit says that more follow.
fn put_number(bytes: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        bytes.push((number & 0x7f) as u8 | 0x80);
        number >>= 7;
    }
    bytes.push(number as u8);
}

fn take_number(bytes: &mut &[u8]) -> Option<u64> {
    let mut number: u64 = 0;
    for shift in (0..64).step_by(7) {
        let (byte, rest) = bytes.split_first()?;
        *bytes = rest;
        number |= u64::from(byte & 0x7f).checked_shl(shift)?;
        if byte & 0x80 == 0 {
            return Some(number);
        }
    }
    None
}

/// FNV-1a: finds a text that was cut or mistyped, and no more is asked of it.
fn checksum(bytes: &[u8]) -> u32 {
    bytes.iter().fold(0x811c_9dc5, |sum, byte| {
        (sum ^ u32::from(*byte)).wrapping_mul(0x0100_0193)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn seen() -> impl Strategy<Value = Seen> {
        let gaps = prop::collection::vec(1..1_000_u64, 0..20);
        let running = 0..1_000_u64;
        (gaps, 1..u64::MAX / 4, running, 0..i64::MAX).prop_map(|(gaps, start, running, max_id)| {
            let mut in_progress = Vec::new();
            let mut xid = start;
            for gap in gaps {
                in_progress.push(xid);
                xid += gap;
            }
            Seen {
                snapshot: Snapshot {
                    xmax: xid,
                    in_progress,
                },
                next_xid: xid + running,
                max_id,
            }
        })
    }

    fn position() -> impl Strategy<Value = Position> {
        (seen(), prop::option::of((seen(), 0..i64::MAX))).prop_map(|(base, within)| Position {
            base: Arc::new(base),
            within: within.map(|(next, id)| Within {
                next: Arc::new(next),
                id,
            }),
        })
    }

    proptest! {
        #[test]
        fn a_position_comes_back_from_its_text(position in position(), identity: i64) {
            let text = position.encode(identity);
            prop_assert_eq!(Position::decode(&text, identity), Ok(position));
            prop_assert_eq!(Position::decode(&text, !identity), Err(Foreign::OtherJournal));
        }

        #[test]
        fn any_text_is_read_or_refused(text in ".{0,80}") {
            prop_assert_eq!(Position::decode(&text, 1), Err(Foreign::Malformed));
        }

        #[test]
        fn a_mistyped_position_is_refused(position in position(), at: prop::sample::Index, letter in "[A-Za-z0-9_-]") {
            let text = position.encode(7);
            let at = at.index(text.len());
            let mistyped = format!("{}{letter}{}", &text[..at], &text[at + 1..]);
            if mistyped != text {
                prop_assert!(Position::decode(&mistyped, 7).is_err());
            }
            prop_assert_eq!(Position::decode(&text[..at], 7), Err(Foreign::Malformed));
        }

        #[test]
        fn a_snapshot_comes_back_from_its_text(seen in seen()) {
            prop_assert_eq!(Snapshot::parse(&seen.snapshot.to_string()), Some(seen.snapshot));
        }
    }

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
        let seen = |snapshot: &str, max_id| Seen {
            snapshot: Snapshot::parse(snapshot).expect("a snapshot"),
            next_xid: 30,
            max_id,
        };
        let earlier = seen("10:20:10,15", 100);
        for (later, covers) in [
            (seen("10:20:10,15", 100), true),
            (seen("25:25:", 100), true),
            (seen("10:25:10,22", 120), true),
            (seen("10:20:10,15", 99), false),
            (seen("10:19:10,15", 100), false),
            (seen("10:25:12", 120), false),
            (Seen::nothing(), false),
        ] {
            assert_eq!(later.covers(&earlier), covers, "{later:?}");
        }
    }

    #[test]
    fn a_row_with_a_reused_transaction_id_is_new() {
        let seen = Seen {
            snapshot: Snapshot::parse("10:20:").expect("a snapshot"),
            next_xid: 20,
            max_id: 100,
        };
        assert!(seen.has(100, 12));
        assert!(!seen.has(101, 12));
        assert!(!seen.has(99, 20));
    }
}
