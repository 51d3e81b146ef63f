//! Clients that the program disconnects.

use futures_util::{SinkExt as _, StreamExt as _};
use space_events::config::Settings;
use tokio::net::{TcpSocket, TcpStream};
use tokio::time::timeout;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;

use super::until;
use crate::support::client::{position_of, since};
use crate::support::{Client, Database, LIMIT, TestApp};

/// More than the buffers of the kernel and the replay buffer hold.
const ROWS: usize = 60_000;

/// A websocket with a small receive buffer, so that the server feels a stop at
/// once; a CONNECT packet is sent on it.
async fn connect_with_a_small_buffer(app: &TestApp, connect: &str) -> WebSocketStream<TcpStream> {
    let socket = TcpSocket::new_v4().expect("a socket");
    socket.set_recv_buffer_size(4096).expect("a buffer size");
    let stream = socket.connect(app.address).await.expect("a connection");
    let url = "ws://localhost/events/?EIO=4&transport=websocket";
    let (mut client, _) = tokio_tungstenite::client_async(url, stream)
        .await
        .expect("a websocket");
    client.send(Message::text(connect)).await.expect("a frame");
    client
}

async fn insert_rows(database: &Database) {
    database.add_pricings("Zoom", 1..ROWS + 1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn whom_the_program_disconnects_is_counted_by_reason() {
    let database = Database::create().await;
    let app = TestApp::start(&database).await;
    let mut first = Client::join(app.address, &since("")).await;
    database.add_service("Zoom").await;
    database.add_pricing("Zoom", "first").await;
    let position = position_of(&first.next_frame().await);
    drop(first);
    insert_rows(&database).await;

    until(&app, "all published", |now| {
        now.value("published_total", &[("code", "PRICING_CREATED")]) > ROWS as f64
    })
    .await;

    // It does not speak as it should.
    let mut babbling = app.join().await;
    babbling.send("9").await;
    assert_eq!(babbling.next_frame_or_end().await, None);

    // It does not answer the ping that comes with the open: nobody reads from it.
    let mut silent = Client::open(app.address).await;
    silent.send("40/pricings,").await;

    // It comes back for all of the rows, and does not read them.
    let _stuck = connect_with_a_small_buffer(&app, &since(&position)).await;
    until(&app, "reading the journal", |now| {
        now.value("clients_reading_journal", &[]) == 1.0
    })
    .await;

    let scrape = until(&app, "disconnected", |now| {
        let ended = |reason| now.value("disconnects_total", &[("reason", reason)]);
        ended("write_timeout") == 1.0 && ended("heartbeat") >= 1.0 && ended("protocol") == 1.0
    })
    .await;
    let reason = [("reason", "behind_the_journal")];
    assert_eq!(scrape.value("disconnects_total", &reason), 0.0);
    until(&app, "nobody reads the journal", |now| {
        now.value("clients_reading_journal", &[]) == 0.0
            && now.value("clients", &[("transport", "websocket")]) == 0.0
    })
    .await;
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_falls_behind_what_is_kept_is_disconnected() {
    let database = Database::create().await;
    let settings = Settings {
        event_retention: Some("8s".to_owned()),
        ..Settings::default()
    };
    let app = TestApp::start_with(&database, settings).await;
    database.add_service("Zoom").await;
    let mut slow = connect_with_a_small_buffer(&app, "40/pricings,").await;
    until(&app, "connected", |now| {
        now.value("clients", &[("transport", "websocket")]) == 1.0
    })
    .await;
    insert_rows(&database).await;
    until(&app, "all published", |now| {
        now.value("published_total", &[("code", "PRICING_CREATED")]) == ROWS as f64
    })
    .await;
    // It reads on, but so slowly that what it needs next is gone.
    let mut pruned = 0.0;
    while pruned < ROWS as f64 {
        for _ in 0..64 {
            let frame = timeout(LIMIT, slow.next()).await.expect("a frame in time");
            frame.expect("a frame, not the end").expect("a frame");
        }
        let scrape = until(&app, "there", |_| true).await;
        pruned = scrape.value("journal_pruned_rows_total", &[]);
    }
    while let Ok(Some(Ok(_))) = timeout(LIMIT, slow.next()).await {}
    let reason = [("reason", "behind_the_journal")];
    until(&app, "disconnected", |now| {
        now.value("disconnects_total", &reason) == 1.0
    })
    .await;
    app.stop().await;
}
