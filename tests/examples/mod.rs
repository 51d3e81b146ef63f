//! The examples, run as their readers would: they print what happens, and come
//! back without a gap after every end of theirs and of the server's.
//!
//! `make test` installs the clients that they use and builds the Rust one.

mod process;
mod server;

use reqwest::Method;

use crate::support::postgres::new_directory;
use crate::support::pricing;
use process::{Example, RUST};
use server::Server;

const JAVASCRIPT: &str = "javascript/subscribe.mjs";
const PYTHON: &str = "python/subscribe.py";
const EXAMPLES: [&str; 5] = [
    JAVASCRIPT,
    PYTHON,
    RUST,
    "javascript/list_then_watch.mjs",
    "python/list_then_watch.py",
];

#[tokio::test(flavor = "multi_thread")]
async fn the_subscriber_in_javascript_goes_on_where_it_stopped() {
    goes_on_where_it_stopped(JAVASCRIPT).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_subscriber_in_python_goes_on_where_it_stopped() {
    goes_on_where_it_stopped(PYTHON).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_subscriber_in_rust_goes_on_where_it_stopped() {
    goes_on_where_it_stopped(RUST).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_copy_in_javascript_stays_exact() {
    stays_exact("javascript/list_then_watch.mjs").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_copy_in_python_stays_exact() {
    stays_exact("python/list_then_watch.py").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn each_example_says_once_that_the_server_is_away_and_connects_when_it_is_back() {
    let mut server = Server::start().await;
    server.stop("-TERM");
    let address = format!("http://127.0.0.1:{}", server.port);
    let mut clients = Vec::new();
    for example in EXAMPLES {
        let file = server.directory.join(example.replace('/', "-"));
        let mut client = Example::start(example, &[&address, file.to_str().expect("a path")]);
        let said = client.next_line().await;
        assert!(
            said.starts_with(&format!("cannot reach {address}: ")),
            "{example}: {said}"
        );
        assert!(said.ends_with("; trying again"), "{example}: {said}");
        clients.push(client);
    }
    server.start_again(&[]).await;
    for client in &mut clients {
        let mut next = client.next_line().await;
        if next.starts_with("listed") {
            next = client.next_line().await;
        }
        assert!(next.starts_with("connected"), "{next}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn no_subscriber_waits_in_silence_for_a_server_that_says_nothing() {
    let silent = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = format!("http://{}", silent.local_addr().expect("an address"));
    let file = new_directory("silent");
    let file = file.to_str().expect("a path");
    let mut clients =
        [JAVASCRIPT, PYTHON, RUST].map(|example| Example::start(example, &[&address, file]));
    for client in &mut clients {
        let said = client.next_line().await;
        assert!(
            said.starts_with(&format!("cannot reach {address}: ")),
            "{said}"
        );
    }
}

async fn goes_on_where_it_stopped(example: &str) {
    let mut server = Server::start().await;
    let file = server.directory.join("position");
    let address = format!("http://127.0.0.1:{}", server.port);
    let arguments = [address.as_str(), file.to_str().expect("a path")];

    let mut client = Example::start(example, &arguments);
    client.line("connected").await;
    server.database.add_service("Zoöm").await;
    server.insert(1..=3).await;
    client.prints(1..=3).await;

    // Both end, and something changes meanwhile.
    client.kill().await;
    server.stop("-KILL");
    server.insert(4..=5).await;
    server.start_again(&[]).await;
    let mut client = Example::start(example, &arguments);
    // The last one again, where it was printed and its position not yet kept.
    client.may_print(3).await;
    client.prints(4..=5).await;
    server.insert(6..=6).await;
    client.prints(6..=6).await;

    // The server alone.
    for signal in ["-TERM", "-KILL"] {
        server.stop(signal);
        server.insert(7..=8).await;
        server.start_again(&[]).await;
        client.prints(7..=8).await;
        server.insert(9..=9).await;
        client.prints(9..=9).await;
        server
            .sql("update services set disabled = true; delete from pricings where version::int > 6; update services set disabled = false")
            .await;
        client.line("SERVICE_DISABLED").await;
        for _ in 1..=6 {
            client.line("PRICING_ACTIVED").await;
        }
    }

    // Longer than the journal is kept: it says so, and hears what comes from now on.
    client.kill().await;
    server.forget_what_was().await;
    let mut client = Example::start(example, &arguments);
    client.line("POSITION_EXPIRED").await;
    client.line("connected").await;
    server.insert(10..=11).await;
    client.prints(10..=11).await;
}

async fn stays_exact(example: &str) {
    let mut server = Server::start().await;
    let file = server.directory.join("services.json");
    let address = format!("http://127.0.0.1:{}", server.port);
    let arguments = [address.as_str(), file.to_str().expect("a path")];
    // More than a page.
    server
        .sql(
            "insert into services (name) select 'Service ' || n from generate_series(1, 1200) n;
            insert into pricings (service_name, version) select name, '1' from services",
        )
        .await;

    let mut client = Example::start(example, &arguments);
    client.line("listed 1200 services").await;
    client.line("connected").await;
    server.is_copied_to(&file).await;

    server
        .request(Method::POST, "/services", pricing("Zoom", "2024"))
        .await;
    server
        .request(
            Method::POST,
            "/services/Zoom/pricings",
            pricing("Zoom", "2025/1 ?"),
        )
        .await;
    server
        .request(Method::PUT, "/services/Zoom/pricings/2024", String::new())
        .await;
    server
        .sql(
            "delete from services where name = 'Service 7';
            insert into services (name) values ('SERVICE 7'), ('a/b?c#d%20é');
            insert into pricings (service_name, version, availability) values ('SERVICE 7', '2', 'active'), ('a/b?c#d%20é', '1', 'archived');
            update pricings set version = '1.1' where service_name = 'Service 8';
            update services set disabled = true where name in ('Service 9', 'Service 10');
            update services set disabled = false where name = 'Service 10';
            delete from pricings where service_name = 'Service 11'",
        )
        .await;
    server.is_copied_to(&file).await;

    // Both end, and something changes meanwhile, in many places.
    client.kill().await;
    server.stop("-KILL");
    server
        .sql(
            "insert into pricings (service_name, version) select name, '3' from services where name like 'Service 1__';
            update services set name = 'Zoom Two' where name = 'Zoom';
            insert into pricings (service_name, version) values ('Zoom Two', '2026');
            delete from services where name = 'Service 13'",
        )
        .await;
    server.start_again(&[]).await;
    server
        .request(Method::DELETE, "/services/Service%2014", String::new())
        .await;
    let mut client = Example::start(example, &arguments);
    // From its file: it does not begin with a list.
    client.line("going on with 1201 services").await;
    client.line("connected").await;
    server.is_copied_to(&file).await;

    // The server alone, while the example watches.
    for signal in ["-TERM", "-KILL"] {
        server.stop(signal);
        server
            .sql(
                "update pricings set availability = case availability when 'active' then 'archived' else 'active' end
                where service_name like 'Service 2__'",
            )
            .await;
        server.start_again(&[]).await;
        client.line("connected").await;
        server.is_copied_to(&file).await;
    }

    // Renamed, which is not announced, and gone before anything else was: there is
    // no way but a list to know which it was.
    server
        .sql("update services set name = 'Renamed', disabled = true where name = 'Service 12'")
        .await;
    client.line("Renamed is gone").await;
    client.line("listed").await;
    server.is_copied_to(&file).await;

    // Longer than the journal is kept: it lists again.
    client.kill().await;
    server
        .sql("delete from services where name like 'Service 3%'")
        .await;
    server.forget_what_was().await;
    let mut client = Example::start(example, &arguments);
    client.line("POSITION_EXPIRED").await;
    client.line("listed").await;
    client.line("connected").await;
    server.is_copied_to(&file).await;
    server
        .request(Method::POST, "/services", pricing("Slack", "1"))
        .await;
    server.is_copied_to(&file).await;
}
