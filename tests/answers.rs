//! What every answer has, and what the log says of it.

use std::net::SocketAddr;

use reqwest::Method;
use serde_json::Value;
use space_events::config::Settings;

use crate::support::{Database, Program, TestApp, http_client, pricing};

#[tokio::test(flavor = "multi_thread")]
async fn every_answer_has_its_headers_and_an_id() {
    let database = Database::create().await;
    let app = TestApp::start(&database).await;
    for (method, path, host, status) in [
        (Method::GET, "/services", "localhost", 200),
        (Method::GET, "/nothing", "localhost", 404),
        (Method::PATCH, "/services", "localhost", 405),
        (Method::OPTIONS, "/services", "localhost", 200),
        (Method::GET, "/services", "evil.example", 403),
        (Method::GET, "/readyz", "localhost", 200),
        (Method::GET, "/metrics", "localhost", 200),
        (Method::GET, "/api/v1/healthcheck", "localhost", 200),
        (
            Method::GET,
            "/events/?EIO=4&transport=polling",
            "localhost",
            200,
        ),
        (
            Method::GET,
            "/events/?EIO=4&transport=nonsense",
            "localhost",
            400,
        ),
        (Method::GET, "/api/v1/events/client", "localhost", 200),
    ] {
        let request = app
            .request(method, path)
            .header("host", host)
            .header("origin", "http://localhost:3000")
            .header("access-control-request-method", "POST")
            .header("x-request-id", "of-the.client:1");
        let answer = request.send().await.expect("an answer");
        assert_eq!(answer.status(), status, "{path}");
        let headers = answer.headers();
        for (name, value) in [
            ("x-content-type-options", "nosniff"),
            ("referrer-policy", "no-referrer"),
            ("x-frame-options", "DENY"),
            ("cross-origin-resource-policy", "same-origin"),
            ("x-request-id", "of-the.client:1"),
        ] {
            let given: Vec<_> = headers.get_all(name).iter().collect();
            assert_eq!(given, [value], "{path}: {name}");
        }
        let policy = headers["content-security-policy"].to_str().expect("a text");
        assert!(
            policy.starts_with("default-src 'none'; "),
            "{path}: {policy}"
        );
        assert!(
            policy.contains("; frame-ancestors 'none'"),
            "{path}: {policy}"
        );
        assert_eq!(policy.contains("nonce-"), path.ends_with("/client"));
        // What CORS promises is as it was.
        let allowed = headers.get("access-control-allow-origin");
        assert_eq!(allowed.is_some(), status != 403, "{path}");
    }
    let mut ids = Vec::new();
    for given in ["", "two words", &"x".repeat(65)] {
        let request = app.request(Method::GET, "/services");
        let answer = request.header("x-request-id", given).send().await;
        ids.push(answer.expect("an answer").headers()["x-request-id"].clone());
    }
    ids.dedup();
    assert_eq!(ids.len(), 3);
    assert!(ids.iter().all(|id| id.len() == 32), "{ids:?}");
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn pages_of_origins_that_are_named_may_send_cookies_and_no_others() {
    const CREDENTIALS: &str = "access-control-allow-credentials";
    let database = Database::create().await;
    for (origins, origin, allowed, credentials) in [
        (None, "https://a.example", Some("*"), None),
        (
            Some("https://a.example,https://b.example"),
            "https://b.example",
            Some("https://b.example"),
            Some("true"),
        ),
        (
            Some("https://a.example"),
            "https://b.example",
            None,
            Some("true"),
        ),
    ] {
        let settings = Settings {
            api_keys: Some("a:ALL".to_owned()),
            cors_origins: origins.map(str::to_owned),
            ..Settings::default()
        };
        let app = TestApp::start_with(&database, settings).await;
        for path in ["/services", "/events/?EIO=4&transport=polling"] {
            for method in [Method::GET, Method::OPTIONS] {
                let request = app
                    .request(method, path)
                    .header("origin", origin)
                    .header("access-control-request-method", "POST");
                let answer = request.send().await.expect("an answer");
                for (name, value) in [
                    ("access-control-allow-origin", allowed),
                    (CREDENTIALS, credentials),
                ] {
                    let given = answer.headers().get(name);
                    let given = given.and_then(|value| value.to_str().ok());
                    assert_eq!(given, value, "{origins:?} {origin} {path}: {name}");
                }
            }
        }
        app.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_log_has_a_line_for_each_request_with_its_id_and_no_secret() {
    let database = Database::create().await;
    let mut program = Program::start(&[
        ("DATABASE_URL", &database.url),
        ("API_KEYS", "billing=secret-key:ALL"),
        ("RUST_LOG", "debug"),
        ("LOG_FORMAT", "json"),
    ]);
    let line = program.line_after("listening on http://");
    let (address, _) = line.split_once('"').expect("the end of a text");
    let address: SocketAddr = address.parse().expect("an address");
    let http = http_client();
    let send = async |method: Method, path: &str, id: &str, key: &str, body: String| {
        let request = http
            .request(method, format!("http://{address}{path}"))
            .header("content-type", "application/yaml")
            .header("x-api-key", key)
            .header("x-request-id", id)
            .body(body);
        request.send().await.expect("an answer").status().as_u16()
    };
    let document = format!("{}secretDocument: 1\n", pricing("Zoom", "1"));
    let document = async |id, status| {
        let answered = send(
            Method::POST,
            "/services",
            id,
            "secret-key",
            document.clone(),
        )
        .await;
        assert_eq!(answered, status, "{id}");
    };
    document("id-created", 201).await;
    document("id-conflict", 409).await;
    let nothing = String::new;
    let read = send(
        Method::GET,
        "/services?name=secret-query",
        "id-read",
        "secret-key",
        nothing(),
    );
    assert_eq!(read.await, 200);
    let refused = send(
        Method::DELETE,
        "/services/Zoom",
        "id-refused",
        "secret-wrong",
        nothing(),
    );
    assert_eq!(refused.await, 401);
    database
        .sql("begin; select name from services for update")
        .await;
    let failed = send(
        Method::DELETE,
        "/services/Zoom",
        "id-failed",
        "secret-key",
        nothing(),
    );
    assert_eq!(failed.await, 503);
    database.sql("rollback").await;
    program.signal("-TERM");
    let (code, log) = program.wait_and_read();
    assert_eq!(code, Some(0));

    let lines: Vec<Value> = log
        .lines()
        .map(|line| serde_json::from_str(line).expect("JSON"))
        .collect();
    let of = |id: &str| -> Vec<&Value> {
        let has_id = |line: &&Value| line["span"]["id"] == id && line["message"] == "answered";
        lines.iter().filter(has_id).collect()
    };
    for (id, level, method, path, status) in [
        ("id-created", "INFO", "POST", "/services", 201),
        ("id-conflict", "INFO", "POST", "/services", 409),
        ("id-read", "DEBUG", "GET", "/services", 200),
        ("id-refused", "INFO", "DELETE", "/services/Zoom", 401),
        ("id-failed", "INFO", "DELETE", "/services/Zoom", 503),
    ] {
        let [line] = of(id)[..] else {
            panic!("not one line of {id}: {log}");
        };
        assert_eq!(line["level"], level, "{line}");
        assert_eq!(line["request.method"], method, "{line}");
        assert_eq!(line["request.path"], path, "{line}");
        assert_eq!(line["response.status"], status, "{line}");
        assert!(line["duration_ms"].is_number(), "{line}");
        assert_eq!(line["client"], "127.0.0.1", "{line}");
        let key = if status == 401 {
            Value::Null
        } else {
            "billing".into()
        };
        assert_eq!(line["key"], key, "{line}");
    }
    let failure = lines.iter().find(|line| line["level"] == "WARN");
    let failure = failure.expect("the failure is logged");
    assert_eq!(failure["span"]["id"], "id-failed", "{failure}");
    assert!(!log.contains("secret"), "{log}");
}
