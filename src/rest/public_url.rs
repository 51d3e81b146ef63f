//! `/services/{name}/pricings/{version}/public-url`: where the file of a pricing is, as
//! SPACE's dashboard asks for it.

use axum::extract::State;
use axum::http::{HeaderMap, HeaderName, header};
use axum::{Extension, Json};
use serde::Serialize;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::event_position::EventPosition;
use super::openapi::{Invalid, NotFound};
use super::request::PathParams;
use super::{Api, Error, pricings};
use crate::organization::Organization;
use crate::store::pricings::PricingName;

/// Set by a proxy that ends TLS.
const FORWARDED_PROTOCOL: HeaderName = HeaderName::from_static("x-forwarded-proto");

pub(super) fn routes() -> OpenApiRouter<Api> {
    OpenApiRouter::new().routes(routes!(show))
}

/// Where a file is.
#[derive(Serialize, ToSchema)]
struct PublicUrl {
    /// On this server.
    path: String,
    /// As this request reached the server.
    #[schema(format = "uri")]
    url: String,
}

/// Says where the file of a pricing is.
///
/// Where the server asks for keys, reading the file needs one too.
#[utoipa::path(
    get, path = "/services/{serviceName}/pricings/{version}/public-url", operation_id = "locatePricing", tag = "pricings",
    params(
        ("serviceName" = String, Path, example = "Zoom", description = "in any case"),
        ("version" = String, Path, example = "2024"),
    ),
    responses(
        (status = 200, description = "where it is", body = PublicUrl, headers(("Event-Position" = EventPosition))),
        (status = 400, response = Invalid),
        (status = 404, response = NotFound),
    ),
)]
async fn show(
    State(api): State<Api>,
    Extension(organization): Extension<Organization>,
    PathParams(name): PathParams<PricingName>,
    headers: HeaderMap,
) -> Result<(EventPosition, Json<PublicUrl>), Error> {
    let (position, _) = pricings::file(&api, &organization, &name).await?;
    let path = path_of(&name);
    let url = format!("{}{path}", origin(&headers));
    Ok((position, Json(PublicUrl { path, url })))
}

fn path_of(name: &PricingName) -> String {
    let service_name = encoded(&name.service_name);
    let version = encoded(&name.version);
    format!("/api/v1/services/{service_name}/pricings/{version}?format=yaml")
}

/// A name as a part of a path.
fn encoded(name: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~".contains(&byte);
    let bytes = name.bytes().map(|byte| match plain(byte) {
        true => char::from(byte).to_string(),
        false => format!("%{byte:02X}"),
    });
    bytes.collect()
}

/// `http://localhost:5403`, as the client knows this server.
fn origin(headers: &HeaderMap) -> String {
    let text = |name: HeaderName| headers.get(name).and_then(|value| value.to_str().ok());
    let protocol = match text(FORWARDED_PROTOCOL) {
        Some("https") => "https",
        _ => "http",
    };
    let host = text(header::HOST);
    host.map_or_else(String::new, |host| format!("{protocol}://{host}"))
}
