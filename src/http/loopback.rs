//! Refuses what a page from elsewhere asks of a program without API keys.
//!
//! Such a program listens on loopback alone, but a browser on the same machine lets any
//! page send requests there: directly, which the header `Origin` shows, or by a name that
//! the owner of the page points to 127.0.0.1 (DNS rebinding), which `Host` shows.

use std::net::{Ipv4Addr, Ipv6Addr};

use axum::extract::Request;
use axum::http::{HeaderMap, HeaderValue, StatusCode, Version, header};
use axum::middleware::Next;
use axum::response::Response;

use crate::http::failure::failed;

/// Refuses with 403 what does not come from this machine, by each `Host` and
/// `Origin` that the request has; for `axum::middleware::from_fn`, around
/// everything, where no keys are configured. HTTP/1.0 may leave `Host` out.
pub async fn guard(request: Request, next: Next) -> Response {
    match refusal(&request) {
        None => next.run(request).await,
        Some(sentence) => failed(StatusCode::FORBIDDEN, sentence),
    }
}

fn refusal<B>(request: &axum::http::Request<B>) -> Option<&'static str> {
    let headers = request.headers();
    let authority = request.uri().authority();
    let host_may_be_absent = authority.is_some() || request.version() < Version::HTTP_11;
    if !host_may_be_absent && !headers.contains_key(header::HOST) {
        return Some("the header Host is missing");
    }
    let is_local = authority.is_none_or(|authority| is_loopback_host(authority.as_str()))
        && all(headers, header::HOST, is_loopback_host);
    if !is_local {
        return Some("without API keys only requests to localhost are answered");
    }
    if !all(headers, header::ORIGIN, is_loopback_origin) {
        return Some("without API keys only pages of localhost are answered");
    }
    None
}

fn all(headers: &HeaderMap, name: header::HeaderName, holds: fn(&str) -> bool) -> bool {
    let holds = |value: &HeaderValue| value.to_str().is_ok_and(holds);
    headers.get_all(name).iter().all(holds)
}

/// `http://` or `https://` and a loopback host, and nothing else.
fn is_loopback_origin(origin: &str) -> bool {
    origin
        .split_once("://")
        .filter(|(scheme, _)| matches!(*scheme, "http" | "https"))
        .is_some_and(|(_, host)| is_loopback_host(host))
}

/// A host with or without a port: `localhost`, a name below it, an address in
/// 127.0.0.0/8, or `[::1]`.
fn is_loopback_host(host: &str) -> bool {
    if let Some(bracketed) = host.strip_prefix('[') {
        return bracketed.split_once(']').is_some_and(|(address, rest)| {
            address.parse() == Ok(Ipv6Addr::LOCALHOST)
                && (rest.is_empty() || rest.strip_prefix(':').is_some_and(is_port))
        });
    }
    let name = match host.split_once(':') {
        Some((name, port)) if is_port(port) => name,
        Some(_) => return false,
        None => host,
    };
    if let Ok(address) = name.parse::<Ipv4Addr>() {
        return address.is_loopback();
    }
    let name = name.strip_suffix('.').unwrap_or(name).to_ascii_lowercase();
    let is_label = |label: &str| {
        !label.is_empty()
            && label
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_')
    };
    name == "localhost"
        || name
            .strip_suffix(".localhost")
            .is_some_and(|labels| labels.split('.').all(is_label))
}

/// Digits, or nothing, as a URL may write the usual port.
fn is_port(port: &str) -> bool {
    port.len() <= 5 && port.bytes().all(|byte| byte.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answered(headers: &[(&str, &str)]) -> bool {
        let mut request = axum::http::Request::builder().uri("/services");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        refusal(&request.body(()).expect("a request")).is_none()
    }

    #[test]
    fn only_loopback_hosts_are_answered() {
        for (host, local) in [
            ("localhost", true),
            ("localhost:5403", true),
            ("LOCALHOST:5403", true),
            ("localhost.", true),
            ("localhost.:5403", true),
            ("localhost:", true),
            ("space.localhost:80", true),
            ("a.b.localhost", true),
            ("127.0.0.1", true),
            ("127.0.0.1:5403", true),
            ("127.8.9.10", true),
            ("[::1]", true),
            ("[::1]:5403", true),
            ("[0:0:0:0:0:0:0:1]:1", true),
            ("", false),
            (".", false),
            (":5403", false),
            ("evil.example", false),
            ("evil.example:5403", false),
            ("localhost.evil.example", false),
            ("evillocalhost", false),
            (".localhost", false),
            ("a..localhost", false),
            ("evil.example/.localhost", false),
            ("evil.example@localhost", false),
            ("localhost@evil.example", false),
            ("localhost:5403@evil.example", false),
            ("localhost, evil.example", false),
            ("127.0.0.1.evil.example", false),
            ("127.0.0.1.", false),
            ("127.1", false),
            ("0177.0.0.1", false),
            ("128.0.0.1", false),
            ("0.0.0.0:5403", false),
            ("192.168.0.1", false),
            ("[::]", false),
            ("[::2]", false),
            ("[::1", false),
            ("[::1]evil.example", false),
            ("[::ffff:127.0.0.1]", false),
            ("::1", false),
            ("localhost:port", false),
            ("localhost:123456", false),
            ("localhost:1:2", false),
        ] {
            assert_eq!(answered(&[("host", host)]), local, "{host:?}");
        }
    }

    #[test]
    fn only_pages_of_loopback_are_answered() {
        for (origin, local) in [
            ("http://localhost:3000", true),
            ("https://localhost", true),
            ("http://127.0.0.1:5403", true),
            ("http://[::1]:8080", true),
            ("null", false),
            ("", false),
            ("localhost", false),
            ("https://evil.example", false),
            ("http://localhost.evil.example", false),
            ("http://localhost/", false),
            ("http://evil.example#@localhost", false),
            ("file://localhost", false),
            ("chrome-extension://localhost", false),
        ] {
            assert_eq!(
                answered(&[("host", "localhost"), ("origin", origin)]),
                local,
                "{origin:?}"
            );
        }
    }

    #[test]
    fn every_host_and_origin_counts() {
        assert!(!answered(&[
            ("host", "localhost"),
            ("host", "evil.example")
        ]));
        assert!(!answered(&[
            ("host", "localhost"),
            ("origin", "http://localhost"),
            ("origin", "http://evil.example"),
        ]));
    }

    #[test]
    fn the_host_may_be_absent_only_where_it_may() {
        let request = |version, uri: &str| {
            let request = axum::http::Request::builder()
                .version(version)
                .uri(uri)
                .body(());
            refusal(&request.expect("a request")).is_none()
        };
        assert!(request(Version::HTTP_10, "/services"));
        assert!(!request(Version::HTTP_11, "/services"));
        assert!(request(Version::HTTP_11, "http://localhost:5403/services"));
        assert!(!request(Version::HTTP_11, "http://evil.example/services"));
        assert!(request(Version::HTTP_2, "http://127.0.0.1/services"));
    }
}
