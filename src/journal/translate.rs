//! Turns a row change into its event, or into the reason why it has none. It is pure: it
//! asks nothing and changes nothing.
//!
//! The triggers record what happened to a row and whether its service was
//! enabled then. What that means to clients is decided here and nowhere else.

use crate::event::{Event, Pricing, Reason, Service};
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

/// What a row change means to clients.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Meaning {
    /// It is announced.
    Event(Event),
    /// It is not, for a reason.
    Nothing(Reason),
}

/// What a row change of the service `service_name` means.
pub fn meaning_of(service_name: &str, change: Change) -> Meaning {
    let pricing = |version: String| Pricing {
        service_name: service_name.to_owned(),
        pricing_version: version,
    };
    match change {
        Change::Service { before, after } => match (before, after) {
            (Some(Enabled::Yes), None | Some(Enabled::No)) => {
                Meaning::Event(Event::ServiceDisabled(Service {
                    service_name: service_name.to_owned(),
                }))
            }
            (Some(Enabled::No), None) => Meaning::Nothing(Reason::WasDisabled),
            (Some(Enabled::No) | None, Some(Enabled::Yes)) => {
                Meaning::Nothing(Reason::ServiceEnabled)
            }
            (None, Some(Enabled::No)) => Meaning::Nothing(Reason::ServiceIsDisabled),
            _ => Meaning::Nothing(Reason::SameOffer),
        },
        Change::Pricing {
            service_after: Enabled::No,
            ..
        } => Meaning::Nothing(Reason::ServiceIsDisabled),
        Change::Pricing {
            before,
            after,
            service_before,
            service_after: Enabled::Yes,
        } => match (before, after) {
            (None, Some(after)) => Meaning::Event(Event::PricingCreated(pricing(after.version))),
            (Some(before), None) => match before.availability {
                Availability::Active => {
                    Meaning::Event(Event::PricingArchived(pricing(before.version)))
                }
                Availability::Archived => Meaning::Nothing(Reason::WasArchived),
            },
            (Some(before), Some(after)) if before.version != after.version => {
                Meaning::Event(Event::PricingCreated(pricing(after.version)))
            }
            (Some(before), Some(after)) => {
                let was_offered =
                    service_before == Enabled::Yes && before.availability == Availability::Active;
                let is_offered = after.availability == Availability::Active;
                match (was_offered, is_offered) {
                    (false, true) => {
                        Meaning::Event(Event::PricingActivated(pricing(after.version)))
                    }
                    (true, false) => Meaning::Event(Event::PricingArchived(pricing(after.version))),
                    _ => Meaning::Nothing(Reason::SameOffer),
                }
            }
            (None, None) => Meaning::Nothing(Reason::SameOffer),
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
        match meaning_of(service_name, change) {
            Meaning::Event(Event::PricingCreated(p)) => format!("created {}", p.pricing_version),
            Meaning::Event(Event::PricingArchived(p)) => format!("archived {}", p.pricing_version),
            Meaning::Event(Event::PricingActivated(p)) => {
                format!("activated {}", p.pricing_version)
            }
            Meaning::Event(Event::ServiceDisabled(s)) => format!("disabled {}", s.service_name),
            Meaning::Nothing(reason) => reason.as_str().to_owned(),
        }
    }

    #[test]
    fn a_changed_pricing_means_one_event_or_a_reason_for_none() {
        let cases = [
            (None, row("1", Active), Yes, Yes, "created 1"),
            (None, row("1", Archived), Yes, Yes, "created 1"),
            (None, row("1", Active), No, No, "service_is_disabled"),
            (row("1", Active), row("1", Archived), Yes, Yes, "archived 1"),
            (
                row("1", Archived),
                row("1", Active),
                Yes,
                Yes,
                "activated 1",
            ),
            (
                row("1", Active),
                row("1", Archived),
                No,
                No,
                "service_is_disabled",
            ),
            (
                row("1", Archived),
                row("1", Active),
                No,
                No,
                "service_is_disabled",
            ),
            (row("1", Active), row("1", Active), Yes, Yes, "same_offer"),
            (row("1", Active), row("2", Active), Yes, Yes, "created 2"),
            (
                row("1", Archived),
                row("2", Archived),
                Yes,
                Yes,
                "created 2",
            ),
            (row("1", Active), row("2", Archived), Yes, Yes, "created 2"),
            (
                row("1", Active),
                row("2", Active),
                No,
                No,
                "service_is_disabled",
            ),
            (row("1", Active), None, Yes, Yes, "archived 1"),
            (row("1", Archived), None, Yes, Yes, "was_archived"),
            (row("1", Active), None, No, No, "service_is_disabled"),
            (row("1", Active), row("1", Active), No, Yes, "activated 1"),
            (
                row("1", Archived),
                row("1", Archived),
                No,
                Yes,
                "same_offer",
            ),
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
            (Some(No), None, "was_disabled"),
            (Some(No), Some(Yes), "service_enabled"),
            (Some(Yes), Some(Yes), "same_offer"),
            (None, Some(Yes), "service_enabled"),
            (None, Some(No), "service_is_disabled"),
        ];
        for (before, after, expected) in cases {
            assert_eq!(said("Zoom", Change::Service { before, after }), expected);
        }
    }
}
