//! Who may do what.

use std::time::Duration;

use space_events::config::Settings;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::{Server, answer};

async fn start() -> Server {
    let api_keys = Some("reads:EVALUATION,writes:MANAGEMENT,a:b:ALL".to_owned());
    Server::start_with(Settings {
        api_keys,
        ..Settings::default()
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_reaches_as_far_as_its_scope() {
    let server = start().await;
    for (key, method, path, status) in [
        (None, "GET", "/services", 401),
        (Some("x"), "GET", "/api/v1/services", 401),
        (Some(""), "GET", "/services", 401),
        (Some("reads"), "GET", "/services", 200),
        (Some("reads"), "POST", "/services", 403),
        (Some("reads"), "PUT", "/services/x", 403),
        (Some("writes"), "POST", "/services", 415),
        (Some("writes"), "PUT", "/services/x/pricings/1", 404),
        (Some("writes"), "DELETE", "/services", 403),
        (Some("writes"), "DELETE", "/services/x/pricings/1", 403),
        (Some("a:b"), "DELETE", "/services/x", 404),
        (Some("reads"), "BREW", "/services", 405),
        (None, "GET", "/api/v1/healthcheck", 200),
        (None, "GET", "/api/v1/events/status", 200),
        (None, "GET", "/nothing", 404),
    ] {
        let mut request = server.request(method, path);
        if let Some(key) = key {
            request = request.header("x-api-key", key);
        }
        assert_eq!(answer(request).await.0, status, "{key:?} {method} {path}");
    }
    let twice = server
        .request("GET", "/services")
        .header("x-api-key", "reads")
        .header("x-api-key", "reads");
    assert_eq!(answer(twice).await.0, 401);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_is_read_alike_wherever_it_is_asked_for() {
    let server = Server::start_with(Settings {
        api_keys: Some("schlüssel:ALL".to_owned()),
        ..Settings::default()
    })
    .await;
    for path in ["/services", "/api/v1/events", "/metrics"] {
        for (keys, status) in [
            (&["schlüssel".as_bytes()][..], 200),
            (&["schlüssel".as_bytes(), "schlüssel".as_bytes()], 401),
            (&[b"schl\xfcssel"], 401),
            (&[], 401),
        ] {
            let mut request = server.request("GET", path);
            for key in keys {
                request = request.header("x-api-key", *key);
            }
            let answer = request.send().await.expect("an answer");
            assert_eq!(answer.status(), status, "{path} {keys:?}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_is_asked_for_before_the_body() {
    let server = start().await;
    let mut socket = TcpStream::connect(server.app.address)
        .await
        .expect("a connection");
    let head = "POST /services HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/yaml\r\ncontent-length: 1000000\r\n\r\n";
    socket
        .write_all(head.as_bytes())
        .await
        .expect("a head is sent");
    let mut status = [0; 12];
    let read = timeout(Duration::from_secs(10), socket.read_exact(&mut status));
    read.await.expect("an answer in time").expect("an answer");
    assert_eq!(&status, b"HTTP/1.1 401");
}

#[tokio::test(flavor = "multi_thread")]
async fn without_keys_a_page_from_elsewhere_is_refused() {
    let server = Server::start().await;
    for (header, value) in [
        ("origin", "https://evil.example"),
        ("origin", "null"),
        ("host", "evil.example:5403"),
    ] {
        for (method, path) in [
            ("POST", "/services"),
            ("GET", "/services"),
            ("GET", "/events/?EIO=4&transport=polling"),
        ] {
            let response = server
                .request(method, path)
                .header(header, value)
                .send()
                .await
                .expect("an answer");
            assert_eq!(response.status(), 403, "{header}: {value} {path}");
        }
    }
    let own_page = server
        .request("GET", "/services")
        .header("origin", "http://localhost:3000");
    assert_eq!(answer(own_page).await.0, 200);
}
