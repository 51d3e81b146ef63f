//! Behind PgBouncer.

use std::collections::BTreeMap;

use futures_util::future::join_all;
use reqwest::{Method, StatusCode};
use serde_json::Value;
use space_events::config::Settings;

use crate::support::pgbouncer::PgBouncer;
use crate::support::program::command;
use crate::support::{End, Hearing, Proxy, Server, TestApp, answer, pricing};

const WORKERS: usize = 12;
const ROUNDS: usize = 25;

#[tokio::test(flavor = "multi_thread")]
async fn a_transaction_pooler_makes_no_difference() {
    let server = Server::start(&[]).await;
    let bouncer = PgBouncer::start(&server, "transaction").await;
    let settings = || Settings {
        database_listen_url: Some(server.url.clone()),
        ..Settings::default()
    };
    // What one start leaves on the pooler's connections does not disturb the next.
    for start in 0..2 {
        let app = TestApp::start_at(&bouncer.url, settings()).await;
        let hearing = Hearing::live("live", app.address).await;
        let committed = join_all((0..WORKERS).map(|worker| work(&app, start, worker))).await;
        let (status, _) = app
            .upload("/services", &pricing(&format!("end{start}"), "1"))
            .await;
        assert_eq!(status, StatusCode::CREATED);
        let heard = hearing
            .hears_all_up_to(&format!("CREATED end{start} 1"))
            .await;
        let mut by_service = BTreeMap::<&str, Vec<&str>>::new();
        for event in &heard {
            let service = event.split(' ').nth(1).expect("a service");
            by_service.entry(service).or_default().push(event);
        }
        for events in &committed {
            let service = events[0].split(' ').nth(1).expect("a service");
            assert_eq!(&by_service[service], events);
        }
        assert_eq!(
            heard.len(),
            committed.iter().map(Vec::len).sum::<usize>() + 1
        );
        app.stop().await;
    }
}

/// Changes a service of its own, and reads all that can be read between the changes;
/// the events of its changes.
async fn work(app: &TestApp, start: usize, worker: usize) -> Vec<String> {
    let service = format!("s{start}.{worker}");
    let (status, _) = app.upload("/services", &pricing(&service, "0")).await;
    assert_eq!(status, StatusCode::CREATED);
    let mut events = vec![format!("CREATED {service} 0")];
    for round in 1..=ROUNDS {
        let path = format!("/services/{service}/pricings");
        let (status, body) = app
            .upload(&path, &pricing(&service, &round.to_string()))
            .await;
        assert_eq!(status, StatusCode::CREATED, "{body}");
        events.push(format!("CREATED {service} {round}"));
        let before = round - 1;
        let archive = app.request(
            Method::PUT,
            &format!("{path}/{before}?availability=archived"),
        );
        let (status, body) = answer(archive).await;
        assert_eq!(status, StatusCode::OK, "{body}");
        events.push(format!("ARCHIVED {service} {before}"));

        let (status, list) = app.get("/services?limit=100").await;
        assert_eq!(status, StatusCode::OK, "{list}");
        let list = list.as_array().expect("a list");
        assert!(
            list.iter()
                .all(|listed| listed["activePricings"].is_object())
        );
        let mine = list
            .iter()
            .find(|listed| listed["name"] == service.as_str());
        let active = mine.expect("its own service")["activePricings"].as_object();
        assert!(active.expect("pricings").keys().eq([&round.to_string()]));
        let (status, documents) = app.get(&path).await;
        assert_eq!(status, StatusCode::OK, "{documents}");
        assert_eq!(versions(&documents), [round.to_string()]);
        let (status, documents) = app.get(&format!("{path}?pricingStatus=archived")).await;
        assert_eq!(status, StatusCode::OK, "{documents}");
        assert_eq!(versions(&documents).len(), round);
        assert_eq!(app.get("/readyz").await.0, StatusCode::OK);
    }
    events
}

fn versions(documents: &Value) -> Vec<&str> {
    let documents = documents.as_array().expect("a list").iter();
    documents
        .map(|document| document["version"].as_str().expect("a version"))
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pooler_that_turns_to_a_standby_makes_it_503_from_the_first_request_on() {
    let mut primary = Server::start(&[]).await;
    let proxy = Proxy::start(&primary).await;
    let port = proxy.url.parse::<url::Url>().expect("a URL").port();
    let port = port.expect("a port");
    let bouncer = PgBouncer::start_before(&primary, "127.0.0.1", port, "transaction").await;
    let settings = Settings {
        database_listen_url: Some(primary.url.clone()),
        ..Settings::default()
    };
    let app = TestApp::start_at(&bouncer.url, settings).await;
    let (status, _) = app.upload("/services", &pricing("Zoom", "1")).await;
    assert_eq!(status, StatusCode::CREATED);
    let standby = primary.standby().await;
    proxy.switch_to(&standby);
    primary.stop(End::Machine).await;
    let known = async || app.get("/readyz").await.1["checks"]["database"] == "is a standby";
    while !known().await {
        for path in ["/services", "/services/Zoom", "/services/Zoom/pricings"] {
            let listed = app
                .request(Method::GET, path)
                .send()
                .await
                .expect("an answer");
            assert_eq!(listed.status(), StatusCode::SERVICE_UNAVAILABLE, "{path}");
            assert!(!listed.headers().contains_key("event-position"), "{path}");
        }
        let (status, body) = app.upload("/services", &pricing("Room", "1")).await;
        assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE, "{body}");
    }
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn listening_through_a_transaction_pooler_is_refused_in_one_line() {
    let server = Server::start(&[]).await;
    let bouncer = PgBouncer::start(&server, "transaction").await;
    for (settings, expected) in [
        (
            vec![("DATABASE_URL", &bouncer.url)],
            "DATABASE_LISTEN_URL: needed",
        ),
        (
            vec![
                ("DATABASE_URL", &server.url),
                ("DATABASE_LISTEN_URL", &bouncer.url),
            ],
            "DATABASE_LISTEN_URL: at ",
        ),
    ] {
        let output = command().envs(settings).output().expect("it runs");
        assert_eq!(output.status.code(), Some(1), "{output:?}");
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(said.lines().count(), 1, "{said}");
        assert!(said.contains(expected) && said.contains("pooler"), "{said}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_pooler_needs_no_second_url() {
    let server = Server::start(&[]).await;
    let bouncer = PgBouncer::start(&server, "session").await;
    let app = TestApp::start_at(&bouncer.url, Settings::default()).await;
    let mut client = app.join().await;
    let (status, _) = app.upload("/services", &pricing("Zoom", "1")).await;
    assert_eq!(status, StatusCode::CREATED);
    assert_eq!(client.next_event().await, "CREATED Zoom 1");
    app.stop().await;
}
