//! `/events`: whether events are sent, and a page that shows them.

use axum::Json;
use axum::response::Response;
use serde::Serialize;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::Api;
use crate::http::requests::SOCKETS_PATH;
use crate::live_page;

pub(super) fn routes() -> OpenApiRouter<Api> {
    OpenApiRouter::new()
        .routes(routes!(status))
        .routes(routes!(live))
}

/// Where a Socket.IO client connects.
#[derive(Serialize, ToSchema)]
struct Status {
    status: &'static str,
    path: &'static str,
    namespace: &'static str,
    event: &'static str,
}

/// Says where a Socket.IO client connects.
#[utoipa::path(
    get, path = "/events/status", operation_id = "readEventsStatus", tag = "events",
    responses((status = 200, description = "it runs", body = Status)),
)]
async fn status() -> Json<Status> {
    Json(Status {
        status: "running",
        path: SOCKETS_PATH,
        namespace: "/pricings",
        event: "message",
    })
}

/// Shows events as they come, in a browser.
#[utoipa::path(
    get, path = "/events/client", operation_id = "showEvents", tag = "events",
    responses((status = 200, description = "the page", body = String, content_type = "text/html")),
)]
async fn live() -> Response {
    live_page::show().await
}
