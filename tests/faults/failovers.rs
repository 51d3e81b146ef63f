//! Another server takes over. What it does not have was heard, and exists nowhere:
//! that is noticed, and by nobody if it has it all.

use reqwest::Method;
use space_events::config::Settings;

use crate::support::client::{position_of, since};
use crate::support::hearing::{Habits, addresses};
use crate::support::polling::Polling;
use crate::support::postgres::Session;
use crate::support::{Client, End, Hearing, Load, Proxy, Server, TestApp, wait_until};

/// Inserts pricings of the service Zoom, each in a transaction of its own.
async fn insert(session: &Session, versions: impl IntoIterator<Item = String>) -> Vec<String> {
    let mut events = Vec::new();
    for version in versions {
        session.add_pricing("Zoom", &version).await;
        events.push(format!("CREATED Zoom {version}"));
    }
    events
}

fn versions(prefix: &str, count: usize) -> impl Iterator<Item = String> {
    (0..count).map(move |number| format!("{prefix}.{number}"))
}

/// The positions of the next events, after each of them.
async fn positions(client: &mut Client, events: &[String]) -> Vec<String> {
    let mut positions = Vec::new();
    for event in events {
        let frame = client.next_frame().await;
        assert_eq!(crate::support::client::in_short(&frame), *event);
        positions.push(position_of(&frame));
    }
    positions
}

async fn is_ready(app: &TestApp) -> bool {
    app.get("/readyz").await.0 == 200
}

/// Waits until a client's connection ends; it hears nothing meanwhile that was
/// committed after it lost the journal.
async fn is_disconnected(mut client: Client) {
    assert_eq!(client.next_frame_or_end().await, None);
}

async fn is_refused(app: &TestApp, position: &str) {
    let refused = Client::try_join(app.address, &since(position)).await.err();
    let why = refused.expect("a position from beyond the fork is refused");
    assert!(
        why.contains("POSITION_INVALID: the journal went back"),
        "{why}"
    );
    let (status, answer) = app.get(&format!("/api/v1/events?since={position}")).await;
    assert_eq!(status, 400);
    let sentence = answer["error"].as_str().expect("a sentence");
    assert!(sentence.starts_with("POSITION_INVALID: the journal went back"));
}

/// What is true after the journal went back from `lost` to `kept` and then went on
/// with `after`: all of it, and nothing that exists nowhere.
async fn goes_on(
    app: &TestApp,
    session: &Session,
    live: Client,
    kept: &str,
    lost: &[String],
    after: &[String],
) {
    is_disconnected(live).await;
    wait_until("it follows again", async || is_ready(app).await).await;
    for position in lost {
        is_refused(app, position).await;
    }
    let mut live = app.join().await;
    let mut back = Client::join(app.address, &since(kept)).await;
    assert_eq!(back.next_events(after.len()).await, after);
    let more = insert(session, versions("more", 100)).await;
    assert_eq!(live.next_events(100).await, more);
    assert_eq!(back.next_events(100).await, more);
}

async fn a_failover_that_loses(rows: usize) {
    let mut primary = Server::start(&[]).await;
    let proxy = Proxy::start(&primary).await;
    let app = TestApp::start_at(&proxy.url, Settings::default()).await;
    let session = primary.connect().await;
    session.add_service("Zoom").await;
    let standby = primary.standby().await;
    let mut live = app.join().await;
    let mut returning = Client::join(app.address, &since("")).await;
    let first = insert(&session, versions("first", 10)).await;
    let kept = positions(&mut returning, &first).await;
    primary.is_followed().await;
    standby.cut_off().await;
    let lost_events = insert(&session, versions("lost", rows)).await;
    let lost = positions(&mut returning, &lost_events).await;
    live.next_events(10 + rows).await;
    drop(returning);

    drop(session);
    primary.stop(End::Machine).await;
    wait_until("it is unready", async || !is_ready(&app).await).await;
    standby.promote().await;
    proxy.switch_to(&standby);
    let session = standby.connect().await;
    let after = insert(&session, versions("after", 100)).await;
    goes_on(&app, &session, live, &kept[9], &lost, &after).await;
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failover_that_lost_fewer_rows_than_come_after_it_is_noticed() {
    a_failover_that_loses(60).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failover_that_lost_more_rows_than_come_after_it_is_noticed() {
    a_failover_that_loses(200).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failover_that_lost_nothing_is_noticed_by_nobody() {
    let mut primary = Server::start(&[]).await;
    let proxy = Proxy::start(&primary).await;
    let app = TestApp::start_at(&proxy.url, Settings::default()).await;
    let standby = primary.standby().await;
    primary.wait_for_standby().await;
    let live = Hearing::live("live", app.address).await;
    let instances = addresses(&[app.address]);
    let staying = Hearing::returning("staying", &instances, Habits::default()).await;
    let restless = Hearing::restless("coming and going", app.address, 50).await;
    let load = Load::start(&proxy.url, 4).await;
    for client in [&live, &staying, &restless] {
        client.hears_more(300).await;
    }
    primary.stop(End::Machine).await;
    standby.promote().await;
    proxy.switch_to(&standby);
    for client in [&live, &staying, &restless] {
        client.hears_more(300).await;
    }
    load.end(&[&live, &staying, &restless]).await;
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_crash_that_lost_asynchronous_commits_is_noticed() {
    let mut server = Server::start(&["wal_writer_delay = '10s'"]).await;
    let app = TestApp::start_at(&server.url, Settings::default()).await;
    let session = server.connect().await;
    session.add_service("Zoom").await;
    drop(session);
    for round in 0..20 {
        let session = server.connect().await;
        let mut live = app.join().await;
        let mut returning = Client::join(app.address, &since("")).await;
        let first = insert(&session, [format!("first.{round}")]).await;
        let kept = positions(&mut returning, &first).await;
        session.sql("set synchronous_commit = off").await;
        let lost_events = insert(&session, versions(&format!("lost.{round}"), 60)).await;
        let lost = positions(&mut returning, &lost_events).await;
        live.next_events(61).await;
        drop((session, returning));
        server.restart(End::Immediate).await;

        let session = server.connect().await;
        let question = format!("select count(*) from pricings where version like 'lost.{round}.%'");
        let left: usize = session.sql(&question).await[0].parse().expect("a number");
        if left == lost.len() {
            // The log was written meanwhile.
            continue;
        }
        let lost = &lost[left..];
        let after = insert(&session, versions("after", 100)).await;
        let after = [lost_events[..left].to_vec(), after].concat();
        goes_on(&app, &session, live, &kept[0], lost, &after).await;
        app.stop().await;
        return;
    }
    panic!("nothing was lost in a crash");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restored_backup_is_noticed() {
    let mut server = Server::start(&[]).await;
    let app = TestApp::start_at(&server.url, Settings::default()).await;
    let session = server.connect().await;
    session.add_service("Zoom").await;
    let mut live = app.join().await;
    let mut returning = Client::join(app.address, &since("")).await;
    let first = insert(&session, versions("first", 10)).await;
    let kept = positions(&mut returning, &first).await;
    let backup = server.back_up();
    let lost_events = insert(&session, versions("lost", 60)).await;
    let lost = positions(&mut returning, &lost_events).await;
    live.next_events(70).await;
    drop((session, returning));
    server.restore(backup).await;
    let session = server.connect().await;
    let after = insert(&session, versions("after", 100)).await;
    goes_on(&app, &session, live, &kept[9], &lost, &after).await;
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_journal_that_was_emptied_is_noticed_without_a_lost_connection() {
    let server = Server::start(&[]).await;
    let app = TestApp::start_at(&server.url, Settings::default()).await;
    let session = server.connect().await;
    session.add_service("Zoom").await;
    let start = app.get("/api/v1/events?since=").await.1;
    let start = start["position"].as_str().expect("a position").to_owned();
    let mut live = app.join().await;
    let mut returning = Client::join(app.address, &since("")).await;
    let polling = Polling::join(app.address).await;
    let events = insert(&session, versions("lost", 60)).await;
    let lost = positions(&mut returning, &events).await;
    live.next_events(60).await;
    session
        .sql("truncate space_events.row_changes restart identity")
        .await;
    let after = insert(&session, versions("after", 100)).await;
    is_disconnected(returning).await;
    let poll = format!("/events/?EIO=4&transport=polling&sid={}", polling.sid);
    wait_until("the session that polls has ended", async || {
        app.request(Method::GET, &poll)
            .send()
            .await
            .expect("an answer")
            .status()
            == 400
    })
    .await;
    // From before the first row: all that the journal has is new.
    goes_on(&app, &session, live, &start, &lost, &after).await;
    app.stop().await;
}
