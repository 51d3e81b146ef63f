//! Every answer that the OpenAPI document names is given, and is as it says.

use std::collections::BTreeSet;

use chrono::Utc;
use futures_util::future::join_all;
use jsonschema::Draft;
use reqwest::{Method, RequestBuilder, Response};
use serde_json::{Value, json};
use space_events::config::Settings;

use super::{conforms, document, operations, resolved};
use crate::support::{Database, TestApp, answer, http_client, pricing, without_database};

const OPENAPI: &str = "/api/v1/openapi.json";

const SERVICES: &str = "/services";
const SERVICE: &str = "/services/{serviceName}";
const PRICINGS: &str = "/services/{serviceName}/pricings";
const PRICING: &str = "/services/{serviceName}/pricings/{version}";
const PUBLIC_URL: &str = "/services/{serviceName}/pricings/{version}/public-url";

/// Holds answers against a document, and remembers which it saw.
struct Judge {
    document: Value,
    seen: BTreeSet<String>,
}

impl Judge {
    fn new(document: Value) -> Self {
        Self {
            document,
            seen: BTreeSet::new(),
        }
    }

    /// Checks an answer, and that its status is the expected one.
    async fn judge(&mut self, method: &str, path: &str, response: Response, expected: u16) {
        let status = response.status().as_u16();
        let answer = format!("{method} {path} {status}");
        let described = &self.document["paths"][path][method.to_lowercase()]["responses"];
        let described = &described[status.to_string()];
        assert!(described.is_object(), "{answer} is not described");
        check(&self.document, &answer, described, response).await;
        assert_eq!(status, expected, "{answer}");
        self.seen.insert(answer);
    }

    /// All answers that the document names, but those with a status.
    fn described_but(&self, left_out: &str) -> BTreeSet<String> {
        let answers =
            operations(&self.document)
                .into_iter()
                .flat_map(|(path, method, operation)| {
                    let statuses = operation["responses"].as_object().expect("responses");
                    let answer = |status: &String| format!("{method} {path} {status}");
                    statuses.keys().map(answer).collect::<Vec<_>>()
                });
        answers
            .filter(|answer| !answer.ends_with(left_out))
            .collect()
    }
}

/// Holds an answer against the description of it: headers, type, body.
async fn check(document: &Value, answer: &str, described: &Value, response: Response) {
    let described = resolved(document, described);
    let none = serde_json::Map::new();
    for (name, header) in described["headers"].as_object().unwrap_or(&none) {
        let sent = response.headers().get(name);
        let sent = sent.unwrap_or_else(|| panic!("{answer}: no header {name}"));
        let sent = sent.to_str().expect("a text");
        let schema = resolved(document, &header["schema"]);
        match schema["type"].as_str() {
            Some("integer") => assert!(sent.parse::<u32>().is_ok(), "{answer}: {name}: {sent}"),
            _ => assert!(!sent.is_empty(), "{answer}: {name}"),
        }
    }
    let media_type = response.headers().get("content-type");
    let media_type = media_type.map(|value| value.to_str().expect("a text"));
    let media_type = media_type.map(|value| value.split(';').next().unwrap_or_default().to_owned());
    let body = response.bytes().await.expect("a body");
    let Some(contents) = described["content"].as_object() else {
        assert!(body.is_empty(), "{answer} has a body");
        return;
    };
    let media_type = media_type.unwrap_or_else(|| panic!("{answer} has no type"));
    let content = contents.get(&media_type);
    let content = content.unwrap_or_else(|| panic!("{answer}: {media_type} is not described"));
    let value = match media_type.as_str() {
        "application/json" => serde_json::from_slice(&body).expect("JSON"),
        "application/yaml" => pricing2yaml::parse(&body, Utc::now()).expect("YAML").json,
        _ => json!(String::from_utf8(body.to_vec()).expect("a text")),
    };
    if let Err(error) = conforms(document, Draft::Draft202012, &content["schema"], &value) {
        panic!("{answer}: {error}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_with_keys_answers_as_it_is_described() {
    let database = Database::create().await;
    let settings = Settings {
        api_keys: Some("reads:EVALUATION,writes:MANAGEMENT,all:ALL".to_owned()),
        ..Settings::default()
    };
    let app = TestApp::start_with(&database, settings).await;
    let mut judge = Judge::new(document(&app, OPENAPI).await);
    run_through(&app, &database, &mut judge, Some("all")).await;
    for (path, method, operation) in operations(&judge.document.clone()) {
        if operation["security"] != json!([{ "apiKey": [] }]) {
            continue;
        }
        let answer = app.request(method.clone(), &filled(&path)).send().await;
        let method = method.as_str();
        judge
            .judge(method, &path, answer.expect("an answer"), 401)
            .await;
        let small = match method {
            "GET" => continue,
            "DELETE" => "writes",
            _ => "reads",
        };
        let request = app.request(method.parse().expect("a method"), &filled(&path));
        let answer = request.header("x-api-key", small).send().await;
        judge
            .judge(method, &path, answer.expect("an answer"), 403)
            .await;
    }
    assert_eq!(judge.seen, judge.described_but(" 503"));
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_without_keys_answers_as_it_is_described() {
    let database = Database::create().await;
    let app = TestApp::start(&database).await;
    let mut judge = Judge::new(document(&app, OPENAPI).await);
    run_through(&app, &database, &mut judge, None).await;
    for (path, method, operation) in operations(&judge.document.clone()) {
        assert!(operation["security"].is_null(), "{path}");
        let request = app.request(method.clone(), &filled(&path));
        let answer = request
            .header("origin", "https://evil.example")
            .send()
            .await;
        judge
            .judge(method.as_str(), &path, answer.expect("an answer"), 403)
            .await;
    }
    assert_eq!(judge.seen, judge.described_but(" 503"));
    assert!(judge.document["components"]["securitySchemes"].is_null());
    app.stop().await;
}

/// Gets every answer but those about keys and those of a database that is away.
async fn run_through(app: &TestApp, database: &Database, judge: &mut Judge, key: Option<&str>) {
    let with_key = |request: RequestBuilder| match key {
        Some(key) => request.header("x-api-key", key),
        None => request,
    };
    for prefix in ["/api/v1", ""] {
        database.sql("delete from services").await;
        for (method, path, name, version, query, body, status) in cases() {
            let place = path
                .replace("{serviceName}", name)
                .replace("{version}", version);
            let method: Method = method.parse().expect("a method");
            let request = app.request(method.clone(), &format!("{prefix}{place}{query}"));
            let request = match body {
                Some((media_type, body)) => request.header("content-type", media_type).body(body),
                None => request,
            };
            let answer = with_key(request).send().await.expect("an answer");
            let path = format!("/api/v1{path}");
            judge.judge(method.as_str(), &path, answer, status).await;
        }
        let request = app.request(
            Method::GET,
            &format!("{prefix}/services/Zoom/pricings/2025"),
        );
        let request = with_key(request).header("accept", "application/yaml");
        let answer = request.send().await.expect("an answer");
        assert_eq!(answer.headers()["content-type"], "application/yaml");
        let path = format!("/api/v1{PRICING}");
        judge.judge("GET", &path, answer, 200).await;
        for (path, status) in [(SERVICE, 204), (SERVICES, 200)] {
            let request = app.request(Method::DELETE, &filled(&format!("{prefix}{path}")));
            let answer = with_key(request).send().await.expect("an answer");
            let path = format!("/api/v1{path}");
            judge.judge("DELETE", &path, answer, status).await;
        }
    }
    for (path, query, status) in [
        ("/api/v1/events", "?limit=3", 200),
        (
            "/api/v1/events",
            "?order=desc&service=zoom&code=PRICING_CREATED",
            200,
        ),
        ("/api/v1/events", "?since=x", 400),
        ("/api/v1/changes", "?limit=1000", 200),
        ("/api/v1/changes", "?order=x", 400),
        ("/api/v1/events/status", "", 200),
        ("/api/v1/events/client", "", 200),
        ("/api/v1/healthcheck", "", 200),
        (OPENAPI, "", 200),
        ("/api/v1/asyncapi.json", "", 200),
        ("/api/v1/docs", "", 200),
        ("/readyz", "", 200),
    ] {
        let request = app.request(Method::GET, &format!("{path}{query}"));
        let answer = with_key(request).send().await.expect("an answer");
        judge.judge("GET", path, answer, status).await;
    }
}

pub type Case = (
    &'static str,
    &'static str,
    &'static str,
    &'static str,
    &'static str,
    Option<(&'static str, String)>,
    u16,
);

/// Requests in order: method, path, its parameters, query, body; and the status.
pub fn cases() -> Vec<Case> {
    let yaml = |name, version| Some(("application/yaml", pricing(name, version)));
    let json = |text: &str| Some(("application/json", text.to_owned()));
    let other = || Some(("text/plain", "x".to_owned()));
    let large = || Some(("application/yaml", "x".repeat(3 * 1024 * 1024)));
    let large_json = || Some(("application/json", "1".repeat(3 * 1024 * 1024)));
    vec![
        ("POST", SERVICES, "", "", "", yaml("Zoom", "2024"), 201),
        ("POST", SERVICES, "", "", "", yaml("Wire", "2024"), 201),
        ("POST", SERVICES, "", "", "", yaml("Zoom", "2024"), 409),
        ("POST", SERVICES, "", "", "", json("{}"), 400),
        ("POST", SERVICES, "", "", "", large(), 413),
        ("POST", SERVICES, "", "", "", other(), 415),
        ("GET", SERVICES, "", "", "?name=o&order=desc", None, 200),
        ("GET", SERVICES, "", "", "?disabled=true", None, 200),
        ("GET", SERVICES, "", "", "?limit=0", None, 400),
        (
            "PUT",
            SERVICE,
            "Wire",
            "",
            "",
            json(r#"{"name":"Mock"}"#),
            200,
        ),
        ("PUT", SERVICE, "Mock", "", "", json("{}"), 200),
        ("PUT", SERVICE, "Mock", "", "", json("[]"), 400),
        (
            "PUT",
            SERVICE,
            "none",
            "",
            "",
            json(r#"{"name":"Mock"}"#),
            404,
        ),
        (
            "PUT",
            SERVICE,
            "Mock",
            "",
            "",
            json(r#"{"name":"Zoom"}"#),
            409,
        ),
        ("PUT", SERVICE, "Mock", "", "", large_json(), 413),
        ("PUT", SERVICE, "Mock", "", "", other(), 415),
        ("POST", PRICINGS, "Zoom", "", "", yaml("Zoom", "2025"), 201),
        ("POST", PRICINGS, "Zoom", "", "", yaml("Mock", "2026"), 400),
        ("POST", PRICINGS, "none", "", "", yaml("none", "2026"), 404),
        ("POST", PRICINGS, "Zoom", "", "", yaml("Zoom", "2025"), 409),
        ("POST", PRICINGS, "Zoom", "", "", large(), 413),
        ("POST", PRICINGS, "Zoom", "", "", other(), 415),
        (
            "PUT",
            PRICING,
            "Zoom",
            "2024",
            "",
            json(r#"{"any":1}"#),
            200,
        ),
        ("PUT", PRICING, "Zoom", "2024", "?availability=x", None, 400),
        ("PUT", PRICING, "Zoom", "none", "", None, 404),
        ("PUT", PRICING, "Zoom", "2024", "", large_json(), 413),
        ("GET", SERVICE, "zoom", "", "", None, 200),
        ("GET", SERVICE, "%00", "", "", None, 400),
        ("GET", SERVICE, "none", "", "", None, 404),
        (
            "GET",
            PRICINGS,
            "Zoom",
            "",
            "?pricingStatus=archived",
            None,
            200,
        ),
        ("GET", PRICINGS, "Zoom", "", "?pricingStatus=x", None, 400),
        ("GET", PRICINGS, "none", "", "", None, 404),
        ("GET", PRICING, "Zoom", "2024", "", None, 200),
        ("GET", PRICING, "Zoom", "%FF", "", None, 400),
        ("GET", PRICING, "Zoom", "none", "", None, 404),
        ("GET", PRICING, "Zoom", "2024", "?format=yaml", None, 200),
        ("GET", PRICING, "Zoom", "2024", "?format=x", None, 400),
        ("GET", PUBLIC_URL, "zoom", "2024", "", None, 200),
        ("GET", PUBLIC_URL, "Zoom", "%FF", "", None, 400),
        ("GET", PUBLIC_URL, "Zoom", "none", "", None, 404),
        ("DELETE", PRICING, "Zoom", "2024", "", None, 204),
        ("DELETE", PRICING, "Zoom", "%00", "", None, 400),
        ("DELETE", PRICING, "Zoom", "2024", "", None, 404),
        ("DELETE", PRICING, "Zoom", "2025", "", None, 409),
        ("DELETE", SERVICE, "%00", "", "", None, 400),
        ("DELETE", SERVICE, "none", "", "", None, 404),
    ]
}

/// A path with the names that the document gives as examples.
fn filled(path: &str) -> String {
    path.replace("{serviceName}", "Zoom")
        .replace("{version}", "2024")
}

#[tokio::test(flavor = "multi_thread")]
async fn without_its_database_every_operation_answers_as_it_is_described() {
    let address = without_database::serve().await;
    let http = http_client();
    let url = |path: &str| format!("http://{address}{path}");
    let (_, document) = answer(http.get(url(OPENAPI))).await;
    let mut judge = Judge::new(document);
    let requests = operations(&judge.document)
        .into_iter()
        .filter(|(path, _, operation)| {
            path != "/readyz" && operation["responses"]["503"].is_object()
        })
        .map(|(path, method, operation)| {
            let request = http.request(method.clone(), url(&filled(&path)));
            let contents = &operation["requestBody"]["content"];
            let request = if contents["application/yaml"].is_object() {
                let body = pricing("Zoom", "2024");
                request
                    .header("content-type", "application/yaml")
                    .body(body)
            } else if contents["application/json"].is_object() {
                let request = request.header("content-type", "application/json");
                request.body(json!({ "name": "x" }).to_string())
            } else {
                request
            };
            async move { (method, path, request.send().await.expect("an answer")) }
        });
    for (method, path, answer) in join_all(requests.collect::<Vec<_>>()).await {
        judge.judge(method.as_str(), &path, answer, 503).await;
    }
    let all: BTreeSet<_> = judge.described_but("x").into_iter().collect();
    let away = all.into_iter().filter(|answer| answer.ends_with(" 503"));
    let away: BTreeSet<_> = away.filter(|answer| answer != "GET /readyz 503").collect();
    assert_eq!(judge.seen, away);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unready_server_answers_as_it_is_described() {
    let database = Database::create().await;
    let app = TestApp::start(&database).await;
    let mut judge = Judge::new(document(&app, OPENAPI).await);
    database.sql("alter table services rename to away").await;
    let answer = app.request(Method::GET, "/readyz").send().await;
    judge
        .judge("GET", "/readyz", answer.expect("an answer"), 503)
        .await;
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_routed_is_described_and_nothing_else() {
    let database = Database::create().await;
    let app = TestApp::start(&database).await;
    let document = document(&app, OPENAPI).await;
    let mut described: BTreeSet<String> = BTreeSet::new();
    for (path, item) in document["paths"].as_object().expect("paths") {
        described.insert(path.clone());
        let mut methods: BTreeSet<_> = item.as_object().expect("operations").keys().collect();
        let head = "head".to_owned();
        if methods.iter().any(|method| *method == "get") {
            methods.insert(&head);
        }
        let unknown = app.request("BREW".parse().expect("a method"), &filled(path));
        let answer = unknown.send().await.expect("an answer");
        assert_eq!(answer.status(), 405, "{path}");
        let allow = answer.headers()["allow"].to_str().expect("a text");
        let allow = allow.to_lowercase();
        let allowed: BTreeSet<_> = allow.split(',').collect();
        assert!(methods.into_iter().eq(allowed), "{path}: {allow}");
        let not_allowed = &document["components"]["responses"]["MethodNotAllowed"];
        if path != "/readyz" {
            check(&document, path, not_allowed, answer).await;
        }
    }
    let nowhere = app.request(Method::GET, "/nowhere").send().await;
    let not_found = &document["components"]["responses"]["NotFound"];
    check(
        &document,
        "GET /nowhere",
        not_found,
        nowhere.expect("an answer"),
    )
    .await;
    // A router shows its paths to those who debug it.
    let router = format!("{:?}", without_database::router());
    let mut routed: BTreeSet<String> = router
        .split('"')
        .filter(|text| text.len() > 1 && text.starts_with('/') && !text.contains("__private"))
        .map(str::to_owned)
        .collect();
    assert!(routed.insert("/readyz".to_owned()));
    // At the root and below an organisation they are described in a sentence.
    let services: Vec<String> = described
        .iter()
        .filter_map(|path| path.strip_prefix("/api/v1"))
        .filter(|path| path.starts_with(SERVICES))
        .map(str::to_owned)
        .collect();
    for path in services {
        assert!(routed.remove(&path), "{path} is not at the root");
        let alias = format!("/api/v1/organizations/{{organization}}{path}");
        assert!(routed.remove(&alias), "{alias} is not there");
    }
    assert_eq!(routed, described);
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_page_that_shows_the_document_asks_nobody_else() {
    let database = Database::create().await;
    let app = TestApp::start(&database).await;
    let page = app.request(Method::GET, "/api/v1/docs").send().await;
    let page = page.expect("a page");
    let policy = page.headers()["content-security-policy"].to_str();
    let policy = policy.expect("a text").to_owned();
    let (_, rest) = policy
        .split_once("default-src 'none'; script-src 'nonce-")
        .expect("a nonce");
    let (nonce, rest) = rest.split_once('\'').expect("an end");
    assert_eq!(
        rest,
        format!(
            "; style-src 'nonce-{nonce}'; connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
        )
    );
    let page = page.text().await.expect("a text");
    assert_eq!(page.matches("<script").count(), 1);
    assert!(page.contains(&format!("<script nonce=\"{nonce}\">")));
    assert!(!page.contains("://"), "an address elsewhere");
    app.stop().await;
}
