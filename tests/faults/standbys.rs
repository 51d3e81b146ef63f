//! A standby answers, and must not be used; one of several hosts is the primary.

use space_events::config::Settings;

use super::away::all_is_refused;
use crate::support::client::{position_of, since};
use crate::support::{Client, End, Server, TestApp, pricing, wait_until};

/// A URL of several servers.
fn url_of(servers: &[&Server], options: &str) -> String {
    let hosts: Vec<String> = servers
        .iter()
        .map(|server| server.socket_directory())
        .collect();
    format!(
        "postgres://postgres@/space_events?host={}{options}",
        hosts.join(",")
    )
}

async fn a_failover_finds_the_primary(options: &str) {
    let mut primary = Server::start(&[]).await;
    // The standby is asked first; it has nothing that is needed.
    TestApp::start_at(&primary.url, Settings::default())
        .await
        .stop()
        .await;
    let standby = primary.standby().await;
    let url = url_of(&[&standby, &primary], options);
    let app = TestApp::start_at(&url, Settings::default()).await;
    let mut live = app.join().await;
    let mut positioned = Client::join(app.address, &since("")).await;
    let (status, body) = app.upload("/services", &pricing("Zoom", "1")).await;
    assert_eq!(status, 201, "{body}");
    assert_eq!(live.next_event().await, "CREATED Zoom 1");
    let position = position_of(&positioned.next_frame().await);
    primary.is_followed().await;

    primary.stop(End::Machine).await;
    wait_until("only the standby is known to be there", async || {
        app.get("/readyz").await.1["checks"]["database"] == "is a standby"
    })
    .await;
    all_is_refused(&app).await;
    let mut back = Client::join(app.address, &since(&position)).await;

    standby.promote().await;
    wait_until("the new primary is found", async || {
        app.upload("/services/Zoom/pricings", &pricing("Zoom", "2"))
            .await
            .0
            == 201
    })
    .await;
    for client in [&mut live, &mut positioned, &mut back] {
        assert_eq!(client.next_event().await, "CREATED Zoom 2");
    }
    assert_eq!(app.get("/services").await.0, 200);
    wait_until("it is ready", async || app.get("/readyz").await.0 == 200).await;
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn of_several_hosts_the_primary_is_used_and_found_after_a_failover() {
    a_failover_finds_the_primary("").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn target_session_attrs_asks_for_the_primary_too() {
    a_failover_finds_the_primary("&target_session_attrs=read-write").await;
}
