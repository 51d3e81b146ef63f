//! The four events, and the reasons why a change has none: the contract with clients.
//!
//! The names of the codes, and the order of the keys, are those of SPACE;
//! clients compare them as text.

use serde::Serialize;
use utoipa::ToSchema;

/// One `message` event, sent as `{"code": …, "details": {…}}`, keys in this order.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(tag = "code", content = "details")]
pub enum Event {
    /// A pricing was added to an enabled service.
    #[serde(rename = "PRICING_CREATED")]
    PricingCreated(Pricing),
    /// A pricing is no longer offered: archived, or deleted while it was active.
    #[serde(rename = "PRICING_ARCHIVED")]
    PricingArchived(Pricing),
    /// An archived pricing is offered again. Clients expect this spelling.
    #[serde(rename = "PRICING_ACTIVED")]
    PricingActivated(Pricing),
    /// A service was disabled or deleted, and all its pricings with it.
    #[serde(rename = "SERVICE_DISABLED")]
    ServiceDisabled(Service),
}

/// What happened, without what it happened to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, ToSchema)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
#[schema(as = EventCode)]
pub enum Code {
    /// [`Event::PricingCreated`].
    PricingCreated,
    /// [`Event::PricingArchived`].
    PricingArchived,
    /// [`Event::PricingActivated`].
    #[serde(rename = "PRICING_ACTIVED")]
    PricingActivated,
    /// [`Event::ServiceDisabled`].
    ServiceDisabled,
}

impl Code {
    /// All that there are.
    pub const ALL: [Self; 4] = [
        Self::PricingCreated,
        Self::PricingArchived,
        Self::PricingActivated,
        Self::ServiceDisabled,
    ];

    /// As clients know it: `PRICING_CREATED`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::PricingCreated => "PRICING_CREATED",
            Self::PricingArchived => "PRICING_ARCHIVED",
            Self::PricingActivated => "PRICING_ACTIVED",
            Self::ServiceDisabled => "SERVICE_DISABLED",
        }
    }

    /// Reads what [`Code::as_str`] gives.
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|code| code.as_str() == text)
    }
}

impl Event {
    /// What happened.
    pub fn code(&self) -> Code {
        match self {
            Self::PricingCreated(_) => Code::PricingCreated,
            Self::PricingArchived(_) => Code::PricingArchived,
            Self::PricingActivated(_) => Code::PricingActivated,
            Self::ServiceDisabled(_) => Code::ServiceDisabled,
        }
    }

    /// The service it happened to, or whose pricing it happened to.
    pub fn service_name(&self) -> &str {
        match self {
            Self::PricingCreated(pricing)
            | Self::PricingArchived(pricing)
            | Self::PricingActivated(pricing) => &pricing.service_name,
            Self::ServiceDisabled(service) => &service.service_name,
        }
    }

    /// The version of the pricing it happened to, if it is about one.
    pub fn pricing_version(&self) -> Option<&str> {
        match self {
            Self::PricingCreated(pricing)
            | Self::PricingArchived(pricing)
            | Self::PricingActivated(pricing) => Some(&pricing.pricing_version),
            Self::ServiceDisabled(_) => None,
        }
    }
}

/// Which pricing: `{"serviceName": …, "pricingVersion": …}`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = EventPricing)]
pub struct Pricing {
    /// The service's name as it is stored.
    pub service_name: String,
    /// The version as it is stored.
    pub pricing_version: String,
}

/// Which service: `{"serviceName": …}`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = EventService)]
pub struct Service {
    /// The service's name as it is stored.
    pub service_name: String,
}

/// Why a recorded change is not announced.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Reason {
    /// The service is disabled: nothing about its pricings is announced.
    ServiceIsDisabled,
    /// An archived pricing was deleted, which was no longer offered.
    WasArchived,
    /// A disabled service was deleted. It was announced when it was disabled.
    WasDisabled,
    /// A service was enabled. Each of its active pricings is announced instead.
    ServiceEnabled,
    /// What is offered is the same as before.
    SameOffer,
}

impl Reason {
    /// All that there are.
    pub const ALL: [Self; 5] = [
        Self::ServiceIsDisabled,
        Self::WasArchived,
        Self::WasDisabled,
        Self::ServiceEnabled,
        Self::SameOffer,
    ];

    /// As it is in JSON and in metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::ServiceIsDisabled => "service_is_disabled",
            Self::WasArchived => "was_archived",
            Self::WasDisabled => "was_disabled",
            Self::ServiceEnabled => "service_enabled",
            Self::SameOffer => "same_offer",
        }
    }

    /// One sentence for people.
    pub fn sentence(self) -> &'static str {
        match self {
            Self::ServiceIsDisabled => {
                "The service is disabled, so nothing about its pricings is announced."
            }
            Self::WasArchived => {
                "The pricing was archived before it was deleted, so it was not offered any more."
            }
            Self::WasDisabled => {
                "The service was disabled before it was deleted; SERVICE_DISABLED was announced then."
            }
            Self::ServiceEnabled => {
                "A service that is enabled has no event of its own; each of its active pricings is announced."
            }
            Self::SameOffer => "The same is offered as before.",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_is_the_json_that_clients_know() {
        let pricing = Pricing {
            service_name: "WireMock".to_owned(),
            pricing_version: "2024".to_owned(),
        };
        let service = Service {
            service_name: "Zoom \"é\" \u{1f600}\n".to_owned(),
        };
        let details = r#"{"serviceName":"WireMock","pricingVersion":"2024"}"#;
        let cases = [
            (
                Event::PricingCreated(pricing.clone()),
                format!(r#"{{"code":"PRICING_CREATED","details":{details}}}"#),
            ),
            (
                Event::PricingArchived(pricing.clone()),
                format!(r#"{{"code":"PRICING_ARCHIVED","details":{details}}}"#),
            ),
            (
                Event::PricingActivated(pricing),
                format!(r#"{{"code":"PRICING_ACTIVED","details":{details}}}"#),
            ),
            (
                Event::ServiceDisabled(service),
                "{\"code\":\"SERVICE_DISABLED\",\"details\":{\"serviceName\":\"Zoom \\\"é\\\" \u{1f600}\\n\"}}".to_owned(),
            ),
        ];
        for (event, json) in cases {
            assert_eq!(
                serde_json::to_string(&event).expect("an event is JSON"),
                json
            );
            let code = event.code();
            assert!(json.contains(&format!("{{\"code\":\"{}\"", code.as_str())));
            assert_eq!(
                serde_json::to_string(&code).expect("JSON"),
                format!("\"{}\"", code.as_str())
            );
            assert_eq!(Code::parse(code.as_str()), Some(code));
        }
    }

    #[test]
    fn each_reason_has_one_name_and_a_sentence() {
        for reason in Reason::ALL {
            let name = serde_json::to_string(&reason).expect("JSON");
            assert_eq!(name, format!("\"{}\"", reason.as_str()));
            assert!(reason.sentence().ends_with('.'), "{reason:?}");
        }
    }
}
