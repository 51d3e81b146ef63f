//! `/events`: whether events are sent, and a page that shows them.

use axum::http::header;
use axum::response::{Html, IntoResponse};
use axum::routing::get;
use axum::{Json, Router};
use serde_json::{Value, json};

use super::Api;

pub(super) fn routes() -> Router<Api> {
    Router::new()
        .route("/events/status", get(status))
        .route("/events/client", get(live_page))
}

/// Where a Socket.IO client connects.
async fn status() -> Json<Value> {
    Json(
        json!({ "status": "running", "path": "/events", "namespace": "/pricings", "event": "message" }),
    )
}

/// One page without anything from elsewhere. Its script and style run by a nonce;
/// nothing that a client or an event says becomes a part of its HTML.
async fn live_page() -> impl IntoResponse {
    const PAGE: &str = include_str!("live_page.html");
    let nonce = format!("{:032x}", fastrand::u128(..));
    let policy = format!(
        "default-src 'none'; script-src 'nonce-{nonce}'; style-src 'nonce-{nonce}'; connect-src 'self'; \
         base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    );
    let headers = [
        (header::CONTENT_SECURITY_POLICY, policy),
        (header::REFERRER_POLICY, "no-referrer".to_owned()),
    ];
    (headers, Html(PAGE.replace("{nonce}", &nonce)))
}
