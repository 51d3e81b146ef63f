//! What is open, slow, stuck or broken in the database holds up no more than it must.

use std::time::{Duration, Instant};

use futures_util::future::{Either, select};
use reqwest::Method;

use crate::support::client::{position_of, since};
use crate::support::hearing::WENT_BACK;
use crate::support::{Client, Database, Program, TestApp, signal, wait_until};

/// The entries of the journal's indexes that were read so far: a measure of work that
/// is the same on each machine. Counted once the program has gone.
async fn entries_read(database: &Database) -> u64 {
    wait_until("its sessions have ended", async || {
        let left = "select count(*) from pg_stat_activity where datname = current_database()
            and application_name like 'space-events%'
            and application_name <> 'space-events test'";
        database.sql(left).await == ["0"]
    })
    .await;
    let read = "select sum(idx_tup_read) from pg_stat_all_indexes
        where relid = 'space_events.row_changes'::regclass";
    database.sql(read).await[0].parse().expect("a number")
}

#[tokio::test(flavor = "multi_thread")]
async fn the_rows_of_an_open_transaction_are_not_looked_through_at_each_commit() {
    const ROWS: u64 = 20_000;
    const COMMITS: u64 = 50;
    let database = Database::create().await;
    let app = TestApp::start(&database).await;
    database.add_services(&["Bulk", "Zoom"]).await;
    let mut client = Client::join(app.address, &since("")).await;
    let bulk = database.connect().await;
    bulk.sql(&format!(
        "begin; insert into pricings (service_name, version)
        select 'Bulk', n from generate_series(1, {ROWS}) n"
    ))
    .await;
    for version in 0..COMMITS {
        database.add_pricing("Zoom", version).await;
        assert_eq!(client.next_event().await, format!("CREATED Zoom {version}"));
    }
    app.stop().await;
    let read = entries_read(&database).await;
    assert!(read < ROWS * COMMITS / 2, "{read} entries were read");
    drop(bulk);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_an_old_snapshot_keeps_from_being_cleared_away_is_pruned_once() {
    const ROWS: u64 = 200_000;
    let database = Database::create().await;
    TestApp::start(&database).await.stop().await;
    database
        .sql(&format!(
            "insert into space_events.row_changes (relation, service_name, disabled_after)
            select 'services', n, false from generate_series(1, {ROWS}) n"
        ))
        .await;
    let old = database.connect().await;
    old.sql("begin isolation level repeatable read; select 1")
        .await;
    let settings = [("DATABASE_URL", &*database.url), ("EVENT_RETENTION", "1s")];
    let mut program = Program::start(&settings);
    let pruned = program.line_after("pruned the journal");
    assert!(pruned.contains(&ROWS.to_string()), "{pruned}");
    program.signal("-TERM");
    assert_eq!(program.wait(), Some(0));
    let read = entries_read(&database).await;
    assert!(read < 12 * ROWS, "{read} entries were read");
    drop(old);
}

#[tokio::test(flavor = "multi_thread")]
async fn positions_are_checked_while_all_pages_are_stuck() {
    let database = Database::create().await;
    let app = TestApp::start(&database).await;
    let mut client = Client::join(app.address, &since("")).await;
    database.add_service("Zoom").await;
    database.add_pricing("Zoom", "1").await;
    let position = position_of(&client.next_frame().await);
    let page = format!("/api/v1/events?since={position}");
    let ask = || {
        let page = app.request(Method::GET, &page);
        tokio::spawn(async move { page.send().await.map(drop) })
    };
    let readers = async || {
        let readers = "select pid from pg_stat_activity where datname = current_database()
            and application_name = 'space-events readers'";
        database.sql(readers).await
    };
    ask().await.expect("no panic").expect("an answer");
    let mut stuck = Vec::new();
    let mut waiting = Vec::new();
    loop {
        for reader in readers().await {
            if !stuck.contains(&reader) {
                signal("-STOP", &[&reader]);
                stuck.push(reader);
            }
        }
        if stuck.len() == 4 {
            waiting.push(ask());
            break;
        }
        // One finds the reader that is stuck, the other makes a new one.
        let either = select(ask(), ask()).await;
        let (Either::Left((_, other)) | Either::Right((_, other))) = either;
        waiting.push(other);
    }
    // A database that does not answer in time counts as away, and then a client is let
    // in. The last page is on its way; the first of these may be ahead of it.
    database.sql("delete from space_events.row_changes").await;
    for _ in 0..10 {
        let refused = Client::try_join(app.address, &since(&position)).await.err();
        let why = refused.expect("what was seen there is gone");
        assert!(why.contains(WENT_BACK), "{why}");
    }
    for reader in &stuck {
        signal("-CONT", &[reader]);
    }
    for page in waiting {
        page.await.expect("no panic").expect("an answer");
    }
    app.stop().await;
}

/// A newer version may write what this one does not know: guessing would announce what
/// did not happen.
#[tokio::test(flavor = "multi_thread")]
async fn a_row_that_says_something_unknown_is_not_guessed_at() {
    let database = Database::create().await;
    let mut program = Program::start(&[("DATABASE_URL", &database.url)]);
    let mut client = Client::join(program.address(), "40/pricings,").await;
    database
        .sql(
            "insert into services (name) values ('Zoom');
            insert into pricings (service_name, version) values ('Zoom', '0')",
        )
        .await;
    assert_eq!(client.next_event().await, "CREATED Zoom 0");
    for (version, column, unknown, why) in [
        (1, "relation", "'plans'", "unknown relation `plans`"),
        (
            2,
            "availability_after",
            "'paused'",
            "unknown availability `paused`",
        ),
        (
            3,
            "availability_after",
            "null",
            "unknown availability `null`",
        ),
    ] {
        database
            .sql(&format!(
                "begin;
                set local space_events.wake = 'poll';
                insert into pricings (service_name, version) values ('Zoom', '{version}');
                update space_events.row_changes set {column} = {unknown} where version_after = '{version}';
                commit"
            ))
            .await;
        program.line_after(why);
        database
            .sql(&format!(
                "update space_events.row_changes set relation = 'pricings', availability_after = 'active'
                where version_after = '{version}'"
            ))
            .await;
        assert_eq!(client.next_event().await, format!("CREATED Zoom {version}"));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_row_that_cannot_be_read_is_tried_again_less_and_less_often() {
    /// The pauses double from 50 ms on; each may be half as long.
    const ATTEMPTS: u32 = 7;
    const LEAST: Duration = Duration::from_millis(25 * ((1 << ATTEMPTS) - 1));
    let database = Database::create().await;
    let mut program = Program::start(&[
        ("DATABASE_URL", &database.url),
        ("RUST_LOG", "warn,space_events=debug"),
    ]);
    let mut client = Client::join(program.address(), "40/pricings,").await;
    let begun = Instant::now();
    // A year that Postgres knows, and this program does not. No notification tells it.
    database
        .sql(
            "begin;
            set local space_events.wake = 'poll';
            insert into services (name) values ('Zoom');
            insert into pricings (service_name, version) values ('Zoom', '1');
            update space_events.row_changes set changed_at = '290000-01-01' where relation = 'pricings';
            commit",
        )
        .await;
    for _ in 0..ATTEMPTS {
        program.line_after("still without the feed");
    }
    let lasted = begun.elapsed();
    assert!(lasted >= LEAST, "{ATTEMPTS} attempts in {lasted:?}");
    database
        .sql("update space_events.row_changes set changed_at = now()")
        .await;
    assert_eq!(client.next_event().await, "CREATED Zoom 1");
}
