//! The examples, run as their readers would: they print what happens, and come
//! back without a gap after every end of theirs and of the server's.
//!
//! `make test` installs the clients that they use and builds the Rust one.

use std::collections::BTreeMap;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::LazyLock;
use std::time::{Duration, Instant};

use reqwest::Method;
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt as _, AsyncRead, BufReader};
use tokio::process::{Child, Command};
use tokio::sync::mpsc;
use tokio::time::{sleep, timeout};

use crate::support::postgres::new_directory;
use crate::support::{Database, LIMIT, Program, no_tls, pricing};

const JAVASCRIPT: &str = "javascript/subscribe.mjs";
const PYTHON: &str = "python/subscribe.py";
const RUST: &str = "rust";

#[tokio::test(flavor = "multi_thread")]
async fn the_subscriber_in_javascript_goes_on_where_it_stopped() {
    goes_on_where_it_stopped(JAVASCRIPT).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_subscriber_in_python_goes_on_where_it_stopped() {
    goes_on_where_it_stopped(PYTHON).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_subscriber_in_rust_goes_on_where_it_stopped() {
    goes_on_where_it_stopped(RUST).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_copy_in_javascript_stays_exact() {
    stays_exact("javascript/list_then_watch.mjs").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_copy_in_python_stays_exact() {
    stays_exact("python/list_then_watch.py").await;
}

async fn goes_on_where_it_stopped(example: &str) {
    let mut server = Server::start().await;
    let file = server.directory.join("position");
    let scheme = if example == RUST { "ws" } else { "http" };
    let address = format!("{scheme}://127.0.0.1:{}", server.port);
    let arguments = [address.as_str(), file.to_str().expect("a path")];

    let mut client = Example::start(example, &arguments);
    client.line("connected").await;
    server
        .sql("insert into services (name) values ('Zoöm')")
        .await;
    server.insert(1..=3).await;
    client.prints(1..=3).await;

    // Both end, and something changes meanwhile.
    client.kill().await;
    server.stop("-KILL");
    server.insert(4..=5).await;
    server.start_again(&[]).await;
    let mut client = Example::start(example, &arguments);
    // The last one again, where it was printed and its position not yet kept.
    client.may_print(3).await;
    client.prints(4..=5).await;
    server.insert(6..=6).await;
    client.prints(6..=6).await;

    // The server alone.
    for signal in ["-TERM", "-KILL"] {
        server.stop(signal);
        server.insert(7..=8).await;
        server.start_again(&[]).await;
        client.prints(7..=8).await;
        server.insert(9..=9).await;
        client.prints(9..=9).await;
        server
            .sql("update services set disabled = true; delete from pricings where version::int > 6; update services set disabled = false")
            .await;
        client.line("SERVICE_DISABLED").await;
        for _ in 1..=6 {
            client.line("PRICING_ACTIVED").await;
        }
    }

    // Longer than the log is kept: it says so, and hears what comes from now on.
    client.kill().await;
    server.forget_what_was().await;
    let mut client = Example::start(example, &arguments);
    client.line("POSITION_EXPIRED").await;
    client.line("connected").await;
    server.insert(10..=11).await;
    client.prints(10..=11).await;
}

async fn stays_exact(example: &str) {
    let mut server = Server::start().await;
    let file = server.directory.join("services.json");
    let address = format!("http://127.0.0.1:{}", server.port);
    let arguments = [address.as_str(), file.to_str().expect("a path")];
    // More than a page.
    server
        .sql(
            "insert into services (name) select 'Service ' || n from generate_series(1, 1200) n;
            insert into pricings (service_name, version) select name, '1' from services",
        )
        .await;

    let mut client = Example::start(example, &arguments);
    client.line("listed 1200 services").await;
    client.line("connected").await;
    server.is_copied_to(&file).await;

    server
        .request(Method::POST, "/services", pricing("Zoom", "2024"))
        .await;
    server
        .request(
            Method::POST,
            "/services/Zoom/pricings",
            pricing("Zoom", "2025/1 ?"),
        )
        .await;
    server
        .request(Method::PUT, "/services/Zoom/pricings/2024", String::new())
        .await;
    server
        .sql(
            "delete from services where name = 'Service 7';
            insert into services (name) values ('SERVICE 7'), ('a/b?c#d%20é');
            insert into pricings (service_name, version, availability) values ('SERVICE 7', '2', 'active'), ('a/b?c#d%20é', '1', 'archived');
            update pricings set version = '1.1' where service_name = 'Service 8';
            update services set disabled = true where name in ('Service 9', 'Service 10');
            update services set disabled = false where name = 'Service 10';
            delete from pricings where service_name = 'Service 11'",
        )
        .await;
    server.is_copied_to(&file).await;

    // Both end, and something changes meanwhile, in many places.
    client.kill().await;
    server.stop("-KILL");
    server
        .sql(
            "insert into pricings (service_name, version) select name, '3' from services where name like 'Service 1__';
            update services set name = 'Zoom Two' where name = 'Zoom';
            insert into pricings (service_name, version) values ('Zoom Two', '2026');
            delete from services where name = 'Service 13'",
        )
        .await;
    server.start_again(&[]).await;
    server
        .request(Method::DELETE, "/services/Service%2014", String::new())
        .await;
    let mut client = Example::start(example, &arguments);
    // From its file: it does not begin with a list.
    client.line("going on with 1201 services").await;
    client.line("connected").await;
    server.is_copied_to(&file).await;

    // The server alone, while the example watches.
    for signal in ["-TERM", "-KILL"] {
        server.stop(signal);
        server
            .sql(
                "update pricings set availability = case availability when 'active' then 'archived' else 'active' end
                where service_name like 'Service 2__'",
            )
            .await;
        server.start_again(&[]).await;
        client.line("connected").await;
        server.is_copied_to(&file).await;
    }

    // Renamed, which is not announced, and gone before anything else was: there is
    // no way but a list to know which it was.
    server
        .sql("update services set name = 'Renamed', disabled = true where name = 'Service 12'")
        .await;
    client.line("Renamed is gone").await;
    client.line("listed").await;
    server.is_copied_to(&file).await;

    // Longer than the log is kept: it lists again.
    client.kill().await;
    server
        .sql("delete from services where name like 'Service 3%'")
        .await;
    server.forget_what_was().await;
    let mut client = Example::start(example, &arguments);
    client.line("POSITION_EXPIRED").await;
    client.line("listed").await;
    client.line("connected").await;
    server.is_copied_to(&file).await;
    server
        .request(Method::POST, "/services", pricing("Slack", "1"))
        .await;
    server.is_copied_to(&file).await;
}

/// The program on a port that it keeps when it is started again.
struct Server {
    port: u16,
    database: Database,
    directory: PathBuf,
    program: Option<Program>,
    http: reqwest::Client,
}

impl Server {
    async fn start() -> Self {
        let directory = new_directory("example");
        std::fs::create_dir(&directory).expect("a directory");
        let mut server = Self {
            port: free_port(),
            database: Database::create().await,
            directory,
            program: None,
            http: reqwest::Client::builder()
                .tls_backend_preconfigured(no_tls())
                .no_proxy()
                .build()
                .expect("a client"),
        };
        server.start_again(&[]).await;
        server
    }

    async fn start_again(&mut self, settings: &[(&str, &str)]) {
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

    fn stop(&mut self, signal: &str) {
        let program = self.program.take().expect("it runs");
        program.signal(signal);
        program.wait();
    }

    async fn sql(&self, sql: &str) {
        self.database.sql(sql).await;
    }

    /// Adds versions of one service, one after the other.
    async fn insert(&self, versions: impl Iterator<Item = u32>) {
        for version in versions {
            self.sql(&format!(
                "insert into pricings (service_name, version) values ('Zoöm', '{version}')"
            ))
            .await;
        }
    }

    /// A request that succeeds.
    async fn request(&self, method: Method, path: &str, yaml: String) {
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
    async fn forget_what_was(&mut self) {
        self.stop("-TERM");
        self.start_again(&[("EVENT_RETENTION", "1s")]).await;
        let something =
            "insert into services (name) values ('X'); delete from services where name = 'X'";
        self.sql(something).await;
        let begun = Instant::now();
        while self
            .database
            .sql("select count(*) from space_events.row_changes")
            .await
            != ["0"]
        {
            assert!(begun.elapsed() < LIMIT, "nothing is pruned");
            sleep(Duration::from_millis(50)).await;
        }
        // As it was: what is heard from now on is kept.
        self.stop("-TERM");
        self.start_again(&[]).await;
    }

    /// Waits until a copy holds what GET /services answers, to the letter.
    async fn is_copied_to(&self, file: &Path) {
        let begun = Instant::now();
        loop {
            let there = self.services().await;
            let text = std::fs::read_to_string(file).expect("the copy");
            let copy: Value = serde_json::from_str(&text).expect("JSON");
            let here = by_id(copy["services"].as_array().expect("a list"));
            if here == there {
                return;
            }
            if begun.elapsed() > LIMIT {
                let differ = |id: &&i64| here.get(*id) != there.get(*id);
                let id = here.keys().chain(there.keys()).find(differ);
                let id = id.expect("a difference");
                panic!("copied: {:?}, there: {:?}", here.get(id), there.get(id));
            }
            sleep(Duration::from_millis(50)).await;
        }
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

/// A running example, and what it writes.
struct Example {
    process: Child,
    lines: mpsc::UnboundedReceiver<String>,
    /// Read already, for who asks for the next event.
    waiting: Option<Value>,
}

impl Example {
    fn start(example: &str, arguments: &[&str]) -> Self {
        let mut process = command(example)
            .args(arguments)
            .env_remove("API_KEY")
            .env("PYTHONDONTWRITEBYTECODE", "1")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .unwrap_or_else(|error| panic!("{example}: {error}"));
        let (sender, lines) = mpsc::unbounded_channel();
        forward(process.stdout.take().expect("a pipe"), sender.clone());
        forward(process.stderr.take().expect("a pipe"), sender);
        Self {
            process,
            lines,
            waiting: None,
        }
    }

    /// Waits for a line that begins so, or is an event with that code. Another
    /// event, or a list that is not waited for, ends the test.
    async fn line(&mut self, beginning: &str) {
        loop {
            let line = self.next_line().await;
            let event = line.starts_with('{');
            if line.starts_with(beginning) || event && line.contains(beginning) {
                return;
            }
            assert!(!event && !line.starts_with("listed"), "{line}");
        }
    }

    /// Waits for these versions' events, in their order and with no other between.
    async fn prints(&mut self, versions: impl Iterator<Item = u32>) {
        for version in versions {
            assert_eq!(self.next_event().await, created(version));
        }
    }

    /// Waits for an event, and passes over it if it is this version's.
    async fn may_print(&mut self, version: u32) {
        let event = self.next_event().await;
        if event != created(version) {
            self.waiting = Some(event);
        }
    }

    async fn next_event(&mut self) -> Value {
        if let Some(event) = self.waiting.take() {
            return event;
        }
        loop {
            let line = self.next_line().await;
            if line.starts_with('{') {
                return serde_json::from_str(&line).expect("JSON");
            }
        }
    }

    async fn next_line(&mut self) -> String {
        let line = timeout(LIMIT, self.lines.recv()).await;
        line.expect("a line in time").expect("it runs")
    }

    /// Ends it as a crash would.
    async fn kill(mut self) {
        self.process.kill().await.expect("it is killed");
    }
}

fn created(version: u32) -> Value {
    let details = json!({"serviceName": "Zoöm", "pricingVersion": version.to_string()});
    json!({"code": "PRICING_CREATED", "details": details})
}

fn forward(output: impl AsyncRead + Send + Unpin + 'static, lines: mpsc::UnboundedSender<String>) {
    tokio::spawn(async move {
        let mut output = BufReader::new(output).lines();
        while let Ok(Some(line)) = output.next_line().await {
            let _ = lines.send(line);
        }
    });
}

fn command(example: &str) -> Command {
    let clients = INSTALLED.as_path();
    if example == RUST {
        return Command::new(clients.join("rust/debug/space-events-example"));
    }
    let (program, script) = match example.ends_with(".py") {
        true => (clients.join("venv/bin/python"), examples().join(example)),
        false => (
            PathBuf::from("node"),
            clients.join("examples").join(example),
        ),
    };
    let mut command = Command::new(program);
    command.arg(script);
    command
}

fn examples() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/examples"))
}

/// Where the clients are, with the JavaScript examples below their packages: Node
/// looks for packages from the file that imports them upward.
static INSTALLED: LazyLock<PathBuf> = LazyLock::new(|| {
    let target = Path::new(env!("CARGO_TARGET_TMPDIR"))
        .parent()
        .expect("a directory above");
    let clients = target.join("clients");
    for installed in [
        "node_modules/.installed",
        "venv/.installed",
        "rust/debug/space-events-example",
    ] {
        assert!(
            clients.join(installed).exists(),
            "the examples' clients are not installed; `make test` installs them and runs the tests"
        );
    }
    let copies = clients.join("examples/javascript");
    std::fs::create_dir_all(&copies).expect("a directory");
    for entry in examples().join("javascript").read_dir().expect("examples") {
        let script = entry.expect("an example").path();
        if script
            .extension()
            .is_some_and(|extension| extension == "mjs")
        {
            let copy = copies.join(script.file_name().expect("a name"));
            std::fs::copy(&script, copy).expect("a copy");
        }
    }
    clients
});
