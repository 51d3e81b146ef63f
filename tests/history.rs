//! What was announced and recorded, read in both directions.

use std::collections::BTreeSet;

use serde_json::{Value, json};
use space_events::config::Settings;

use crate::support::client::{in_short, position_of, since};
use crate::support::{Client, Database, End, Server, TestApp};

/// All pages of a path, with so many entries each; the entries.
async fn pages(app: &TestApp, path: &str, list: &str) -> Vec<Value> {
    let mut all = Vec::new();
    let mut query = String::new();
    loop {
        let (status, page) = app.get(&format!("{path}{query}")).await;
        assert_eq!(status, 200, "{page}");
        let entries = page[list].as_array().expect("a list");
        if entries.is_empty() {
            return all;
        }
        all.extend(entries.iter().cloned());
        query = format!("&since={}", page["position"].as_str().expect("a text"));
    }
}

fn short(event: &Value) -> String {
    in_short(&format!("42/pricings,[\"message\",{event}]"))
}

fn all_short(events: &[Value]) -> Vec<String> {
    events.iter().map(short).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn events_are_read_page_by_page_from_the_oldest_and_from_the_newest() {
    let database = Database::create().await;
    let app = TestApp::start(&database).await;
    let mut client = Client::join(app.address, &since("")).await;
    let slow = database.connect().await;
    database.add_services(&["Zoom", "Slow"]).await;
    slow.sql("begin; insert into pricings (service_name, version) values ('Slow', '1')")
        .await;
    database
        .sql(
            "insert into pricings (service_name, version) select 'Zoom', n from generate_series(0, 19) n;
            delete from pricings where version::int < 11; update pricings set document = '{}'",
        )
        .await;
    let mut heard = Vec::new();
    while heard.len() < 20 + 11 {
        heard.push(client.next_frame().await);
        if heard.len() == 25 {
            slow.sql("commit").await;
        }
    }
    database.add_pricings("Zoom", 100..120).await;
    while heard.len() < 52 {
        heard.push(client.next_frame().await);
    }
    let in_order: Vec<String> = heard.iter().map(|frame| in_short(frame)).collect();

    // Pages of any size are the whole, and the two directions one order.
    for limit in [1, 7, 52, 1000] {
        let path = |order| format!("/api/v1/events?limit={limit}&order={order}");
        let oldest_first = pages(&app, &path("asc"), "events").await;
        let mut newest_first = pages(&app, &path("desc"), "events").await;
        newest_first.reverse();
        assert_eq!(all_short(&oldest_first), all_short(&newest_first));
        let set = |events: Vec<String>| events.into_iter().collect::<BTreeSet<_>>();
        assert_eq!(set(all_short(&oldest_first)), set(in_order.clone()));
        assert_eq!(oldest_first.len(), 52);
        // From the position of each, what is behind it is there.
        for (place, event) in newest_first.iter().enumerate().step_by(9) {
            let position = event["position"].as_str().expect("a text");
            let path = format!("/api/v1/events?limit=1000&since={position}");
            let later = app.get(&path).await.1;
            let later = later["events"].as_array().expect("a list").clone();
            assert_eq!(
                all_short(&later),
                all_short(&newest_first[place + 1..]),
                "{place}"
            );
            assert_eq!(oldest_first[place]["id"], event["id"]);
        }
    }

    // Back from where a client was: what it had heard, and nothing else.
    for count in [1, 10, 24, 25, 26, 27, 40, 52] {
        let position = position_of(&heard[count - 1]);
        let path = format!("/api/v1/events?limit=1000&order=desc&since={position}");
        let (status, before) = app.get(&path).await;
        assert_eq!(status, 200, "{before}");
        let before = all_short(before["events"].as_array().expect("a list"));
        assert_eq!(before.len(), count);
        let before: BTreeSet<_> = before.iter().collect();
        assert_eq!(before, in_order[..count].iter().collect(), "{count}");
    }
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_commits_while_somebody_pages_back_is_neither_shown_twice_nor_in_the_way() {
    let database = Database::create().await;
    let app = TestApp::start(&database).await;
    database.add_service("Zoom").await;
    database.add_pricings("Zoom", 1..31).await;
    let answer = app.request(reqwest::Method::GET, "/api/v1/events?limit=10&order=desc");
    let answer = answer.send().await.expect("an answer");
    let newest = answer.headers()["event-position"].to_str().expect("a text");
    let newest = newest.to_owned();
    let page = answer.bytes().await.expect("a body");
    let page: Value = serde_json::from_slice(&page).expect("JSON");
    database.add_pricing("Zoom", "late").await;
    let position = page["position"].as_str().expect("a text");
    let path = format!("/api/v1/events?limit=100&order=desc&since={position}");
    let older = all_short(app.get(&path).await.1["events"].as_array().expect("a list"));
    let expected: Vec<String> = (1..=20)
        .rev()
        .map(|n| format!("CREATED Zoom {n}"))
        .collect();
    assert_eq!(older, expected);
    // And whoever goes on from where the first page began hears it.
    let mut client = Client::join(app.address, &since(&newest)).await;
    let first = client.next_frame().await;
    assert_eq!(in_short(&first), "CREATED Zoom late");
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn events_are_read_by_service_and_by_code() {
    let database = Database::create().await;
    let app = TestApp::start(&database).await;
    database
        .sql(
            "insert into services (name) values ('Zoom'), ('Écran');
            insert into pricings (service_name, version) values ('Zoom', '1'), ('Écran', '1'), ('Zoom', '2');
            insert into pricings (service_name, version) select 'Zoom', 'of many ' || n from generate_series(1, 2000) n;
            update pricings set availability = 'archived' where version = '1';
            update services set disabled = true where name = 'Écran'",
        )
        .await;
    for (query, expected) in [
        (
            "service=%C3%A9CRAN",
            &["CREATED Écran 1", "ARCHIVED Écran 1", "DISABLED Écran"][..],
        ),
        (
            "code=PRICING_ARCHIVED",
            &["ARCHIVED Zoom 1", "ARCHIVED Écran 1"],
        ),
        ("service=zoom&code=PRICING_ARCHIVED", &["ARCHIVED Zoom 1"]),
        ("service=Nobody", &[]),
        ("service=Zoo", &[]),
        ("service=Zoom&code=PRICING_ACTIVED", &[]),
    ] {
        for limit in [1, 2, 1000] {
            let path = |order| format!("/api/v1/events?{query}&limit={limit}&order={order}");
            let events = pages(&app, &path("asc"), "events").await;
            assert_eq!(all_short(&events), expected, "{query}");
            let mut events = pages(&app, &path("desc"), "events").await;
            events.reverse();
            assert_eq!(all_short(&events), expected, "{query}");
        }
    }
    for wrong in [
        "code=PRICING_ACTIVATED",
        "code=",
        "order=up",
        "service=%00",
        "limit=0",
    ] {
        let (status, answer) = app.get(&format!("/api/v1/events?{wrong}")).await;
        assert_eq!(status, 400, "{wrong}: {answer}");
    }
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn each_recorded_change_has_its_event_or_the_reason_why_it_has_none() {
    let database = Database::create().await;
    let app = TestApp::start(&database).await;
    let cases = [
        // Not recorded at all.
        (
            "insert into services (name) values ('Zoom'), ('Other')",
            vec![],
        ),
        (
            "begin; insert into pricings (service_name, version) values ('Zoom', '0'); rollback",
            vec![],
        ),
        (
            "insert into pricings (service_name, version) values ('Zoom', '1'), ('Zoom', '2')",
            vec!["CREATED Zoom 1", "CREATED Zoom 2"],
        ),
        (
            "update pricings set availability = 'active', document = '{}'",
            vec![],
        ),
        (
            "update pricings set availability = 'archived' where version = '1'",
            vec!["ARCHIVED Zoom 1"],
        ),
        (
            "delete from pricings where version = '1'",
            vec!["was_archived"],
        ),
        (
            "update services set disabled = true where name = 'Zoom'",
            vec!["DISABLED Zoom"],
        ),
        (
            "insert into pricings (service_name, version) values ('Zoom', '3')",
            vec!["service_is_disabled"],
        ),
        (
            "update services set disabled = false where name = 'Zoom'",
            vec!["service_enabled", "ACTIVED Zoom 2", "ACTIVED Zoom 3"],
        ),
        (
            "update services set name = 'zoom' where name = 'Zoom'",
            vec![],
        ),
        (
            "update services set disabled = true where name = 'zoom'",
            vec!["DISABLED zoom"],
        ),
        (
            "delete from services where name = 'zoom'",
            vec!["was_disabled"],
        ),
    ];
    let mut all = Vec::new();
    for (sql, expected) in cases {
        database.sql(sql).await;
        let path = format!("/api/v1/changes?limit={}", expected.len() + 1);
        let (status, page) = app.get(&path).await;
        assert_eq!(status, 200, "{page}");
        let mut changes = page["changes"].as_array().expect("a list").clone();
        changes.truncate(expected.len());
        changes.reverse();
        let said: Vec<String> = changes
            .iter()
            .map(|change| match change["reason"].as_str() {
                None => short(&change["event"]),
                Some(reason) => {
                    assert!(change["event"].is_null(), "{change}");
                    let sentence = change["explanation"].as_str().expect("a sentence");
                    assert!(sentence.ends_with('.'), "{change}");
                    reason.to_owned()
                }
            })
            .collect();
        assert_eq!(said, expected, "{sql}");
        all.extend(changes);
    }
    for path in ["/api/v1/changes?limit=3", "/api/v1/changes?limit=1000"] {
        let mut newest_first = pages(&app, path, "changes").await;
        newest_first.reverse();
        let ids = |changes: &[Value]| {
            changes
                .iter()
                .map(|change| change["id"].clone())
                .collect::<Vec<_>>()
        };
        assert_eq!(ids(&newest_first), ids(&all));
        let oldest_first = pages(&app, &format!("{path}&order=asc"), "changes").await;
        assert_eq!(ids(&oldest_first), ids(&all));
    }
    // The same ids as in the history of events.
    let events = pages(&app, "/api/v1/events?", "events").await;
    let announced = all.iter().filter(|change| change["event"].is_object());
    assert!(
        announced
            .map(|change| &change["id"])
            .eq(events.iter().map(|event| &event["id"]))
    );

    // What a change looks like.
    let change = &all[5];
    assert_eq!(change["table"], "pricings");
    assert_eq!(change["serviceName"], "Zoom");
    assert!(change["before"].is_null());
    assert_eq!(
        change["after"],
        json!({"version": "3", "availability": "active", "serviceDisabled": true})
    );
    assert_eq!(all[4]["before"], json!({"serviceDisabled": false}));
    assert_eq!(all[4]["after"], json!({"serviceDisabled": true}));
    let of_other = app.get("/api/v1/changes?service=Other").await.1;
    assert_eq!(of_other["changes"], json!([]));
    let of_zoom = pages(&app, "/api/v1/changes?service=ZOOM", "changes").await;
    assert_eq!(of_zoom.len(), all.len());
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_time_of_the_commit_is_told_where_postgres_keeps_it() {
    let sql = "insert into services (name) values ('Zoom');
               insert into pricings (service_name, version) values ('Zoom', '1')";
    let mut server = Server::start(&["track_commit_timestamp = off"]).await;
    let app = TestApp::start_at(&server.url, Settings::default()).await;
    let session = server.connect().await;
    session.sql(sql).await;
    for (path, list) in [("/api/v1/events", "events"), ("/api/v1/changes", "changes")] {
        let (status, page) = app.get(path).await;
        assert_eq!(status, 200, "{page}");
        assert!(page[list][0].get("committedAt").is_none(), "{page}");
    }
    app.stop().await;
    server.stop(End::Fast).await;

    let database = Database::create().await;
    let app = TestApp::start(&database).await;
    let slow = database.connect().await;
    slow.sql(&format!("begin; {sql}")).await;
    // What another transaction did meanwhile is older than this commit.
    let meanwhile = database.sql("select clock_timestamp()::text").await;
    slow.sql("commit").await;
    for (path, list) in [
        ("/api/v1/events?order=desc", "events"),
        ("/api/v1/changes", "changes"),
    ] {
        let (status, page) = app.get(path).await;
        assert_eq!(status, 200, "{page}");
        let time = |name: &str| page[list][0][name].as_str().expect("a time").to_owned();
        let sql = format!(
            "select '{}'::timestamptz <= '{at}' and '{at}' <= '{}'::timestamptz + interval '1 ms'",
            time("occurredAt"),
            time("committedAt"),
            at = meanwhile[0],
        );
        assert_eq!(database.sql(&sql).await, ["t"], "{page}");
    }
    app.stop().await;
}
