//! The program's connections to Postgres end, or fall silent.

use std::time::{Duration, Instant};

use reqwest::Method;
use space_events::config::Settings;
use tokio::time::{sleep, timeout};

use crate::support::{Database, Hearing, LIMIT, Load, Proxy, Server, TestApp};

#[tokio::test(flavor = "multi_thread")]
async fn connections_that_are_terminated_all_the_time_lose_nothing() {
    let database = Database::create().await;
    let app = TestApp::start(&database).await;
    let live = Hearing::live("live", app.address).await;
    let returning = Hearing::restless("returning", app.address, 50).await;
    let load = Load::start(&database.url, 3).await;
    let mut terminated = 0;
    for _ in 0..10 {
        live.hears_more(5).await;
        returning.hears_more(5).await;
        let ended = database
            .sql(
                "select pg_terminate_backend(pid) from pg_stat_activity
                where datname = current_database()
                and application_name like 'space-events%' and application_name <> 'space-events test'",
            )
            .await;
        terminated += ended.len();
        sleep(Duration::from_millis(500)).await;
    }
    assert!(terminated >= 10, "{terminated}");
    load.end(&[&live, &returning]).await;
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn half_open_connections_are_replaced_and_lose_nothing() {
    let server = Server::start(&[]).await;
    let proxy = Proxy::start(&server).await;
    let app = TestApp::start_at(&proxy.url, Settings::default()).await;
    let live = Hearing::live("live", app.address).await;
    let returning = Hearing::restless("returning", app.address, 50).await;
    let load = Load::start(&server.url, 2).await;
    live.hears_more(20).await;
    returning.hears_more(20).await;

    // What is connected stays open and silent; whoever connects anew is served.
    proxy.silence();
    let begun = Instant::now();
    ask_until_answered(&app, "/services").await;
    let rest_after = begun.elapsed();
    live.hears_more(1).await;
    let heard_after = begun.elapsed();
    println!("half-open: REST answered after {rest_after:?}, events came after {heard_after:?}");

    // Nobody is served for a while, then everybody, on the old connections too.
    proxy.hold();
    let refused = timeout(LIMIT, ask(&app, "/services")).await;
    assert_eq!(refused.expect("in time"), 503);
    assert_eq!(ask(&app, "/api/v1/healthcheck").await, 200);
    assert_eq!(ask(&app, "/readyz").await, 503);
    proxy.resume();
    ask_until_answered(&app, "/services").await;
    live.hears_more(20).await;
    load.end(&[&live, &returning]).await;
    app.stop().await;
}

async fn ask(app: &TestApp, path: &str) -> u16 {
    let answer = app.request(Method::GET, path).send().await;
    let answer = answer.expect("an answer");
    let status = answer.status().as_u16();
    let says_when = answer.headers().contains_key("retry-after");
    assert_eq!(says_when, status == 503, "{path}: {status}");
    status
}

async fn ask_until_answered(app: &TestApp, path: &str) {
    crate::support::wait_until("REST answers again", async || match ask(app, path).await {
        200 => true,
        503 => false,
        other => panic!("{path}: {other}"),
    })
    .await;
}
