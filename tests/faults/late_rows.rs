//! Rows that become visible after rows with higher ids, whatever the order in
//! which their transactions began, wrote and committed.

use crate::support::client::position_of;
use crate::support::{Client, Database, TestApp};

/// A snapshot ends behind the last transaction that has *ended*: one that began
/// later may be writing already, with an id below the greatest that is visible,
/// and is not among those in progress in the snapshot.
#[tokio::test(flavor = "multi_thread")]
async fn a_row_of_a_transaction_beyond_the_snapshots_end_is_heard() {
    let database = Database::create().await;
    let app = TestApp::start(&database).await;
    let mut client = Client::join(app.address, "40/pricings,{\"since\":\"\"}").await;
    database
        .sql("insert into services (name) values ('First'), ('Second')")
        .await;
    for round in 0..5 {
        let first = database.connect().await;
        let second = database.connect().await;
        let insert = |name| {
            format!("insert into pricings (service_name, version) values ('{name}', '{round}')")
        };
        first.sql("begin; select pg_current_xact_id()").await;
        second.sql("begin; select pg_current_xact_id()").await;
        second.sql(&insert("Second")).await;
        first.sql(&format!("{}; commit", insert("First"))).await;
        let frame = client.next_frame().await;
        assert_eq!(
            crate::support::client::in_short(&frame),
            format!("CREATED First {round}")
        );
        second.sql("commit").await;
        assert_eq!(client.next_event().await, format!("CREATED Second {round}"));
        // The same for one that comes back to between the two.
        let since = format!("40/pricings,{{\"since\":\"{}\"}}", position_of(&frame));
        let mut back = Client::join(app.address, &since).await;
        assert_eq!(back.next_event().await, format!("CREATED Second {round}"));
    }
    app.stop().await;
}
