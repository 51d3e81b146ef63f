//! A client that does not read slows nobody, and misses nothing while it is
//! allowed to stay.

use std::net::SocketAddr;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::support::client::in_short;
use crate::support::{Client, Database, TestApp, wait_until};

/// Joins with a small receive buffer, so that the server feels a stop at once.
pub async fn join_by_hand(address: SocketAddr) -> TcpStream {
    let socket = tokio::net::TcpSocket::new_v4().expect("a socket");
    socket.set_recv_buffer_size(4096).expect("a buffer size");
    let mut stream = socket.connect(address).await.expect("a connection");
    stream
        .write_all(
            b"GET /events/?EIO=4&transport=websocket HTTP/1.1\r\nhost: localhost\r\nupgrade: websocket\r\n\
            connection: Upgrade\r\nsec-websocket-version: 13\r\nsec-websocket-key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n",
        )
        .await
        .expect("a request");
    // A masked text frame with the mask 0: `40/pricings,`.
    let connect = b"40/pricings,";
    let mut frame = vec![0x81, 0x80 | connect.len() as u8, 0, 0, 0, 0];
    frame.extend_from_slice(connect);
    stream.write_all(&frame).await.expect("a frame");
    let mut text = Vec::new();
    while !String::from_utf8_lossy(&text).contains("40/pricings,{\"sid\":") {
        let mut buffer = [0; 512];
        let read = stream.read(&mut buffer).await.expect("bytes");
        assert_ne!(read, 0, "the connection ended early");
        text.extend_from_slice(&buffer[..read]);
    }
    stream
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_never_reads_is_disconnected_and_the_others_lose_nothing() {
    const ROWS: usize = 60_000;
    let database = Database::create().await;
    let app = TestApp::start(&database).await;
    let mut stuck = join_by_hand(app.address).await;
    let mut healthy = app.join().await;
    database.add_service("Zoom").await;
    database.add_pricings("Zoom", 0..ROWS).await;
    healthy.hears_created("Zoom", 0..ROWS).await;
    // The healthy one keeps answering pings while we wait for the other's end.
    let ended = wait_until("the connection of the other ends", async || {
        // A write shows a reset without reading what waits.
        stuck.write_all(&[0x8a, 0x80, 0, 0, 0, 0]).await.is_err()
    });
    tokio::select! {
        () = ended => {}
        event = healthy.next_event() => panic!("nothing happened, but {event}"),
    }
    database.sql("truncate services cascade").await;
    assert_eq!(healthy.next_event().await, "DISABLED Zoom");
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_pauses_misses_nothing() {
    const ROWS: usize = 60_000;
    let database = Database::create().await;
    let app = TestApp::start(&database).await;
    let mut pausing = app.join().await;
    let mut healthy = app.join().await;
    database.add_service("Zoom").await;
    database.add_pricings("Zoom", 0..ROWS).await;
    healthy.hears_created("Zoom", 0..ROWS).await;
    for version in 0..ROWS {
        assert_eq!(
            pausing.next_event().await,
            format!("CREATED Zoom {version}")
        );
        if version % 10_000 == 0 {
            // It hears what happens meanwhile too, after all this.
            database
                .add_pricing("Zoom", format!("late {version}"))
                .await;
        }
    }
    for client in [&mut pausing, &mut healthy] {
        for version in (0..ROWS).step_by(10_000) {
            assert_eq!(
                client.next_event().await,
                format!("CREATED Zoom late {version}")
            );
        }
    }
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_polls_hears_a_burst_whole_and_in_order() {
    const ROWS: usize = 5_000;
    let database = Database::create().await;
    let app = TestApp::start(&database).await;
    let get = async |query: &str| {
        let path = format!("/events/?EIO=4&transport=polling{query}");
        let answer = app
            .request(reqwest::Method::GET, &path)
            .send()
            .await
            .expect("an answer");
        assert_eq!(answer.status(), 200);
        answer.text().await.expect("a text")
    };
    let open = get("").await;
    let sid = open.split('"').nth(3).expect("a session").to_owned();
    let post = async |text: &str| {
        let path = format!("/events/?EIO=4&transport=polling&sid={sid}");
        let answer = app
            .request(reqwest::Method::POST, &path)
            .body(text.to_owned());
        assert_eq!(answer.send().await.expect("an answer").status(), 200);
    };
    post("40/pricings,").await;
    let mut frames = Vec::new();
    let mut inserted = false;
    while frames.len() < ROWS + 1 {
        for packet in get(&format!("&sid={sid}")).await.split('\u{1e}') {
            match packet {
                "2" => post("3").await,
                packet => frames.push(packet.to_owned()),
            }
        }
        if !inserted && frames.iter().any(|frame| frame.starts_with("40/pricings,")) {
            inserted = true;
            database.add_service("Zoom").await;
            database.add_pricings("Zoom", 0..ROWS).await;
        }
    }
    for (version, frame) in frames[1..].iter().enumerate() {
        assert_eq!(in_short(frame), format!("CREATED Zoom {version}"));
    }
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_nobody_should_send_harms_nobody() {
    let database = Database::create().await;
    let app = TestApp::start(&database).await;
    let mut healthy = app.join().await;
    let large = "x".repeat(1 << 20);
    let hostile = [
        "",
        "9",
        "40",
        "42",
        "4",
        "40/pricings",
        "42/pricings,",
        "42/pricings,[",
        "42/pricings,[]",
        "42/pricings,[1]",
        "42/pricings,[\"message\",{}]",
        "43/pricings,1[]",
        "45/pricings,",
        "451-/pricings,[]",
        "459999-/pricings,[\"a\"]",
        "41/pricings,",
        "44/pricings,{}",
        "40/pricings,not json",
        "40/pricings,[1]",
        "40/pricings,{\"since\":1}",
        "40/pricings,{\"since\":\"x\"}",
        "\u{0}",
        "4\u{0}",
        "2probe",
        "5",
        "6",
        "1",
        "0",
        &large,
    ];
    for text in hostile {
        let mut client = Client::open(app.address).await;
        client.send("40/pricings,").await;
        // The server may have cut it off by then, which is as good.
        client.try_send(text).await;
        drop(client);
        let mut client = Client::open(app.address).await;
        client.try_send(text).await;
    }
    database.add_service("Zoom").await;
    database.add_pricing("Zoom", "1").await;
    assert_eq!(healthy.next_event().await, "CREATED Zoom 1");
    app.stop().await;
}
