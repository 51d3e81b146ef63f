//! From where to where the journal goes, which each read of it tells first; and whether a
//! reader can go on from a place.

use anyhow::Context as _;
use serde::Deserialize;

use super::position::Position;
use super::watermark::Watermark;
use super::witness::{Witness, WrittenRow};

/// From where to where the journal goes.
#[derive(Clone, Debug)]
pub struct JournalBounds {
    /// All that is visible now. A read of a page tells it without its greatest id and
    /// its witnesses.
    pub now: Watermark,
    /// What may be gone; `None` if nothing was removed yet.
    pub kept_from: Option<Watermark>,
    /// Those of its rows that were asked for, rising by their ids.
    pub found: Vec<Witness>,
}

/// Why nobody can go on from a place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Gap {
    /// What came after it is kept no more.
    Pruned,
    /// What was seen there is not in the journal any more, and was not pruned.
    WentBack,
}

/// The header, as the statements write it.
#[derive(Deserialize)]
struct Header {
    snapshot: String,
    begun: u64,
    pruned: Option<Pruned>,
    found: Vec<WrittenRow>,
    /// The newest first.
    #[serde(default)]
    newest: Vec<WrittenRow>,
}

#[derive(Deserialize)]
struct Pruned {
    snapshot: String,
    max_id: i64,
    /// The row of that id; not known if an earlier version pruned it.
    row: Option<WrittenRow>,
}

impl JournalBounds {
    /// Of a journal in which nothing has happened yet.
    pub fn nothing() -> Self {
        Self {
            now: Watermark::nothing(),
            kept_from: None,
            found: Vec::new(),
        }
    }

    /// Reads a header, a JSON object.
    ///
    /// # Errors
    ///
    /// Postgres wrote it in another way than expected.
    pub fn parse(header: &str) -> anyhow::Result<Self> {
        let header: Header =
            serde_json::from_str(header).with_context(|| format!("read the header {header}"))?;
        let kept_from = header.pruned.map(Pruned::kept_from).transpose()?;
        let mut now = snapshot(&header.snapshot, header.begun, 0)?;
        now.end_at_newest(&header.newest, kept_from.as_ref());
        let mut found: Vec<Witness> = header.found.iter().map(|row| row.witness).collect();
        found.sort_unstable();
        Ok(Self {
            now,
            kept_from,
            found,
        })
    }

    /// Whether the journal still has rows that were asked for, or has pruned them:
    /// else it went back.
    pub fn has(&self, rows: &[Witness]) -> bool {
        rows.iter().all(
            |row| match self.found.binary_search_by_key(&row.id, |found| found.id) {
                Ok(at) => self.found.get(at) == Some(row),
                Err(_) => self.has_pruned(row),
            },
        )
    }

    fn has_pruned(&self, row: &Witness) -> bool {
        self.kept_from.as_ref().is_some_and(|kept_from| {
            let newest = kept_from.witnesses.last();
            row.id < kept_from.max_id
                || row.id == kept_from.max_id && newest.is_none_or(|newest| newest == row)
        })
    }

    /// Whether a reader can go on from a position whose witnesses were asked for.
    ///
    /// # Errors
    ///
    /// Why it cannot.
    pub fn leads_on_from(&self, position: &Position) -> Result<(), Gap> {
        if !self.has(&position.witnessed().witnesses) {
            return Err(Gap::WentBack);
        }
        if !position.is_kept(self.kept_from.as_ref()) {
            return Err(Gap::Pruned);
        }
        Ok(())
    }
}

impl Pruned {
    fn kept_from(self) -> anyhow::Result<Watermark> {
        // Whatever began later may have left late rows.
        let mut kept_from = snapshot(&self.snapshot, i64::MAX.unsigned_abs(), self.max_id)?;
        kept_from.witnesses.extend(self.row.map(|row| row.witness));
        Ok(kept_from)
    }
}

fn snapshot(text: &str, begun: u64, max_id: i64) -> anyhow::Result<Watermark> {
    Watermark::parse(text, begun, max_id).with_context(|| format!("read the snapshot {text}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_there_or_pruned_or_the_journal_went_back() {
        let [late, newest] = [(80, 7), (100, 9)].map(|(id, xid)| Witness::new(id, xid, 0));
        let another = Witness::new(100, 9, 1);
        let kept_from = |max_id, witnesses: &[Witness]| {
            Some(Watermark {
                max_id,
                witnesses: witnesses.to_vec(),
                ..Watermark::nothing()
            })
        };
        let eighth = [Witness::new(90, 8, 0)];
        for (found, kept_from, there) in [
            (vec![late, newest], None, true),
            (vec![newest], None, false),
            (vec![late], None, false),
            (vec![late, another], None, false),
            (vec![newest], kept_from(90, &eighth), true),
            (vec![another], kept_from(90, &eighth), false),
            (vec![], kept_from(90, &eighth), false),
            (vec![], kept_from(100, &[newest]), true),
            (vec![], kept_from(100, &[another]), false),
            // Pruned by a version that did not keep it.
            (vec![], kept_from(100, &[]), true),
        ] {
            let bounds = JournalBounds {
                found,
                kept_from,
                ..JournalBounds::nothing()
            };
            assert_eq!(bounds.has(&[late, newest]), there, "{bounds:?}");
        }
        assert!(JournalBounds::nothing().has(&[]));
    }

    #[test]
    fn a_header_tells_where_the_journal_is() {
        let header = r#"{"snapshot": "10:20:10,15", "begun": 3, "found": [[7, 9, 1], [5, 8, 0]],
            "pruned": {"snapshot": "4:4:", "max_id": 2, "row": [2, 3, 0]},
            "newest": [[9, 12, 4], [8, 12, 3]]}"#;
        let JournalBounds {
            now,
            kept_from,
            found,
        } = JournalBounds::parse(header).expect("a header");
        assert_eq!((now.next_xid, now.max_id), (23, 9));
        assert_eq!(now.snapshot.to_string(), "10:20:10,15");
        assert_eq!(now.witnesses, [Witness::new(9, 12, 4)]);
        let kept_from = kept_from.expect("something was pruned");
        assert_eq!(kept_from.max_id, 2);
        assert_eq!(kept_from.witnesses, [Witness::new(2, 3, 0)]);
        assert_eq!(found, [Witness::new(5, 8, 0), Witness::new(7, 9, 1)]);

        let header = r#"{"snapshot": "4:4:", "begun": 0, "found": [], "newest": [],
            "pruned": {"snapshot": "4:4:", "max_id": 2, "row": [2, 3, 0]}}"#;
        let now = JournalBounds::parse(header).expect("a header").now;
        assert_eq!(
            (now.max_id, now.witnesses),
            (2, vec![Witness::new(2, 3, 0)])
        );

        for header in ["", "{}", r#"{"snapshot": "4", "begun": 0, "found": []}"#] {
            assert!(JournalBounds::parse(header).is_err(), "{header}");
        }
    }
}
