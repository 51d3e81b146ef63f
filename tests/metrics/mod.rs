//! `GET /metrics`: what it says moves as things happen.

mod disconnects;

use std::collections::HashMap;
use std::fmt;
use std::process::Stdio;

use chrono::Utc;
use reqwest::{Method, StatusCode};
use serde::Deserialize;
use space_events::config::Settings;
use tokio::io::AsyncWriteExt as _;
use tokio::time::{Duration, sleep};

use crate::clients;
use crate::support::client::position_of;
use crate::support::postgres::Session;
use crate::support::{Client, Database, LIMIT, TestApp, wait_for};

/// A line of an answer, as Prometheus' own library reads it.
#[derive(Debug, Deserialize)]
struct Sample {
    name: String,
    labels: HashMap<String, String>,
    value: f64,
    #[serde(rename = "type")]
    kind: String,
    help: String,
}

/// An answer of `/metrics`.
struct Scrape(Vec<Sample>);

impl fmt::Display for Scrape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut samples = self.0.iter();
        samples.try_for_each(|s| writeln!(f, "{} {:?} {}", s.name, s.labels, s.value))
    }
}

impl Scrape {
    async fn of(app: &TestApp) -> Self {
        let response = app.request(Method::GET, "/metrics").send();
        let response = response.await.expect("an answer");
        assert_eq!(response.status(), 200);
        assert_eq!(
            response.headers()["content-type"],
            "text/plain; version=0.0.4; charset=utf-8"
        );
        Self::read(&response.text().await.expect("a text")).await
    }

    async fn read(text: &str) -> Self {
        let mut parser = clients::command("scrape.py")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("the parser starts");
        let mut input = parser.stdin.take().expect("its input");
        input.write_all(text.as_bytes()).await.expect("it reads");
        drop(input);
        let output = parser.wait_with_output().await.expect("it ends");
        assert!(output.status.success(), "{text}");
        let lines = String::from_utf8(output.stdout).expect("a text");
        Self(
            lines
                .lines()
                .map(|line| serde_json::from_str(line).expect("JSON"))
                .collect(),
        )
    }

    /// The one value of a name with these labels, and maybe others.
    fn find(&self, name: &str, labels: &[(&str, &str)]) -> Option<f64> {
        let name = match name.starts_with("process_") {
            true => name.to_owned(),
            false => format!("space_events_{name}"),
        };
        let has_labels = |sample: &&Sample| {
            let has = |(key, value): &(&str, &str)| {
                sample.labels.get(*key).map(String::as_str) == Some(*value)
            };
            sample.name == name && labels.iter().all(has)
        };
        let mut found = self.0.iter().filter(has_labels);
        let value = found.next()?.value;
        assert_eq!(found.count(), 0, "{name} {labels:?} more than once");
        Some(value)
    }

    fn value(&self, name: &str, labels: &[(&str, &str)]) -> f64 {
        self.find(name, labels)
            .unwrap_or_else(|| panic!("no {name} {labels:?}"))
    }
}

/// Scrapes until it is so.
async fn until(app: &TestApp, what: &str, so: impl Fn(&Scrape) -> bool) -> Scrape {
    wait_for(what, async || {
        let scrape = Scrape::of(app).await;
        if so(&scrape) {
            return Ok(scrape);
        }
        // Each starts a program that reads it.
        sleep(Duration::from_millis(200)).await;
        Err(scrape)
    })
    .await
}

/// A client that has joined by polling: its session.
async fn join_by_polling(app: &TestApp) -> String {
    let path = "/events/?EIO=4&transport=polling";
    let get = async |path: &str| {
        let answer = app.request(Method::GET, path).send().await;
        answer.expect("an answer").text().await.expect("a text")
    };
    let open = get(path).await;
    let path = format!("{path}&sid={}", open.split('"').nth(3).expect("a session"));
    let connect = app.request(Method::POST, &path).body("40/pricings,");
    assert_eq!(connect.send().await.expect("an answer").status(), 200);
    while !get(&path).await.contains("40/pricings,{") {}
    path
}

#[tokio::test(flavor = "multi_thread")]
async fn what_happens_is_counted() {
    let database = Database::create().await;
    let app = TestApp::start(&database).await;
    let before = Scrape::of(&app).await;
    assert_eq!(before.value("change_to_publish_seconds_count", &[]), 0.0);
    assert_eq!(before.value("change_to_write_seconds_count", &[]), 0.0);
    let mut clients = [app.join().await, app.join().await];
    let polling = join_by_polling(&app).await;
    database.add_service("Zoom").await;
    for change in [
        "insert into pricings (service_name, version) values ('Zoom', '1'), ('Zoom', '2'), ('Zoom', '3')",
        "update pricings set availability = 'archived' where version in ('1', '2')",
        "update pricings set availability = 'active' where version = '1'",
    ] {
        database.sql(change).await;
    }
    // Postgres has the statistics of a session when it ends, at the latest.
    let session = database.connect().await;
    session.sql("update services set disabled = true").await;
    drop(session);
    for client in &mut clients {
        assert_eq!(client.next_events(7).await[6], "DISABLED Zoom");
    }
    for (method, path, status) in [
        (Method::GET, "/services/Zoom", 404),
        (Method::GET, "/api/v1/services/Nobody?secret=x", 404),
        (Method::GET, "/services", 200),
        (Method::GET, "/secret/path", 404),
        (Method::PATCH, "/services", 405),
        (
            Method::from_bytes(b"BREW").expect("a method"),
            "/services",
            405,
        ),
    ] {
        let answer = app.request(method, path).send().await.expect("an answer");
        assert_eq!(answer.status(), status, "{path}");
    }
    let after = until(&app, "delivered to all", |now| {
        now.value("deliveries_total", &[]) == 21.0 && now.value("journal_rows", &[]) > 0.0
    })
    .await;

    for (code, count) in [
        ("PRICING_CREATED", 3.0),
        ("PRICING_ARCHIVED", 2.0),
        ("PRICING_ACTIVED", 1.0),
        ("SERVICE_DISABLED", 1.0),
    ] {
        assert_eq!(after.value("published_total", &[("code", code)]), count);
    }
    let count = |name| after.value(name, &[]);
    assert_eq!(count("change_to_publish_seconds_count"), 7.0);
    assert!(count("change_to_publish_seconds_sum") > 0.0);
    // The first event of each is timed, and at most each.
    let timed = count("change_to_write_seconds_count");
    assert!((2.0..=14.0).contains(&timed), "{timed}");
    assert!(count("change_to_write_seconds_sum") > 0.0);
    for (transport, count) in [("websocket", 2.0), ("polling", 1.0)] {
        assert_eq!(after.value("clients", &[("transport", transport)]), count);
    }
    for (route, method, status, count) in [
        ("/services/{serviceName}", "GET", "404", 1.0),
        ("/api/v1/services/{serviceName}", "GET", "404", 1.0),
        ("/services", "GET", "200", 1.0),
        ("/services", "PATCH", "405", 1.0),
        ("/services", "other", "405", 1.0),
        ("none", "GET", "404", 1.0),
        ("/events", "GET", "101", 2.0),
    ] {
        let labels = [("route", route), ("method", method)];
        let by_status = [&labels[..], &[("status", status)]].concat();
        assert_eq!(
            after.value("http_requests_total", &by_status),
            count,
            "{route}"
        );
        assert!(after.value("http_request_duration_seconds_count", &labels) >= count);
    }
    for (name, value) in [
        ("database_up", 1.0),
        ("triggers_ok", 1.0),
        ("listening", 1.0),
        ("listen_reconnections_total", 0.0),
        ("clients_reading_journal", 0.0),
        ("pool_connections_max", 20.0),
    ] {
        assert_eq!(count(name), value, "{name}");
    }
    for (name, value) in [
        ("connections_per_address_max", 0.0),
        ("journal_retention_seconds", 7.0 * 86_400.0),
        ("replayed_total", 0.0),
    ] {
        assert_eq!(count(name), value, "{name}");
    }
    assert!(count("connections_max") > 0.0);
    assert!(count("journal_size_bytes") > 8192.0);
    // All databases of the server share that queue, so it is seldom known to be empty.
    assert!((0.0..1.0).contains(&count("notify_queue_usage_ratio")));
    for cause in ["came_back", "fell_behind"] {
        assert_eq!(after.value("catch_ups_total", &[("cause", cause)]), 0.0);
    }
    for refusal in [
        "unauthorized",
        "position_invalid",
        "position_expired",
        "unavailable",
    ] {
        let labels = [("reason", refusal)];
        assert_eq!(after.value("handshakes_refused_total", &labels), 0.0);
    }
    assert!(count("journal_oldest_row_age_seconds") > 0.0);
    assert!(count("behind_seconds") < LIMIT.as_secs_f64());
    // Two websockets and the connection of the scrape, at least.
    assert!(count("connections") >= 3.0);
    let idle = after.value("pool_connections", &[("state", "idle")]);
    let in_use = after.value("pool_connections", &[("state", "in_use")]);
    assert!((1.0..=10.0).contains(&(idle + in_use)));
    if cfg!(target_os = "linux") {
        let (open, most) = (count("process_open_fds"), count("process_max_fds"));
        assert!(open > 5.0 && open < most, "{open} of {most}");
        let resident = count("process_resident_memory_bytes");
        assert!(resident > 1e6 && resident < count("process_virtual_memory_bytes"));
        assert!(count("process_cpu_seconds_total") > 0.0);
        assert!(count("process_threads") > 1.0);
        let age = Utc::now().timestamp() as f64 - count("process_start_time_seconds");
        assert!((-60.0..86_400.0).contains(&age), "{age}");
    }
    for sample in &after.0 {
        assert!(
            sample.help.len() > 5 && sample.kind != "unknown",
            "{sample:?}"
        );
        for value in sample.labels.values() {
            for foreign in ["Zoom", "Nobody", "secret", "BREW", "sid="] {
                assert!(!value.contains(foreign), "{sample:?}");
            }
        }
    }

    // A client that goes away is counted no more.
    let [gone, _stays] = clients;
    drop(gone);
    until(&app, "one left", |now| {
        now.value("clients", &[("transport", "websocket")]) == 1.0
    })
    .await;
    let close = app.request(Method::POST, &polling).body("1");
    assert_eq!(close.send().await.expect("an answer").status(), 200);
    until(&app, "none left that polls", |now| {
        now.value("clients", &[("transport", "polling")]) == 0.0
    })
    .await;
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_listener_and_a_damaged_trigger_show() {
    let database = Database::create().await;
    let app = TestApp::start(&database).await;
    for times in 1..=2 {
        let killed = database
            .sql("select pg_terminate_backend(pid) from pg_stat_activity where datname = current_database() and application_name = 'space-events feed'")
            .await;
        assert_eq!(killed, ["t"]);
        until(&app, "connected again", |now| {
            now.value("listen_reconnections_total", &[]) == f64::from(times)
                && now.value("listening", &[]) == 1.0
        })
        .await;
    }
    database
        .sql("alter table pricings disable trigger pricings_inserted")
        .await;
    assert_eq!(Scrape::of(&app).await.value("triggers_ok", &[]), 0.0);
    // A scrape looks, and repairs nothing; neither does a probe.
    assert_eq!(app.get("/readyz").await.0, 503);
    database
        .sql("alter table pricings enable trigger pricings_inserted")
        .await;
    assert_eq!(Scrape::of(&app).await.value("triggers_ok", &[]), 1.0);
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_listener_that_does_not_come_to_read_shows_in_the_queue() {
    let database = Database::create().await;
    let app = TestApp::start(&database).await;
    let listener = database.connect().await;
    listener.sql("listen held_up").await;
    listener.sql("begin").await;
    // The queue is counted in pages of 8 kB.
    let notify = "select pg_notify('held_up', repeat(n::text, 7000)) from generate_series(1, 9) n";
    database.sql(notify).await;
    until(&app, "some of it in use", |now| {
        now.value("notify_queue_usage_ratio", &[]) > 0.0
    })
    .await;
    listener.sql("rollback").await;
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn while_the_database_is_away_or_slow_the_rest_is_answered() {
    let database = Database::create().await;
    let app = TestApp::start(&database).await;
    let name = &database.name;
    let (server, _) = database.url.rsplit_once('/').expect("a URL");
    let elsewhere = Session::connect(&format!("{server}/postgres")).await;
    let assert_answers_without_it = |scrape: &Scrape| {
        assert_eq!(scrape.value("database_up", &[]), 0.0);
        assert_eq!(scrape.value("deliveries_total", &[]), 0.0);
        for unknown in ["triggers_ok", "journal_rows", "notify_queue_usage_ratio"] {
            assert_eq!(scrape.find(unknown, &[]), None, "{unknown}");
        }
    };

    // Slow: it would answer when the lock is gone.
    let lock = "begin; lock table space_events.expected_capture in access exclusive mode";
    database.sql(lock).await;
    assert_answers_without_it(&Scrape::of(&app).await);
    database.sql("rollback").await;
    until(&app, "answered", |now| now.value("database_up", &[]) == 1.0).await;

    let away = format!("alter database {name} with allow_connections false");
    elsewhere.sql(&away).await;
    let cut =
        format!("select pg_terminate_backend(pid) from pg_stat_activity where datname = '{name}'");
    elsewhere.sql(&cut).await;
    let scrape = until(&app, "away", |now| {
        now.value("database_up", &[]) == 0.0 && now.value("listening", &[]) == 0.0
    })
    .await;
    assert_answers_without_it(&scrape);
    let back = format!("alter database {name} with allow_connections true");
    elsewhere.sql(&back).await;
    let scrape = until(&app, "back", |now| {
        now.value("database_up", &[]) == 1.0 && now.value("listening", &[]) == 1.0
    })
    .await;
    assert_eq!(scrape.value("listen_reconnections_total", &[]), 1.0);
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn changes_without_an_event_refused_clients_and_those_that_come_back_are_counted() {
    let database = Database::create().await;
    let settings = Settings {
        api_keys: Some("a:ALL".to_owned()),
        socket_auth: Some("key".to_owned()),
        ..Settings::default()
    };
    let app = TestApp::start_with(&database, settings).await;
    let join = async |auth: &str| {
        let mut client = Client::open(app.address).await;
        client.send(&format!("40/pricings,{auth}")).await;
        client.next_frame().await
    };
    assert!(join("").await.contains("UNAUTHORIZED"));
    for _ in 0..2 {
        let refusal = join(r#"{"apiKey":"a","since":"x"}"#).await;
        assert!(refusal.contains("POSITION_INVALID"), "{refusal}");
    }
    let mut client = Client::join(app.address, r#"40/pricings,{"apiKey":"a","since":""}"#).await;
    for sql in [
        "insert into services (name) values ('Zoom')",
        "insert into pricings (service_name, version) select 'Zoom', n from generate_series(1, 3) n",
        "update pricings set availability = 'archived'",
        "delete from pricings where version <> '1'",
        "update services set disabled = true",
        "insert into pricings (service_name, version) values ('Zoom', 'silent')",
        "delete from services",
    ] {
        database.sql(sql).await;
    }
    let since = position_of(&client.next_frame().await);
    let connect = format!(r#"40/pricings,{{"apiKey":"a","since":"{since}"}}"#);
    let mut back = Client::join(app.address, &connect).await;
    back.next_events(6).await;
    let open = database.connect().await;
    open.sql("begin; select 1").await;
    let now = Scrape::read(
        &app.request(Method::GET, "/metrics")
            .header("x-api-key", "a")
            .send()
            .await
            .expect("an answer")
            .text()
            .await
            .expect("a text"),
    )
    .await;
    for (reason, count) in [
        ("was_archived", 2.0),
        ("service_is_disabled", 1.0),
        ("was_disabled", 1.0),
        ("service_enabled", 0.0),
        ("same_offer", 0.0),
    ] {
        let labels = [("reason", reason)];
        let found = now.value("changes_not_announced_total", &labels);
        assert_eq!(found, count, "{reason}: {now}");
    }
    for (reason, count) in [("unauthorized", 1.0), ("position_invalid", 2.0)] {
        let labels = [("reason", reason)];
        assert_eq!(now.value("handshakes_refused_total", &labels), count);
    }
    assert_eq!(now.value("catch_ups_total", &[("cause", "came_back")]), 1.0);
    assert_eq!(now.value("replayed_total", &[]), 6.0);
    assert!(now.value("oldest_transaction_age_seconds", &[]) > 0.0);
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_pruned_is_counted() {
    let database = Database::create().await;
    let settings = Settings {
        event_retention: Some("1s".to_owned()),
        ..Settings::default()
    };
    let app = TestApp::start_with(&database, settings).await;
    database.add_service("Zoom").await;
    database.add_pricings("Zoom", 1..11).await;
    let scrape = until(&app, "pruned", |now| {
        now.value("journal_pruned_rows_total", &[]) == 10.0
    })
    .await;
    assert_eq!(scrape.value("journal_oldest_row_age_seconds", &[]), 0.0);
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn where_keys_are_set_one_is_asked_for() {
    let database = Database::create().await;
    let settings = Settings {
        api_keys: Some("reads:EVALUATION,deletes:ALL".to_owned()),
        ..Settings::default()
    };
    let app = TestApp::start_with(&database, settings).await;
    for (header, value, status) in [
        ("accept", "*/*", 401),
        ("authorization", "Bearer reads", 200),
        ("authorization", "bearer deletes", 200),
        ("authorization", "Bearer wrong", 401),
        ("authorization", "Basic reads", 401),
        ("authorization", "reads", 401),
        ("x-api-key", "reads", 200),
        ("x-api-key", "wrong", 401),
    ] {
        let request = app.request(Method::GET, "/metrics").header(header, value);
        let answer = request.send().await.expect("an answer");
        assert_eq!(answer.status(), status, "{header}: {value}");
        let asks = answer.headers().contains_key("www-authenticate");
        assert_eq!(asks, status == 401, "{header}: {value}");
        let text = answer.text().await.expect("a text");
        assert_eq!(text.contains("space_events_"), status == StatusCode::OK);
    }
    app.stop().await;
}
