//! What every request gets, whatever answers it: an id, a line in the log, a
//! count, a time limit, an answer even if its handler panics, and headers that keep
//! browsers from doing more with an answer than they should.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::Router;
use axum::extract::{ConnectInfo, MatchedPath, Request, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, Uri, header};
use axum::middleware::{Next, from_fn_with_state, map_response};
use axum::response::Response;
use futures_util::FutureExt as _;
use tokio::time::timeout;
use tracing::{Instrument as _, debug, error, error_span, info, warn};

use crate::api_key::KnownKey;
use crate::http::connection::ConnectionInfo;
use crate::http::failure::{FAULT, UNAVAILABLE, failed};
use crate::metrics::Metrics;

/// Where clients of Socket.IO connect.
pub const SOCKETS_PATH: &str = "/events";

/// Names a request: in its answer, and in the log.
pub const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// The longest id of a client that is kept.
const MAX_ID_BYTES: usize = 64;
/// How much of a path is logged.
const MAX_PATH_CHARS: usize = 256;

/// A request for the same path without a slash at its end. Engine.IO's own path has
/// one.
pub fn without_trailing_slash<B>(mut request: axum::http::Request<B>) -> axum::http::Request<B> {
    let path = request.uri().path();
    let is_socket = path
        .strip_prefix(SOCKETS_PATH)
        .is_some_and(|rest| rest.starts_with('/'));
    let shorter = path.strip_suffix('/').filter(|rest| !rest.is_empty());
    if let Some(shorter) = shorter.filter(|_| !is_socket) {
        let path_and_query = match request.uri().query() {
            Some(query) => format!("{shorter}?{query}"),
            None => shorter.to_owned(),
        };
        let mut parts = request.uri().clone().into_parts();
        parts.path_and_query = path_and_query.parse().ok();
        if let Ok(uri) = Uri::from_parts(parts) {
            *request.uri_mut() = uri;
        }
    }
    request
}

/// Puts all this around a router. A request has `limit` until its answer begins.
pub fn around(router: Router, metrics: Arc<Metrics>, limit: Duration) -> Router {
    router
        .layer(from_fn_with_state((metrics, limit), follow))
        .layer(map_response(add_headers))
}

/// Changes are logged as `info`, reads and Engine.IO as `debug`. Only the path is
/// shown: a query or a header may hold what nobody should read. Of a key it is its
/// name. Behind a proxy, the client's address is the proxy's.
async fn follow(
    State((metrics, limit)): State<(Arc<Metrics>, Duration)>,
    request: Request,
    next: Next,
) -> Response {
    let id = id_of(request.headers());
    // Of the highest level, so that it is there whatever is logged.
    let span = error_span!("request", id = id.to_str().unwrap_or_default());
    async {
        let begun = Instant::now();
        let method = request.method().clone();
        let path = request.uri().path();
        let is_socket = path.starts_with(SOCKETS_PATH);
        let route = match request.extensions().get::<MatchedPath>() {
            Some(route) => route.as_str().to_owned(),
            None if is_socket => SOCKETS_PATH.to_owned(),
            None => "none".to_owned(),
        };
        let path: String = path.chars().take(MAX_PATH_CHARS).collect();
        let client = request.extensions().get::<ConnectInfo<ConnectionInfo>>();
        let client = client.map(|info| tracing::field::display(info.0.address));
        // A panic drops all that the handler held, so nobody sees it half changed.
        let answering = AssertUnwindSafe(next.run(request)).catch_unwind();
        let mut response = match timeout(limit, answering).await {
            Ok(Ok(response)) => response,
            Ok(Err(_)) => {
                error!(error = "a handler panicked", "request failed");
                failed(StatusCode::INTERNAL_SERVER_ERROR, FAULT)
            }
            Err(_) => {
                let error = "the database did not answer in time";
                warn!(error, "request refused: the database is away");
                failed(StatusCode::SERVICE_UNAVAILABLE, UNAVAILABLE)
            }
        };
        let took = begun.elapsed();
        let status = response.status().as_u16();
        metrics.answered(&route, method.as_str(), status, took);
        let duration_ms = took.as_micros() as f64 / 1e3;
        let key = response.extensions_mut().remove::<KnownKey>();
        let key = key.as_ref().map(|key| &*key.name);
        macro_rules! log {
            ($level:ident) => {
                $level!(
                    request.method = %method,
                    request.path = path,
                    response.status = status,
                    duration_ms,
                    client,
                    key,
                    "answered"
                )
            };
        }
        if is_socket || !changes(&method) {
            log!(debug);
        } else {
            log!(info);
        }
        response.headers_mut().insert(REQUEST_ID, id);
        response
    }
    .instrument(span.clone())
    .await
}

fn changes(method: &Method) -> bool {
    !matches!(*method, Method::GET | Method::HEAD | Method::OPTIONS)
}

/// The client's own id if it is short and plain, else a new one.
fn id_of(headers: &HeaderMap) -> HeaderValue {
    let is_plain = |byte: &u8| byte.is_ascii_alphanumeric() || b"-._~:/+=@".contains(byte);
    let mut given = headers.get_all(REQUEST_ID).iter();
    match (given.next(), given.next()) {
        (Some(id), None)
            if (1..=MAX_ID_BYTES).contains(&id.len()) && id.as_bytes().iter().all(is_plain) =>
        {
            id.clone()
        }
        _ => new_id(),
    }
}

fn new_id() -> HeaderValue {
    HeaderValue::from_str(&format!("{:032x}", fastrand::u128(..)))
        .unwrap_or(HeaderValue::from_static("none"))
}

/// An answer that is not a page is not displayed and runs nothing. The program's pages
/// have their own policy. Cross-Origin-Resource-Policy keeps `<script>` and `<img>` of
/// other sites out; it does not concern what CORS allows.
async fn add_headers(mut response: Response) -> Response {
    const HEADERS: [(HeaderName, &str); 5] = [
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::REFERRER_POLICY, "no-referrer"),
        (
            header::CONTENT_SECURITY_POLICY,
            "default-src 'none'; frame-ancestors 'none'",
        ),
        (header::X_FRAME_OPTIONS, "DENY"),
        (
            HeaderName::from_static("cross-origin-resource-policy"),
            "same-origin",
        ),
    ];
    for (name, value) in HEADERS {
        response
            .headers_mut()
            .entry(name)
            .or_insert(HeaderValue::from_static(value));
    }
    response
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::body::Body;
    use axum::routing::get;
    use tower::ServiceExt as _;

    #[tokio::test]
    async fn a_request_that_nobody_answers_has_an_end() {
        let metrics = Arc::<Metrics>::default();
        let router = Router::new().route("/never", get(std::future::pending::<()>));
        let router = around(router, Arc::clone(&metrics), Duration::from_millis(10));
        let request = Request::get("/never").body(Body::empty());
        let response = router.oneshot(request.expect("a request")).await;
        let response = response.expect("an answer");
        assert_eq!(response.status(), 503);
        assert!(response.headers().contains_key(REQUEST_ID));
        let mut counted = String::new();
        metrics.write(&mut counted).expect("a text");
        let line = r#"http_requests_total{route="/never",method="GET",status="503"} 1"#;
        assert!(counted.contains(line), "{counted}");
    }

    #[test]
    fn a_slash_at_the_end_makes_no_difference() {
        for (uri, same_as) in [
            ("/services/", "/services"),
            ("/services/Zoom/?a=/", "/services/Zoom?a=/"),
            ("http://localhost/services/", "http://localhost/services"),
            ("/services//", "/services/"),
            ("/api/v1/events/?limit=1", "/api/v1/events?limit=1"),
            ("/services?name=/", "/services?name=/"),
            ("/services/a%2F", "/services/a%2F"),
            ("/", "/"),
            ("//", "/"),
            ("/events/?EIO=4", "/events/?EIO=4"),
            ("*", "*"),
        ] {
            let request = Request::get(uri).body(()).expect(uri);
            assert_eq!(without_trailing_slash(request).uri(), same_as, "{uri}");
        }
    }

    #[tokio::test]
    async fn a_handler_that_panics_is_answered_and_counted() {
        let metrics = Arc::<Metrics>::default();
        let router = Router::new().route("/broken", get(async || -> () { panic!("broken") }));
        let router = around(router, Arc::clone(&metrics), Duration::from_secs(60));
        let request = Request::get("/broken").body(Body::empty());
        let response = router.oneshot(request.expect("a request")).await;
        let response = response.expect("an answer");
        assert_eq!(response.status(), 500);
        for header in [REQUEST_ID, header::X_CONTENT_TYPE_OPTIONS] {
            assert!(response.headers().contains_key(&header), "{header}");
        }
        let body = axum::body::to_bytes(response.into_body(), 1024).await;
        assert_eq!(
            body.expect("a body"),
            r#"{"error":"the request failed through no fault of yours"}"#
        );
        let mut counted = String::new();
        metrics.write(&mut counted).expect("a text");
        let line = r#"requests_total{route="/broken",method="GET",status="500"} 1"#;
        assert!(counted.contains(line), "{counted}");
    }

    #[test]
    fn a_short_and_plain_id_is_taken_over() {
        let longest = "x".repeat(MAX_ID_BYTES);
        let too_long = "x".repeat(MAX_ID_BYTES + 1);
        for (ids, taken_over) in [
            (&["6f9619ff-8b86-d011-b42d-00c04fc964ff"][..], true),
            (&["a"], true),
            (&[longest.as_str()], true),
            (&[too_long.as_str()], false),
            (&[""], false),
            (&["a b"], false),
            (&["a\"b"], false),
            (&["{a}"], false),
            (&["é"], false),
            (&["a", "b"], false),
            (&[], false),
        ] {
            let mut headers = HeaderMap::new();
            for id in ids {
                let id = HeaderValue::from_bytes(id.as_bytes()).expect("a value");
                headers.append(REQUEST_ID, id);
            }
            let id = id_of(&headers);
            let is_theirs = ids.first().is_some_and(|given| id == given.as_bytes());
            assert_eq!(is_theirs, taken_over, "{ids:?}");
            assert!(taken_over || id.len() == 32, "{ids:?}: {id:?}");
        }
    }
}
