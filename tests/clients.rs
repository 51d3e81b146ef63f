//! The published clients, unchanged, as judges.
//!
//! Each is started by a script in `tests/clients/` as its documentation shows it,
//! and says what it hears as JSON lines. `make test` installs them.

use std::collections::VecDeque;
use std::fmt::Debug;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::LazyLock;
use std::time::Duration;

use reqwest::Method;
use serde_json::{Value, json};
use space_events::config::Settings;
use tokio::io::{AsyncBufReadExt as _, BufReader, Lines};
use tokio::process::{Child, ChildStdout, Command};
use tokio::time::{sleep, timeout};

use crate::support::{Database, LIMIT, TestApp, pricing};

/// The rows of one statement: far more than Engine.IO keeps for a client.
const BURST: usize = 5_000;

// socket.io-client

#[tokio::test(flavor = "multi_thread")]
async fn the_documentations_snippet_hears_all_events() {
    let (database, app) = start().await;
    let url = format!("ws://localhost:{}", app.address.port());
    let options = json!({"transports": ["websocket"]}).to_string();
    let mut client = PublishedClient::start("socket_io_client.mjs", &[&url, &options]).await;
    assert_eq!(client.transport, "websocket");
    hears_all_events(&app, &database, &mut client, message).await;
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn socket_io_client_hears_all_events_by_polling() {
    let (database, app) = start().await;
    let mut client = socket_io_client(&app, &json!({"transports": ["polling"]})).await;
    hears_all_events(&app, &database, &mut client, message).await;
    assert_eq!(client.transport, "polling");
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn socket_io_client_hears_all_events_after_its_upgrade() {
    let (database, app) = start().await;
    let mut client = socket_io_client(&app, &json!({})).await;
    client.upgraded().await;
    hears_all_events(&app, &database, &mut client, message).await;
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_burst_reaches_socket_io_client_over_a_websocket() {
    let (database, app) = start().await;
    let mut client = socket_io_client(&app, &json!({"transports": ["websocket"]})).await;
    hears_a_burst(&database, &mut client, "Zoom").await;
    hears_a_burst(&database, &mut client, "WireMock").await;
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_burst_reaches_socket_io_client_by_polling() {
    let (database, app) = start().await;
    let mut client = socket_io_client(&app, &json!({"transports": ["polling"]})).await;
    hears_a_burst(&database, &mut client, "Zoom").await;
    hears_a_burst(&database, &mut client, "WireMock").await;
    assert_eq!(client.transport, "polling");
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_burst_reaches_socket_io_client_around_its_upgrade() {
    let (database, app) = start().await;
    let mut client = socket_io_client(&app, &json!({})).await;
    hears_a_burst(&database, &mut client, "Zoom").await;
    client.upgraded().await;
    hears_a_burst(&database, &mut client, "WireMock").await;
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unknown_namespace_leaves_the_other_connected() {
    let (database, app) = start().await;
    let mut client =
        PublishedClient::start("unknown_namespace.mjs", &[&url(&app), "/services"]).await;
    assert_eq!(client.ready["refused"], "Invalid namespace");
    hears_all_events(&app, &database, &mut client, message).await;
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_position_is_a_second_argument_for_those_who_ask() {
    let (database, app) = start().await;
    let mut plain = socket_io_client(&app, &json!({"auth": {}})).await;
    let mut asking = socket_io_client(&app, &json!({"auth": {"since": ""}})).await;
    let mut positions = Vec::new();
    insert(&database, "Zoom", 3).await;
    for version in ["1", "2", "3"] {
        let event = message("PRICING_CREATED", "Zoom", Some(version));
        assert_eq!(plain.heard().await, event);
        let (heard, position) = asking.heard_with_position().await;
        assert_eq!(heard, event);
        positions.push(position);
    }
    // Back from the first position: the other two, then what is new.
    let since = json!({"auth": {"since": positions[0]}});
    let mut back = socket_io_client(&app, &since).await;
    database
        .sql("update services set disabled = true where name = 'Zoom'")
        .await;
    for event in [
        message("PRICING_CREATED", "Zoom", Some("2")),
        message("PRICING_CREATED", "Zoom", Some("3")),
        message("SERVICE_DISABLED", "Zoom", None),
    ] {
        assert_eq!(back.heard_with_position().await.0, event);
    }
    let options = json!({"auth": {"since": "no position"}}).to_string();
    let mut lost = PublishedClient::run("socket_io_client.mjs", &[&url(&app), &options]);
    let answer = lost.next_line().await;
    let reason = answer["refused"].as_str().expect("a reason");
    assert!(reason.starts_with("POSITION_INVALID"), "{reason}");
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_comes_back_hears_what_it_missed_around_its_upgrade() {
    let (database, app) = start().await;
    let mut first = socket_io_client(&app, &json!({"auth": {"since": ""}})).await;
    insert(&database, "WireMock", 1).await;
    let (_, position) = first.heard_with_position().await;
    drop(first);
    insert(&database, "Zoom", BURST).await;
    let since = json!({"auth": {"since": position}});
    let mut back = socket_io_client(&app, &since).await;
    let mut heard = Vec::with_capacity(BURST);
    for _ in 0..BURST {
        heard.push(back.heard_with_position().await.0);
    }
    same(heard, burst("Zoom"));
    back.upgraded().await;
    app.stop().await;
}

// space-node-client

#[tokio::test(flavor = "multi_thread")]
async fn space_node_client_hears_all_events() {
    let (database, app) = start().await;
    let mut client = PublishedClient::start("space_node_client.mjs", &[&url(&app)]).await;
    // Its connection check answers with the message of the healthcheck.
    assert!(
        client.ready["healthcheck"]
            .as_str()
            .is_some_and(|message| !message.is_empty())
    );
    hears_all_events(&app, &database, &mut client, callback).await;
    app.stop().await;
}

// python-socketio

#[tokio::test(flavor = "multi_thread")]
async fn python_socketio_hears_all_events_after_its_upgrade() {
    let (database, app) = start().await;
    let mut client = PublishedClient::start("python_socketio.py", &[&url(&app)]).await;
    assert_eq!(client.transport, "websocket");
    hears_all_events(&app, &database, &mut client, message).await;
    reads_a_burst(&database, &mut client).await;
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn python_socketio_hears_all_events_over_a_websocket() {
    let (database, app) = start().await;
    let mut client = PublishedClient::start("python_socketio.py", &[&url(&app), "websocket"]).await;
    assert_eq!(client.transport, "websocket");
    hears_all_events(&app, &database, &mut client, message).await;
    reads_a_burst(&database, &mut client).await;
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn python_socketio_hears_all_events_by_polling() {
    let (database, app) = start().await;
    let mut client = PublishedClient::start("python_socketio.py", &[&url(&app), "polling"]).await;
    assert_eq!(client.transport, "polling");
    hears_all_events(&app, &database, &mut client, message).await;
    reads_a_burst(&database, &mut client).await;
    app.stop().await;
}

// space-python-client

#[tokio::test(flavor = "multi_thread")]
async fn space_python_client_hears_all_events() {
    let (database, app) = start().await;
    let mut client = PublishedClient::start("space_python_client.py", &[&url(&app)]).await;
    assert_eq!(client.ready["healthcheck"], true);
    hears_all_events(&app, &database, &mut client, callback).await;
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn published_clients_come_back_after_the_program_was_stopped() {
    let (database, app) = start().await;
    let mut clients = vec![
        socket_io_client(&app, &json!({"transports": ["websocket"]})).await,
        socket_io_client(&app, &json!({"transports": ["polling"]})).await,
    ];
    for transport in ["websocket", "polling"] {
        let arguments = [&url(&app), transport];
        clients.push(PublishedClient::start("python_socketio.py", &arguments).await);
    }
    let port = Some(app.address.port().to_string());
    app.stop().await;
    let settings = Settings {
        port,
        ..Settings::default()
    };
    let app = TestApp::start_with(&database, settings).await;
    insert(&database, "Zoom", 1).await;
    // Each comes in its own time: until all are there, something happens.
    let happening = async {
        for number in 0.. {
            insert(&database, &format!("Service {number}"), 1).await;
            sleep(Duration::from_millis(100)).await;
        }
    };
    let hearing = async {
        for client in &mut clients {
            // It says that it was disconnected too, some more than once.
            while !client.next_line().await["heard"].is_array() {}
        }
    };
    tokio::select! {
        () = happening => {}
        () = hearing => {}
    }
    app.stop().await;
}

// What they all are put through.

/// Changes over REST and in SQL, one after another; each is heard before the
/// next is made, in the form that `expected` gives it.
async fn hears_all_events(
    app: &TestApp,
    database: &Database,
    client: &mut PublishedClient,
    expected: fn(&str, &str, Option<&str>) -> Value,
) {
    let (status, _) = app.upload("/services", &pricing("WireMock", "2024")).await;
    assert_eq!(status, 201);
    let event = expected("PRICING_CREATED", "WireMock", Some("2024"));
    assert_eq!(client.heard().await, event);

    let (status, _) = app
        .upload("/services/WireMock/pricings", &pricing("WireMock", "2025"))
        .await;
    assert_eq!(status, 201);
    let event = expected("PRICING_CREATED", "WireMock", Some("2025"));
    assert_eq!(client.heard().await, event);

    for (availability, code) in [
        ("archived", "PRICING_ARCHIVED"),
        ("active", "PRICING_ACTIVED"),
    ] {
        let path = format!("/services/WireMock/pricings/2024?availability={availability}");
        let put = app.request(Method::PUT, &path).send().await;
        assert_eq!(put.expect("an answer").status(), 200);
        let event = expected(code, "WireMock", Some("2024"));
        assert_eq!(client.heard().await, event);
    }

    let delete = app
        .request(Method::DELETE, "/services/WireMock")
        .send()
        .await;
    assert_eq!(delete.expect("an answer").status(), 204);
    let event = expected("SERVICE_DISABLED", "WireMock", None);
    assert_eq!(client.heard().await, event);

    for (sql, code, version) in [
        (
            "insert into services (name) values ('Zoöm'); insert into pricings (service_name, version) values ('Zoöm', '2024 \"β\"')",
            "PRICING_CREATED",
            Some("2024 \"β\""),
        ),
        (
            "update pricings set availability = 'archived' where service_name = 'Zoöm'",
            "PRICING_ARCHIVED",
            Some("2024 \"β\""),
        ),
        (
            "update pricings set availability = 'active' where service_name = 'Zoöm'",
            "PRICING_ACTIVED",
            Some("2024 \"β\""),
        ),
        (
            "delete from services where name = 'Zoöm'",
            "SERVICE_DISABLED",
            None,
        ),
    ] {
        database.sql(sql).await;
        assert_eq!(client.heard().await, expected(code, "Zoöm", version));
    }
    database.sql("delete from services").await;
}

/// Many rows in one statement, heard in their order.
async fn hears_a_burst(database: &Database, client: &mut PublishedClient, service_name: &str) {
    insert(database, service_name, BURST).await;
    let heard = client.heard_many(BURST).await;
    same(heard, burst(service_name));
}

/// Many rows in one statement: all heard, and read in their order.
async fn reads_a_burst(database: &Database, client: &mut PublishedClient) {
    client.read.clear();
    insert(database, "Zoom", BURST).await;
    let mut heard = client.heard_many(BURST).await;
    let mut expected = burst("Zoom");
    let packets: Vec<String> = (1..=BURST).map(|version| format!(
        r#"2/pricings,["message",{{"code":"PRICING_CREATED","details":{{"serviceName":"Zoom","pricingVersion":"{version}"}}}}]"#
    )).collect();
    same(client.read.drain(..).collect(), packets);
    heard.sort_by_key(Value::to_string);
    expected.sort_by_key(Value::to_string);
    same(heard, expected);
}

async fn insert(database: &Database, service_name: &str, count: usize) {
    database.add_service(service_name).await;
    database.add_pricings(service_name, 1..count + 1).await;
}

fn burst(service_name: &str) -> Vec<Value> {
    (1..=BURST)
        .map(|version| message("PRICING_CREATED", service_name, Some(&version.to_string())))
        .collect()
}

/// Compares, and tells the first difference rather than all that is there.
fn same<T: Debug + PartialEq>(actual: Vec<T>, expected: Vec<T>) {
    for (place, (actual, expected)) in actual.iter().zip(&expected).enumerate() {
        assert_eq!(actual, expected, "at {place}");
    }
    assert_eq!(actual.len(), expected.len());
}

/// An event as the arguments of a `message` handler.
fn message(code: &str, service_name: &str, version: Option<&str>) -> Value {
    json!([{"code": code, "details": details(service_name, version)}])
}

/// An event as SPACE's clients hand it on: a callback's name and its argument.
fn callback(code: &str, service_name: &str, version: Option<&str>) -> Value {
    json!([code.to_lowercase(), details(service_name, version)])
}

fn details(service_name: &str, version: Option<&str>) -> Value {
    match version {
        Some(version) => json!({"serviceName": service_name, "pricingVersion": version}),
        None => json!({"serviceName": service_name}),
    }
}

async fn start() -> (Database, TestApp) {
    let database = Database::create().await;
    let app = TestApp::start(&database).await;
    (database, app)
}

fn url(app: &TestApp) -> String {
    format!("http://{}", app.address)
}

async fn socket_io_client(app: &TestApp, options: &Value) -> PublishedClient {
    PublishedClient::start("socket_io_client.mjs", &[&url(app), &options.to_string()]).await
}

/// A client in a process of its own, which ends with this value.
pub(crate) struct PublishedClient {
    /// The line in which it said that it is connected.
    ready: Value,
    /// What it is connected by, as it said last.
    transport: String,
    /// The packets that it read, where it says them.
    read: VecDeque<String>,
    lines: Lines<BufReader<ChildStdout>>,
    process: Child,
}

impl PublishedClient {
    /// Starts a script, and waits until it is connected to `/pricings`.
    pub(crate) async fn start(script: &str, arguments: &[&str]) -> Self {
        let mut client = Self::run(script, arguments);
        let ready = client.next_line().await;
        assert_eq!(ready["ready"], true, "{script}: {ready}");
        client.transport = ready["transport"].as_str().unwrap_or_default().to_owned();
        client.ready = ready;
        client
    }

    /// Starts a script.
    fn run(script: &str, arguments: &[&str]) -> Self {
        let mut process = command(script)
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .unwrap_or_else(|error| panic!("{script}: {error}"));
        let stdout = process.stdout.take().expect("a pipe");
        Self {
            ready: Value::Null,
            transport: String::new(),
            read: VecDeque::new(),
            lines: BufReader::new(stdout).lines(),
            process,
        }
    }

    /// The arguments of the next message that it hears.
    pub(crate) async fn heard(&mut self) -> Value {
        loop {
            let mut line = self.next_line().await;
            if line["heard"].is_array() {
                return line["heard"].take();
            }
            self.note(&line);
        }
    }

    /// The next message that it hears, whose second argument is a position.
    async fn heard_with_position(&mut self) -> (Value, String) {
        let mut heard = self.heard().await;
        let arguments = heard.as_array_mut().expect("arguments");
        assert_eq!(arguments.len(), 2, "{arguments:?}");
        let reference = arguments.pop().expect("a second argument");
        let position = reference["position"].as_str().expect("a text").to_owned();
        (heard, position)
    }

    async fn heard_many(&mut self, count: usize) -> Vec<Value> {
        let mut heard = Vec::with_capacity(count);
        for _ in 0..count {
            heard.push(self.heard().await);
        }
        heard
    }

    /// Waits until it has gone over to a websocket.
    pub(crate) async fn upgraded(&mut self) {
        while self.transport != "websocket" {
            let line = self.next_line().await;
            self.note(&line);
        }
    }

    /// What it says beside what it hears; anything unexpected, as that it was
    /// disconnected, ends the test.
    fn note(&mut self, line: &Value) {
        if let Some(transport) = line["transport"].as_str() {
            transport.clone_into(&mut self.transport);
        } else if let Some(packet) = line["read"].as_str() {
            self.read.push_back(packet.to_owned());
        } else {
            panic!("unexpected: {line}");
        }
    }

    async fn next_line(&mut self) -> Value {
        let line = timeout(LIMIT, self.lines.next_line()).await;
        let Some(line) = line.expect("a line in time").expect("a line") else {
            panic!("the client ended: {:?}", self.process.wait().await);
        };
        serde_json::from_str(&line).unwrap_or_else(|error| panic!("{line}: {error}"))
    }
}

pub(crate) fn command(script: &str) -> Command {
    let clients = INSTALLED.as_path();
    let (program, script) = match script.ends_with(".py") {
        true => (clients.join("venv/bin/python"), scripts().join(script)),
        false => (PathBuf::from("node"), clients.join(script)),
    };
    let mut command = Command::new(program);
    command.arg(script).env("PYTHONDONTWRITEBYTECODE", "1");
    command
}

/// Where `make test` installs them.
pub(crate) fn installed() -> &'static Path {
    INSTALLED.as_path()
}

fn scripts() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/clients"))
}

/// Where the clients are, with the JavaScript files beside their packages: Node
/// looks for packages from the file that imports them.
pub static INSTALLED: LazyLock<PathBuf> = LazyLock::new(|| {
    let target = Path::new(env!("CARGO_TARGET_TMPDIR"))
        .parent()
        .expect("a directory above");
    let clients = target.join("clients");
    for installed in ["node_modules/.installed", "venv/.installed"] {
        assert!(
            clients.join(installed).exists(),
            "the published clients are not installed; `make test` installs them and runs the tests"
        );
    }
    for entry in scripts().read_dir().expect("the scripts") {
        let script = entry.expect("a script").path();
        if script
            .extension()
            .is_some_and(|extension| extension == "mjs")
        {
            let copy = clients.join(script.file_name().expect("a name"));
            std::fs::copy(&script, copy).expect("a copy");
        }
    }
    clients
});
