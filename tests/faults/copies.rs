//! A database that is copied: the copy's journal is another journal.

use std::process::Command;

use space_events::config::Settings;

use crate::support::client::{in_short, position_of, since};
use crate::support::postgres::Session;
use crate::support::{Client, Program, Server, TestApp, wait_until};

/// Burns transaction ids in the original, so that its journal has some that the
/// copy has not given out yet.
async fn original(server: &Server) -> String {
    let app = TestApp::start_at(&server.url, Settings::default()).await;
    let mut client = Client::join(app.address, &since("")).await;
    let session = server.connect().await;
    session.add_service("Zoom").await;
    session
        .sql("do $$ begin for n in 1..3000 loop perform pg_current_xact_id(); commit; end loop; end $$")
        .await;
    session.add_pricings("Zoom", 0..10).await;
    let mut position = String::new();
    for _ in 0..10 {
        position = position_of(&client.next_frame().await);
    }
    app.stop().await;
    position
}

/// Starts three instances at once on the copy, and checks that they agree.
async fn check_copy(url: &str, position: &str) {
    const ADOPTED: &str = "the journal came from another database";
    // All of them stand before the journal at the same time.
    let session = Session::connect(url).await;
    session
        .sql("begin; select 1 from space_events.journal for update")
        .await;
    let mut programs: Vec<Program> = (0..3)
        .map(|_| Program::start(&[("DATABASE_URL", url)]))
        .collect();
    wait_until("three instances wait", async || {
        let question = "select count(*) from pg_stat_activity where datname = current_database() and wait_event_type = 'Lock'";
        // The statistics stay as they are within a transaction.
        session.sql("select pg_stat_clear_snapshot()").await;
        session.sql(question).await == ["3"]
    })
    .await;
    session.sql("commit").await;
    let mut addresses = Vec::new();
    let mut adopted = 0;
    for program in &mut programs {
        let lines = program.lines_up_to("listening on http://");
        adopted += lines.iter().filter(|line| line.contains(ADOPTED)).count();
        let (_, address) = lines[lines.len() - 1].rsplit_once('/').expect("an address");
        addresses.push(address.parse().expect("an address"));
    }
    assert_eq!(adopted, 1, "one of them gives it its new identity");
    let mut clients = Vec::new();
    for address in &addresses {
        let refused = Client::try_join(*address, &since(position)).await;
        let why = refused
            .err()
            .expect("a position of the original is refused");
        assert!(why.contains("POSITION_INVALID"), "{why}");
        clients.push(Client::join(*address, &since("")).await);
    }
    session.add_pricing("Zoom", "new").await;
    let mut positions = Vec::new();
    for client in &mut clients {
        let frame = client.next_frame().await;
        assert_eq!(in_short(&frame), "CREATED Zoom new");
        positions.push(position_of(&frame));
    }
    session
        .sql("update pricings set availability = 'archived' where version = 'new'")
        .await;
    for client in &mut clients {
        assert_eq!(client.next_event().await, "ARCHIVED Zoom new");
    }
    // The new positions are good, on every instance, and after a lost connection.
    session
        .sql(
            "select pg_terminate_backend(pid) from pg_stat_activity
            where datname = current_database() and application_name like 'space-events feed%'",
        )
        .await;
    for address in &addresses {
        for position in &positions {
            let mut back = Client::join(*address, &since(position)).await;
            assert_eq!(back.next_event().await, "ARCHIVED Zoom new");
        }
    }
    session
        .sql("update pricings set availability = 'active' where version = 'new'")
        .await;
    for client in &mut clients {
        assert_eq!(client.next_event().await, "ACTIVED Zoom new");
    }
    for program in programs {
        program.signal("-TERM");
        assert_eq!(program.wait(), Some(0));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_copy_by_template_has_a_journal_of_its_own() {
    let server = Server::start(&[]).await;
    let position = original(&server).await;
    let (base, _) = server.url.rsplit_once('/').expect("a database");
    let maintenance = Session::connect(&format!("{base}/postgres")).await;
    // The program's sessions end a moment after it.
    wait_until("the original is left alone", async || {
        maintenance
            .try_sql("create database copy template space_events")
            .await
            .is_ok()
    })
    .await;
    check_copy(&format!("{base}/copy"), &position).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dump_restored_elsewhere_has_a_journal_of_its_own() {
    let server = Server::start(&[]).await;
    let position = original(&server).await;
    let copy = Server::start(&[]).await;
    let restored = Command::new("sh")
        .args([
            "-c",
            "pg_dump \"$0\" | psql --quiet --no-psqlrc --set ON_ERROR_STOP=1 \"$1\" > /dev/null",
            &server.url,
            &copy.url,
        ])
        .status()
        .expect("sh runs");
    assert!(restored.success(), "a dump is restored");
    check_copy(&copy.url, &position).await;
}
