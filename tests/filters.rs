//! Clients that hear a part: exactly that, live and when they come back.

use serde_json::{Value, json};

use crate::clients::PublishedClient;
use crate::support::client::{in_short, position_of};
use crate::support::{Client, Database, TestApp, wait_until};

/// A CONNECT with this `auth`.
fn connect(auth: &Value) -> String {
    format!("40/pricings,{auth}")
}

/// As [`connect`], for what came after a position.
fn connect_since(auth: &Value, position: &str) -> String {
    let mut auth = auth.clone();
    auth["since"] = json!(position);
    connect(&auth)
}

/// Whether a client with this `auth` hears an event: what the README says, once more.
fn hears(auth: &Value, frame: &str) -> bool {
    let arguments = frame.strip_prefix("42/pricings,").expect("an event");
    let arguments: Value = serde_json::from_str(arguments).expect("JSON");
    let event = &arguments[1];
    let service = event["details"]["serviceName"].as_str().expect("a name");
    let is_among = |list: &Value, text: &str| {
        list.as_array().is_none_or(|list| {
            let mut list = list.iter().filter_map(Value::as_str);
            list.any(|item| item.to_lowercase() == text.to_lowercase())
        })
    };
    let code = event["code"].as_str().expect("a code");
    is_among(&auth["services"], service) && is_among(&auth["codes"], code)
}

/// Events of all codes, of three services, in transactions of one and of many.
async fn write(database: &Database) {
    for sql in [
        "insert into services (name) values ('Zoom'), ('Slack'), ('Übersee ΣΊΣΥΦΟΣ') on conflict do nothing",
        "insert into pricings (service_name, version) select name, version from services, generate_series(1, 30) version order by version, name",
        "update pricings set availability = 'archived' where version = '1'",
        "update pricings set availability = 'active' where version = '1' and service_name <> 'Slack'",
        "delete from pricings where version = '2' and service_name = 'Zoom'",
        "update services set disabled = true where name = 'Slack'",
        "update services set disabled = false where name = 'Slack'",
        "delete from services where name = 'Slack'",
        "delete from services where name = 'Zoom'",
        "delete from services",
    ] {
        database.sql(sql).await;
    }
}

/// How many events [`write`] causes.
const WRITTEN: usize = 3 * 30 + 3 + 2 + 1 + 1 + 29 + 3;

fn filters() -> [Value; 6] {
    [
        json!({ "services": ["zOOM"] }),
        json!({ "services": ["SLACK", "übersee σίσυφος", "who comes later"] }),
        json!({ "codes": ["PRICING_ARCHIVED"] }),
        json!({ "codes": ["SERVICE_DISABLED", "PRICING_ACTIVED", "SERVICE_DISABLED"] }),
        json!({ "services": ["zoom"], "codes": ["SERVICE_DISABLED", "PRICING_CREATED"] }),
        json!({ "services": null, "codes": null }),
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_hears_the_services_and_codes_that_it_asked_for_and_nothing_else() {
    let database = Database::create().await;
    let app = TestApp::start(&database).await;
    let mut all = app.join().await;
    let mut clients = Vec::new();
    for auth in filters() {
        let plain = Client::join(app.address, &connect(&auth)).await;
        let told = Client::join(app.address, &connect_since(&auth, "")).await;
        clients.push((auth, plain, told));
    }
    write(&database).await;
    write(&database).await;
    let mut heard = Vec::new();
    for _ in 0..2 * WRITTEN {
        heard.push(all.next_frame().await);
    }
    for (auth, mut plain, mut told) in clients {
        for frame in heard.iter().filter(|frame| hears(&auth, frame)) {
            assert_eq!(plain.next_frame().await, *frame, "{auth}");
            let event = frame.strip_suffix(']').expect("an array");
            let frame = told.next_frame().await;
            assert!(frame.starts_with(&format!("{event},{{")), "{auth}: {frame}");
        }
    }
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn services_match_in_any_case_as_in_the_database() {
    let names = [
        "ZOOM",
        "ΣΊΣΥΦΟΣ ΟΣ.Α",
        "İstanbul",
        "STRAẞE",
        "ǅ",
        "\u{212a}elvin",
        "\u{212b}ngström",
        "Ⅷ Ⓐ Ａ",
        "ᏣᎳᎩ",
        "𐐀𐐁",
    ];
    let database = Database::create().await;
    let app = TestApp::start(&database).await;
    database.add_services(&names).await;
    let in_lower_case = database
        .sql("select space_events.case_folded(name) from services")
        .await;
    assert!(in_lower_case.iter().all(|name| !names.contains(&&**name)));
    let auth = json!({ "services": in_lower_case });
    let mut client = Client::join(app.address, &connect(&auth)).await;
    database
        .sql("insert into pricings (service_name, version) select name, '1' from services order by id")
        .await;
    for name in names {
        assert_eq!(client.next_event().await, format!("CREATED {name} 1"));
    }
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_hears_a_part_comes_back_as_exactly_as_one_that_hears_all() {
    let database = Database::create().await;
    let app = TestApp::start(&database).await;
    let other = TestApp::start(&database).await;
    let mut all = Client::join(app.address, &connect_since(&json!({}), "")).await;
    let mut clients = Vec::new();
    for auth in filters() {
        let client = Client::join(app.address, &connect_since(&auth, "")).await;
        clients.push((auth, client));
    }
    write(&database).await;
    write(&database).await;
    let mut places = Vec::new();
    for _ in 0..2 * WRITTEN {
        places.push(all.next_frame().await);
    }
    for (auth, client) in &mut clients {
        let part = |frames: &[String]| -> Vec<String> {
            let part = frames.iter().filter(|frame| hears(auth, frame));
            part.map(|frame| in_short(frame)).collect()
        };
        let expected = part(&places);
        let mut heard = Vec::new();
        for _ in 0..expected.len() {
            heard.push(client.next_frame().await);
        }
        // Back to its own places.
        for nth in (0..heard.len()).step_by(29) {
            let connect = connect_since(auth, &position_of(&heard[nth]));
            let mut back = Client::join(other.address, &connect).await;
            for event in &expected[nth + 1..] {
                assert_eq!(back.next_event().await, *event, "{auth}, after {nth}");
            }
        }
        // And to those of a client that hears all.
        for nth in (0..places.len()).step_by(67) {
            let connect = connect_since(auth, &position_of(&places[nth]));
            let mut back = Client::join(app.address, &connect).await;
            for event in part(&places[nth + 1..]) {
                assert_eq!(back.next_event().await, event, "{auth}, after {nth}");
            }
        }
    }
    // With a place of its own it may ask for all.
    let (auth, client) = &mut clients[0];
    database.sql("insert into services (name) values ('Zoom'), ('Slack'); insert into pricings (service_name, version) values ('Zoom', '1'), ('Slack', '1')").await;
    let last = client.next_frame().await;
    assert_eq!(in_short(&last), "CREATED Zoom 1", "{auth}");
    let connect = connect_since(&json!({}), &position_of(&last));
    let mut back = Client::join(app.address, &connect).await;
    assert_eq!(back.next_event().await, "CREATED Slack 1");
    app.stop().await;
    other.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn events_that_a_client_does_not_hear_move_its_place_on() {
    let database = Database::create().await;
    let app = TestApp::start(&database).await;
    database.add_services(&["Zoom", "Slack"]).await;
    let auth = json!({ "services": ["Zoom"] });
    let mut client = Client::join(app.address, &connect_since(&auth, "")).await;
    let mut first = String::new();
    let mut versions = 0;
    // While others are busy, since it is told now and then.
    wait_until("a second position", async || {
        versions += 1;
        database.add_pricing("Slack", versions).await;
        client.hears_nothing().await;
        if first.is_empty() {
            first.clone_from(&client.position);
        }
        client.position != first
    })
    .await;
    let (status, missed) = app
        .get(&format!("/api/v1/events?since={first}&limit=1000"))
        .await;
    assert_eq!(status, 200);
    let missed = missed["events"].as_array().expect("a list").len();
    let path = format!("/api/v1/events?since={}&limit=1000", client.position);
    let (_, left) = app.get(&path).await;
    let left = left["events"].as_array().expect("a list").len();
    assert!(missed > 1 && left < missed, "{left} of {missed}");
    // With it the client comes back to what it has not heard.
    let mut back = Client::join(app.address, &connect_since(&auth, &client.position)).await;
    database.add_pricing("Zoom", "1").await;
    for client in [&mut client, &mut back] {
        assert_eq!(client.next_event().await, "CREATED Zoom 1");
    }
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_burst_of_what_it_does_not_hear_neither_slows_nor_cuts_a_client() {
    // More than the replay buffer holds.
    const BURST: usize = 20_000;
    let database = Database::create().await;
    let app = TestApp::start(&database).await;
    let auth = json!({ "services": ["Zoom"] });
    let mut live = Client::join(app.address, &connect(&auth)).await;
    let mut told = Client::join(app.address, &connect_since(&auth, "")).await;
    database
        .sql("insert into services (name) values ('Zoom'), ('Slack'); insert into pricings (service_name, version) values ('Zoom', '0')")
        .await;
    assert_eq!(live.next_event().await, "CREATED Zoom 0");
    let position = position_of(&told.next_frame().await);
    database
        .sql(&format!("insert into pricings (service_name, version) select 'Slack', n from generate_series(1, {BURST}) n; insert into pricings (service_name, version) values ('Zoom', '1')"))
        .await;
    let back = connect_since(&auth, &position);
    let mut back = Client::join(app.address, &back).await;
    for client in [&mut live, &mut told, &mut back] {
        assert_eq!(client.next_event().await, "CREATED Zoom 1");
    }
    // All of them are live now.
    database
        .sql("insert into pricings (service_name, version) values ('Slack', 'last'), ('Zoom', '2')")
        .await;
    for client in [&mut live, &mut told, &mut back] {
        assert_eq!(client.next_event().await, "CREATED Zoom 2");
    }
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_filter_of_another_form_is_refused_by_its_name() {
    let database = Database::create().await;
    let app = TestApp::start(&database).await;
    let mut client = Client::open(app.address).await;
    for (auth, name) in [
        (json!({ "services": [] }), "services"),
        (json!({ "services": "Zoom" }), "services"),
        (json!({ "services": ["Zoom", 1] }), "services"),
        (json!({ "services": ["Zoom", ""] }), "services"),
        (json!({ "services": { "Zoom": true } }), "services"),
        (json!({ "services": false, "since": "" }), "services"),
        (json!({ "codes": [] }), "codes"),
        (json!({ "codes": "PRICING_CREATED" }), "codes"),
        (json!({ "codes": ["PRICING_ACTIVATED"] }), "codes"),
        (json!({ "codes": [["PRICING_CREATED"]] }), "codes"),
        (json!({ "codes": 0, "services": ["Zoom"] }), "codes"),
    ] {
        client.send(&connect(&auth)).await;
        let answer = client.next_frame().await;
        let message = answer.strip_prefix(r#"44/pricings,{"message":"FILTER_INVALID: `"#);
        let message = message.unwrap_or_else(|| panic!("{auth}: {answer}"));
        assert!(message.starts_with(name), "{auth}: {answer}");
    }
    // The connection stays, and so do others.
    client
        .send(&connect(&json!({ "services": ["Zoom"] })))
        .await;
    let answer = client.next_frame().await;
    assert!(answer.starts_with("40/pricings,{"), "{answer}");
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn socket_io_client_asks_for_a_part() {
    let database = Database::create().await;
    let app = TestApp::start(&database).await;
    let url = format!("http://{}", app.address);
    let options = json!({ "auth": { "services": ["zoom"], "codes": ["SERVICE_DISABLED"] } });
    let script = "socket_io_client.mjs";
    let mut client = PublishedClient::start(script, &[&url, &options.to_string()]).await;
    database
        .sql("insert into services (name) values ('Slack'), ('Zoom'); insert into pricings (service_name, version) values ('Zoom', '1'); delete from services where name = 'Slack'; delete from services")
        .await;
    let event = json!([{ "code": "SERVICE_DISABLED", "details": { "serviceName": "Zoom" } }]);
    assert_eq!(client.heard().await, event);
    app.stop().await;
}
