//! Transactions that stay open, and those that are committed in two phases.

use space_events::config::Settings;

use crate::support::client::since;
use crate::support::{Client, Database, End, Hearing, Load, Server, TestApp};

#[tokio::test(flavor = "multi_thread")]
async fn a_transaction_that_stays_open_holds_nobody_up_and_is_heard_once() {
    let database = Database::create().await;
    let app = TestApp::start(&database).await;
    let live = Hearing::live("live", app.address).await;
    let returning = Hearing::restless("returning", app.address, 20).await;
    database.add_service("Long").await;
    let long = database.connect().await;
    long.sql("begin; insert into pricings (service_name, version) values ('Long', '1')")
        .await;
    let load = Load::start(&database.url, 3).await;
    for client in [&live, &returning] {
        client.hears_more(200).await;
        assert!(!client.heard().contains(&"CREATED Long 1".to_owned()));
    }
    long.sql("insert into pricings (service_name, version) values ('Long', '2'); commit")
        .await;
    for client in [&live, &returning] {
        client.hears_more(50).await;
    }
    let others = ["CREATED Long 1", "CREATED Long 2"];
    load.end_with(&[&live, &returning], &others).await;
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn prepared_transactions_are_heard_once_even_over_a_crash() {
    let mut server = Server::start(&["max_prepared_transactions = 10"]).await;
    let app = TestApp::start_at(&server.url, Settings::default()).await;
    let mut client = Client::join(app.address, &since("")).await;
    let mut live = Client::join(app.address, "40/pricings,").await;
    for (round, crash) in [false, true, true].into_iter().enumerate() {
        let session = server.connect().await;
        session
            .sql(&format!(
                "insert into services (name) values ('One{round}'), ('Kept{round}'), ('Dropped{round}')"
            ))
            .await;
        let add = |service: &str, version: &str| {
            format!(
                "insert into pricings (service_name, version) values ('{service}{round}', '{version}')"
            )
        };
        // Begun before others, and after.
        for (name, commit) in [("Kept", "kept"), ("Dropped", "dropped")] {
            let insert = add(name, "1");
            session
                .sql(&format!("begin; set local space_events.wake = 'poll'; {insert}; prepare transaction '{commit}'"))
                .await;
        }
        session.sql(&add("One", "1")).await;
        let frame = client.next_frame().await;
        let before = crate::support::client::position_of(&frame);
        assert!(frame.contains(&format!("One{round}")), "{frame}");
        assert_eq!(live.next_event().await, format!("CREATED One{round} 1"));
        let session = if crash {
            drop(session);
            server.restart(End::Immediate).await;
            server.connect().await
        } else {
            session
        };
        session.sql(&add("One", "2")).await;
        session.sql("rollback prepared 'dropped'").await;
        for client in [&mut client, &mut live] {
            assert_eq!(client.next_event().await, format!("CREATED One{round} 2"));
        }
        session.sql("commit prepared 'kept'").await;
        for client in [&mut client, &mut live] {
            assert_eq!(client.next_event().await, format!("CREATED Kept{round} 1"));
        }
        session.sql(&add("One", "3")).await;
        for client in [&mut client, &mut live] {
            assert_eq!(client.next_event().await, format!("CREATED One{round} 3"));
        }
        let mut back = Client::join(app.address, &since(&before)).await;
        let heard = back.next_events(3).await;
        let sentences = [
            format!("CREATED One{round} 2"),
            format!("CREATED Kept{round} 1"),
            format!("CREATED One{round} 3"),
        ];
        let mut sorted = heard.clone();
        sorted.sort();
        let mut expected = sentences.to_vec();
        expected.sort();
        assert_eq!(sorted, expected);
        let place = |event: &String| heard.iter().position(|heard| heard == event);
        assert!(place(&sentences[0]) < place(&sentences[2]));
    }
    app.stop().await;
}
