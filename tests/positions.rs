//! Coming back without a gap, and without hearing anything twice.

use std::net::SocketAddr;

use reqwest::Method;
use space_events::config::Settings;

use crate::support::client::{in_short, position_of, since};
use crate::support::postgres::{Session, new_directory, watch};
use crate::support::{Client, Database, Program, Server, TestApp, signal, wait_until};

/// The message of the `connect_error` that a CONNECT is answered with.
async fn refusal(address: SocketAddr, connect: &str) -> String {
    let mut client = Client::open(address).await;
    client.send(connect).await;
    let answer = client.next_frame().await;
    let json = answer
        .strip_prefix("44/pricings,")
        .unwrap_or_else(|| panic!("{connect}: {answer}"));
    let json: serde_json::Value = serde_json::from_str(json).expect("JSON");
    json["message"].as_str().expect("a message").to_owned()
}

async fn header(app: &TestApp, path: &str) -> String {
    let answer = app
        .request(Method::GET, path)
        .send()
        .await
        .expect("an answer");
    assert_eq!(answer.status(), 200, "{path}");
    let position = answer.headers().get("event-position").expect("a position");
    position.to_str().expect("a text").to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_comes_back_to_every_position_that_it_was_given() {
    let database = Database::create().await;
    let app = TestApp::start(&database).await;
    // Another instance gives the same positions.
    let other = TestApp::start(&database).await;
    let mut client = Client::join(app.address, &since("")).await;
    let slow = database.connect().await;
    database.add_services(&["Zoom", "Slow"]).await;
    slow.sql("begin; insert into pricings (service_name, version) values ('Slow', '1')")
        .await;
    database.add_pricings("Zoom", 0..10).await;
    let mut heard = Vec::new();
    for _ in 0..10 {
        heard.push(client.next_frame().await);
    }
    slow.sql("commit").await;
    heard.push(client.next_frame().await);
    database.add_pricings("Zoom", 10..3000).await;
    for _ in 10..3000 {
        heard.push(client.next_frame().await);
    }
    let events: Vec<String> = heard.iter().map(|frame| in_short(frame)).collect();
    for nth in (0..heard.len()).filter(|nth| *nth < 14 || nth % 300 == 0) {
        let position = position_of(&heard[nth]);
        for instance in [&app, &other] {
            let mut back = Client::join(instance.address, &since(&position)).await;
            for expected in &events[nth + 1..] {
                assert_eq!(back.next_event().await, *expected, "after {nth}");
            }
        }
    }
    // All of them go on live, from the same place.
    let mut back = Client::join(other.address, &since(&position_of(&heard[3]))).await;
    database
        .sql("delete from services where name = 'Slow'")
        .await;
    assert_eq!(client.next_event().await, "DISABLED Slow");
    for expected in &events[4..] {
        assert_eq!(back.next_event().await, *expected);
    }
    assert_eq!(back.next_event().await, "DISABLED Slow");
    app.stop().await;
    other.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn clients_that_come_back_while_others_write_miss_nothing() {
    const ROWS: usize = 3000;
    let database = Database::create().await;
    let app = TestApp::start(&database).await;
    database.add_service("Zoom").await;
    let mut position = header(&app, "/services").await;
    let writer = database.connect().await;
    let writing = tokio::spawn(async move {
        for version in 0..ROWS {
            writer.add_pricing("Zoom", version).await;
        }
    });
    let mut version = None;
    let last = (ROWS - 1).to_string();
    while version.as_deref() != Some(&*last) {
        let mut client = Client::join(app.address, &since(&position)).await;
        for _ in 0..37 {
            if version.as_deref() == Some(&*last) {
                break;
            }
            let frame = client.next_frame().await;
            let next = version.map_or(0, |version: String| {
                version.parse::<usize>().expect("a number") + 1
            });
            assert_eq!(in_short(&frame), format!("CREATED Zoom {next}"));
            version = Some(next.to_string());
            position = position_of(&frame);
        }
    }
    writing.await.expect("the writer ends");
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_list_and_a_subscription_from_its_position_are_all_there_is() {
    let database = Database::create().await;
    let app = TestApp::start(&database).await;
    database.add_service("Zoom").await;
    database.add_pricing("Zoom", "1").await;
    for path in [
        "/services",
        "/api/v1/services",
        "/services/Zoom",
        "/services/Zoom/pricings",
        "/services/Zoom/pricings/1",
    ] {
        let position = header(&app, path).await;
        database
            .sql("update pricings set availability = 'archived'")
            .await;
        let mut client = Client::join(app.address, &since(&position)).await;
        assert_eq!(client.next_event().await, "ARCHIVED Zoom 1", "{path}");
        database
            .sql("update pricings set availability = 'active'")
            .await;
        assert_eq!(client.next_event().await, "ACTIVED Zoom 1", "{path}");
    }
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_history_is_read_page_by_page() {
    let database = Database::create().await;
    let app = TestApp::start(&database).await;
    let begin = app.get("/api/v1/events?since=").await.1;
    assert_eq!(begin["events"], serde_json::json!([]));
    database.add_service("Zoom").await;
    database.add_pricings("Zoom", 0..25).await;
    database
        .sql("update pricings set document = '{}'; update services set disabled = true")
        .await;
    for start in [begin["position"].as_str().expect("a position"), ""] {
        let mut query = if start.is_empty() {
            String::new()
        } else {
            format!("&since={start}")
        };
        let mut events = Vec::new();
        let mut positions = Vec::new();
        loop {
            let (status, page) = app.get(&format!("/api/v1/events?limit=10{query}")).await;
            assert_eq!(status, 200);
            let found = page["events"].as_array().expect("a list").clone();
            if found.is_empty() {
                break;
            }
            assert!(found.len() <= 10);
            for event in found {
                assert!(event["occurredAt"].as_str().expect("a time").ends_with('Z'));
                positions.push(event["position"].as_str().expect("a position").to_owned());
                events.push(
                    event["details"]["pricingVersion"]
                        .as_str()
                        .unwrap_or("disabled")
                        .to_owned(),
                );
            }
            query = format!("&since={}", page["position"].as_str().expect("a position"));
        }
        let mut expected: Vec<String> = (0..25).map(|version| version.to_string()).collect();
        expected.push("disabled".to_owned());
        assert_eq!(events, expected);
        let mut back = Client::join(app.address, &since(&positions[20])).await;
        assert_eq!(back.next_event().await, "CREATED Zoom 21");
    }
    for query in ["limit=0", "limit=1001", "limit=x", "since=x", "since=%00"] {
        let (status, answer) = app.get(&format!("/api/v1/events?{query}")).await;
        assert_eq!(status, 400, "{query}: {answer}");
    }
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_position_that_cannot_be_gone_on_from_is_refused() {
    let database = Database::create().await;
    let app = TestApp::start(&database).await;
    let other_database = Database::create().await;
    let other = TestApp::start(&other_database).await;
    let foreign = header(&other, "/services").await;
    let own = header(&app, "/services").await;
    for text in [
        "x",
        "0",
        "AAAA",
        &foreign,
        &own[1..],
        &own[..own.len() - 1],
        &format!("{own}A"),
        &"A".repeat(5000),
    ] {
        let message = refusal(app.address, &since(text)).await;
        assert!(message.starts_with("POSITION_INVALID"), "{text}: {message}");
    }
    for auth in [
        "{\"since\":1}",
        "{\"since\":[]}",
        "{\"since\":{}}",
        "{\"since\":true}",
    ] {
        let message = refusal(app.address, &format!("40/pricings,{auth}")).await;
        assert!(message.starts_with("POSITION_INVALID"), "{auth}: {message}");
    }
    app.stop().await;
    other.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_position_older_than_what_is_kept_is_refused() {
    let database = Database::create().await;
    let settings = Settings {
        event_retention: Some("1s".to_owned()),
        ..Settings::default()
    };
    let app = TestApp::start_with(&database, settings).await;
    let old = header(&app, "/services").await;
    let mut live = app.join().await;
    database.add_service("Zoom").await;
    database.add_pricings("Zoom", 0..100).await;
    live.next_events(100).await;
    database.is_pruned().await;
    let message = refusal(app.address, &since(&old)).await;
    assert!(message.starts_with("POSITION_EXPIRED"), "{message}");
    let (status, answer) = app.get(&format!("/api/v1/events?since={old}")).await;
    assert_eq!(status, 400);
    assert!(
        answer["error"]
            .as_str()
            .expect("a sentence")
            .starts_with("POSITION_EXPIRED")
    );
    let (status, answer) = app.get("/api/v1/events").await;
    assert_eq!(
        (status.as_u16(), &answer["events"]),
        (200, &serde_json::json!([]))
    );
    let new = header(&app, "/services").await;
    let mut back = Client::join(app.address, &since(&new)).await;
    database.add_pricing("Zoom", "new").await;
    assert_eq!(live.next_event().await, "CREATED Zoom new");
    assert_eq!(back.next_event().await, "CREATED Zoom new");
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_clock_that_was_ahead_does_not_stop_retention() {
    let database = Database::create().await;
    TestApp::start(&database).await.stop().await;
    database
        .sql(
            "insert into services (name) values ('Zoom');
            insert into pricings (service_name, version) select 'Zoom', n from generate_series(0, 99) n;
            delete from space_events.marks;
            insert into space_events.marks (taken_at, max_id) values (now() + interval '1 year', 0)",
        )
        .await;
    let mut program = Program::start(&[("DATABASE_URL", &database.url), ("EVENT_RETENTION", "1s")]);
    program.line_after("the database's clock was ahead");
    program.line_after("pruned the journal");
}

#[tokio::test(flavor = "multi_thread")]
async fn on_a_quiet_database_an_old_position_is_as_good_as_a_new_one() {
    // A server of its own, on which nobody else writes while positions are given: a
    // transaction in progress is taken for one that may have changed something.
    let directory = new_directory("quiet");
    let watchdog = watch(&directory);
    let data_dir = directory.to_str().expect("a path").to_owned();
    let mut program = Program::start(&[("DATA_DIR", &data_dir)]);
    let address = program.address();
    let database = Session::connect(&program.embedded_url()).await;
    database.sql("alter system set autovacuum = off").await;
    database.sql("select pg_reload_conf()").await;
    wait_until("nobody else writes", async || {
        let marked = "select count(*) from space_events.marks";
        let vacuuming =
            "select count(*) from pg_stat_activity where backend_type like 'autovacuum%'";
        database.sql(marked).await == ["1"] && database.sql(vacuuming).await == ["0"]
    })
    .await;
    let mut client = Client::join(address, &since("")).await;
    database
        .sql("insert into services (name) values ('Zoom'); insert into pricings (service_name, version) values ('Zoom', '1'), ('Zoom', '2')")
        .await;
    let first = client.next_frame().await;
    client.next_frame().await;
    // What comes after the event in its transaction means nothing to clients.
    database
        .sql("begin; update services set disabled = true; update pricings set availability = 'archived'; commit")
        .await;
    let last = client.next_frame().await;
    assert_eq!(in_short(&last), "DISABLED Zoom");
    program.signal("-TERM");
    assert_eq!(program.wait(), Some(0));

    let mut program = Program::start(&[("DATA_DIR", &data_dir), ("EVENT_RETENTION", "1s")]);
    let address = program.address();
    let database = Session::connect(&program.embedded_url()).await;
    database.is_pruned().await;
    let mut back = Client::join(address, &since(&position_of(&last))).await;
    database
        .sql("insert into services (name) values ('Slack'); delete from services where name = 'Slack'")
        .await;
    assert_eq!(back.next_event().await, "DISABLED Slack");
    let message = refusal(address, &since(&position_of(&first))).await;
    assert!(message.starts_with("POSITION_EXPIRED"), "{message}");
    program.signal("-TERM");
    assert_eq!(program.wait(), Some(0));
    drop(watchdog);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_journal_of_another_cluster_is_not_gone_on_with() {
    let database = Database::create().await;
    let app = TestApp::start(&database).await;
    let position = header(&app, "/services").await;
    app.stop().await;
    // As a restored dump looks: rows from the future, written elsewhere.
    database
        .sql(
            "update space_events.journal set system_identifier = 1;
            insert into space_events.row_changes (xid, relation, service_name, disabled_before) values ('999999999', 'services', 'Zoom', false)",
        )
        .await;
    let app = TestApp::start(&database).await;
    assert!(
        refusal(app.address, &since(&position))
            .await
            .starts_with("POSITION_INVALID")
    );
    let mut client = app.join().await;
    database
        .sql("insert into services (name) values ('Slack'); delete from services")
        .await;
    assert_eq!(client.next_event().await, "DISABLED Slack");
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_are_asked_for_where_they_must_be() {
    let database = Database::create().await;
    let settings = Settings {
        api_keys: Some("reader:EVALUATION".to_owned()),
        socket_auth: Some("key".to_owned()),
        ..Settings::default()
    };
    let app = TestApp::start_with(&database, settings).await;
    for auth in ["", "{}", "{\"apiKey\":\"wrong\"}", "{\"apiKey\":1}"] {
        let message = refusal(app.address, &format!("40/pricings,{auth}")).await;
        assert!(message.starts_with("UNAUTHORIZED"), "{auth}: {message}");
    }
    let mut client = Client::join(app.address, "40/pricings,{\"apiKey\":\"reader\"}").await;
    database
        .sql("insert into services (name) values ('Slack'); delete from services")
        .await;
    assert_eq!(client.next_event().await, "DISABLED Slack");
    assert_eq!(app.get("/api/v1/events").await.0, 401);
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn asking_where_the_journal_is_waits_for_no_page() {
    let server = Server::start(&[]).await;
    let app = TestApp::start_at(&server.url, Settings::default()).await;
    let session = server.connect().await;
    session.add_service("Zoom").await;
    session.add_pricing("Zoom", "1").await;
    let (_, history) = app.get("/api/v1/events").await;
    assert_eq!(history["events"].as_array().expect("a list").len(), 1);
    // Whatever reads pages from now on, on these connections, waits.
    let readers = session
        .sql("select pid from pg_stat_activity where application_name = 'space-events readers'")
        .await;
    assert_eq!(readers.len(), 1);
    signal("-STOP", &readers);
    let (status, now) = app.get("/api/v1/events?since=").await;
    signal("-CONT", &readers);
    assert_eq!(status, 200, "{now}");
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn beside_each_event_are_its_position_its_own_id_and_its_time() {
    let database = Database::create().await;
    let app = TestApp::start(&database).await;
    let other = TestApp::start(&database).await;
    let mut plain = app.join().await;
    let mut clients = [
        Client::join(app.address, &since("")).await,
        Client::join(other.address, &since("")).await,
    ];
    let start = header(&app, "/services").await;
    database
        .sql("insert into services (name) values ('Zoom'); insert into pricings (service_name, version) values ('Zoom', '1'), ('Zoom', '2')")
        .await;
    let (_, history) = app.get("/api/v1/events").await;
    let mut back = Client::join(other.address, &since(&start)).await;
    let mut ids = Vec::new();
    for nth in 0..2 {
        let event = plain.next_frame().await;
        let event = event.strip_suffix(']').expect("an array");
        let past = &history["events"][nth];
        let mut all = Vec::new();
        for client in clients.iter_mut().chain([&mut back]) {
            let frame = client.next_frame().await;
            let beside = frame.strip_prefix(event).expect("the same event");
            let beside = beside
                .strip_prefix(r#",{"position":""#)
                .expect("a position");
            let (_, beside) = beside.split_once('"').expect("a text");
            let expected = format!(
                r#","id":{},"occurredAt":{}}}]"#,
                past["id"], past["occurredAt"]
            );
            assert_eq!(beside, expected);
            all.push(position_of(&frame));
        }
        // Whoever gave a position, any instance goes on from it.
        all.push(past["position"].as_str().expect("a position").to_owned());
        for position in all.into_iter().filter(|_| nth == 0) {
            let mut back = Client::join(other.address, &since(&position)).await;
            assert_eq!(back.next_event().await, "CREATED Zoom 2");
        }
        let occurred_at = past["occurredAt"].as_str().expect("a time");
        assert!(occurred_at.ends_with('Z'), "{occurred_at}");
        ids.push(past["id"].clone());
    }
    assert_ne!(ids[0], ids[1]);
    app.stop().await;
    other.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_has_heard_nothing_comes_back_without_a_gap() {
    let database = Database::create().await;
    let app = TestApp::start(&database).await;
    let open = Client::open(app.address).await;
    let mut client = open;
    client.send(&since("")).await;
    let answer = client.next_frame().await;
    assert!(answer.starts_with("40/pricings,{"), "{answer}");
    wait_for_position(&mut client, "").await;
    let first = client.position.clone();
    drop(client);
    database.add_service("Zoom").await;
    database.add_pricing("Zoom", "1").await;
    let mut back = Client::join(app.address, &since(&first)).await;
    assert_eq!(back.next_event().await, "CREATED Zoom 1");
    // It was told where it was before it was told what came after.
    assert_eq!(back.position, first);
    // What means nothing to clients moves them on too, and is told now and then.
    database
        .sql("insert into services (name, disabled) values ('Quiet', true); insert into pricings (service_name, version) values ('Quiet', '1')")
        .await;
    wait_for_position(&mut back, &first).await;
    let later = back.position.clone();
    drop(back);
    let mut again = Client::join(app.address, &since(&later)).await;
    database.add_pricing("Zoom", "2").await;
    assert_eq!(again.next_event().await, "CREATED Zoom 2");
    app.stop().await;
}

/// Waits until a client is told another position by the event `position`.
async fn wait_for_position(client: &mut Client, before: &str) {
    wait_until("another position", async || {
        client.hears_nothing().await;
        client.position != before
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_auth_that_cannot_be_read_is_refused_and_none_is_none() {
    let database = Database::create().await;
    let app = TestApp::start(&database).await;
    let nested = format!("{{\"since\":{}{}}}", "[".repeat(150), "]".repeat(150));
    // A number alone is no `auth` but the packet's acknowledgement id.
    for auth in [
        r#"{"since":"bogus",}"#,
        r#"{"since":"""#,
        "5.5",
        "true",
        "\"text\"",
        r#"["x"]"#,
        &nested,
    ] {
        let message = refusal(app.address, &format!("40/pricings,{auth}")).await;
        assert!(message.starts_with("AUTH_INVALID"), "{auth}: {message}");
    }
    let mut clients = Vec::new();
    for auth in ["", "{}", "null", r#"{"since":null}"#] {
        clients.push(Client::join(app.address, &format!("40/pricings,{auth}")).await);
    }
    database
        .sql("insert into services (name) values ('Slack'); delete from services")
        .await;
    for mut client in clients {
        let frame = client.next_frame().await;
        assert!(
            frame.ends_with(r#""details":{"serviceName":"Slack"}}]"#),
            "{frame}"
        );
        assert_eq!(client.position, "");
    }
    app.stop().await;
}
