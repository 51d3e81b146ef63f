//! Requests in, rows out.
//!
//! No handler announces anything: triggers record what a transaction changed, so a
//! request is heard like any other writer. What a GET answers comes from one snapshot.

// The handlers.
mod services;
mod pricings;
mod public_url;
mod history;
mod events;

// What they share.
mod service_body;
mod pricing_list;
mod upload;
pub mod pricing_url;
mod request;
mod transactions;
mod event_position;
mod outgoing;
mod openapi;
mod api_key;
mod error;

use std::sync::Arc;

use axum::extract::DefaultBodyLimit;
use axum::http::{HeaderValue, Method, Uri, header};
use axum::response::Response;
use axum::routing::get;
use axum::{Extension, Json, Router, middleware};
use serde::Serialize;
use utoipa::ToSchema;
use utoipa::openapi::OpenApi;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

pub use error::Error;
pub use event_position::EVENT_POSITION;
pub use outgoing::Outgoing;
pub use upload::{MAX_BODY_BYTES, MAX_PRICING_BYTES};

use crate::api_key::ApiKeys;
use crate::documents::{self, Documents};
use crate::journal::CatchUp;
use crate::live_page;
use crate::store::Pool;
use pricing_url::PricingFetcher;

/// What the handlers share.
#[derive(Clone, Debug)]
pub struct Api {
    /// Where services and pricings are.
    pub pool: Pool,
    /// The events that were, and the identity of positions.
    pub catch_up: Arc<CatchUp>,
    /// Who may do what; empty: everybody everything.
    pub keys: Arc<ApiKeys>,
    /// Fetches the pricings that are given by URL.
    pub fetcher: Arc<PricingFetcher>,
    /// Where answers are kept until clients have taken them.
    pub outgoing: Outgoing,
}

/// The routes of `/api/v1`; those of the services at the root too, and once more for an
/// organisation that the path names.
///
/// Everything that is answered is JSON, but for a pricing's file and the pages,
/// and errors are `{"error": …}`. `others` describes the routes that are not of here.
pub fn router(api: Api, others: OpenApi) -> Router {
    let authorize = middleware::from_fn_with_state(api.clone(), api_key::authorize);
    let bound = middleware::from_fn_with_state(api.outgoing.clone(), outgoing::bound);
    let services = services::routes()
        .merge(pricings::routes())
        .merge(public_url::routes());
    let services = openapi::guarded(services)
        .route_layer(bound.clone())
        .route_layer(authorize.clone());
    let history = openapi::guarded(history::routes())
        .route_layer(bound)
        .route_layer(authorize);
    let public = OpenApiRouter::new()
        .routes(routes!(healthcheck))
        .merge(events::routes())
        .merge(documents::routes());
    let (router, document) = OpenApiRouter::with_openapi(openapi::outline(others))
        .nest("/api/v1", services.clone().merge(history).merge(public))
        // The same once more, as SPACE's documentation writes them, and as its dashboard
        // asks for them; described once.
        .merge(Router::from(services.clone()).into())
        .nest(
            &format!("/api/v1/organizations/{{{}}}", api_key::ORGANIZATION),
            Router::from(services).into(),
        )
        .split_for_parts();
    let document = openapi::finished(document, !api.keys.is_empty());
    router
        // For browsers alone, so it is not described.
        .route("/", get(live_page::redirect))
        .layer(Extension(Documents::new(&document)))
        .fallback(unknown_path)
        .method_not_allowed_fallback(unknown_method)
        .layer(DefaultBodyLimit::max(upload::MAX_BODY_BYTES))
        .layer(middleware::map_response(add_headers))
        .with_state(api)
}

/// One sentence.
#[derive(Serialize, ToSchema)]
struct Message {
    message: String,
}

/// Says that the process serves; the database is not asked.
#[utoipa::path(
    get, path = "/healthcheck", operation_id = "checkHealth", tag = "state",
    responses((status = 200, description = "it serves", body = Message)),
)]
async fn healthcheck() -> Json<Message> {
    Json(Message {
        message: "space-events is up".to_owned(),
    })
}

async fn unknown_path(uri: Uri) -> Error {
    tracing::debug!(path = uri.path(), "unknown path");
    Error::NotFound("not found: there is nothing at this path".to_owned())
}

async fn unknown_method(method: Method) -> Error {
    Error::MethodNotAllowed(method.to_string())
}

async fn add_headers(mut response: Response) -> Response {
    let headers = response.headers_mut();
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(
        header::X_CONTENT_TYPE_OPTIONS,
        HeaderValue::from_static("nosniff"),
    );
    response
}
