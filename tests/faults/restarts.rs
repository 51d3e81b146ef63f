//! Postgres is stopped, or crashes, and comes back.

use space_events::config::Settings;

use crate::support::client::since;
use crate::support::{Client, End, Hearing, Load, Server, TestApp, wait_until};

#[tokio::test(flavor = "multi_thread")]
async fn postgres_stops_and_crashes_under_load_and_nothing_is_lost() {
    let mut server = Server::start(&[]).await;
    let app = TestApp::start_at(&server.url, Settings::default()).await;
    let live = Hearing::live("live", app.address).await;
    let returning = Hearing::restless("returning", app.address, 50).await;
    let load = Load::start(&server.url, 3).await;
    for end in [End::Fast, End::Immediate, End::Kill, End::Immediate] {
        live.hears_more(50).await;
        returning.hears_more(50).await;
        server.restart(end).await;
    }
    live.hears_more(50).await;
    load.end(&[&live, &returning]).await;
    app.stop().await;
}

/// After a crash Postgres gives out transaction ids again that never reached the
/// disk. A place in the journal from before the crash holds them for seen.
#[tokio::test(flavor = "multi_thread")]
async fn transaction_ids_that_are_used_again_after_a_crash_lose_nothing() {
    const ROWS: usize = 30;
    // The WAL writer would put the last of the log on disk meanwhile.
    let settings = [
        "wal_writer_delay = '10s'",
        "wal_level = minimal",
        "max_wal_senders = 0",
    ];
    let mut server = Server::start(&settings).await;
    let app = TestApp::start_at(&server.url, Settings::default()).await;
    let mut live = Client::join(app.address, "40/pricings,").await;
    let session = server.connect().await;
    session.add_service("Zoom").await;
    drop(session);
    let mut reused = 0;
    let mut rounds = 0;
    while reused == 0 {
        rounds += 1;
        assert!(rounds <= 20, "no transaction id was used again");
        let session = server.connect().await;
        session.add_pricing("Zoom", rounds).await;
        assert_eq!(live.next_event().await, format!("CREATED Zoom {rounds}"));
        let mut burned = String::new();
        for _ in 0..200 {
            let burn = session.sql("begin; select pg_current_xact_id(); rollback");
            burned = burn.await.remove(0);
        }
        let burned: u64 = burned.parse().expect("a transaction id");
        // The feed has seen them end, and so has a client that lists.
        let now = session.sql("select clock_timestamp()").await.remove(0);
        wait_until("the feed reads", async || {
            let question = format!(
                "select count(*) from pg_stat_activity
                where application_name = 'space-events feed' and state = 'idle' and query_start > '{now}'"
            );
            session.sql(&question).await == ["1"]
        })
        .await;
        let answer = app.request(reqwest::Method::GET, "/services").send().await;
        let answer = answer.expect("an answer");
        let position = answer.headers()["event-position"].to_str();
        let position = position.expect("a text").to_owned();
        drop(session);
        server.restart(End::Immediate).await;

        let session = server.connect().await;
        let mut expected = Vec::new();
        for row in 0..ROWS {
            let xid = session
                .sql(&format!("insert into pricings (service_name, version) values ('Zoom', '{rounds}.{row}'); select xid from space_events.row_changes where version_after = '{rounds}.{row}'"))
                .await
                .remove(0);
            reused += usize::from(xid.parse::<u64>().expect("a transaction id") <= burned);
            expected.push(format!("CREATED Zoom {rounds}.{row}"));
        }
        assert_eq!(live.next_events(ROWS).await, expected);
        let mut back = Client::join(app.address, &since(&position)).await;
        assert_eq!(back.next_events(ROWS).await, expected);
    }
    println!("{reused} transaction ids were used again in round {rounds}");
    app.stop().await;
}
