//! The REST API from outside: real HTTP in; JSON, rows and events out.

mod faults;
mod keys;
mod lists;
mod paths;
mod races;
mod services;
mod uploads;

use reqwest::{Method, RequestBuilder, Response};
use serde_json::{Value, json};
use space_events::config::Settings;

use crate::support::{Client, Database, TestApp, pricing};

/// The program on a database of its own.
struct Server {
    app: TestApp,
    database: Database,
}

impl Server {
    async fn start() -> Self {
        Self::start_with(Settings::default()).await
    }

    async fn start_with(settings: Settings) -> Self {
        let database = Database::create().await;
        let app = TestApp::start_with(&database, settings).await;
        Self { app, database }
    }

    async fn join(&self) -> Client {
        self.app.join().await
    }

    fn request(&self, method: &str, path: &str) -> RequestBuilder {
        let method = Method::from_bytes(method.as_bytes()).expect("a method");
        self.app.request(method, path)
    }

    async fn call(&self, method: &str, path: &str) -> (u16, Value) {
        answer(self.request(method, path)).await
    }

    async fn get(&self, path: &str) -> Value {
        let (status, body) = self.call("GET", path).await;
        assert_eq!(status, 200, "{path}: {body}");
        body
    }

    fn post(&self, path: &str, content_type: &str, body: impl Into<String>) -> RequestBuilder {
        self.request("POST", path)
            .header("content-type", content_type)
            .body(body.into())
    }

    /// Adds a pricing of a service to the collection at a path.
    async fn upload(&self, path: &str, name: &str, version: &str) -> (u16, Value) {
        answer(self.post(path, "application/yaml", pricing(name, version))).await
    }

    async fn create(&self, name: &str, version: &str) -> Value {
        let (status, body) = self.upload("/services", name, version).await;
        assert_eq!(status, 201, "{name} {version}: {body}");
        body
    }

    async fn put(&self, path: &str, body: &str) -> (u16, Value) {
        let request = self
            .request("PUT", path)
            .header("content-type", "application/json");
        answer(request.body(body.to_owned())).await
    }

    async fn rename(&self, path: &str, name: &str) -> (u16, Value) {
        self.put(path, &json!({ "name": name }).to_string()).await
    }
}

/// The status and the body; every answer with a body is JSON.
async fn answer(request: RequestBuilder) -> (u16, Value) {
    json_of(request.send().await.expect("an answer")).await
}

/// Checks what all answers have in common: an error has one sentence, and none
/// of it is from the database.
async fn json_of(response: Response) -> (u16, Value) {
    let status = response.status().as_u16();
    assert_eq!(response.headers()["cache-control"], "no-store");
    assert_eq!(response.headers()["x-content-type-options"], "nosniff");
    assert_eq!(
        response.headers().contains_key("retry-after"),
        status == 503
    );
    let bytes = response.bytes().await.expect("a body");
    if bytes.is_empty() {
        return (status, Value::Null);
    }
    let body: Value = serde_json::from_slice(&bytes).expect("JSON");
    if status >= 400 {
        let sentence = body
            .get("error")
            .and_then(Value::as_str)
            .expect("a sentence");
        assert!(
            !sentence.is_empty() && !sentence.contains('\n'),
            "{sentence}"
        );
        for word in ["sql", "SQL", "constraint", "relation", "select"] {
            assert!(!sentence.contains(word), "{sentence}");
        }
        assert_eq!(body, json!({ "error": sentence }));
    }
    (status, body)
}

/// The versions of `activePricings` or `archivedPricings`.
fn versions(pricings: &Value) -> Vec<&str> {
    let keys = pricings
        .as_object()
        .map(|map| map.keys().map(String::as_str));
    keys.into_iter().flatten().collect()
}
