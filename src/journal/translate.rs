//! A row change to its event; pure.
//!
//! The triggers record what happened to a row and whether its service was
//! enabled then. What that means to clients is decided here and nowhere else.

use crate::event::{Event, Pricing, Service};
use crate::store::services::Availability;

/// What changed, as the columns of `space_events.row_changes` tell it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// A row of `services`: whether it was disabled before, and is now.
    /// `None`: it was not there, or it is gone.
    Service {
        /// Before the change.
        before: Option<Enabled>,
        /// After the change.
        after: Option<Enabled>,
    },
    /// A row of `pricings`, with the state of its service beside it.
    Pricing {
        /// Before the change; `None` at an insert.
        before: Option<PricingRow>,
        /// After the change; `None` at a delete or truncate.
        after: Option<PricingRow>,
        /// The service before the change.
        service_before: Enabled,
        /// The service after the change.
        service_after: Enabled,
    },
}

/// Whether a service is enabled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Enabled {
    /// Its pricings are announced.
    Yes,
    /// It is disabled: nothing about it is announced.
    No,
}

/// The columns of a pricing that events depend on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PricingRow {
    /// Its version.
    pub version: String,
    /// Whether it is offered.
    pub availability: Availability,
}

/// The event that a row change of the service `service_name` means, if any.
pub fn event_for(service_name: &str, change: Change) -> Option<Event> {
    let pricing = |version: String| Pricing {
        service_name: service_name.to_owned(),
        pricing_version: version,
    };
    match change {
        Change::Service {
            before: Some(Enabled::Yes),
            after: None | Some(Enabled::No),
        } => Some(Event::ServiceDisabled(Service {
            service_name: service_name.to_owned(),
        })),
        Change::Service { .. }
        | Change::Pricing {
            service_after: Enabled::No,
            ..
        } => None,
        Change::Pricing {
            before,
            after,
            service_before,
            service_after: Enabled::Yes,
        } => match (before, after) {
            (None, Some(after)) => Some(Event::PricingCreated(pricing(after.version))),
            (Some(before), None) => (before.availability == Availability::Active)
                .then(|| Event::PricingArchived(pricing(before.version))),
            (Some(before), Some(after)) if before.version != after.version => {
                Some(Event::PricingCreated(pricing(after.version)))
            }
            (Some(before), Some(after)) => {
                let was_offered =
                    service_before == Enabled::Yes && before.availability == Availability::Active;
                let is_offered = after.availability == Availability::Active;
                match (was_offered, is_offered) {
                    (false, true) => Some(Event::PricingActivated(pricing(after.version))),
                    (true, false) => Some(Event::PricingArchived(pricing(after.version))),
                    _ => None,
                }
            }
            (None, None) => None,
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use Availability::{Active, Archived};
    use Enabled::{No, Yes};

    fn row(version: &str, availability: Availability) -> Option<PricingRow> {
        Some(PricingRow {
            version: version.to_owned(),
            availability,
        })
    }

    fn said(service_name: &str, change: Change) -> String {
        event_for(service_name, change).map_or_else(
            || "nothing".to_owned(),
            |event| match event {
                Event::PricingCreated(p) => format!("created {}", p.pricing_version),
                Event::PricingArchived(p) => format!("archived {}", p.pricing_version),
                Event::PricingActivated(p) => format!("activated {}", p.pricing_version),
                Event::ServiceDisabled(s) => format!("disabled {}", s.service_name),
            },
        )
    }

    #[test]
    fn a_changed_pricing_means_at_most_one_event() {
        let cases = [
            (None, row("1", Active), Yes, Yes, "created 1"),
            (None, row("1", Archived), Yes, Yes, "created 1"),
            (None, row("1", Active), No, No, "nothing"),
            (row("1", Active), row("1", Archived), Yes, Yes, "archived 1"),
            (
                row("1", Archived),
                row("1", Active),
                Yes,
                Yes,
                "activated 1",
            ),
            (row("1", Active), row("1", Archived), No, No, "nothing"),
            (row("1", Archived), row("1", Active), No, No, "nothing"),
            (row("1", Active), row("1", Active), Yes, Yes, "nothing"),
            (row("1", Active), row("2", Active), Yes, Yes, "created 2"),
            (
                row("1", Archived),
                row("2", Archived),
                Yes,
                Yes,
                "created 2",
            ),
            (row("1", Active), row("2", Archived), Yes, Yes, "created 2"),
            (row("1", Active), row("2", Active), No, No, "nothing"),
            (row("1", Active), None, Yes, Yes, "archived 1"),
            (row("1", Archived), None, Yes, Yes, "nothing"),
            (row("1", Active), None, No, No, "nothing"),
            (row("1", Active), row("1", Active), No, Yes, "activated 1"),
            (row("1", Archived), row("1", Archived), No, Yes, "nothing"),
        ];
        for (before, after, service_before, service_after, expected) in cases {
            let change = Change::Pricing {
                before,
                after,
                service_before,
                service_after,
            };
            assert_eq!(said("Zoom", change.clone()), expected, "{change:?}");
        }
    }

    #[test]
    fn a_service_is_announced_when_it_stops_being_enabled() {
        let cases = [
            (Some(Yes), Some(No), "disabled Zoom"),
            (Some(Yes), None, "disabled Zoom"),
            (Some(No), None, "nothing"),
            (Some(No), Some(Yes), "nothing"),
            (Some(Yes), Some(Yes), "nothing"),
            (None, Some(Yes), "nothing"),
        ];
        for (before, after, expected) in cases {
            assert_eq!(said("Zoom", Change::Service { before, after }), expected);
        }
    }
}
