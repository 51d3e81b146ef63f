//! `space-events tail` and `space-events explain`, which ask a running instance.

use std::process::Stdio;

use serde_json::Value;
use space_events::config::Settings;
use tokio::io::{AsyncBufReadExt as _, BufReader, Lines};
use tokio::process::{Child, ChildStderr, ChildStdout, Command};
use tokio::time::timeout;

use crate::support::program::command;
use crate::support::{Database, LIMIT, TestApp};

/// A running `tail`.
struct Tail {
    process: Child,
    printed: Lines<BufReader<ChildStdout>>,
    told: Lines<BufReader<ChildStderr>>,
}

fn asking(app: &TestApp, arguments: &[&str]) -> Command {
    let mut command = Command::from(command());
    command
        .args(arguments)
        .env("PORT", app.address.port().to_string())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true);
    command
}

impl Tail {
    /// Starts it, and waits until it is connected.
    async fn start(app: &TestApp, arguments: &[&str]) -> Self {
        let arguments = [&["tail"], arguments].concat();
        let mut process = asking(app, &arguments).spawn().expect("it starts");
        let printed = process.stdout.take().expect("its output");
        let told = process.stderr.take().expect("its errors");
        let mut tail = Self {
            process,
            printed: BufReader::new(printed).lines(),
            told: BufReader::new(told).lines(),
        };
        tail.tells("connected").await;
        tail
    }

    async fn tells(&mut self, text: &str) {
        loop {
            let line = timeout(LIMIT, self.told.next_line()).await;
            let line = line.expect("a line in time").expect("a line");
            if line.expect("it is there").contains(text) {
                return;
            }
        }
    }

    async fn prints(&mut self) -> String {
        let line = timeout(LIMIT, self.printed.next_line()).await;
        let line = line.expect("a line in time").expect("a line");
        line.expect("it is there")
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn tail_prints_what_comes_and_comes_back_by_itself() {
    let database = Database::create().await;
    let app = TestApp::start(&database).await;
    let mut all = Tail::start(&app, &["--json"]).await;
    let mut some = Tail::start(
        &app,
        &["--service", "zoom,other", "--code", "PRICING_CREATED"],
    )
    .await;
    database
        .sql(
            "insert into services (name) values ('Wire Mock'), ('Zoom');
            insert into pricings (service_name, version) values ('Wire Mock', '1'), ('Zoom', '1');
            update pricings set availability = 'archived'",
        )
        .await;
    let mut positions = Vec::new();
    for (code, service) in [
        ("PRICING_CREATED", "Wire Mock"),
        ("PRICING_CREATED", "Zoom"),
        ("PRICING_ARCHIVED", "Wire Mock"),
        ("PRICING_ARCHIVED", "Zoom"),
    ] {
        let event: Value = serde_json::from_str(&all.prints().await).expect("JSON");
        assert_eq!(event["code"], code);
        assert_eq!(event["details"]["serviceName"], service);
        positions.push(event["position"].as_str().expect("a text").to_owned());
    }
    let line = some.prints().await;
    assert!(line.ends_with("PRICING_CREATED  Zoom 1"), "{line}");

    // From a position on, in the form for people.
    let mut back = Tail::start(&app, &["--since", &positions[1]]).await;
    for event in [
        "PRICING_ARCHIVED \"Wire Mock\" 1",
        "PRICING_ARCHIVED Zoom 1",
    ] {
        let line = back.prints().await;
        assert!(line.ends_with(event), "{line}");
    }

    // While the server is away it waits, and misses nothing.
    let port = app.address.port().to_string();
    app.stop().await;
    for tail in [&mut all, &mut some] {
        tail.tells("trying again").await;
    }
    database.add_pricing("Zoom", "missed").await;
    let settings = Settings {
        port: Some(port),
        ..Settings::default()
    };
    let app = TestApp::start_with(&database, settings).await;
    for tail in [&mut all, &mut some] {
        tail.tells("connected").await;
    }
    assert!(all.prints().await.contains("missed"));
    assert!(some.prints().await.ends_with("Zoom missed"));

    let mut process = all.process;
    process.start_kill().expect("a signal");
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn tail_ends_where_the_server_refuses_it_for_good() {
    let database = Database::create().await;
    let settings = Settings {
        api_keys: Some("a:EVALUATION".to_owned()),
        socket_auth: Some("key".to_owned()),
        ..Settings::default()
    };
    let app = TestApp::start_with(&database, settings).await;
    for (arguments, error) in [
        (&["tail"][..], "error: UNAUTHORIZED: "),
        (
            &["tail", "--api-key", "a", "--since", "x"],
            "error: POSITION_INVALID: ",
        ),
        (
            &["tail", "--api-key", "a", "--code", "x"],
            "error: FILTER_INVALID: ",
        ),
        (&["explain", "Zoom"], "answered 401"),
    ] {
        let output = timeout(LIMIT, asking(&app, arguments).output()).await;
        let output = output.expect("an end in time").expect("an end");
        assert_eq!(output.status.code(), Some(1), "{arguments:?}");
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(said.contains(error), "{arguments:?}: {said}");
    }
    Tail::start(&app, &["--api-key", "a"]).await;
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn explain_prints_what_was_recorded_and_why_it_was_announced_or_not() {
    let database = Database::create().await;
    let settings = Settings {
        api_keys: Some("a:EVALUATION".to_owned()),
        ..Settings::default()
    };
    let app = TestApp::start_with(&database, settings).await;
    for sql in [
        "insert into services (name) values ('Zoom'), ('Other')",
        "insert into pricings (service_name, version) values ('Zoom', '1'), ('Zoom', '2'), ('Other', '1')",
        "update pricings set availability = 'archived' where version = '1'",
        "update services set disabled = true where name = 'Zoom'",
        "insert into pricings (service_name, version) values ('Zoom', '3')",
    ] {
        database.sql(sql).await;
    }
    let explain = async |arguments: &[&str]| {
        let arguments = [&["explain"], arguments].concat();
        let output = asking(&app, &arguments).env("API_KEY", "a").output();
        let output = timeout(LIMIT, output).await.expect("an end in time");
        let output = output.expect("an end");
        assert!(output.status.success(), "{output:?}");
        let text = String::from_utf8(output.stdout).expect("a text");
        let lines = text.lines().map(|line| match line.split_once("Z  ") {
            Some((_, line)) => line.to_owned(),
            None => line.to_owned(),
        });
        lines.collect::<Vec<_>>()
    };
    let all = explain(&["zoom"]).await;
    assert_eq!(
        all[..5],
        [
            "pricing 1 added, active: PRICING_CREATED",
            "pricing 2 added, active: PRICING_CREATED",
            "pricing 1 archived: PRICING_ARCHIVED",
            "service disabled: SERVICE_DISABLED",
            "pricing 3 added, active: no event. The service is disabled, so nothing about its pricings is announced.",
        ]
    );
    assert!(all[5].starts_with("Never recorded: "), "{all:?}");
    assert_eq!(
        explain(&["Zoom", "2"]).await[..2],
        [all[1].clone(), all[3].clone()]
    );
    assert_eq!(explain(&["Zoom", "--limit", "2"]).await[..2], all[3..5]);
    let none = explain(&["Nobody"]).await;
    assert!(none[0].starts_with("No change of Nobody"), "{none:?}");
    app.stop().await;
}
