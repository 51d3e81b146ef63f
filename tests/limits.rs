//! Whatever comes, the program stays up: heads that do not end, connections
//! beyond those that may be, open files that run out.

use std::net::{Ipv4Addr, SocketAddr};
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::routing::get;
use space_events::config::Settings;
use space_events::http::connection::LimitedListener;
use space_events::http::connection_limit::ConnectionLimit;
use space_events::http::server::{self, Limits};
use space_events::http::unread_body;
use space_events::metrics::Metrics;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;

use crate::support::{Client, Database, LIMIT, Program, TestApp, program, wait_for};

/// A request by hand.
const HEALTHCHECK: &[u8] = b"GET /api/v1/healthcheck HTTP/1.1\r\nhost: localhost\r\n\r\n";

/// Sends one request on an open connection; its answer up to the first read, or
/// nothing where the connection is closed instead.
async fn ask(stream: &mut TcpStream, request: &[u8]) -> String {
    let mut buffer = [0; 512];
    let answer = async {
        stream.write_all(request).await?;
        stream.read(&mut buffer).await
    };
    let read = timeout(LIMIT, answer).await.expect("an answer, or the end");
    String::from_utf8_lossy(&buffer[..read.unwrap_or(0)]).into_owned()
}

/// Opens a connection and asks on it, until it is answered.
async fn connect_until_answered(address: SocketAddr) -> TcpStream {
    wait_for("a permit is free", async || {
        let mut stream = TcpStream::connect(address).await.expect("a connection");
        let answer = ask(&mut stream, HEALTHCHECK).await;
        match answer.starts_with("HTTP/1.1 200") {
            true => Ok(stream),
            false => Err(answer),
        }
    })
    .await
}

/// How long a head may take where it may not take long.
const SHORT: Duration = Duration::from_secs(2);
/// How much is read of a body that nobody wants.
const MOST_UNREAD: usize = 64 * 1024;
/// A request whose answer takes longer than [`SHORT`].
const SLOW: &[u8] = b"GET /slow HTTP/1.1\r\nhost: localhost\r\n\r\n";

/// The server with limits of ours: where it listens.
async fn serve_with(first: Duration, next: Duration) -> (SocketAddr, AbortOnDropHandle<()>) {
    let metrics = Arc::new(Metrics::default());
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("an address");
    let limit = ConnectionLimit::new(100, None, metrics.connections());
    let listener = LimitedListener::new(listener, limit, LIMIT, metrics);
    let slow = get(async || {
        sleep(SHORT * 3 / 2).await;
        "done"
    });
    let router = Router::new().route("/slow", slow);
    let limits = Limits {
        first_head: first,
        next_head: next,
        unread_body: unread_body::Limits {
            bytes: MOST_UNREAD,
            time: SHORT,
        },
    };
    let serving = server::serve(listener, router, limits, CancellationToken::new());
    (address, AbortOnDropHandle::new(tokio::spawn(serving)))
}

/// A request with a body of a length that nobody reads.
fn unwanted(length: usize) -> String {
    format!("POST /nothing HTTP/1.1\r\nhost: localhost\r\ncontent-length: {length}\r\n\r\n")
}

/// Sends a head bit by bit, until the connection is closed.
async fn drip(stream: &mut TcpStream) {
    let (mut read, mut write) = stream.split();
    let drip = async {
        let beginning = b"GET /slow HTTP/1.1\r\nhost: localhost\r\nx: ";
        let mut sent = write.write_all(beginning).await;
        // A write fails some time after the other side has closed.
        while sent.is_ok() {
            sleep(SHORT / 10).await;
            sent = write.write_all(b"x").await;
        }
    };
    timeout(LIMIT, drip).await.expect("it is cut off");
    let end = read.read(&mut [0; 1]).await;
    assert!(matches!(end, Ok(0) | Err(_)), "{end:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_first_head_that_does_not_end_is_cut_off_and_a_long_answer_is_not() {
    let (address, _serving) = serve_with(SHORT, LIMIT * 2).await;
    let mut patient = TcpStream::connect(address).await.expect("a connection");
    let patient = tokio::spawn(async move {
        let first = ask(&mut patient, SLOW).await;
        // An idle connection may stay.
        sleep(SHORT * 3 / 2).await;
        (first, ask(&mut patient, SLOW).await)
    });
    let mut silent = TcpStream::connect(address).await.expect("a connection");
    let mut dripping = TcpStream::connect(address).await.expect("a connection");
    drip(&mut dripping).await;
    let end = timeout(LIMIT, silent.read(&mut [0; 1])).await;
    assert!(matches!(end, Ok(Ok(0) | Err(_))), "{end:?}");
    let (first, second) = patient.await.expect("no panic");
    for answer in [first, second] {
        assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    }

    // A head that is too large has an end too.
    let mut large = b"GET /slow HTTP/1.1\r\nhost: localhost\r\nx: ".to_vec();
    large.resize(1 << 20, b'x');
    let mut stream = TcpStream::connect(address).await.expect("a connection");
    let answer = ask(&mut stream, &large).await;
    assert!(
        answer.is_empty() || answer.starts_with("HTTP/1.1 431"),
        "{answer}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_later_head_that_does_not_end_is_cut_off_and_a_long_answer_is_not() {
    let (address, _serving) = serve_with(LIMIT * 2, SHORT).await;
    let mut stream = TcpStream::connect(address).await.expect("a connection");
    assert!(ask(&mut stream, SLOW).await.starts_with("HTTP/1.1 200"));
    drip(&mut stream).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_early_answer_leaves_the_connection_usable_once_the_body_has_come() {
    let (address, _serving) = serve_with(LIMIT, LIMIT).await;
    let mut stream = TcpStream::connect(address).await.expect("a connection");
    for _ in 0..3 {
        let answer = ask(&mut stream, unwanted(MOST_UNREAD).as_bytes()).await;
        assert!(answer.starts_with("HTTP/1.1 404"), "{answer}");
        stream
            .write_all(&vec![b'x'; MOST_UNREAD])
            .await
            .expect("it is taken");
    }
    assert!(ask(&mut stream, SLOW).await.starts_with("HTTP/1.1 200"));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unwanted_body_that_is_large_or_slow_is_cut_off() {
    let (address, _serving) = serve_with(LIMIT, LIMIT).await;
    let mut stream = TcpStream::connect(address).await.expect("a connection");
    let answer = ask(&mut stream, unwanted(1 << 30).as_bytes()).await;
    assert!(answer.starts_with("HTTP/1.1 404"), "{answer}");
    let flood = async { while stream.write_all(&[b'x'; 1 << 16]).await.is_ok() {} };
    timeout(LIMIT, flood).await.expect("it is cut off");

    let mut stream = TcpStream::connect(address).await.expect("a connection");
    let answer = ask(&mut stream, unwanted(MOST_UNREAD).as_bytes()).await;
    assert!(answer.starts_with("HTTP/1.1 404"), "{answer}");
    let dripping = async {
        while stream.write_all(b"x").await.is_ok() {
            sleep(SHORT / 10).await;
        }
    };
    timeout(LIMIT, dripping).await.expect("it is cut off");
}

#[tokio::test(flavor = "multi_thread")]
async fn who_asks_before_sending_a_body_is_not_told_to_send_it_for_nothing() {
    let (address, _serving) = serve_with(LIMIT, LIMIT).await;
    let mut stream = TcpStream::connect(address).await.expect("a connection");
    let request = unwanted(5).replace("\r\n\r\n", "\r\nexpect: 100-continue\r\n\r\n");
    let answer = ask(&mut stream, request.as_bytes()).await;
    assert!(answer.starts_with("HTTP/1.1 404"), "{answer}");
}

#[tokio::test(flavor = "multi_thread")]
async fn there_are_as_many_connections_as_there_may_be_and_places_free_up() {
    let database = Database::create().await;
    let settings = Settings {
        max_connections: Some("3".to_owned()),
        ..Settings::default()
    };
    let app = TestApp::start_with(&database, settings).await;
    let mut client = app.join().await;
    let mut idle = connect_until_answered(app.address).await;
    let last = connect_until_answered(app.address).await;
    for _ in 0..20 {
        let mut refused = TcpStream::connect(app.address).await.expect("a connection");
        assert_eq!(ask(&mut refused, HEALTHCHECK).await, "");
    }
    // Those that are in notice nothing.
    assert!(
        ask(&mut idle, HEALTHCHECK)
            .await
            .starts_with("HTTP/1.1 200")
    );
    database.add_service("Zoom").await;
    database.add_pricing("Zoom", "1").await;
    assert_eq!(client.next_event().await, "CREATED Zoom 1");
    drop(last);
    drop(connect_until_answered(app.address).await);
    // A websocket holds its permit until it ends.
    drop(client);
    let _first = connect_until_answered(app.address).await;
    let mut second = connect_until_answered(app.address).await;
    let request = b"GET /metrics HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n";
    second.write_all(request).await.expect("a request");
    let mut metrics = String::new();
    second
        .read_to_string(&mut metrics)
        .await
        .expect("an answer");
    let refused = metrics.lines().find_map(|line| {
        line.strip_prefix(r#"space_events_connections_refused_total{reason="max_connections"} "#)
    });
    let refused: u32 = refused.expect("a count").parse().expect("a number");
    assert!(refused >= 20, "{refused}");
    assert!(
        metrics.contains("\nspace_events_connections 3\n"),
        "{metrics}"
    );
    app.stop().await;
}

#[cfg(target_os = "linux")]
#[tokio::test(flavor = "multi_thread")]
async fn one_address_has_no_more_connections_than_it_may() {
    let database = Database::create().await;
    let settings = Settings {
        max_connections_per_address: Some("2".to_owned()),
        ..Settings::default()
    };
    let app = TestApp::start_with(&database, settings).await;
    let first = connect_until_answered(app.address).await;
    let _second = connect_until_answered(app.address).await;
    let mut refused = TcpStream::connect(app.address).await.expect("a connection");
    assert_eq!(ask(&mut refused, HEALTHCHECK).await, "");
    let elsewhere = TcpSocket::new_v4().expect("a socket");
    let other = SocketAddr::from((Ipv4Addr::new(127, 0, 0, 2), 0));
    elsewhere.bind(other).expect("another address");
    let mut stream = elsewhere.connect(app.address).await.expect("a connection");
    assert!(
        ask(&mut stream, HEALTHCHECK)
            .await
            .starts_with("HTTP/1.1 200")
    );
    drop(first);
    drop(connect_until_answered(app.address).await);
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_soft_limit_of_open_files_is_raised_and_some_are_kept_back() {
    let database = Database::create().await;
    let mut limited = Command::new("sh");
    limited
        .arg("-c")
        .arg(r#"ulimit -Sn 64 && ulimit -Hn 300 && exec "$0""#)
        .arg(program::command().get_program())
        .env_clear()
        .env("PATH", std::env::var_os("PATH").unwrap_or_default())
        .current_dir(std::env::temp_dir());
    let mut program = Program::start_by(limited, &[("DATABASE_URL", &database.url)]);
    let address = program.address();
    let mut client = Client::join(address, "40/pricings,").await;
    let mut open = Vec::new();
    // 300 less 128, less the client's.
    for _ in 0..171 {
        open.push(connect_until_answered(address).await);
    }
    let mut refused = TcpStream::connect(address).await.expect("a connection");
    assert_eq!(ask(&mut refused, HEALTHCHECK).await, "");
    // The database can be reached again all the same.
    database
        .sql("select pg_terminate_backend(pid) from pg_stat_activity where datname = current_database() and pid <> pg_backend_pid()")
        .await;
    database.add_service("Zoom").await;
    database.add_pricing("Zoom", "1").await;
    assert_eq!(client.next_event().await, "CREATED Zoom 1");
    let stream = open.last_mut().expect("a connection");
    let request = b"GET /services HTTP/1.1\r\nhost: localhost\r\n\r\n";
    assert!(ask(stream, request).await.starts_with("HTTP/1.1 200"));
    program.signal("-TERM");
    assert_eq!(program.wait(), Some(0));
}

#[cfg(target_os = "linux")]
#[tokio::test(flavor = "multi_thread")]
async fn when_open_files_run_out_the_program_goes_on() {
    let database = Database::create().await;
    let mut program = Program::start(&[("DATABASE_URL", &database.url)]);
    let address = program.address();
    let mut client = Client::join(address, "40/pricings,").await;
    let pid = program.id();
    let limit = |soft: &str| {
        let limited = Command::new("prlimit")
            .arg(format!("--pid={pid}"))
            .arg(format!("--nofile={soft}:"))
            .status();
        assert!(limited.expect("prlimit runs").success());
    };
    limit("1");
    let mut waiting = Vec::new();
    for _ in 0..5 {
        let mut stream = TcpStream::connect(address).await.expect("a connection");
        stream.write_all(HEALTHCHECK).await.expect("a request");
        waiting.push(stream);
    }
    database.add_service("Zoom").await;
    database.add_pricing("Zoom", "1").await;
    assert_eq!(client.next_event().await, "CREATED Zoom 1");
    assert_eq!(
        program
            .line_after("connections are refused")
            .split('"')
            .nth(1),
        Some("Too many open files (os error 24)")
    );
    limit("1024");
    // Those that came meanwhile had their place in the kernel's queue.
    for mut stream in waiting {
        assert!(ask(&mut stream, b"").await.starts_with("HTTP/1.1 200"));
    }
    program.signal("-TERM");
    let (code, log) = program.wait_and_read();
    assert_eq!(code, Some(0));
    assert!(!log.contains("connections are refused"), "{log}");
}
