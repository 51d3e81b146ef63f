//! While the database is away, or locked.

use tokio::time::timeout;

use super::{Server, json_of};
use crate::support::{LIMIT, http_client, without_database};

#[tokio::test(flavor = "multi_thread")]
async fn a_database_that_is_away_is_a_503_in_time() {
    let address = without_database::serve().await;
    let http = http_client();
    for (path, status) in [
        ("services", 503),
        ("services/x", 503),
        ("api/v1/events", 503),
        ("api/v1/healthcheck", 200),
    ] {
        let asked = http.get(format!("http://{address}/{path}")).send();
        let response = timeout(LIMIT, asked).await.expect("in time");
        let response = response.expect("an answer");
        assert_eq!(json_of(response).await.0, status, "{path}");
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
    let refused = server.call("PUT", "/services/Zoom/pricings/1");
    assert_eq!(timeout(LIMIT, refused).await.expect("in time").0, 503);
    assert_eq!(server.call("GET", "/services/Zoom").await.0, 200);
    server.database.sql("rollback").await;
    assert_eq!(server.call("PUT", "/services/Zoom/pricings/1").await.0, 200);
}
