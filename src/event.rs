//! The four events: the contract with clients.
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
        }
    }
}
