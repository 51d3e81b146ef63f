//! The sessions of Engine.IO: how many there may be, and what a websocket that
//! fails leaves behind.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use futures_util::{SinkExt as _, StreamExt as _};
use reqwest::{Method, StatusCode};
use space_events::config::Settings;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::{sleep, timeout};
use tokio_tungstenite::connect_async;
use tokio_tungstenite::tungstenite::Message;

use crate::support::client::in_short;
use crate::support::{Client, Database, LIMIT, Polling, Program, TestApp, wait_for, wait_until};

async fn start() -> (Database, TestApp) {
    let database = Database::create().await;
    let app = TestApp::start(&database).await;
    (database, app)
}

/// One event for each version, each in a transaction of its own.
async fn create(database: &Database, versions: std::ops::Range<usize>) {
    database
        .sql("insert into services (name) values ('Zoom') on conflict do nothing")
        .await;
    for version in versions {
        database.add_pricing("Zoom", version).await;
    }
}

async fn hears(client: &mut Polling, versions: std::ops::Range<usize>) {
    for version in versions {
        assert_eq!(client.next_event().await, format!("CREATED Zoom {version}"));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_polls_goes_over_to_a_websocket_between_two_events() {
    let (database, app) = start().await;
    let mut client = Polling::join(app.address).await;
    create(&database, 0..3).await;
    hears(&mut client, 0..3).await;
    let polls = client.polls;
    let url = client.websocket_url(app.address);
    let (mut websocket, _) = connect_async(&url).await.expect("a websocket");
    // Its poll waits, and is ended for the websocket.
    let polling = async {
        client.poll().await;
        client
    };
    let probing = async {
        websocket.send(Message::text("2probe")).await.expect("sent");
        let answer = websocket.next().await.expect("a frame").expect("a frame");
        assert_eq!(answer, Message::text("3probe"));
        websocket
    };
    let both = timeout(LIMIT, futures_util::future::join(polling, probing)).await;
    let (client, mut websocket) = both.expect("both answered");
    assert_eq!(client.polls, polls + 1);
    websocket.send(Message::text("5")).await.expect("sent");
    create(&database, 3..6).await;
    let mut heard = Vec::new();
    while heard.len() < 3 {
        let frame = timeout(LIMIT, websocket.next()).await.expect("in time");
        match frame.expect("a frame").expect("a frame") {
            Message::Text(text) if text.as_str() == "2" => {
                websocket.send(Message::text("3")).await.expect("sent");
            }
            Message::Text(text) => heard.push(in_short(text.as_str())),
            other => panic!("{other}"),
        }
    }
    assert_eq!(
        heard,
        ["CREATED Zoom 3", "CREATED Zoom 4", "CREATED Zoom 5"]
    );
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_websocket_that_fails_leaves_a_client_that_polls_as_it_was() {
    let (database, app) = start().await;
    let mut client = Polling::join(app.address).await;
    let url = client.websocket_url(app.address);
    let mut kept = Vec::new();
    let mut next = 0;
    for (say, cut) in [
        (&[][..], true),
        (&["2probe"], true),
        (&["2probe", "2probe"], true),
        (&["5"], true),
        (&["40/pricings,"], true),
        // Swallowed: the last, for no other is tried meanwhile.
        (&["2probe"], false),
    ] {
        // The one before may not be noticed as gone yet.
        let connect = async || connect_async(&url).await;
        let (mut websocket, _) = wait_for("a websocket", connect).await;
        for text in say {
            websocket.send(Message::text(*text)).await.expect("sent");
        }
        if cut {
            drop(websocket);
        } else {
            kept.push(websocket);
        }
        create(&database, next..next + 5).await;
        hears(&mut client, next..next + 5).await;
        next += 5;
    }
    // It is not answered again and again while a websocket is tried.
    let polls = client.polls;
    let begun = Instant::now();
    while begun.elapsed() < Duration::from_secs(3) {
        client.poll().await;
    }
    let polls = client.polls - polls;
    assert!(polls < 15, "{polls} polls");
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_websocket_that_comes_without_its_headers_is_refused_and_the_session_polls_on() {
    let (database, app) = start().await;
    let mut client = Polling::join(app.address).await;
    // As a proxy forwards it that does not know websockets.
    let path = format!("/events/?EIO=4&transport=websocket&sid={}", client.sid);
    for _ in 0..3 {
        let request = app
            .request(Method::GET, &path)
            .header("sec-websocket-key", "AAAAAAAAAAAAAAAAAAAAAA==")
            .header("sec-websocket-version", "13");
        let answer = request.send().await.expect("an answer");
        assert_eq!(answer.status(), StatusCode::BAD_REQUEST);
    }
    create(&database, 0..300).await;
    hears(&mut client, 0..300).await;
    app.stop().await;
}

#[cfg(target_os = "linux")]
#[tokio::test(flavor = "multi_thread")]
async fn sessions_that_are_invented_cost_no_memory() {
    const REQUESTS: usize = 2_000;
    let database = Database::create().await;
    let mut program = Program::start(&[("DATABASE_URL", &database.url)]);
    let address = program.address();
    let mut stream = TcpStream::connect(address).await.expect("a connection");
    let mut ask = async |number: usize| {
        let sid = format!("{number:0>60000}");
        let request = format!(
            "GET /events/?EIO=4&transport=websocket&sid={sid} HTTP/1.1\r\nhost: localhost\r\n\r\n"
        );
        stream.write_all(request.as_bytes()).await.expect("sent");
        let mut answer = Vec::new();
        while !answer.ends_with(br#""Session ID unknown"}"#) {
            let read = timeout(LIMIT, stream.read_buf(&mut answer)).await;
            assert_ne!(read.expect("in time").expect("an answer"), 0);
        }
    };
    ask(0).await;
    let before = program.resident_kib();
    for number in 1..REQUESTS {
        ask(number).await;
    }
    let added = program.resident_kib().saturating_sub(before);
    assert!(added < 20 * 1024, "{added} KB");
    program.signal("-TERM");
    assert_eq!(program.wait(), Some(0));
}

/// More than the C library gives back by itself when they are gone.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
#[tokio::test(flavor = "multi_thread")]
async fn the_memory_of_many_sessions_goes_back_to_the_system_when_they_are_gone() {
    const SESSIONS: u64 = 800;
    space_events::http::open_files::raise_limit();
    let database = Database::create().await;
    let mut program = Program::start(&[("DATABASE_URL", &database.url)]);
    let address = program.address();
    drop(Client::join(address, "40/pricings,").await);
    let before = program.resident_kib();
    let mut clients = Vec::new();
    for _ in 0..SESSIONS {
        clients.push(Client::join(address, "40/pricings,").await);
    }
    let most = program.resident_kib();
    assert!(most > before + 8 * SESSIONS, "{before} KB, then {most} KB");
    // They are counted every second.
    sleep(Duration::from_secs(2)).await;
    drop(clients);
    wait_until("most of their memory is given back", async || {
        program.resident_kib() < before + (most - before) / 2
    })
    .await;
    program.signal("-TERM");
    assert_eq!(program.wait(), Some(0));
}

/// Opens a session by polling; whether there was a place for it.
async fn try_open(app: &TestApp) -> bool {
    let open = app.request(Method::GET, "/events/?EIO=4&transport=polling");
    let answer = open.send().await.expect("an answer");
    match answer.status() {
        StatusCode::OK => true,
        StatusCode::SERVICE_UNAVAILABLE => {
            assert!(answer.headers().contains_key("retry-after"));
            false
        }
        other => panic!("{other}"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn sessions_count_like_connections_and_one_that_does_not_connect_is_ended() {
    let database = Database::create().await;
    let settings = Settings {
        max_connections: Some("20".to_owned()),
        ..Settings::default()
    };
    let app = TestApp::start_with(&database, settings).await;
    let mut connected = Polling::join(app.address).await;
    for _ in 0..19 {
        assert!(try_open(&app).await);
    }
    assert!(!try_open(&app).await);
    wait_until("a session that did not connect is ended", async || {
        try_open(&app).await
    })
    .await;
    // One that did stays.
    create(&database, 0..2).await;
    hears(&mut connected, 0..2).await;
    // A websocket that is lost before it connects frees its place too.
    for _ in 0..50 {
        reset_after_the_open(app.address).await;
    }
    wait_until("all places are free", async || {
        let metrics = app.request(Method::GET, "/metrics").send().await;
        let metrics = metrics.expect("an answer").text().await.expect("a text");
        metrics
            .lines()
            .any(|line| line == "space_events_sessions 1")
    })
    .await;
    app.stop().await;
}

/// A websocket whose connection is reset as soon as it is one.
async fn reset_after_the_open(address: SocketAddr) {
    let url = format!("ws://{address}/events/?EIO=4&transport=websocket");
    let Ok(stream) = TcpStream::connect(address).await else {
        return;
    };
    stream.set_zero_linger().expect("an option");
    // It may be refused, when there is no place.
    if let Ok((mut websocket, _)) = tokio_tungstenite::client_async(url, stream).await {
        let _ = timeout(LIMIT, websocket.next()).await.expect("in time");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connect_right_after_a_disconnect_is_answered() {
    let (database, app) = start().await;
    let mut client = app.join().await;
    for round in 0..100 {
        client.send("41/pricings,").await;
        client.send("40/pricings,").await;
        let answer = client.next_frame().await;
        assert!(answer.starts_with("40/pricings,{"), "{round}: {answer}");
    }
    create(&database, 0..3).await;
    client.hears_created("Zoom", 0..3).await;
    drop(client);
    let mut client = Client::open(app.address).await;
    client.send("40/pricings,").await;
    client.next_frame().await;
    app.stop().await;
}
