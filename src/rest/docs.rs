//! The interface written down: OpenAPI for the requests, AsyncAPI for the events,
//! and a page to read and try the former.

use axum::Extension;
use axum::body::Bytes;
use axum::http::header;
use axum::response::IntoResponse;
use utoipa::openapi::OpenApi;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::Api;
use super::page::Page;
use crate::asyncapi;

/// The documents as they are answered.
#[derive(Clone)]
pub(super) struct Documents {
    openapi: Bytes,
    asyncapi: Bytes,
}

impl Documents {
    pub(super) fn new(openapi: &OpenApi) -> Self {
        Self {
            openapi: openapi
                .to_json()
                .expect("an OpenAPI document is JSON")
                .into(),
            asyncapi: asyncapi::document().to_string().into(),
        }
    }
}

pub(super) fn routes() -> OpenApiRouter<Api> {
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
async fn docs() -> Page {
    Page(include_str!("docs_page.html"))
}

fn json(document: Bytes) -> impl IntoResponse {
    ([(header::CONTENT_TYPE, "application/json")], document)
}
