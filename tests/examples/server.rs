//! A server that stops and comes back, at the same address.

use std::collections::BTreeMap;
use std::net::TcpListener;
use std::path::{Path, PathBuf};

use reqwest::Method;
use serde_json::Value;

use crate::support::postgres::new_directory;
use crate::support::{Database, Program, http_client, wait_for};

/// The program on a port that it keeps when it is started again.
pub(super) struct Server {
    pub(super) port: u16,
    pub(super) database: Database,
    pub(super) directory: PathBuf,
    program: Option<Program>,
    http: reqwest::Client,
}

impl Server {
    pub(super) async fn start() -> Self {
        let directory = new_directory("example");
        std::fs::create_dir(&directory).expect("a directory");
        let mut server = Self {
            port: free_port(),
            database: Database::create().await,
            directory,
            program: None,
            http: http_client(),
        };
        server.start_again(&[]).await;
        server
    }

    pub(super) async fn start_again(&mut self, settings: &[(&str, &str)]) {
        let port = self.port.to_string();
        let mut all = vec![
            ("DATABASE_URL", self.database.url.as_str()),
            ("PORT", &port),
        ];
        all.extend(settings);
        let mut program = Program::start(&all);
        program.address();
        self.program = Some(program);
    }

    pub(super) fn stop(&mut self, signal: &str) {
        let program = self.program.take().expect("it runs");
        program.signal(signal);
        program.wait();
    }

    pub(super) async fn sql(&self, sql: &str) {
        self.database.sql(sql).await;
    }

    /// Adds versions of one service, one after the other.
    pub(super) async fn insert(&self, versions: impl Iterator<Item = u32>) {
        for version in versions {
            self.database.add_pricing("Zoöm", version).await;
        }
    }

    /// A request that succeeds.
    pub(super) async fn request(&self, method: Method, path: &str, yaml: String) {
        let url = format!("http://127.0.0.1:{}{path}", self.port);
        let request = self.http.request(method, url);
        let request = match yaml.is_empty() {
            true => request,
            false => request
                .header("content-type", "application/yaml")
                .body(yaml),
        };
        let answer = request.send().await.expect("an answer");
        assert!(answer.status().is_success(), "{path}: {}", answer.status());
    }

    /// Starts again with a log that is kept for a second, and waits until that is
    /// true of all that was.
    pub(super) async fn forget_what_was(&mut self) {
        self.stop("-TERM");
        self.start_again(&[("EVENT_RETENTION", "1s")]).await;
        let something =
            "insert into services (name) values ('X'); delete from services where name = 'X'";
        self.sql(something).await;
        self.database.is_pruned().await;
        // As it was: what is heard from now on is kept.
        self.stop("-TERM");
        self.start_again(&[]).await;
    }

    /// Waits until a copy holds what GET /services answers, to the letter.
    pub(super) async fn is_copied_to(&self, file: &Path) {
        wait_for("the copy is whole", async || {
            let there = self.services().await;
            let text = std::fs::read_to_string(file).expect("the copy");
            let copy: Value = serde_json::from_str(&text).expect("JSON");
            let here = by_id(copy["services"].as_array().expect("a list"));
            let differ = |id: &&i64| here.get(*id) != there.get(*id);
            match here.keys().chain(there.keys()).find(differ) {
                None => Ok(()),
                Some(id) => Err(format!(
                    "copied: {:?}, there: {:?}",
                    here.get(id),
                    there.get(id)
                )),
            }
        })
        .await;
    }

    async fn services(&self) -> BTreeMap<i64, Value> {
        let mut services = BTreeMap::new();
        for page in 1.. {
            let url = format!(
                "http://127.0.0.1:{}/services?limit=1000&page={page}",
                self.port
            );
            let answer = self.http.get(url).send().await.expect("an answer");
            let page: Vec<Value> =
                serde_json::from_slice(&answer.bytes().await.expect("a body")).expect("a list");
            services.extend(by_id(&page));
            if page.len() < 1000 {
                break;
            }
        }
        services
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.directory);
    }
}

fn by_id(services: &[Value]) -> BTreeMap<i64, Value> {
    let services = services.iter().cloned();
    services
        .map(|service| (service["id"].as_i64().expect("an id"), service))
        .collect()
}

/// A port below those that systems give out, where nobody takes it between a stop
/// and the next start.
fn free_port() -> u16 {
    use std::sync::atomic::{AtomicU16, Ordering};
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let first = 20_000 + u16::try_from(std::process::id() % 1_000).expect("small") * 10;
    loop {
        let port = first + NEXT.fetch_add(1, Ordering::Relaxed);
        if TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return port;
        }
    }
}
