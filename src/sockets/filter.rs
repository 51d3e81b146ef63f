//! Which events a client hears: those of its organisation, all of them or those that its
//! handshake asked for.
//!
//! A filter is asked where an event would be sent, and nowhere before. The position of a
//! client moves on over events that it does not hear, too. So positions mean the same with
//! any filter, and all clients can share the pages of the journal.

use std::collections::HashSet;

use serde_json::Value;

use crate::event::{Code, Event};
use crate::journal::JournalEvent;
use crate::organization::Organization;

/// Hears all of one organisation, unless it was told otherwise.
#[derive(Clone, Debug, Default)]
pub struct Filter {
    organization: Organization,
    /// The [`entry`] of each service; none: all services. One text, so that a list
    /// holds no more memory than its handshake had.
    services: Option<Box<str>>,
    /// None: all codes.
    codes: Option<HashSet<Code>>,
}

/// A filter cannot be read; the text of a `connect_error`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FilterInvalid {
    /// An empty list too, since whoever gives one would never hear anything.
    #[error("FILTER_INVALID: `services` must be a list of one or more names of services")]
    Services,
    /// An empty list too.
    #[error(
        "FILTER_INVALID: `codes` must be a list of one or more of {}",
        Code::ALL.map(Code::as_str).join(", ")
    )]
    Codes,
}

impl Filter {
    /// Reads `services` and `codes` in the `auth` of a handshake, for a client of an
    /// organisation.
    ///
    /// # Errors
    ///
    /// One of them is not a list that somebody could hear anything by.
    pub fn from_auth(
        organization: Organization,
        auth: Option<&Value>,
    ) -> Result<Self, FilterInvalid> {
        let given = |name: &str| {
            let value = auth.and_then(|auth| auth.get(name));
            value.filter(|value| !value.is_null())
        };
        let services = given("services")
            .map(|list| all(list, service).ok_or(FilterInvalid::Services))
            .transpose()?;
        let codes = given("codes")
            .map(|list| all(list, Code::parse).ok_or(FilterInvalid::Codes))
            .transpose()?;
        Ok(Self {
            organization,
            services,
            codes,
        })
    }

    /// Whether its client hears an event. Nothing else decides it.
    pub fn hears(&self, event: &JournalEvent) -> bool {
        self.hears_of(&event.organization, &event.event)
    }

    fn hears_of(&self, organization: &str, event: &Event) -> bool {
        let codes = self.codes.as_ref();
        let services = self.services.as_ref();
        self.organization.has(organization)
            && codes.is_none_or(|codes| codes.contains(&event.code()))
            && services.is_none_or(|names| names.contains(&entry(event.service_name())))
    }
}

/// All of a list of texts; none if there are none, or one of them has no meaning.
fn all<T, All: FromIterator<T>>(list: &Value, read: impl Fn(&str) -> Option<T>) -> Option<All> {
    let list = list.as_array().filter(|list| !list.is_empty())?;
    list.iter().map(|item| read(item.as_str()?)).collect()
}

/// A name that a service may have, now or later: the database takes none that is blank
/// or holds the character U+0000.
fn service(name: &str) -> Option<String> {
    let is_blank = name.trim_matches([' ', '\t', '\r', '\n']).is_empty();
    (!is_blank && !name.contains('\0')).then(|| entry(name))
}

/// A name in a list of names. As the database compares them: in lower case, as Unicode
/// has it.
fn entry(name: &str) -> String {
    format!("\0{}\0", name.to_lowercase())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::{Pricing, Service};
    use serde_json::json;

    fn created(service_name: &str) -> Event {
        Event::PricingCreated(Pricing {
            service_name: service_name.to_owned(),
            pricing_version: "2024".to_owned(),
        })
    }

    fn disabled(service_name: &str) -> Event {
        Event::ServiceDisabled(Service {
            service_name: service_name.to_owned(),
        })
    }

    #[test]
    fn a_filter_hears_its_services_in_any_case_and_its_codes() {
        let events = [
            created("Zoom"),
            disabled("Zoom"),
            created("SÍSYFOS ΣΊΣΥΦΟΣ"),
            disabled("Slack"),
        ];
        for (auth, heard) in [
            (json!(null), [true, true, true, true]),
            (json!({ "since": "" }), [true, true, true, true]),
            (
                json!({ "services": null, "codes": null }),
                [true, true, true, true],
            ),
            (
                json!({ "services": ["zOOM", "zoom"] }),
                [true, true, false, false],
            ),
            (
                json!({ "services": ["SLACK", "sísyfos σίσυφος"] }),
                [false, false, true, true],
            ),
            (
                json!({ "services": ["Zoo", "oom", "Zoom Slack"] }),
                [false, false, false, false],
            ),
            (
                json!({ "codes": ["PRICING_CREATED"] }),
                [true, false, true, false],
            ),
            (
                json!({ "codes": ["PRICING_ARCHIVED", "SERVICE_DISABLED"], "services": ["zoom"] }),
                [false, true, false, false],
            ),
        ] {
            for (organization, another) in [("", "acme"), ("acme", ""), ("acme", "Acme")] {
                let own = Organization::parse(organization).unwrap_or_default();
                let filter = Filter::from_auth(own, Some(&auth)).expect("a filter");
                let hears = |whose| events.each_ref().map(|event| filter.hears_of(whose, event));
                assert_eq!(hears(organization), heard, "{auth}");
                assert_eq!(hears(another), [false; 4], "{auth}");
            }
        }
        assert!(Filter::default().hears_of("", &events[0]));
    }

    #[test]
    fn what_nobody_could_hear_anything_by_is_no_filter() {
        for (wrong, expected) in [
            (json!({ "services": [] }), FilterInvalid::Services),
            (json!({ "services": "Zoom" }), FilterInvalid::Services),
            (json!({ "services": ["Zoom", 1] }), FilterInvalid::Services),
            (json!({ "services": ["\t "] }), FilterInvalid::Services),
            (json!({ "services": ["Zoom\0"] }), FilterInvalid::Services),
            (
                json!({ "services": { "0": "Zoom" } }),
                FilterInvalid::Services,
            ),
            (json!({ "codes": [] }), FilterInvalid::Codes),
            (json!({ "codes": true }), FilterInvalid::Codes),
            (json!({ "codes": [null] }), FilterInvalid::Codes),
            (
                json!({ "codes": ["PRICING_ACTIVATED"] }),
                FilterInvalid::Codes,
            ),
            (
                json!({ "codes": ["pricing_created"] }),
                FilterInvalid::Codes,
            ),
        ] {
            let refused = Filter::from_auth(Organization::default(), Some(&wrong)).err();
            assert_eq!(refused, Some(expected), "{wrong}");
        }
        assert_eq!(
            FilterInvalid::Codes.to_string(),
            "FILTER_INVALID: `codes` must be a list of one or more of PRICING_CREATED, PRICING_ARCHIVED, PRICING_ACTIVED, SERVICE_DISABLED"
        );
    }
}
