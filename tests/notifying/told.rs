//! A changed pricing that its notification tells: as the journal has it, only where a
//! reader can take it, and published without reading the journal.

use std::time::Duration;

use space_events::config::Settings;
use space_events::journal::Told;
use tokio::time::timeout;

use crate::support::postgres::listen;
use crate::support::{Server, TestApp, wait_until};

#[tokio::test(flavor = "multi_thread")]
async fn one_change_is_told_where_nobody_else_writes_and_as_the_journal_has_it() {
    // Whoever writes beside it, in any database of the server, keeps it from telling.
    let server = Server::start(&["autovacuum = off"]).await;
    // Its migrations alone: nobody but this test sleeps.
    let app = TestApp::start_at(&server.url, Settings::default()).await;
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
    for (open_beside, change, tells) in [
        (false, insert("1"), &[true][..]),
        (false, set.to_owned(), &[true]),
        (false, delete.to_owned(), &[true]),
        (false, longest_insert, &[true]),
        (false, two, &[true, false]),
        (false, undone, &[true]),
        (false, both, &[false]),
        (
            false,
            "update services set disabled = true where name = 'Zoom'".to_owned(),
            &[false],
        ),
        (true, insert("7"), &[false]),
    ] {
        let other = server.connect().await;
        if open_beside {
            other.sql(open).await;
        }
        database.sql(&change).await;
        for tells in tells {
            let text = timeout(crate::support::LIMIT, told.recv()).await;
            let text = text.expect("in time").expect("a notification");
            assert_eq!(Told::parse(&text).is_some(), *tells, "{change}: {text}");
            assert_eq!(text.is_empty(), !tells);
            if *tells {
                let found = database
                    .sql(&format!(
                        "select count(*) from space_events.row_changes, (select '{text}'::json t) told
                        where id = (t->>0)::bigint and xid::text = t->>1
                        and extract(epoch from changed_at) * 1000000 = (t->>2)::bigint
                        and service_name = t->>3
                        and version_before is not distinct from t->>4
                        and version_after is not distinct from t->>5
                        and availability_before is not distinct from t->>6
                        and availability_after is not distinct from t->>7
                        and disabled_before = (t->>8)::boolean and disabled_after = disabled_before"
                    ))
                    .await;
                assert_eq!(found, ["1"], "{change}: {text}");
            }
        }
        other.sql("rollback").await;
    }
    assert!(told.try_recv().is_err());
}

/// While the journal cannot be read.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_told_is_published_without_a_read() {
    // As it is by default, to lock a table is to write.
    let server = Server::start(&["wal_level = minimal", "max_wal_senders = 0"]).await;
    let app = TestApp::start_at(&server.url, Settings::default()).await;
    let mut client = app.join().await;
    let database = server.connect().await;
    database.add_service("Zoom").await;
    let blocker = server.connect().await;
    // Once a second the journal is read in any case.
    for version in 0..100 {
        blocker
            .sql("begin; lock table space_events.journal in access exclusive mode")
            .await;
        database.add_pricing("Zoom", version).await;
        let heard = timeout(Duration::from_millis(300), client.next_event()).await;
        blocker.sql("rollback").await;
        let expected = format!("CREATED Zoom {version}");
        match heard {
            Ok(event) => {
                assert_eq!(event, expected);
                app.stop().await;
                return;
            }
            Err(_) => assert_eq!(client.next_event().await, expected),
        }
    }
    panic!("the journal was read each time");
}
