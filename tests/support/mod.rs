//! What the tests share: a Postgres, the program on it, and clients that see
//! every frame.

#![allow(dead_code, reason = "each behaviour uses a part of it")]

pub mod client;
pub mod hearing;
pub mod load;
pub mod polling;
pub mod pgbouncer;
pub mod postgres;
pub mod program;
pub mod proxy;
pub mod repository;
pub mod server;
pub mod standby;
pub mod without_database;

use std::ffi::OsStr;
use std::fmt::Display;
use std::net::SocketAddr;
use std::process::Command;
use std::time::{Duration, Instant};

use reqwest::{Method, RequestBuilder, StatusCode};
use serde_json::Value;
use space_events::app::App;
use space_events::config::{Config, Settings};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tokio::time::sleep;

pub use client::Client;
pub use hearing::Hearing;
pub use load::Load;
pub use polling::Polling;
pub use postgres::Database;
pub use program::Program;
pub use proxy::Proxy;
pub use server::{End, Server};

/// How long a test waits for what must come. Long: it ends early when it does.
pub const LIMIT: Duration = Duration::from_secs(60);

/// The program, running in the test's process on a free port.
pub struct TestApp {
    pub address: SocketAddr,
    http: reqwest::Client,
    stop: Option<oneshot::Sender<()>>,
    running: JoinHandle<anyhow::Result<()>>,
}

impl TestApp {
    /// On a database, with the other settings at their defaults.
    pub async fn start(database: &Database) -> Self {
        Self::start_with(database, Settings::default()).await
    }

    /// On a database, with other settings; on a free port if they name none.
    pub async fn start_with(database: &Database, settings: Settings) -> Self {
        Self::start_at(&database.url, settings).await
    }

    /// On the database of a URL.
    pub async fn start_at(url: &str, settings: Settings) -> Self {
        let settings = Settings {
            database_url: Some(url.to_owned()),
            port: settings.port.clone().or(Some("0".to_owned())),
            ..settings
        };
        let config = Config::check(settings)
            .await
            .expect("the settings are good");
        let app = App::start(config).await.expect("the program starts");
        let address = app.address();
        let (stop, stopped) = oneshot::channel::<()>();
        let running = tokio::spawn(app.run_until(async move {
            let _ = stopped.await;
        }));
        Self {
            address,
            http: http_client(),
            stop: Some(stop),
            running,
        }
    }

    /// A client that has joined `/pricings` over a websocket.
    pub async fn join(&self) -> Client {
        Client::join(self.address, "40/pricings,").await
    }

    /// A request to a path such as `/services`.
    pub fn request(&self, method: Method, path: &str) -> RequestBuilder {
        self.http
            .request(method, format!("http://{}{path}", self.address))
    }

    /// A GET; its status and JSON.
    pub async fn get(&self, path: &str) -> (StatusCode, Value) {
        answer(self.request(Method::GET, path)).await
    }

    /// Uploads a pricing as YAML to a path.
    pub async fn upload(&self, path: &str, yaml: &str) -> (StatusCode, Value) {
        answer(
            self.request(Method::POST, path)
                .header("content-type", "application/yaml")
                .body(yaml.to_owned()),
        )
        .await
    }

    /// Stops the program, and checks that it stopped well.
    pub async fn stop(mut self) {
        drop(self.stop.take());
        tokio::time::timeout(LIMIT, &mut self.running)
            .await
            .expect("the program stops in time")
            .expect("the program does not panic")
            .expect("the program stops well");
    }
}

/// Sends processes a signal such as `-TERM`.
pub fn signal(name: &str, processes: &[impl AsRef<OsStr>]) {
    let sent = Command::new("kill").arg(name).args(processes).status();
    assert!(sent.expect("kill runs").success());
}

/// Waits until something is so; `what` says what, if it never is.
pub async fn wait_until(what: &str, mut is_so: impl AsyncFnMut() -> bool) {
    wait_for(what, async || is_so().await.then_some(()).ok_or("never so")).await;
}

/// Waits until `look` finds something, and returns it; an error says why it is not
/// there yet.
pub async fn wait_for<T, E: Display>(what: &str, mut look: impl AsyncFnMut() -> Result<T, E>) -> T {
    let begun = Instant::now();
    loop {
        match look().await {
            Ok(found) => return found,
            Err(why) => assert!(begun.elapsed() < LIMIT, "waited in vain: {what}: {why}"),
        }
        sleep(Duration::from_millis(10)).await;
    }
}

/// The status and the JSON of an answer; null where there is none.
pub async fn answer(request: RequestBuilder) -> (StatusCode, Value) {
    let response = request.send().await.expect("an answer");
    let status = response.status();
    let body = response.bytes().await.expect("a body");
    (status, serde_json::from_slice(&body).unwrap_or(Value::Null))
}

/// A pricing document with nothing in it but what must be there.
pub fn pricing(saas_name: &str, version: &str) -> String {
    format!(
        "saasName: {saas_name:?}\nsyntaxVersion: \"3.0\"\nversion: {version:?}\ncreatedAt: \"2024-03-05\"\ncurrency: EUR\nfeatures: {{}}\nplans: {{}}\n"
    )
}

/// A client for plain HTTP, to whom a proxy of the environment is nothing.
pub fn http_client() -> reqwest::Client {
    // Without these settings a TLS provider would be looked for.
    let tls =
        rustls::ClientConfig::builder_with_provider(space_events::store::tls::crypto_provider())
            .with_safe_default_protocol_versions()
            .expect("ring knows the default versions")
            .with_root_certificates(rustls::RootCertStore::empty())
            .with_no_client_auth();
    reqwest::Client::builder()
        .tls_backend_preconfigured(tls)
        .no_proxy()
        .build()
        .expect("a client")
}
