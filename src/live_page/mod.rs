//! The live page: events as they come, and the services that they change.
//!
//! One answer without anything from elsewhere: `page.html` names in `%%…%%` what
//! goes into it. Script and style run by a nonce, and nothing else does; the page
//! makes no markup out of text (`require-trusted-types-for` holds it to that).
//! The answer is a stream of slices of the program itself, so nothing is kept
//! in memory for it.

use std::convert::Infallible;

use axum::body::{Body, Bytes};
use axum::extract::RawQuery;
use axum::http::{HeaderName, HeaderValue, header};
use axum::response::{IntoResponse, Response};
use futures_util::stream;

const PAGE: &str = include_str!("page.html");
/// How this page looks, and that of the interface.
pub(crate) const LOOK: &str = include_str!("look.css");
const STYLE: &str = include_str!("page.css");
/// The official client, as its package has it; `socket.io.LICENSE` is beside it.
const SOCKET_IO: &str = include_str!("socket.io.min.js");
/// In reading order; each uses what comes before it.
const SCRIPTS: [&str; 14] = [
    include_str!("page.js"),
    include_str!("health.js"),
    include_str!("address.js"),
    include_str!("chart.js"),
    include_str!("events.js"),
    include_str!("past.js"),
    include_str!("delays.js"),
    include_str!("changes.js"),
    include_str!("snippets.js"),
    include_str!("details.js"),
    include_str!("services.js"),
    include_str!("service_item.js"),
    include_str!("upload.js"),
    include_str!("connection.js"),
];

/// Answers with the page.
pub(crate) async fn show() -> Response {
    let nonce = format!("{:032x}", fastrand::u128(..));
    let policy = format!(
        "default-src 'none'; script-src 'nonce-{nonce}'; style-src 'nonce-{nonce}'; \
         connect-src 'self'; img-src data:; base-uri 'none'; form-action 'none'; \
         frame-ancestors 'none'; require-trusted-types-for 'script'; trusted-types 'none'"
    );
    let pieces = pieces(Bytes::from(nonce)).into_iter();
    let body = Body::from_stream(stream::iter(pieces.map(Ok::<_, Infallible>)));
    let headers: [(HeaderName, &str); 3] = [
        (header::CONTENT_TYPE, "text/html; charset=utf-8"),
        (header::REFERRER_POLICY, "no-referrer"),
        (
            HeaderName::from_static("cross-origin-opener-policy"),
            "same-origin",
        ),
    ];
    (headers, [(header::CONTENT_SECURITY_POLICY, policy)], body).into_response()
}

/// Sends a browser that opens the root to the page, wherever a proxy has put it;
/// what the page is to show goes with it.
pub(crate) async fn redirect(RawQuery(query): RawQuery) -> impl IntoResponse {
    let page = "api/v1/events/client";
    let with_query = query.and_then(|query| HeaderValue::try_from(format!("{page}?{query}")).ok());
    (
        axum::http::StatusCode::TEMPORARY_REDIRECT,
        [(
            header::LOCATION,
            with_query.unwrap_or(HeaderValue::from_static(page)),
        )],
    )
}

fn pieces(nonce: Bytes) -> Vec<Bytes> {
    let mut pieces = Vec::new();
    // Text and names take turns.
    for (index, part) in PAGE.split("%%").enumerate() {
        match (index % 2, part) {
            (1, "nonce") => pieces.push(nonce.clone()),
            (1, "version") => pieces.push(Bytes::from_static(env!("CARGO_PKG_VERSION").as_bytes())),
            (1, "look") => pieces.push(Bytes::from_static(LOOK.as_bytes())),
            (1, "style") => pieces.push(Bytes::from_static(STYLE.as_bytes())),
            (1, "socket.io") => pieces.push(Bytes::from_static(SOCKET_IO.as_bytes())),
            (1, "scripts") => pieces.extend(SCRIPTS.map(str::as_bytes).map(Bytes::from_static)),
            _ => pieces.push(Bytes::from_static(part.as_bytes())),
        }
    }
    pieces
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everything_that_runs_has_the_nonce() {
        let page = pieces(Bytes::from_static(b"N")).concat();
        let page = String::from_utf8(page).expect("text");
        assert!(page.contains("Socket.IO v"));
        for (element, count) in [("script", 2), ("style", 1)] {
            let with_nonce = format!("<{element} nonce=\"N\">");
            assert_eq!(page.matches(&with_nonce).count(), count, "{element}");
            // None begins or ends within another's text.
            assert_eq!(page.matches(&format!("<{element}")).count(), count);
            assert_eq!(page.matches(&format!("</{element}>")).count(), count);
        }
        assert!(!page.contains("%%"), "a name that nothing goes in for");
    }
}
