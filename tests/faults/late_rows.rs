//! Rows that become visible after rows with higher ids, whatever the order in
//! which their transactions began, wrote and committed.

use crate::support::client::{in_short, position_of, since};
use crate::support::{Client, Database, TestApp};

/// A snapshot ends behind the last transaction that has *ended*: one that began
/// later may be writing already, with an id below the greatest that is visible,
/// and is not among those in progress in the snapshot.
#[tokio::test(flavor = "multi_thread")]
async fn a_row_of_a_transaction_beyond_the_snapshots_end_is_heard() {
    let database = Database::create().await;
    let app = TestApp::start(&database).await;
    let mut client = Client::join(app.address, &since("")).await;
    database.add_services(&["First", "Second"]).await;
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
        assert_eq!(in_short(&frame), format!("CREATED First {round}"));
        second.sql("commit").await;
        assert_eq!(client.next_event().await, format!("CREATED Second {round}"));
        // The same for one that comes back to between the two.
        let mut back = Client::join(app.address, &since(&position_of(&frame))).await;
        assert_eq!(back.next_event().await, format!("CREATED Second {round}"));
    }
    app.stop().await;
}

/// Who has just come back takes the next events from the feed, whose batches began
/// elsewhere than the page that it read: a place in one of them must not forget the
/// events of the one before.
#[tokio::test(flavor = "multi_thread")]
async fn a_late_row_right_after_coming_back_repeats_nothing() {
    let database = Database::create().await;
    let app = TestApp::start(&database).await;
    let mut client = Client::join(app.address, &since("")).await;
    database.add_services(&["Zoom", "Slow"]).await;
    let zoom = async |version: &str| {
        database.add_pricing("Zoom", version).await;
    };
    for round in 0..10 {
        let slow = database.connect().await;
        slow.sql(&format!(
            "begin; insert into pricings (service_name, version) values ('Slow', '{round}')"
        ))
        .await;
        zoom(&format!("{round}.before")).await;
        let before = position_of(&client.next_frame().await);
        let mut back = Client::join(app.address, &since(&before)).await;
        zoom(&format!("{round}.after")).await;
        let after = format!("CREATED Zoom {round}.after");
        assert_eq!(back.next_event().await, after);
        slow.sql("commit").await;
        let frame = back.next_frame().await;
        assert_eq!(in_short(&frame), format!("CREATED Slow {round}"));
        let mut again = Client::join(app.address, &since(&position_of(&frame))).await;
        zoom(&format!("{round}.end")).await;
        let end = format!("CREATED Zoom {round}.end");
        assert_eq!(again.next_event().await, end);
        // Where one read of the feed found both, the lower id comes first.
        let mut both = client.next_events(2).await;
        both.sort();
        assert_eq!(both, [format!("CREATED Slow {round}"), after]);
        assert_eq!(client.next_event().await, end);
    }
    app.stop().await;
}
