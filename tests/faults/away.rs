//! While Postgres is away.

use futures_util::future::join_all;
use reqwest::Method;
use space_events::config::Settings;
use tokio::time::timeout;

use crate::support::client::{position_of, since};
use crate::support::{Client, End, Hearing, LIMIT, Proxy, Server, TestApp, pricing, wait_until};

#[tokio::test(flavor = "multi_thread")]
async fn while_postgres_is_away_requests_are_refused_and_clients_stay() {
    let mut server = Server::start(&[]).await;
    let app = TestApp::start_at(&server.url, Settings::default()).await;
    let live = Hearing::live("live", app.address).await;
    let mut positioned = Client::join(app.address, &since("")).await;
    let (status, _) = app.upload("/services", &pricing("Zoom", "1")).await;
    assert_eq!(status, 201);
    let position = position_of(&positioned.next_frame().await);
    // So that there are connections to lose.
    assert_eq!(app.get("/api/v1/events").await.0, 200);
    drop(Client::join(app.address, &since(&position)).await);
    server.stop(End::Fast).await;

    timeout(LIMIT, all_is_refused(&app)).await.expect("in time");
    for path in [
        "/api/v1/healthcheck",
        "/api/v1/events/status",
        "/api/v1/events/client",
    ] {
        let answer = app.request(Method::GET, path).send().await;
        assert_eq!(answer.expect("an answer").status(), 200, "{path}");
    }

    let mut new = Client::join(app.address, "40/pricings,").await;
    let mut new_positioned = Client::join(app.address, &since("")).await;
    let mut back = Client::join(app.address, &since(&position)).await;
    server.start_again().await;
    let session = server.connect().await;
    session.add_pricing("Zoom", "3").await;
    for client in [&mut new, &mut new_positioned, &mut back, &mut positioned] {
        assert_eq!(client.next_event().await, "CREATED Zoom 3");
    }
    assert_eq!(
        live.hears_all_up_to("CREATED Zoom 3").await,
        ["CREATED Zoom 1", "CREATED Zoom 3"]
    );
    // At once, not after a round of refusals over connections that are no more.
    assert_eq!(app.get("/api/v1/events").await.0, 200);
    assert_eq!(app.get("/services").await.0, 200);
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn connections_that_ended_meanwhile_refuse_nobody() {
    let mut server = Server::start(&[]).await;
    let app = TestApp::start_at(&server.url, Settings::default()).await;
    let ask_all = async || {
        let paths = ["/api/v1/events", "/services", "/readyz"];
        join_all(paths.iter().cycle().take(30).map(async |path| {
            let answer = app.request(Method::GET, path).send().await;
            (*path, answer.expect("an answer").status().as_u16())
        }))
        .await
    };
    // As many connections as there may be.
    ask_all().await;
    for end in [End::Fast, End::Immediate] {
        server.restart(end).await;
        let feed = async || app.get("/readyz").await.0 == 200;
        wait_until("the feed is back", feed).await;
        for (path, status) in ask_all().await {
            assert_eq!(status, 200, "{path}");
        }
    }
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_database_that_says_nothing_counts_as_away() {
    let server = Server::start(&[]).await;
    let proxy = Proxy::start(&server).await;
    let app = TestApp::start_at(&proxy.url, Settings::default()).await;
    assert_eq!(app.get("/services").await.0, 200);
    proxy.hold();
    wait_until("it is known", async || {
        app.get("/readyz").await.1["checks"]["database"] == "away"
    })
    .await;
    all_is_refused(&app).await;
    proxy.resume();
    wait_until("it is back", async || app.get("/readyz").await.0 == 200).await;
    assert_eq!(app.get("/services").await.0, 200);
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_database_that_lost_its_tables_is_a_503() {
    let server = Server::start(&[]).await;
    let app = TestApp::start_at(&server.url, Settings::default()).await;
    assert_eq!(app.get("/services").await.0, 200);
    let session = server.connect().await;
    session.sql("drop table pricings, services").await;
    let list = app.get("/services").await;
    for (status, said) in [list, app.upload("/services", &pricing("Zoom", "1")).await] {
        assert_eq!(status, 503, "{said}");
        let said = said["error"].as_str().expect("a sentence");
        assert!(said.contains("its operator must look"), "{said}");
    }
    session.sql("drop schema space_events cascade").await;
    all_is_refused(&app).await;
    app.stop().await;
}

/// Asks for all that needs the database; each answer is 503.
pub(super) async fn all_is_refused(app: &TestApp) {
    join_all(ROUTES.map(async |(method, path)| {
        let mut request = app.request(
            Method::from_bytes(method.as_bytes()).expect("a method"),
            path,
        );
        request = match (method, path) {
            ("POST", _) => request
                .header("content-type", "application/yaml")
                .body(pricing("Zoom", "2")),
            ("PUT", "/services/Zoom" | "/api/v1/services/Zoom") => request
                .header("content-type", "application/json")
                .body("{\"name\":\"Room\"}"),
            _ => request,
        };
        let answer = request.send().await.expect("an answer");
        assert_eq!(answer.status(), 503, "{method} {path}");
        let headers = answer.headers();
        assert!(headers.contains_key("retry-after"), "{method} {path}");
        assert!(!headers.contains_key("event-position"), "{method} {path}");
    }))
    .await;
}

/// All that need the database.
const ROUTES: [(&str, &str); 26] = [
    ("GET", "/services"),
    ("POST", "/services"),
    ("DELETE", "/services"),
    ("GET", "/services/Zoom"),
    ("PUT", "/services/Zoom"),
    ("DELETE", "/services/Zoom"),
    ("GET", "/services/Zoom/pricings"),
    ("POST", "/services/Zoom/pricings"),
    ("GET", "/services/Zoom/pricings/1"),
    ("PUT", "/services/Zoom/pricings/1"),
    ("DELETE", "/services/Zoom/pricings/1"),
    ("GET", "/api/v1/services"),
    ("POST", "/api/v1/services"),
    ("DELETE", "/api/v1/services"),
    ("GET", "/api/v1/services/Zoom"),
    ("PUT", "/api/v1/services/Zoom"),
    ("DELETE", "/api/v1/services/Zoom"),
    ("GET", "/api/v1/services/Zoom/pricings"),
    ("POST", "/api/v1/services/Zoom/pricings"),
    ("GET", "/api/v1/services/Zoom/pricings/1"),
    ("PUT", "/api/v1/services/Zoom/pricings/1"),
    ("DELETE", "/api/v1/services/Zoom/pricings/1"),
    ("GET", "/api/v1/events"),
    ("GET", "/api/v1/events?order=desc"),
    ("GET", "/api/v1/changes"),
    ("GET", "/readyz"),
];
