//! A place in the journal that a reader goes on from, and its text.
//!
//! A batch is what one read finds between two [`Watermark`]s. In the middle of a batch, a
//! reader has seen all that the first watermark had seen and, of the rows of the batch,
//! those with ids up to one. This works because the rows of a batch come in the order of
//! their ids, also those that became visible late.
//!
//! In the middle of a batch the witnesses are those of its end: if the journal lost a part
//! of the batch, the position is refused.

use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use super::key::{JournalKey, SIGNATURE_BYTES};
use super::watermark::{Snapshot, Watermark};
use super::witness::{MOST_WITNESSES, Witness};

/// The form of the text. Another form gets another number.
const VERSION: u8 = 2;

/// What one reader has seen of the journal: the place it goes on from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Position {
    /// All of this has been seen …
    pub base: Arc<Watermark>,
    /// … and this part of the batch after it.
    pub within: Option<Within>,
}

/// A place in the middle of a batch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Within {
    /// Where the batch ends.
    pub next: Arc<Watermark>,
    /// The rows of the batch up to this id have been seen.
    pub id: i64,
}

impl Position {
    /// Between two batches.
    pub fn after(base: Arc<Watermark>) -> Self {
        Self { base, within: None }
    }

    /// Behind the row `id` of the batch from `base` to `next`.
    pub fn within(base: &Arc<Watermark>, next: &Arc<Watermark>, id: i64) -> Self {
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

    /// The place before what had been seen last here: what is left are the rows up to
    /// this id.
    pub fn up_to(&self, id: i64) -> Self {
        let base = Watermark {
            max_id: self.base.max_id.min(id),
            ..Watermark::clone(&self.base)
        };
        let within = self.within.as_ref().map(|within| Within {
            next: Arc::clone(&within.next),
            id: within.id.min(id),
        });
        Self {
            base: Arc::new(base),
            within,
        }
    }

    /// What tells by its witnesses whether the journal went back since: where the
    /// batch ends, since the place in it counts on all of it.
    pub fn witnessed(&self) -> &Watermark {
        match &self.within {
            Some(Within { next, .. }) => next,
            None => &self.base,
        }
    }

    /// Whether all that came after it is kept, if what `kept_from` saw may be gone.
    pub fn is_kept(&self, kept_from: Option<&Watermark>) -> bool {
        kept_from.is_none_or(|kept_from| self.base.covers(kept_from))
    }

    /// The opaque text that clients keep: a version, the content, a signature.
    pub fn encode(&self, key: &JournalKey) -> String {
        let mut bytes = vec![VERSION];
        put_seen(&mut bytes, &self.base);
        put_witnesses(&mut bytes, self.witnessed());
        if let Some(Within { next, id }) = &self.within {
            put_seen(&mut bytes, next);
            put_number(&mut bytes, id.unsigned_abs());
        }
        bytes.extend(key.sign(&bytes));
        URL_SAFE_NO_PAD.encode(bytes)
    }

    /// Reads what [`Position::encode`] wrote: all but the witnesses of the base of
    /// a batch in whose middle it is. `None` if the key's journal never gave it out,
    /// or in another form.
    pub fn decode(text: &str, key: &JournalKey) -> Option<Self> {
        let bytes = URL_SAFE_NO_PAD.decode(text).ok()?;
        let (signed, signature) = bytes.split_last_chunk::<SIGNATURE_BYTES>()?;
        if !key.has_signed(signed, signature) {
            return None;
        }
        let (&VERSION, mut rest) = signed.split_first()? else {
            return None;
        };
        let mut base = take_seen(&mut rest)?;
        let witnesses = take_witnesses(&mut rest)?;
        if rest.is_empty() {
            base.witnesses = witnesses;
            return Some(Self::after(Arc::new(base)));
        }
        let next = Watermark {
            witnesses,
            ..take_seen(&mut rest)?
        };
        let id = i64::try_from(take_number(&mut rest)?).ok()?;
        rest.is_empty().then(|| Self {
            base: Arc::new(base),
            within: Some(Within {
                next: Arc::new(next),
                id,
            }),
        })
    }
}

fn put_seen(bytes: &mut Vec<u8>, seen: &Watermark) {
    let Watermark {
        snapshot,
        next_xid,
        max_id,
        witnesses: _,
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

fn take_seen(bytes: &mut &[u8]) -> Option<Watermark> {
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
    Some(Watermark {
        snapshot: Snapshot { xmax, in_progress },
        next_xid,
        max_id,
        witnesses: Vec::new(),
    })
}

/// How many, and each by how far it is from the one before, and its fingerprint.
fn put_witnesses(bytes: &mut Vec<u8>, seen: &Watermark) {
    put_number(bytes, seen.witnesses.len() as u64);
    let mut before = 0;
    for Witness { id, fingerprint } in &seen.witnesses {
        put_number(bytes, id.abs_diff(before));
        bytes.extend(fingerprint.to_be_bytes());
        before = *id;
    }
}

fn take_witnesses(bytes: &mut &[u8]) -> Option<Vec<Witness>> {
    let count = usize::try_from(take_number(bytes)?).ok()?;
    let mut witnesses = Vec::with_capacity(count.min(MOST_WITNESSES));
    let mut before: i64 = 0;
    for _ in 0..count {
        let id = before.checked_add_unsigned(take_number(bytes)?)?;
        let (fingerprint, rest) = bytes.split_first_chunk()?;
        *bytes = rest;
        witnesses.push(Witness {
            id,
            fingerprint: u32::from_be_bytes(*fingerprint),
        });
        before = id;
    }
    Some(witnesses)
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

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn key(letter: u8) -> JournalKey {
        JournalKey::new(vec![letter; 32])
    }

    fn seen() -> impl Strategy<Value = Watermark> {
        let gaps = prop::collection::vec(1..1_000_u64, 0..20);
        let running = 0..1_000_u64;
        (gaps, 1..u64::MAX / 4, running, 0..i64::MAX).prop_map(|(gaps, start, running, max_id)| {
            let mut in_progress = Vec::new();
            let mut xid = start;
            for gap in gaps {
                in_progress.push(xid);
                xid += gap;
            }
            Watermark {
                snapshot: Snapshot {
                    xmax: xid,
                    in_progress,
                },
                next_xid: xid + running,
                max_id,
                witnesses: Vec::new(),
            }
        })
    }

    fn witnesses() -> impl Strategy<Value = Vec<Witness>> {
        prop::collection::btree_map(0..i64::MAX, any::<u32>(), 0..=MOST_WITNESSES).prop_map(
            |witnesses| {
                let witnesses = witnesses.into_iter();
                witnesses
                    .map(|(id, fingerprint)| Witness { id, fingerprint })
                    .collect()
            },
        )
    }

    fn position() -> impl Strategy<Value = Position> {
        let within = prop::option::of((seen(), 0..i64::MAX));
        (seen(), within, witnesses()).prop_map(|(base, within, witnesses)| match within {
            None => Position::after(Arc::new(Watermark { witnesses, ..base })),
            Some((next, id)) => Position {
                base: Arc::new(base),
                within: Some(Within {
                    next: Arc::new(Watermark { witnesses, ..next }),
                    id,
                }),
            },
        })
    }

    proptest! {
        #[test]
        fn a_position_comes_back_from_its_text(position in position()) {
            let text = position.encode(&key(1));
            prop_assert_eq!(Position::decode(&text, &key(1)), Some(position));
            prop_assert_eq!(Position::decode(&text, &key(2)), None);
        }

        #[test]
        fn any_text_is_read_or_refused(text in ".{0,80}") {
            prop_assert_eq!(Position::decode(&text, &key(1)), None);
        }

        #[test]
        fn a_mistyped_position_is_refused(position in position(), at: prop::sample::Index, letter in "[A-Za-z0-9_-]") {
            let text = position.encode(&key(7));
            let at = at.index(text.len());
            let mistyped = format!("{}{letter}{}", &text[..at], &text[at + 1..]);
            if mistyped != text {
                prop_assert_eq!(Position::decode(&mistyped, &key(7)), None);
            }
            prop_assert_eq!(Position::decode(&text[..at], &key(7)), None);
        }

        #[test]
        fn whatever_is_signed_is_read_or_refused(content: Vec<u8>) {
            let mut bytes = content;
            bytes.extend(key(1).sign(&bytes));
            let text = URL_SAFE_NO_PAD.encode(bytes);
            let _ = Position::decode(&text, &key(1));
        }

        #[test]
        fn a_snapshot_comes_back_from_its_text(seen in seen()) {
            prop_assert_eq!(Snapshot::parse(&seen.snapshot.to_string()), Some(seen.snapshot));
        }
    }

    #[test]
    fn a_text_of_another_form_is_refused() {
        let text = Position::after(Arc::new(Watermark::nothing())).encode(&key(1));
        let mut bytes = URL_SAFE_NO_PAD.decode(text).expect("base64");
        bytes.truncate(bytes.len() - SIGNATURE_BYTES);
        bytes[0] = VERSION - 1;
        bytes.extend(key(1).sign(&bytes));
        let text = URL_SAFE_NO_PAD.encode(bytes);
        assert_eq!(Position::decode(&text, &key(1)), None);
    }
}
