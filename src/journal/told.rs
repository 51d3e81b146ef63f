//! A row change as its notification tells it, which saves the read of the journal.
//!
//! It is used only if no other change can come before it:
//!
//! - It has the next id of the journal. What began after the last read draws its ids after
//!   that read, so the rest of it has higher ids.
//! - What was in progress at the last read still was when the row had been written, with
//!   all locks taken. So it has changed nothing that this row could depend on. Its rows may
//!   have any ids, and it stays listed until a read sees that it has ended.
//!
//! The feed asks for one thing more: its last read must have begun after all pages that led
//! clients to the replay buffer.

use std::sync::Arc;

use chrono::DateTime;
use serde::Deserialize;

use super::batch::Batch;
use super::key::JournalKey;
use super::page::{Page, Rows};
use super::position::Position;
use super::recorded::RowChange;
use super::translate::{Change, Enabled, PricingRow};
use super::watermark::{Snapshot, Watermark};
use super::witness::Witness;
use crate::store::services::Availability;

/// A changed pricing, as `space_events.tell_readers` writes it.
#[derive(Debug, Deserialize)]
pub struct Told(
    /// The id of the row in the journal.
    i64,
    /// Its transaction.
    u64,
    /// When it changed, in microseconds after 1970.
    i64,
    /// The service's name.
    String,
    /// The version before,
    Option<String>,
    /// and after.
    Option<String>,
    /// The availability before,
    Option<Availability>,
    /// and after.
    Option<Availability>,
    /// Whether the service is disabled.
    bool,
    /// Whose service it is.
    Box<str>,
    /// What the writer saw when it had written the row; nothing if all older transactions
    /// had ended.
    Option<Box<str>>,
);

impl Told {
    /// Reads the text of a notification; `None` if it tells nothing, or no trigger of
    /// the key's journal made it.
    pub fn parse(text: &str, key: &JournalKey) -> Option<Self> {
        serde_json::from_str(key.content_of(text)?).ok()
    }

    /// The page behind a position, as the batch numbered `number`: this is its only row.
    /// `None` if the journal has to be read. `kept_from` is what the last read told.
    pub fn page(self, from: &Position, number: u64, kept_from: Option<Watermark>) -> Option<Page> {
        let Self(
            id,
            xid,
            changed_at_us,
            service_name,
            version_before,
            version_after,
            availability_before,
            availability_after,
            is_disabled,
            organization,
            written,
        ) = self;
        if from.within.is_some() {
            return None;
        }
        let witness = Witness::new(id, xid, changed_at_us);
        let written = match written {
            None => Snapshot::of_all_below(xid),
            Some(text) => Snapshot::parse(&text)?,
        };
        let next = from.base.with_next(xid, witness, &written)?;
        let changed_at = DateTime::from_timestamp_micros(changed_at_us)?;
        let service = if is_disabled {
            Enabled::No
        } else {
            Enabled::Yes
        };
        let pricing = |version, availability| {
            Some(PricingRow {
                version: version?,
                availability: availability?,
            })
        };
        let change = Change::Pricing {
            before: pricing(version_before, availability_before),
            after: pricing(version_after, availability_after),
            service_before: service,
            service_after: service,
        };
        let batch = Arc::new(Batch {
            base: Arc::clone(&from.base),
            next: Arc::new(next),
            number,
        });
        let mut rows = Rows::default();
        let row = RowChange {
            witness,
            xid,
            changed_at,
            organization,
            service_name,
            change,
        };
        rows.take(row).ok()?;
        rows.into_page(&batch, true, true, kept_from).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::journal::Watermark;

    fn position(snapshot: &str, begun: u64) -> Position {
        Position::after(Arc::new(
            Watermark::parse(snapshot, begun, 100).expect("a snapshot"),
        ))
    }

    fn told(id: i64, xid: u64, written: &str) -> Told {
        let text = format!(
            r#"[{id},{xid},1700000000000000,"Zoom",null,"2024",null,"active",false,"acme",{written}]"#
        );
        parse(&text).expect("a change")
    }

    fn parse(content: &str) -> Option<Told> {
        let key = JournalKey::new(vec![7; 32]);
        Told::parse(&key.tell(content), &key)
    }

    #[test]
    fn a_change_is_taken_only_where_nothing_can_come_before_it() {
        for (snapshot, begun, id, xid, written, then) in [
            ("20:20:", 0, 101, 20, "null", Some("21:21:")),
            ("20:20:", 0, 101, 35, "null", Some("36:36:")),
            // Somebody drew an id between.
            ("20:20:", 0, 102, 20, "null", None),
            // It was seen.
            ("20:20:", 0, 100, 20, "null", None),
            // A number that was given out before.
            ("20:20:", 0, 101, 19, "null", None),
            // Those that were running, listed or not, have ended.
            ("10:20:10", 0, 101, 20, "null", None),
            ("20:20:", 1, 101, 21, "null", None),
            ("10:20:10", 0, 101, 22, r#""21:22:21""#, None),
            ("10:20:10", 1, 101, 22, r#""10:22:10""#, None),
            ("10:20:10,15", 0, 101, 22, r#""10:22:10""#, None),
            // They are still running.
            ("10:20:10", 0, 101, 20, r#""10:20:10""#, Some("10:21:10")),
            ("10:20:10", 0, 101, 25, r#""10:25:10,22""#, Some("10:26:10")),
            (
                "10:20:10",
                2,
                101,
                25,
                r#""10:20:10""#,
                Some("10:26:10,20,21"),
            ),
            ("20:20:", 1, 101, 21, r#""20:20:""#, Some("20:22:20")),
            // One that began later.
            ("20:20:", 0, 101, 21, r#""20:21:20""#, Some("22:22:")),
        ] {
            let from = position(snapshot, begun);
            let page = told(id, xid, written).page(&from, 1, None);
            let place = page.as_ref().map(|page| page.end.base.snapshot.to_string());
            assert_eq!(
                place.as_deref(),
                then,
                "{snapshot} {begun} {id} {xid} {written}"
            );
            let Some(Page { events, end, .. }) = page else {
                continue;
            };
            let [event] = events.as_slice() else {
                panic!("{events:?}");
            };
            assert_eq!(event.position(), end);
            assert_eq!(&*event.organization, "acme");
            assert_eq!(end.base.next_xid, xid + 1);
            assert!(end.base.has(id, xid));
            assert!(!end.base.has(id + 1, xid) && !end.base.has(id, xid + 1));
            assert!(end.base.covers(&from.base));
        }
    }

    #[test]
    fn too_many_that_are_not_listed_are_read() {
        for (begun, taken) in [(64, true), (65, false)] {
            let page = told(101, 90, r#""20:20:""#).page(&position("20:20:", begun), 1, None);
            assert_eq!(page.is_some(), taken, "{begun}");
        }
    }

    #[test]
    fn other_texts_tell_nothing() {
        for text in [
            "",
            "{}",
            "[]",
            "[1,2]",
            r#"[1,"2",3,"Zoom",null,null,null,null,false,"",null]"#,
            // Before there were organisations.
            r#"[1,2,3,"Zoom",null,"2024",null,"active",false]"#,
            r#"[1,2,3,"Zoom",null,"2024",null,"active",false,"",5]"#,
        ] {
            assert!(parse(text).is_none(), "{text}");
        }
    }

    #[test]
    fn what_no_trigger_of_this_journal_told_tells_nothing() {
        let content = r#"[1,2,3,"Zoom",null,"2024",null,"active",false,"",null]"#;
        let [key, other] = [7, 8].map(|byte| JournalKey::new(vec![byte; 32]));
        let told = key.tell(content);
        assert!(Told::parse(&told, &key).is_some());
        let changed = told.replace("Zoom", "Slack");
        let accented = format!("é{content}");
        for text in [
            content,
            &other.tell(content),
            &changed,
            &told[1..],
            &told[..30],
            &accented,
        ] {
            assert!(Told::parse(text, &key).is_none(), "{text}");
        }
    }
}
