//! What the log says of clients and of outages, and what it does not say at a good start.

use serde_json::Value;

use crate::support::client::{position_of, since};
use crate::support::{Client, Database, End, Program, Server};

fn start(url: &str, level: &str) -> Program {
    Program::start(&[
        ("DATABASE_URL", url),
        ("RUST_LOG", level),
        ("LOG_FORMAT", "json"),
    ])
}

/// Where it listens, from a log in JSON.
fn address(program: &mut Program) -> std::net::SocketAddr {
    let line = program.line_after("listening on http://");
    let (address, _) = line.split_once('"').expect("the end of a text");
    address.parse().expect("an address")
}

/// The next line with this message.
fn line(program: &mut Program, message: &str) -> Value {
    let lines = program.lines_up_to(&format!("\"message\":\"{message}"));
    serde_json::from_str(lines.last().expect("a line")).expect("JSON")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_is_followed_from_its_joining_to_its_leaving() {
    let database = Database::create().await;
    let mut program = start(&database.url, "debug");
    let address = address(&mut program);
    let mut client = Client::join(address, &since("")).await;
    let joined = line(&mut program, "a client joined");
    assert_eq!(joined["level"], "DEBUG");
    assert_eq!(joined["client"], "127.0.0.1");
    assert_eq!(joined["positions"], "Sent");
    assert_eq!(joined["behind_rows"], 0);
    database.add_service("Zoom").await;
    database.add_pricings("Zoom", 1..10).await;
    let published = line(&mut program, "published");
    assert_eq!(published["events"], 9);
    let first = client.next_frame().await;
    drop(client);
    let left = line(&mut program, "a client left");
    assert_eq!(left["client.id"], joined["client.id"]);
    assert!(
        left["reason"]
            .as_str()
            .is_some_and(|reason| !reason.is_empty())
    );

    // How much it has to catch up on.
    let _back = Client::join(address, &since(&position_of(&first))).await;
    let joined = line(&mut program, "a client joined");
    assert_eq!(joined["behind_rows"], 8, "{joined}");

    let mut refused = Client::open(address).await;
    refused.send(&since("x")).await;
    let refused = line(&mut program, "a client was refused");
    let refusal = refused["refusal"].as_str().expect("a text");
    assert!(refusal.starts_with("POSITION_INVALID"), "{refusal}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_good_start_sounds_like_one_the_second_time_too() {
    let database = Database::create().await;
    for _ in 0..2 {
        let mut program = start(&database.url, "info");
        address(&mut program);
        program.signal("-TERM");
        let (code, log) = program.wait_and_read();
        assert_eq!(code, Some(0));
        for alarm in ["WARN", "ERROR", "already exists", "limit", "sqlx"] {
            assert!(!log.contains(alarm), "{log}");
        }
    }
    // Whoever asks for more connections than there can be is told.
    let mut program = Program::start(&[
        ("DATABASE_URL", database.url.as_str()),
        ("MAX_CONNECTIONS", "100000000"),
    ]);
    program.line_after("the limit of open files (ulimit -n) allows fewer connections");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_outage_is_told_when_it_begins_and_when_it_is_over() {
    let mut server = Server::start(&[]).await;
    let mut program = start(&server.url, "info");
    let address = address(&mut program);
    server.stop(End::Fast).await;
    let lost = line(&mut program, "lost the feed");
    assert_eq!(lost["level"], "WARN");
    // Others who ask meanwhile are answered, and not told in the log.
    let mut client = Client::join(address, &since("")).await;
    server.start_again().await;
    let lines = program.lines_up_to("following the journal again, after ");
    let told = lines
        .iter()
        .filter(|line| line.contains("\"WARN\""))
        .count();
    assert!(told <= 2, "{lines:#?}");
    let session = server.connect().await;
    session.add_service("Zoom").await;
    session.add_pricing("Zoom", "1").await;
    assert_eq!(client.next_event().await, "CREATED Zoom 1");
}
