//! While the database is away, or locked.

use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::{Duration, Instant};

use space_events::api_key::ApiKeys;
use space_events::journal::bounds::JournalBounds;
use space_events::journal::{CatchUp, JournalKey, ReplayBuffer};
use space_events::rest::pricing_url::PricingFetcher;
use space_events::rest::{self, Api};
use space_events::store::Pool;
use space_events::store::database_url::DatabaseUrl;
use space_events::store::transaction::Sessions;
use tokio::net::TcpListener;

use super::{Server, json_of};
use crate::support::no_tls;

#[tokio::test(flavor = "multi_thread")]
async fn a_database_that_is_away_is_a_503_in_time() {
    let nowhere: DatabaseUrl = "postgres://nobody@127.0.0.1:1/nothing"
        .parse()
        .expect("a URL");
    let api = Api {
        pool: Pool::new(nowhere.clone(), Sessions::Kept, NonZeroU32::MIN).0,
        catch_up: Arc::new(CatchUp::new(
            nowhere,
            JournalKey::new(Vec::new()),
            Arc::new(ReplayBuffer::new(JournalBounds::nothing(), Arc::default())),
        )),
        keys: Arc::new(ApiKeys::default()),
        fetcher: Arc::new(PricingFetcher::new(
            Vec::new(),
            rest::MAX_PRICING_BYTES,
            Duration::from_secs(5),
        )),
        outgoing: rest::Outgoing::default(),
    };
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("an address");
    tokio::spawn(async move { axum::serve(listener, rest::router(api)).await });
    let http = reqwest::Client::builder()
        .tls_backend_preconfigured(no_tls())
        .no_proxy()
        .build()
        .expect("a client");
    for (path, status) in [
        ("services", 503),
        ("services/x", 503),
        ("api/v1/events", 503),
        ("api/v1/healthcheck", 200),
    ] {
        let since = Instant::now();
        let response = http
            .get(format!("http://{address}/{path}"))
            .send()
            .await
            .expect("an answer");
        assert_eq!(json_of(response).await.0, status, "{path}");
        assert!(since.elapsed() < Duration::from_secs(5), "{path}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn lost_connections_are_replaced() {
    let server = Server::start().await;
    server.create("Zoom", "1").await;
    let cut = "select pg_terminate_backend(pid) from pg_stat_activity
        where datname = current_database() and application_name like 'space-events rest%'";
    for path in [
        "/services/Zoom/pricings/1",
        "/services/Zoom/pricings/1?availability=active",
    ] {
        assert!(!server.database.sql(cut).await.is_empty());
        assert_eq!(server.call("PUT", path).await.0, 200);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_locked_service_is_a_503_and_passes() {
    let server = Server::start().await;
    server.create("Zoom", "1").await;
    server
        .database
        .sql("begin; select name from services for update")
        .await;
    let since = Instant::now();
    assert_eq!(server.call("PUT", "/services/Zoom/pricings/1").await.0, 503);
    assert!(since.elapsed() < Duration::from_secs(6));
    assert_eq!(server.call("GET", "/services/Zoom").await.0, 200);
    server.database.sql("rollback").await;
    assert_eq!(server.call("PUT", "/services/Zoom/pricings/1").await.0, 200);
}
