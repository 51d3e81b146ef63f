//! The lane: clients that have everything, how they enter it and leave it, and what
//! else is on their connections.

use std::time::{Duration, Instant};

use futures_util::{SinkExt as _, StreamExt as _};
use reqwest::Method;
use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpSocket, TcpStream};
use tokio::time::{sleep, timeout};
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::{WebSocketStream, connect_async};
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;

use crate::slow_clients::join_by_hand;
use crate::support::client::{in_short, position_of};
use crate::support::{Client, Database, Hearing, LIMIT, Polling, TestApp, wait_until};

/// More than the buffers of the kernel and the replay buffer hold.
const BURST: usize = 60_000;

async fn start() -> (Database, TestApp) {
    let database = Database::create().await;
    let app = TestApp::start(&database).await;
    database.add_service("Zoom").await;
    (database, app)
}

/// Writes one event after another, `0`, `1`, `2`, each in a transaction, until it is
/// dropped.
async fn insert_on_and_on(database: &Database) -> AbortOnDropHandle<()> {
    insert_until(database, "", CancellationToken::new()).await
}

async fn insert_until(
    database: &Database,
    before: &'static str,
    stop: CancellationToken,
) -> AbortOnDropHandle<()> {
    let session = database.connect().await;
    AbortOnDropHandle::new(tokio::spawn(async move {
        for version in 0_u32.. {
            if stop.is_cancelled() {
                return;
            }
            session
                .add_pricing("Zoom", format!("{before}{version}"))
                .await;
            // Others share the machine.
            sleep(Duration::from_millis(1)).await;
        }
    }))
}

async fn metric(app: &TestApp, line: &str) -> f64 {
    let answer = app.request(Method::GET, "/metrics").send().await;
    let text = answer.expect("an answer").text().await.expect("a text");
    let mut values = text
        .lines()
        .filter_map(|found| found.strip_prefix("space_events_")?.strip_prefix(line));
    let value = values.next_back().expect("the metric");
    value.trim().parse().expect("a number")
}

async fn are_in_the_lane(app: &TestApp, clients: usize) {
    let what = format!("{clients} clients are in the lane");
    wait_until(&what, async || {
        metric(app, "clients_in_lane ").await == clients as f64
    })
    .await;
}

fn version_of(event: &str) -> u32 {
    let version = event.strip_prefix("CREATED Zoom ").expect("an event");
    version.parse().expect("a number")
}

#[tokio::test(flavor = "multi_thread")]
async fn clients_that_have_everything_are_in_the_lane_until_they_go() {
    let (database, app) = start().await;
    let mut clients = Vec::new();
    for connect in [
        json!({}),
        json!({ "since": "" }),
        json!({ "services": ["ZOOM"] }),
        json!({ "services": ["Slack"], "since": "" }),
    ] {
        let connect = format!("40/pricings,{connect}");
        clients.push(Client::join(app.address, &connect).await);
    }
    are_in_the_lane(&app, 4).await;
    database.add_pricing("Zoom", "1").await;
    for client in &mut clients[..3] {
        assert_eq!(client.next_event().await, "CREATED Zoom 1");
    }
    // One that comes back is, when it has everything.
    database
        .sql("insert into services (name) values ('Slack'); insert into pricings (service_name, version) values ('Slack', '1')")
        .await;
    let position = position_of(&clients[3].next_frame().await);
    database.add_pricing("Zoom", "2").await;
    let connect = format!("40/pricings,{}", json!({ "since": position }));
    let mut back = Client::join(app.address, &connect).await;
    assert_eq!(back.next_event().await, "CREATED Zoom 2");
    are_in_the_lane(&app, 5).await;
    for left in (0..4).rev() {
        drop(clients.pop());
        are_in_the_lane(&app, left + 1).await;
    }
    database.add_pricing("Zoom", "3").await;
    assert_eq!(back.next_event().await, "CREATED Zoom 3");
    assert_eq!(metric(&app, "deliveries_total ").await, 11.0);
    app.stop().await;
}

/// A websocket with a small receive buffer, joined.
async fn join_with_a_small_buffer(app: &TestApp) -> WebSocketStream<TcpStream> {
    let socket = TcpSocket::new_v4().expect("a socket");
    socket.set_recv_buffer_size(4096).expect("a buffer size");
    let stream = socket.connect(app.address).await.expect("a connection");
    let url = "ws://localhost/events/?EIO=4&transport=websocket";
    let client = tokio_tungstenite::client_async(url, stream).await;
    let (mut client, _) = client.expect("a websocket");
    for text in ["40/pricings,", "3"] {
        client.send(Message::text(text)).await.expect("a frame");
    }
    loop {
        let frame = timeout(LIMIT, client.next())
            .await
            .expect("a frame in time");
        let frame = frame.expect("a frame, not the end").expect("a frame");
        if frame.to_text().is_ok_and(|text| text.starts_with("40")) {
            return client;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_falls_behind_comes_back_through_answers_to_its_pings() {
    let (database, app) = start().await;
    let client = join_with_a_small_buffer(&app).await;
    are_in_the_lane(&app, 1).await;
    database.add_pricings("Zoom", 0..BURST).await;
    are_in_the_lane(&app, 0).await;
    // What it needs next is only in the journal then.
    let published = "published_total{code=\"PRICING_CREATED\"} ";
    wait_until("all is published", async || {
        metric(&app, published).await == BURST as f64
    })
    .await;
    let (mut sender, mut receiver) = client.split();
    // What Engine.IO writes goes between the events: pongs, and refusals.
    let (pings, mut pinged) = (
        AbortOnDropHandle::new(tokio::spawn(async move {
            for number in 0_u32.. {
                let ping = Message::Ping(number.to_string().into());
                let connect = Message::text(format!("40/none{number},"));
                for message in [ping, connect, Message::text("3")] {
                    if sender.send(message).await.is_err() {
                        return;
                    }
                }
                sleep(Duration::from_millis(5)).await;
            }
        })),
        0,
    );
    let mut refused = 0;
    let mut next = 0;
    while next < BURST || pinged < 20 || refused < 20 {
        let frame = timeout(LIMIT, receiver.next())
            .await
            .expect("a frame in time");
        match frame.expect("a frame, not the end").expect("a whole frame") {
            Message::Pong(number) => {
                assert_eq!(*number, *pinged.to_string().as_bytes());
                pinged += 1;
            }
            Message::Text(text) if text.as_str() == "2" => {}
            Message::Text(text) if text.starts_with("44") => {
                assert!(text.starts_with(&format!("44/none{refused},{{")), "{text}");
                refused += 1;
            }
            Message::Text(text) => {
                assert_eq!(in_short(text.as_str()), format!("CREATED Zoom {next}"));
                next += 1;
            }
            other => panic!("{other}"),
        }
    }
    drop(pings);
    are_in_the_lane(&app, 1).await;
    let catch_ups = metric(&app, "catch_ups_total{cause=\"fell_behind\"} ").await;
    assert!(catch_ups >= 1.0, "{catch_ups}");
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_of_the_lane_that_takes_nothing_is_counted_as_such() {
    let (database, app) = start().await;
    let mut stuck = join_by_hand(app.address).await;
    let mut healthy = app.join().await;
    are_in_the_lane(&app, 2).await;
    database.add_pricings("Zoom", 0..BURST).await;
    for version in 0..BURST {
        assert_eq!(
            healthy.next_event().await,
            format!("CREATED Zoom {version}")
        );
    }
    let timeouts = "disconnects_total{reason=\"write_timeout\"} ";
    let counted = wait_until("it is counted", async || {
        metric(&app, timeouts).await == 1.0
    });
    tokio::select! {
        () = counted => {}
        event = healthy.next_event() => panic!("nothing happened, but {event}"),
    }
    // Its connection is reset; what it had not read is dropped.
    let mut buffer = [0; 4096];
    while let Ok(Ok(1..)) = timeout(LIMIT, stuck.read(&mut buffer)).await {}
    are_in_the_lane(&app, 1).await;
    assert_eq!(metric(&app, timeouts).await, 1.0);
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_connect_hears_what_it_asked_for_and_only_behind_its_answer() {
    let (database, app) = start().await;
    let mut client = app.join().await;
    let writer = insert_on_and_on(&database).await;
    for round in 0..60 {
        let asks = round % 2 == 0;
        let connect = if asks {
            "40/pricings,{\"since\":\"\"}"
        } else {
            "40/pricings,"
        };
        if round % 3 == 0 {
            are_in_the_lane(&app, 1).await;
        }
        client.send("41/pricings,").await;
        client.send(connect).await;
        let is_answer = |frame: &String| frame.starts_with("40/pricings,{");
        let mut frame = client.next_frame().await;
        while !is_answer(&frame) {
            // Of before.
            assert_eq!(
                frame.contains("\"position\":"),
                !asks && round > 0,
                "{round}"
            );
            frame = client.next_frame().await;
        }
        let mut last = None;
        for _ in 0..5 {
            let frame = client.next_frame().await;
            assert_eq!(frame.contains("\"position\":"), asks, "{round}: {frame}");
            let version = version_of(&in_short(&frame));
            assert!(last.is_none_or(|last| version == last + 1), "{round}");
            last = Some(version);
        }
    }
    drop(writer);
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn behind_its_disconnect_a_client_hears_nothing() {
    let (database, app) = start().await;
    let mut healthy = app.join().await;
    let mut client = app.join().await;
    are_in_the_lane(&app, 2).await;
    let writer = insert_on_and_on(&database).await;
    assert_eq!(version_of(&client.next_event().await), 0);
    client.send("41/pricings,").await;
    client.send("40/first,").await;
    while !client.next_frame().await.starts_with("44/first,") {}
    for _ in 0..100 {
        healthy.next_event().await;
    }
    client.send("40/second,").await;
    let frame = client.next_frame().await;
    assert!(frame.starts_with("44/second,"), "{frame}");
    are_in_the_lane(&app, 1).await;
    drop(writer);
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_close_frame_is_the_last() {
    let (database, app) = start().await;
    let writer = insert_on_and_on(&database).await;
    for round in 0..20 {
        let mut client = TcpStream::connect(app.address).await.expect("a connection");
        let head = b"GET /events/?EIO=4&transport=websocket HTTP/1.1\r\nhost: localhost\r\nupgrade: websocket\r\nconnection: Upgrade\r\nsec-websocket-version: 13\r\nsec-websocket-key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n";
        // `40/pricings,`, masked with 0.
        let connect = b"\x81\x8c\x00\x00\x00\x0040/pricings,";
        let all = [&head[..], &connect[..]].concat();
        client.write_all(&all).await.expect("sent");
        are_in_the_lane(&app, 1).await;
        let close = [0x88, 0x80, 0, 0, 0, 0];
        client.write_all(&close).await.expect("sent");
        let mut bytes = Vec::new();
        // It may be reset behind that.
        let _ = timeout(LIMIT, client.read_to_end(&mut bytes)).await;
        let end = bytes.windows(4).position(|bytes| bytes == b"\r\n\r\n");
        let kinds = kinds_of_frames(&bytes[end.expect("an answer") + 4..]);
        assert_eq!(kinds.last(), Some(&0x88), "{round}: {kinds:x?}");
        assert!(kinds[..kinds.len() - 1].iter().all(|kind| *kind == 0x81));
        are_in_the_lane(&app, 0).await;
    }
    drop(writer);
    app.stop().await;
}

/// The first byte of each frame; frames of fewer than 64 KiB, each whole.
fn kinds_of_frames(mut bytes: &[u8]) -> Vec<u8> {
    let mut kinds = Vec::new();
    while let [kind, length, rest @ ..] = bytes {
        kinds.push(*kind);
        let (length, rest) = match length {
            126 => (
                usize::from(u16::from_be_bytes([rest[0], rest[1]])),
                &rest[2..],
            ),
            short => (usize::from(*short), rest),
        };
        bytes = &rest[length..];
    }
    kinds
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_goes_over_from_polling_enters_the_lane_and_misses_nothing() {
    let (database, app) = start().await;
    for before in ["a", "b", "c", "d", "e"] {
        let mut client = Polling::join(app.address).await;
        let stop = CancellationToken::new();
        let writer = insert_until(&database, before, stop.clone()).await;
        let mut next = 0;
        let mut hears = |frame: &str| {
            assert_eq!(in_short(frame), format!("CREATED Zoom {before}{next}"));
            next += 1;
        };
        for _ in 0..20 {
            hears(&client.next_frame().await);
        }
        assert_eq!(metric(&app, "clients_in_lane ").await, 0.0);
        let url = client.websocket_url(app.address);
        let (mut websocket, _) = connect_async(&url).await.expect("a websocket");
        websocket.send(Message::text("2probe")).await.expect("sent");
        let answer = timeout(LIMIT, websocket.next()).await.expect("in time");
        let answer = answer.expect("a frame").expect("a frame");
        assert_eq!(answer, Message::text("3probe"));
        for frame in client.polled() {
            hears(&frame);
        }
        websocket.send(Message::text("5")).await.expect("sent");
        let begun = Instant::now();
        let mut heard_in_the_lane = 0;
        while heard_in_the_lane < 20 {
            assert!(begun.elapsed() < LIMIT);
            let frame = timeout(LIMIT, websocket.next()).await.expect("in time");
            match frame.expect("a frame").expect("a frame") {
                Message::Text(text) if text.as_str() == "2" => {
                    websocket.send(Message::text("3")).await.expect("sent");
                }
                Message::Text(text) => hears(text.as_str()),
                other => panic!("{other}"),
            }
            if metric(&app, "clients_in_lane ").await == 1.0 {
                heard_in_the_lane += 1;
            }
        }
        stop.cancel();
        writer.await.expect("a writer that ends well");
        drop(websocket);
        are_in_the_lane(&app, 0).await;
    }
    app.stop().await;
}

/// A client that comes back may have everything before the lane has written it to the
/// others.
#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_enters_ahead_of_the_lane_hears_nothing_twice() {
    let (database, app) = start().await;
    let mut clients = Vec::new();
    for number in 0..100 {
        clients.push(Hearing::live(&format!("live {number}"), app.address).await);
    }
    for number in 0..20 {
        let name = format!("restless {number}");
        clients.push(Hearing::restless(&name, app.address, 100).await);
    }
    database.add_pricing("Zoom", "begin").await;
    for client in &clients {
        client.has_heard("CREATED Zoom begin").await;
    }
    let session = database.connect().await;
    let mut expected = vec!["CREATED Zoom begin".to_owned()];
    for first in (0..1_200).step_by(20) {
        session.add_pricings("Zoom", first..first + 20).await;
        expected.extend((first..first + 20).map(|version| format!("CREATED Zoom {version}")));
    }
    for client in &clients {
        let heard = client.hears_all_up_to("CREATED Zoom 1199").await;
        let differs = heard
            .iter()
            .zip(&expected)
            .position(|(heard, expected)| heard != expected);
        assert!(differs.is_none(), "{}: event {differs:?}", client.name());
        assert_eq!(heard.len(), expected.len(), "{}", client.name());
    }
    app.stop().await;
}
