//! Every route and every form of a socket, with organisations that have services and
//! pricings of the same names: nothing of another shows in any byte.
//!
//! Each has a marker of its own in names, versions, URLs and documents.

use std::collections::BTreeSet;

use reqwest::Method;
use serde_json::{Value, json};

use super::{KEYS, ORGANIZATIONS, start};
use crate::interface::requests::cases;
use crate::support::client::in_short;
use crate::support::program::command;
use crate::support::{Client, Database, Polling, TestApp, pricing};

const MARKERS: [&str; 3] = ["MarkNull", "MarkEins", "MarkZwei"];

/// The paths of services, for an organisation's number.
fn prefixes(number: usize) -> Vec<String> {
    let mut prefixes = vec![String::new(), "/api/v1".to_owned()];
    if number > 0 {
        prefixes.push(alias(number));
    }
    prefixes
}

fn alias(number: usize) -> String {
    let id: String = ORGANIZATIONS[number]
        .bytes()
        .map(|byte| match byte.is_ascii_alphanumeric() {
            true => char::from(byte).to_string(),
            false => format!("%{byte:02X}"),
        })
        .collect();
    format!("/api/v1/organizations/{id}")
}

fn check_bytes(number: usize, what: &str, text: &str) {
    for (other, marker) in MARKERS.iter().enumerate() {
        assert!(
            other == number || !text.to_lowercase().contains(&marker.to_lowercase()),
            "{what} shows {marker} to {number}: {text}"
        );
    }
}

/// An answer to the key of an organisation: its status, headers and body, with nothing
/// of another in them.
async fn ask(
    app: &TestApp,
    number: usize,
    (method, path): (&str, &str),
    body: Option<(&str, String)>,
    accept: &str,
) -> (u16, String, String) {
    let request = app
        .request(method.parse::<Method>().expect("a method"), path)
        .header("x-api-key", KEYS[number].0)
        .header("accept", accept);
    let request = match body {
        Some((media_type, body)) => request.header("content-type", media_type).body(body),
        None => request,
    };
    let answer = request.send().await.expect("an answer");
    let status = answer.status().as_u16();
    let headers = format!("{:?}", answer.headers());
    let position = answer.headers().get("event-position");
    let position = position.map(|position| position.to_str().expect("a text").to_owned());
    let text = answer.text().await.expect("a text");
    check_bytes(
        number,
        &format!("{method} {path}"),
        &format!("{headers} {text}"),
    );
    (status, position.unwrap_or_default(), text)
}

async fn get(app: &TestApp, number: usize, path: &str) -> String {
    let (status, _, text) = ask(app, number, ("GET", path), None, "*/*").await;
    assert!(status < 300 || status == 404, "{path}: {status} {text}");
    text
}

/// Gives an organisation the services of all, and more, through REST and SQL.
async fn fill(app: &TestApp, database: &Database, number: usize) {
    let marker = MARKERS[number];
    for (name, version) in [("Zoom", "2024"), ("Wire", "2024"), (marker, "1")] {
        let document = pricing(name, version)
            .replace("features: {}", &format!("features: {{ {marker}: {{}} }}"));
        let posted = ask(
            app,
            number,
            ("POST", "/services"),
            Some(("application/yaml", document)),
            "*/*",
        );
        assert_eq!(posted.await.0, 201, "{name} {version}");
    }
    database
        .sql(&format!(
            "set space_events.organization = '{}';
            insert into pricings (service_name, version, url, document)
                values ('Zoom', '2025', 'http://{marker}', '{{\"is\":\"{marker}\"}}'), ('Zoom', '{marker}', null, null);
            insert into services (name) values ('{marker} gone'), ('off {marker}');
            insert into pricings (service_name, version) values ('{marker} gone', '1'), ('off {marker}', '1');
            delete from services where name = '{marker} gone';
            update services set disabled = true where name = 'off {marker}';
            reset space_events.organization",
            ORGANIZATIONS[number]
        ))
        .await;
}

/// All rows of the other organisations.
async fn others(database: &Database, number: usize) -> Vec<String> {
    let rows = |table: &str| {
        format!(
            "select t::text from {table} t where organization <> '{}' order by t::text;",
            ORGANIZATIONS[number]
        )
    };
    database
        .sql(&format!("{}{}", rows("services"), rows("pricings")))
        .await
}

#[tokio::test(flavor = "multi_thread")]
async fn no_route_shows_or_changes_what_is_another_organizations() {
    let database = Database::create().await;
    let app = start(&database).await;
    for number in 0..ORGANIZATIONS.len() {
        fill(&app, &database, number).await;
    }
    for (number, marker) in MARKERS.into_iter().enumerate() {
        for prefix in prefixes(number) {
            look_around(&app, number, &prefix).await;
            let before = others(&database, number).await;
            // The same answers as if there was nobody else.
            let pruned = ask(
                &app,
                number,
                ("DELETE", &format!("{prefix}/services")),
                None,
                "*/*",
            )
            .await;
            assert_eq!(pruned.2, r#"{"message":"Pruned 4 services"}"#);
            let mut asked = BTreeSet::new();
            for (method, path, name, version, query, body, expected) in cases() {
                let place = path
                    .replace("{serviceName}", name)
                    .replace("{version}", version);
                let path = format!("{prefix}{place}{query}");
                let answer = ask(&app, number, (method, &path), body, "*/*").await;
                assert_eq!(answer.0, expected, "{method} {path}: {}", answer.2);
                asked.insert(format!("{method} {place}"));
            }
            assert!(asked.len() > 15, "{asked:?}");
            let disabled = ask(
                &app,
                number,
                ("DELETE", &format!("{prefix}/services/Zoom")),
                None,
                "*/*",
            )
            .await;
            assert_eq!(disabled.0, 204);
            assert_eq!(others(&database, number).await, before);
            ask(
                &app,
                number,
                ("DELETE", &format!("{prefix}/services")),
                None,
                "*/*",
            )
            .await;
            fill(&app, &database, number).await;
        }
        for path in ["/events", "/changes"] {
            let all = page_through(&app, number, path).await;
            assert!(all.contains(marker), "{path}: {all}");
        }
        let paths = [
            "/metrics",
            "/readyz",
            "/api/v1/events/status",
            "/api/v1/events/client",
            "/api/v1/healthcheck",
            "/api/v1/openapi.json",
            "/api/v1/asyncapi.json",
            "/api/v1/docs",
            "/nowhere",
        ];
        for path in paths {
            get(&app, number, path).await;
        }
    }
    app.stop().await;
}

/// Reads all that there is to read of services.
async fn look_around(app: &TestApp, number: usize, prefix: &str) {
    let marker = MARKERS[number];
    let services = get(app, number, &format!("{prefix}/services?limit=1000")).await;
    let services: Value = serde_json::from_str(&services).expect("JSON");
    let names: Vec<_> = services
        .as_array()
        .expect("a list")
        .iter()
        .map(|service| service["name"].clone())
        .collect();
    assert_eq!(json!(names), json!([marker, "Wire", "Zoom"]));
    for query in [
        "?name=mark",
        "?disabled=true",
        "?limit=1&page=2",
        "?offset=3",
        "?order=desc",
    ] {
        get(app, number, &format!("{prefix}/services{query}")).await;
    }
    for name in [
        "Zoom",
        "Wire",
        "off MarkNull",
        "off MarkEins",
        "off MarkZwei",
    ]
    .into_iter()
    .chain(MARKERS)
    {
        // What another calls its own is not there, as if nobody did.
        let is_own = ["Zoom", "Wire", marker].contains(&name);
        for path in [
            "",
            "/pricings",
            "/pricings?pricingStatus=archived",
            "/pricings/2024",
            "/pricings/2024/public-url",
            "/pricings/2025",
            "/pricings/MarkNull",
            "/pricings/MarkEins",
            "/pricings/MarkZwei",
        ] {
            let path = format!("{prefix}/services/{name}{path}");
            for accept in ["application/json", "application/yaml"] {
                // The error of a name that was asked for repeats it.
                let request = app
                    .request(Method::GET, &path)
                    .header("x-api-key", KEYS[number].0)
                    .header("accept", accept);
                let answer = request.send().await.expect("an answer");
                let status = answer.status().as_u16();
                let text = answer.text().await.expect("a text");
                if status == 404 {
                    assert!(text.contains("not found"), "{path}: {text}");
                } else {
                    assert_eq!((status, is_own), (200, true), "{path}: {text}");
                    check_bytes(number, &path, &text);
                }
            }
        }
    }
    let zoom = get(app, number, &format!("{prefix}/services/zOOM")).await;
    let zoom: Value = serde_json::from_str(&zoom).expect("JSON");
    let versions: BTreeSet<_> = zoom["activePricings"]
        .as_object()
        .expect("pricings")
        .keys()
        .cloned()
        .collect();
    assert_eq!(
        versions,
        BTreeSet::from(["2024".to_owned(), "2025".to_owned(), marker.to_owned()])
    );
}

/// What was announced or recorded, in pages of each size and in both orders; all of it.
async fn page_through(app: &TestApp, number: usize, path: &str) -> String {
    let mut all = String::new();
    for query in [
        "order=asc&limit=1000",
        "order=desc&limit=1000",
        "order=asc&limit=2",
        "order=desc&limit=3",
        "order=asc&limit=7&service=zoom",
        "order=desc&limit=7&service=ZOOM",
        "limit=9&code=SERVICE_DISABLED",
    ] {
        let mut since = String::new();
        let list = path.trim_start_matches('/');
        loop {
            let from = match since.as_str() {
                "" => String::new(),
                since => format!("&since={since}"),
            };
            let (status, position, text) = ask(
                app,
                number,
                ("GET", &format!("/api/v1{path}?{query}{from}")),
                None,
                "*/*",
            )
            .await;
            assert_eq!(status, 200, "{text}");
            assert!(!position.is_empty());
            let page: Value = serde_json::from_str(&text).expect("JSON");
            let is_last = page[list].as_array().expect("a list").is_empty();
            page["position"]
                .as_str()
                .expect("a position")
                .clone_into(&mut since);
            all += &text;
            if is_last || query.contains("1000") {
                break;
            }
        }
    }
    all
}

#[tokio::test(flavor = "multi_thread")]
async fn a_path_that_names_another_organization_is_refused() {
    let database = Database::create().await;
    let app = start(&database).await;
    let open = TestApp::start(&database).await;
    let paths = [
        "/services",
        "/services/Zoom",
        "/services/Zoom/pricings",
        "/services/Zoom/pricings/2024",
        "/services/Zoom/pricings/2024/public-url",
    ];
    for path in paths {
        for method in ["GET", "POST", "PUT", "DELETE"] {
            for number in 0..ORGANIZATIONS.len() {
                for (other, id) in [
                    (1, "acme"),
                    (2, "Gr%C3%B6%C3%9Fe%20%26%20S%C3%B6hne"),
                    (9, "Acme"),
                    (9, "nobody"),
                    (9, "%20"),
                ] {
                    if other == number {
                        continue;
                    }
                    let path = format!("/api/v1/organizations/{id}{path}");
                    let (status, _, text) = ask(&app, number, (method, &path), None, "*/*").await;
                    let is_there = !(path.ends_with("/services") && method == "PUT"
                        || path.ends_with("/Zoom") && method == "POST"
                        || path.ends_with("/pricings") && ["PUT", "DELETE"].contains(&method)
                        || path.ends_with("/2024") && method == "POST"
                        || path.ends_with("/public-url") && method != "GET");
                    assert_eq!(
                        status,
                        if is_there { 403 } else { 405 },
                        "{method} {path}: {text}"
                    );
                }
            }
        }
        let path = format!("/api/v1/organizations/acme{path}");
        assert_eq!(app.get(&path).await.0, 401);
        let (status, body) = open.get(&path).await;
        assert_eq!(status, 403, "{body}");
        let not_utf8 = path.replace("acme", "%FF");
        assert_eq!(ask(&app, 1, ("GET", &not_utf8), None, "*/*").await.0, 400);
    }
    app.stop().await;
    open.stop().await;
}

/// Connects with `auth` and this key in it.
fn connect(number: usize, mut auth: Value) -> String {
    auth["apiKey"] = json!(KEYS[number].0);
    format!("40/pricings,{auth}")
}

/// Reads frames up to an event, and that too; with nothing of another in them.
async fn read_to(client: &mut Client, number: usize, end: &str) -> Vec<String> {
    let mut events = Vec::new();
    loop {
        let frame = client.next_frame().await;
        check_bytes(number, "a websocket", &frame);
        events.push(in_short(&frame));
        if events.last().is_some_and(|event| event == end) {
            return events;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn no_socket_tells_of_another_organization() {
    let database = Database::create().await;
    let app = start(&database).await;
    let (_, begin, _) = ask(&app, 0, ("GET", "/services"), None, "*/*").await;
    let mut clients = Vec::new();
    for number in 0..ORGANIZATIONS.len() {
        let services = [&["zoom"], &MARKERS[..]].concat();
        let parts = json!({ "services": services, "codes": ["PRICING_CREATED"] });
        let plain = Client::join(app.address, &connect(number, json!({}))).await;
        let told = Client::join(app.address, &connect(number, json!({ "since": "" }))).await;
        let part = Client::join(app.address, &connect(number, parts)).await;
        let polling = Polling::open(app.address).await;
        polling.send(&connect(number, json!({ "since": "" }))).await;
        clients.push((plain, told, part, polling));
    }
    // Without a key: the default organisation.
    let mut without = app.join().await;
    for number in 0..ORGANIZATIONS.len() {
        fill(&app, &database, number).await;
    }
    for (number, (plain, told, part, polling)) in clients.iter_mut().enumerate() {
        let marker = MARKERS[number];
        let end = format!("DISABLED off {marker}");
        let expected = vec![
            "CREATED Zoom 2024".to_owned(),
            "CREATED Wire 2024".to_owned(),
            format!("CREATED {marker} 1"),
            "CREATED Zoom 2025".to_owned(),
            format!("CREATED Zoom {marker}"),
            format!("CREATED {marker} gone 1"),
            format!("CREATED off {marker} 1"),
            format!("DISABLED {marker} gone"),
            end.clone(),
        ];
        assert_eq!(read_to(plain, number, &end).await, expected);
        assert_eq!(read_to(told, number, &end).await, expected);
        let heard = read_to(part, number, &format!("CREATED Zoom {marker}")).await;
        let [zoom, _, own, zoom_2025, last, ..] = expected.as_slice() else {
            panic!("nine events");
        };
        assert_eq!(
            heard.iter().collect::<Vec<_>>(),
            [zoom, own, zoom_2025, last]
        );
        let mut polled = Vec::new();
        while polled.last() != Some(&end) {
            let frame = polling.next_frame().await;
            check_bytes(number, "a poll", &frame);
            if frame.contains("\"message\"") {
                polled.push(in_short(&frame));
            }
        }
        assert_eq!(polled, expected);
        // From before anything, from the journal.
        let mut back = Client::join(app.address, &connect(number, json!({ "since": begin }))).await;
        assert_eq!(read_to(&mut back, number, &end).await, expected);
        // What others do moves a place on; behind it there is nothing.
        let (_, now, _) = ask(&app, number, ("GET", "/services"), None, "*/*").await;
        let mut back = Client::join(app.address, &connect(number, json!({ "since": now }))).await;
        database
            .sql(
                "insert into services (organization, name) select id, 'last' from unnest(array['', 'acme', 'Größe & Söhne']) id;
                insert into pricings (organization, service_name, version) select organization, name, 'x' || row_number() over (order by id) from services where name = 'last';
                delete from services where name = 'last'"
            )
            .await;
        let expected = [
            format!("CREATED last x{}", number + 1),
            "DISABLED last".to_owned(),
        ];
        assert_eq!(back.next_events(2).await, expected);
        if number == 0 {
            let end = "DISABLED last";
            let heard = read_to(&mut without, 0, end).await;
            assert_eq!(heard.len(), 11, "{heard:?}");
        }
    }
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unknown_key_is_refused_where_keys_are_known() {
    let database = Database::create().await;
    let app = start(&database).await;
    for auth in [
        json!({ "apiKey": "wrong" }),
        json!({ "apiKey": 1 }),
        json!({ "apiKey": "" }),
    ] {
        let refused = Client::try_join(app.address, &format!("40/pricings,{auth}")).await;
        let refused = refused.err().expect("a refusal");
        assert!(
            refused.contains("UNAUTHORIZED: the API key is unknown"),
            "{auth}: {refused}"
        );
    }
    let nothing = Client::try_join(app.address, "40/pricings,{\"apiKey\":null}").await;
    assert!(nothing.is_ok());
    // Where there are none, whatever comes is let in, as by SPACE.
    let open = TestApp::start(&database).await;
    let any = Client::try_join(open.address, "40/pricings,{\"apiKey\":\"wrong\"}").await;
    assert!(any.is_ok());
    app.stop().await;
    open.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn explain_asks_for_what_is_its_keys() {
    let database = Database::create().await;
    let app = start(&database).await;
    for number in 0..ORGANIZATIONS.len() {
        fill(&app, &database, number).await;
    }
    for number in 0..ORGANIZATIONS.len() {
        let mut process = tokio::process::Command::from(command());
        let output = process
            .args(["explain", "zoom"])
            .env("PORT", app.address.port().to_string())
            .env("API_KEY", KEYS[number].0)
            .output()
            .await
            .expect("it runs");
        let text = String::from_utf8(output.stdout).expect("a text");
        check_bytes(number, "explain", &text);
        assert!(
            text.contains(&format!("pricing {} added", MARKERS[number])),
            "{text}"
        );
        assert_eq!(
            text.matches(" added, active: PRICING_CREATED").count(),
            3,
            "{text}"
        );
    }
    app.stop().await;
}
