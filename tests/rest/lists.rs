//! Lists that are larger than what a client takes at once.

use reqwest::Method;
use serde_json::Value;
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;

use super::Server;
use crate::support::{Database, Program, http_client, wait_for};

const PRICINGS: usize = 40;

/// Adds a service with so many pricings; in their documents are their number `n`, and
/// a text that an SQL expression of `n` gives.
async fn add_documents(database: &Database, service: &str, pricings: usize, text: &str) {
    database.add_service(service).await;
    database
        .sql(&format!(
            "insert into pricings (service_name, version, document) \
             select '{service}', n, jsonb_build_object('n', n, 'text', {text}) \
             from generate_series(1, {pricings}) n"
        ))
        .await;
}

/// Adds a service with 40 pricings whose documents have 1.5 MB each.
async fn add_large(database: &Database) {
    let text = "(select string_agg(md5(n::text || i), '') from generate_series(1, 46875) i)";
    add_documents(database, "Large", PRICINGS, text).await;
}

/// The field `n` of each document.
fn numbers(list: &Value) -> Vec<usize> {
    let list = list.as_array().expect("a list");
    list.iter()
        .map(|document| {
            assert_eq!(document["text"].as_str().map(str::len), Some(1_500_000));
            document["n"].as_u64().expect("a number") as usize
        })
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn slow_readers_of_a_large_list_fill_no_memory_and_hold_up_nobody() {
    let database = Database::create().await;
    let mut program = Program::start(&[("DATABASE_URL", &database.url)]);
    let address = program.address();
    add_large(&database).await;
    let mut slow = Vec::new();
    for _ in 0..30 {
        let mut stream = TcpStream::connect(address).await.expect("a connection");
        let request = b"GET /services/Large/pricings HTTP/1.1\r\nhost: localhost\r\n\r\n";
        stream.write_all(request).await.expect("a request");
        slow.push(stream);
    }
    let http = http_client();
    for _ in 0..3 {
        let url = format!("http://{address}/services/Large/pricings");
        let answer = http.get(url).send().await.expect("an answer");
        assert_eq!(answer.status(), 200);
        let body = answer.bytes().await.expect("all of it");
        let list = serde_json::from_slice(&body).expect("JSON");
        assert_eq!(numbers(&list), Vec::from_iter(1..=PRICINGS));
    }
    let sessions = "select count(*) from pg_stat_activity where datname = current_database() \
                    and state = 'idle in transaction'";
    assert_eq!(database.sql(sessions).await, ["0"]);
    let peak = program.peak_resident_mib();
    assert!(peak < 400, "{peak} MiB");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_large_list_is_of_one_moment_or_breaks_off() {
    let server = Server::start().await;
    add_large(&server.database).await;
    for (change, whole) in [
        (
            "insert into pricings (service_name, version) values ('Large', 'new')",
            true,
        ),
        ("delete from pricings where version in ('1', 'new')", true),
        (
            "update pricings set document = document || '{\"n\": 0}' where version = '40'",
            false,
        ),
        ("delete from pricings where version = '40'", false),
    ] {
        let list = server.app.request(Method::GET, "/services/Large/pricings");
        let mut answer = list.send().await.expect("an answer");
        let position = answer.headers()["event-position"]
            .to_str()
            .expect("a text")
            .to_owned();
        let part = answer.chunk().await.expect("a part");
        let mut body = part.expect("a part").to_vec();
        while body.len() < 2_000_000 {
            let part = answer.chunk().await.expect("a part");
            body.extend_from_slice(&part.expect("a part"));
        }
        server.database.sql(change).await;
        let ended = loop {
            match answer.chunk().await {
                Ok(Some(chunk)) => body.extend_from_slice(&chunk),
                ended => break ended,
            }
        };
        assert_eq!(ended.is_ok(), whole, "{change}: {ended:?}");
        if whole {
            let list = serde_json::from_slice(&body).expect("JSON");
            assert_eq!(numbers(&list), Vec::from_iter(1..=PRICINGS), "{change}");
            let path = format!("/api/v1/events?since={position}");
            let events = &server.get(&path).await["events"];
            assert!(!events.as_array().expect("a list").is_empty(), "{change}");
            server
                .database
                .sql("delete from pricings where document is null")
                .await;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn archiving_a_pricing_does_not_break_a_list_off() {
    // More than fits into the buffers of a connection.
    const PRICINGS: usize = 16;
    let server = Server::start().await;
    let text = "repeat(md5(n::text), 46875)";
    add_documents(&server.database, "Medium", PRICINGS, text).await;
    // On a busy machine the database may not answer in time at first.
    let mut answer = wait_for("the list", async || {
        let list = server.app.request(Method::GET, "/services/Medium/pricings");
        let answer = list.send().await.expect("an answer");
        match answer.status().as_u16() {
            200 => Ok(answer),
            status => Err(status),
        }
    })
    .await;
    let mut body = answer
        .chunk()
        .await
        .expect("a part")
        .expect("a part")
        .to_vec();
    server
        .database
        .sql("update pricings set availability = 'archived'")
        .await;
    while let Some(part) = answer.chunk().await.expect("no end before its time") {
        body.extend_from_slice(&part);
    }
    let list: Value = serde_json::from_slice(&body).expect("JSON");
    assert_eq!(numbers(&list), Vec::from_iter(1..=PRICINGS));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_list_of_many_small_documents_is_whole() {
    let server = Server::start().await;
    add_documents(&server.database, "Many", 2000, "repeat('x', n)").await;
    let list = server.get("/services/many/pricings").await;
    let list = list.as_array().expect("a list");
    assert_eq!(list.len(), 2000);
    for (document, n) in list.iter().zip(1..) {
        assert_eq!(document["n"], n);
        assert_eq!(document["version"], n.to_string());
        assert_eq!(document["text"].as_str().map(str::len), Some(n));
    }
}
