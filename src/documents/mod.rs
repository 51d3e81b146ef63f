//! The interface written down: OpenAPI for the requests, AsyncAPI for the events,
//! and a page to read and try the requests.
//!
//! What OpenAPI says comes from REST's handlers, so REST hands its document over. The
//! page loads nothing from elsewhere: its script and style run by a nonce, and it
//! speaks with this server only.

mod asyncapi;

use axum::Extension;
use axum::body::Bytes;
use axum::http::header;
use axum::response::{Html, IntoResponse};
use utoipa::openapi::OpenApi;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::live_page::LOOK;

/// The documents as they are answered.
#[derive(Clone, Debug)]
pub struct Documents {
    openapi: Bytes,
    asyncapi: Bytes,
}

impl Documents {
    /// The document of the events beside that of the requests.
    pub fn new(openapi: &OpenApi) -> Self {
        Self {
            openapi: openapi
                .to_json()
                .expect("an OpenAPI document is JSON")
                .into(),
            asyncapi: asyncapi::document().to_string().into(),
        }
    }
}

/// Answers from the [`Documents`] that a layer adds.
pub fn routes<S: Clone + Send + Sync + 'static>() -> OpenApiRouter<S> {
    OpenApiRouter::new()
        .routes(routes!(openapi))
        .routes(routes!(asyncapi))
        .routes(routes!(docs))
}

/// Describes the requests: OpenAPI 3.1.
#[utoipa::path(
    get, path = "/openapi.json", operation_id = "readOpenapi", tag = "interface",
    responses((status = 200, description = "this document", body = Object)),
)]
async fn openapi(Extension(documents): Extension<Documents>) -> impl IntoResponse {
    json(documents.openapi)
}

/// Describes the events: AsyncAPI 3.0.
#[utoipa::path(
    get, path = "/asyncapi.json", operation_id = "readAsyncapi", tag = "interface",
    responses((status = 200, description = "the document of the events", body = Object)),
)]
async fn asyncapi(Extension(documents): Extension<Documents>) -> impl IntoResponse {
    json(documents.asyncapi)
}

/// Shows this document in a browser, to read and to try.
#[utoipa::path(
    get, path = "/docs", operation_id = "showDocs", tag = "interface",
    responses((status = 200, description = "the page", body = String, content_type = "text/html")),
)]
async fn docs() -> impl IntoResponse {
    let nonce = format!("{:032x}", fastrand::u128(..));
    let policy = format!(
        "default-src 'none'; script-src 'nonce-{nonce}'; style-src 'nonce-{nonce}'; connect-src 'self'; \
         base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    );
    let headers = [
        (header::CONTENT_SECURITY_POLICY, policy),
        (header::REFERRER_POLICY, "no-referrer".to_owned()),
    ];
    // Nothing that anybody sends becomes a part of it.
    let page = include_str!("page.html")
        .replace("{nonce}", &nonce)
        .replace("{look}", LOOK)
        .replace("{version}", env!("CARGO_PKG_VERSION"));
    (headers, Html(page))
}

fn json(document: Bytes) -> impl IntoResponse {
    ([(header::CONTENT_TYPE, "application/json")], document)
}
