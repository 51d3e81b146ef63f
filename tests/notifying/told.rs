//! A changed pricing that its notification tells: as the journal has it, only where a
//! reader can take it, and published without reading the journal.

use space_events::config::Settings;
use tokio::sync::mpsc::UnboundedReceiver;
use tokio::time::timeout;

use super::SLEEPERS;
use crate::support::postgres::{Session, listen};
use crate::support::{LIMIT, Server, TestApp, wait_until};

/// A program on a server of its own: whoever writes beside it, in any database of the
/// server, may keep a change from being told.
async fn start_alone() -> (Server, TestApp) {
    let server = Server::start(&["autovacuum = off"]).await;
    let app = TestApp::start_at(&server.url, Settings::default()).await;
    (server, app)
}

/// The text of the next notification.
async fn next_of(told: &mut UnboundedReceiver<String>) -> String {
    let text = timeout(LIMIT, told.recv()).await;
    text.expect("in time").expect("a notification")
}

#[tokio::test(flavor = "multi_thread")]
async fn one_change_is_told_where_few_others_write_and_as_the_journal_has_it() {
    let (server, app) = start_alone().await;
    // Its migrations alone: nobody but this test sleeps.
    app.stop().await;
    let database = server.connect().await;
    let longest = "\u{1f980}".repeat(255);
    database.add_services(&["Zoom", &longest]).await;
    let sleeper = server.connect().await;
    wait_until("it falls asleep", async || {
        sleeper.sql("select space_events.fall_asleep()").await == ["t"]
    })
    .await;
    let (mut told, _listening) = listen(&server.url, "space_events").await;
    let open = "begin; select pg_current_xact_id()";
    let insert = |version: &str| {
        format!("insert into pricings (service_name, version) values ('Zoom', '{version}')")
    };
    let longest_insert =
        format!("insert into pricings (service_name, version) values ('{longest}', '{longest}')");
    let set = "update pricings set availability = 'archived' where version = '1'";
    let delete = "delete from pricings where version = '1'";
    let two = format!(
        "begin; {}; {}; {}; commit",
        insert("2"),
        insert("3"),
        insert("4")
    );
    let undone = format!(
        "begin; savepoint a; {}; rollback to a; {}; commit",
        insert("5"),
        insert("6")
    );
    let both =
        "update pricings set version = version || '.' where service_name = 'Zoom'".to_owned();
    let unmoved = format!(
        "begin isolation level repeatable read; {}; commit",
        insert("9")
    );
    for (open_beside, change, tells) in [
        (0, insert("1"), &[true][..]),
        (0, set.to_owned(), &[true]),
        (0, delete.to_owned(), &[true]),
        (0, longest_insert, &[true]),
        (0, two, &[true, false]),
        (0, undone, &[true]),
        (0, both, &[false]),
        (
            0,
            "update services set disabled = true where name = 'Zoom'".to_owned(),
            &[false],
        ),
        (1, insert("7"), &[true]),
        (2, insert("8"), &[false]),
        // Its snapshot does not tell what has ended meanwhile.
        (1, unmoved, &[false]),
    ] {
        let others = [server.connect().await, server.connect().await];
        let mut running = Vec::new();
        for other in &others[..open_beside] {
            running.extend(other.sql(open).await);
        }
        // A snapshot lists those before the last that has ended.
        database.sql("select pg_current_xact_id()").await;
        database.sql(&change).await;
        for tells in tells {
            let text = next_of(&mut told).await;
            assert_eq!(text.is_empty(), !tells, "{change}: {text}");
            // Behind the signature.
            if let Some(told) = text.get(24..) {
                let found = database
                    .sql(&format!(
                        "select count(*) from space_events.row_changes, (select '{told}'::json t) told
                        where id = (t->>0)::bigint and xid::text = t->>1
                        and extract(epoch from changed_at) * 1000000 = (t->>2)::bigint
                        and service_name = t->>3
                        and version_before is not distinct from t->>4
                        and version_after is not distinct from t->>5
                        and availability_before is not distinct from t->>6
                        and availability_after is not distinct from t->>7
                        and disabled_before = (t->>8)::boolean and disabled_after = disabled_before
                        and organization = t->>9
                        and coalesce((select string_agg(x::text, ',') from pg_snapshot_xip((t->>10)::pg_snapshot) x), '') = '{}'",
                        running.join(",")
                    ))
                    .await;
                assert_eq!(found, ["1"], "{change}: {text}");
            }
        }
        for other in &others[..open_beside] {
            other.sql("rollback").await;
        }
    }
    assert!(told.try_recv().is_err());
}

/// With nobody beside the writer, and with one that stays in a transaction.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_told_is_published_without_a_read() {
    let (server, app) = start_alone().await;
    let mut client = app.join().await;
    let database = server.connect().await;
    database.add_service("Zoom").await;
    let last_read = "select query_start from pg_stat_activity
        where application_name = 'space-events feed'";
    let other = server.connect().await;
    let mut versions = 0..200;
    for beside in [
        "select 1",
        "insert into pricings (service_name, version) values ('Zoom', 'open')",
    ] {
        other.sql(&format!("begin; {beside}")).await;
        // Once a second the journal is read in any case.
        loop {
            let version = versions.next().expect("the journal was read each time");
            let before = database.sql(last_read).await;
            database.add_pricing("Zoom", version).await;
            assert_eq!(client.next_event().await, format!("CREATED Zoom {version}"));
            if database.sql(last_read).await == before {
                break;
            }
        }
        other.sql("commit").await;
    }
    assert_eq!(client.next_event().await, "CREATED Zoom open");
    app.stop().await;
}

/// Of a transaction that the feed knew as running, and that nobody told has ended.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_told_comes_behind_what_had_committed_before() {
    let (server, app) = start_alone().await;
    let mut client = app.join().await;
    let database = server.connect().await;
    let silent = server.connect().await;
    database.add_services(&["Zoom", "Slack"]).await;
    database.add_pricing("Zoom", 0).await;
    assert_eq!(client.next_event().await, "CREATED Zoom 0");
    for version in 1..=100 {
        silent
            .sql("begin; set local space_events.wake = 'poll'; update pricings set availability = 'archived' where service_name = 'Zoom'")
            .await;
        // Read or told, while the other runs.
        database.add_pricing("Slack", version).await;
        assert_eq!(
            client.next_event().await,
            format!("CREATED Slack {version}")
        );
        silent.sql("commit").await;
        database
            .sql("update pricings set availability = 'active' where service_name = 'Zoom'")
            .await;
        assert_eq!(client.next_event().await, "ARCHIVED Zoom 0");
        assert_eq!(client.next_event().await, "ACTIVED Zoom 0");
    }
    app.stop().await;
}

/// A role that may do nothing but connect.
#[tokio::test(flavor = "multi_thread")]
async fn what_somebody_else_tells_is_no_event() {
    let (server, app) = start_alone().await;
    let mut client = app.join().await;
    let database = server.connect().await;
    database.sql("create role stranger login").await;
    let stranger = Session::connect(&server.url.replace("postgres@", "stranger@")).await;
    database.add_service("Zoom").await;
    wait_until("the feed falls asleep", async || {
        database.sql(SLEEPERS).await == ["1"]
    })
    .await;
    let (mut told, _listening) = listen(&server.url, "space_events").await;
    for version in 0..10 {
        database.add_pricing("Zoom", version).await;
        assert_eq!(client.next_event().await, format!("CREATED Zoom {version}"));
        let text = next_of(&mut told).await;
        let (signature, genuine) = text.split_at_checked(24).unwrap_or_default();
        // The next id, by a transaction that is still to come.
        let forged = format!(
            r#"[{},4000000000,1700000000000000,"Zoom",null,"forged",null,"active",false,"",null]"#,
            2 + version
        );
        for text in [
            forged.clone(),
            format!("{signature}{forged}"),
            genuine.to_owned(),
        ] {
            stranger
                .sql(&format!("select pg_notify('space_events', '{text}')"))
                .await;
            next_of(&mut told).await;
        }
    }
    database.add_pricing("Zoom", "last").await;
    assert_eq!(client.next_event().await, "CREATED Zoom last");
    app.stop().await;
}
