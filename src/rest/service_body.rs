//! A service as it is answered.

use chrono::{DateTime, SecondsFormat, Utc};
use serde::{Serialize, Serializer};
use utoipa::ToSchema;

use crate::store::services::{Availability, ListedPricing, Service};

/// A service as it is answered. A pricing is `{"url"}` if it was given by URL,
/// else `{"id"}`; `archivedPricings` is left out while empty, but for the answer to
/// a change of availability.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = Service)]
pub(super) struct ServiceBody {
    id: i64,
    name: String,
    disabled: bool,
    #[schema(value_type = BTreeMap<String, PricingSource>)]
    active_pricings: Pricings,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = BTreeMap<String, PricingSource>, required = false)]
    archived_pricings: Option<Pricings>,
    #[serde(serialize_with = "with_milliseconds")]
    #[schema(value_type = String, format = DateTime)]
    created_at: DateTime<Utc>,
    #[serde(serialize_with = "with_milliseconds")]
    #[schema(value_type = String, format = DateTime)]
    updated_at: DateTime<Utc>,
}

impl From<Service> for ServiceBody {
    fn from(service: Service) -> Self {
        let mut body = Self::with_empty_lists(service);
        body.archived_pricings = body
            .archived_pricings
            .filter(|Pricings(archived)| !archived.is_empty());
        body
    }
}

impl ServiceBody {
    /// With `archivedPricings` even if there is none: SPACE answers a change of
    /// availability so.
    pub(super) fn with_empty_lists(service: Service) -> Self {
        let (active, archived) = service
            .pricings
            .into_iter()
            .partition(|pricing| pricing.availability == Availability::Active);
        Self {
            id: service.id,
            name: service.name,
            disabled: service.disabled,
            active_pricings: Pricings(active),
            archived_pricings: Some(Pricings(archived)),
            created_at: service.created_at,
            updated_at: service.updated_at,
        }
    }
}

/// An object with a key for each version, in the order in which they were added.
struct Pricings(Vec<ListedPricing>);

impl Serialize for Pricings {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.0.iter().map(|pricing| {
            let source = pricing
                .url
                .as_deref()
                .map_or(PricingSource::Id(pricing.id), PricingSource::Url);
            (&pricing.version, source)
        }))
    }
}

/// Where a pricing came from: a URL, or else a file.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
enum PricingSource<'a> {
    Id(i64),
    Url(&'a str),
}

fn with_milliseconds<S: Serializer>(
    time: &DateTime<Utc>,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&time.to_rfc3339_opts(SecondsFormat::Millis, true))
}
