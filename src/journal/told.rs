//! A row change as its notification tells it, which saves the read of the journal.
//!
//! It is used only if no other change can have come between: at the last read every
//! transaction that had begun had ended, and this is the next id of the journal. What
//! begins later gets a higher id. The feed asks for one thing more: its last read must have
//! begun after all pages that led clients to the replay buffer.

use std::sync::Arc;

use chrono::DateTime;
use serde::Deserialize;

use super::batch::Batch;
use super::page::{Page, Rows};
use super::position::Position;
use super::recorded::RowChange;
use super::translate::{Change, Enabled, PricingRow};
use super::watermark::Watermark;
use super::witness::Witness;
use crate::store::services::Availability;

/// A changed pricing, as `space_events.told` writes it.
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
);

impl Told {
    /// Reads the text of a notification; `None` if it tells nothing.
    pub fn parse(text: &str) -> Option<Self> {
        serde_json::from_str(text).ok()
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
        ) = self;
        if from.within.is_some() {
            return None;
        }
        let witness = Witness::new(id, xid, changed_at_us);
        let next = from.base.with_next(xid, witness)?;
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

    fn told(id: i64, xid: u64) -> Told {
        let text = format!(
            r#"[{id},{xid},1700000000000000,"Zoom",null,"2024",null,"active",false,"acme"]"#
        );
        Told::parse(&text).expect("a change")
    }

    #[test]
    fn a_change_is_taken_only_where_nothing_can_have_come_between() {
        for (snapshot, begun, id, xid, taken) in [
            ("20:20:", 0, 101, 20, true),
            ("20:20:", 0, 101, 35, true),
            // Somebody drew an id between.
            ("20:20:", 0, 102, 20, false),
            // It was seen.
            ("20:20:", 0, 100, 20, false),
            // A transaction that may write late, listed or not.
            ("10:20:10", 0, 101, 20, false),
            ("20:20:", 1, 101, 21, false),
            // A number that was given out before.
            ("20:20:", 0, 101, 19, false),
        ] {
            let page = told(id, xid).page(&position(snapshot, begun), 1, None);
            assert_eq!(page.is_some(), taken, "{snapshot} {begun} {id} {xid}");
            let Some(Page { events, end, .. }) = page else {
                continue;
            };
            let [event] = events.as_slice() else {
                panic!("{events:?}");
            };
            assert_eq!(event.position(), end);
            assert_eq!(&*event.organization, "acme");
            assert!(end.base.is_settled() && end.base.has(id, xid));
            assert!(!end.base.has(id + 1, xid) && !end.base.has(id, xid + 1));
            assert!(end.base.covers(&position(snapshot, begun).base));
        }
    }

    #[test]
    fn other_texts_tell_nothing() {
        for text in [
            "",
            "{}",
            "[]",
            "[1,2]",
            r#"[1,"2",3,"Zoom",null,null,null,null,false,""]"#,
            // Before there were organisations.
            r#"[1,2,3,"Zoom",null,"2024",null,"active",false]"#,
        ] {
            assert!(Told::parse(text).is_none(), "{text}");
        }
    }
}
