//! Nothing is lost, doubled or reordered between a commit and a client.

use std::collections::HashSet;

use tokio_util::task::AbortOnDropHandle;

use crate::support::client::{in_short, position_of, since};
use crate::support::{Client, Database, Program, TestApp};

#[tokio::test(flavor = "multi_thread")]
async fn a_burst_of_100_000_rows_reaches_ten_clients_whole_and_in_order() {
    const ROWS: usize = 100_000;
    let database = Database::create().await;
    // A process of its own, for its memory.
    let mut program = Program::start(&[("DATABASE_URL", &database.url)]);
    let address = program.address();
    database.add_service("Zoom").await;
    let mut clients = Vec::new();
    for _ in 0..10 {
        let mut client = Client::join(address, "40/pricings,").await;
        clients.push(tokio::spawn(async move {
            client.hears_created("Zoom", 0..ROWS).await;
            client
        }));
    }
    let before = program.peak_resident_mib();
    database.add_pricings("Zoom", 0..ROWS).await;
    for client in clients {
        client.await.expect("a client that heard all");
    }
    let added = program.peak_resident_mib() - before;
    assert!(added < 100, "{added} MiB more than before the burst");
    program.signal("-TERM");
    assert_eq!(program.wait(), Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn killing_the_listening_backend_loses_and_doubles_nothing() {
    let database = Database::create().await;
    let app = TestApp::start(&database).await;
    let mut client = app.join().await;
    database.add_service("Zoom").await;
    let killer = database.connect().await;
    for round in 0..20 {
        let write = async {
            for nth in 0..20 {
                database.add_pricing("Zoom", format!("{round}.{nth}")).await;
            }
        };
        let kill = async {
            killer
                .sql(
                    "select pg_terminate_backend(pid) from pg_stat_activity
                    where datname = current_database() and application_name = 'space-events feed'",
                )
                .await;
        };
        tokio::join!(write, kill);
        for nth in 0..20 {
            assert_eq!(
                client.next_event().await,
                format!("CREATED Zoom {round}.{nth}")
            );
        }
    }
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_that_become_visible_late_are_heard_once() {
    let database = Database::create().await;
    let app = TestApp::start(&database).await;
    let mut client = app.join().await;
    database.add_services(&["Zoom", "Slow"]).await;
    let slow = database.connect().await;
    slow.sql("begin; insert into pricings (service_name, version) values ('Slow', '1')")
        .await;
    for version in 0..10 {
        database.add_pricing("Zoom", version).await;
        assert_eq!(client.next_event().await, format!("CREATED Zoom {version}"));
    }
    slow.sql("commit").await;
    assert_eq!(client.next_event().await, "CREATED Slow 1");
    database.sql("delete from services").await;
    let ends: HashSet<String> = client.next_events(2).await.into_iter().collect();
    assert_eq!(
        ends,
        HashSet::from(["DISABLED Zoom".to_owned(), "DISABLED Slow".to_owned()])
    );
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_transaction_that_no_snapshot_lists_is_heard() {
    let database = Database::create().await;
    let app = TestApp::start(&database).await;
    let mut client = Client::join(app.address, &since("")).await;
    database.add_services(&["Early", "Late"]).await;
    let (early, late) = (database.connect().await, database.connect().await);
    for version in 0..20 {
        // `late` begins behind `early`, and draws its id of the journal first. When
        // `early` has committed, a snapshot ends between the two.
        early.sql("begin; select pg_current_xact_id()").await;
        late.sql(&format!(
            "begin; insert into pricings (service_name, version) values ('Late', '{version}')"
        ))
        .await;
        early
            .sql(&format!(
                "insert into pricings (service_name, version) values ('Early', '{version}'); commit"
            ))
            .await;
        let frame = client.next_frame().await;
        assert_eq!(in_short(&frame), format!("CREATED Early {version}"));
        late.sql("commit").await;
        assert_eq!(client.next_event().await, format!("CREATED Late {version}"));
        let mut back = Client::join(app.address, &since(&position_of(&frame))).await;
        assert_eq!(back.next_event().await, format!("CREATED Late {version}"));
    }
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_that_become_visible_late_are_read_page_by_page() {
    const ROWS: usize = 3000;
    let database = Database::create().await;
    let app = TestApp::start(&database).await;
    let mut client = Client::join(app.address, &since("")).await;
    database.add_services(&["Zoom", "Slow", "Slower"]).await;
    let sessions = [database.connect().await, database.connect().await];
    for (session, name) in sessions.iter().zip(["Slow", "Slower"]) {
        session.sql("begin").await;
        for part in 0..2 {
            let versions = part * ROWS / 2..(part + 1) * ROWS / 2;
            session.add_pricings(name, versions).await;
        }
    }
    database.add_pricing("Zoom", "1").await;
    let first = client.next_frame().await;
    assert_eq!(in_short(&first), "CREATED Zoom 1");
    for session in &sessions {
        session.sql("commit").await;
    }
    database.add_pricing("Zoom", "2").await;
    // One that heard it live, and one that reads it from the journal.
    let mut back = Client::join(app.address, &since(&position_of(&first))).await;
    for client in [&mut client, &mut back] {
        let events = client.next_events(2 * ROWS + 1).await;
        for name in ["Slow", "Slower"] {
            let own = events
                .iter()
                .filter(|event| event.contains(&format!(" {name} ")));
            let expected = (0..ROWS).map(|version| format!("CREATED {name} {version}"));
            assert!(own.eq(expected.collect::<Vec<_>>().iter()), "{name}");
        }
        assert_eq!(events[2 * ROWS], "CREATED Zoom 2");
    }
    app.stop().await;
}

/// A plan that was made while the journal was small stays, and would read a million
/// rows of a transaction that is open at every commit.
#[tokio::test(flavor = "multi_thread")]
async fn no_read_of_the_journal_is_planned_to_look_through_all_of_it() {
    use space_events::journal::reader::Reader;
    use tokio_postgres::SimpleQueryMessage;

    let database = Database::create().await;
    let app = TestApp::start(&database).await;
    app.stop().await;
    database.add_service("Zoom").await;
    database.add_pricings("Zoom", 0..100).await;
    database.sql("analyze space_events.row_changes").await;
    let (client, connection) = tokio_postgres::connect(&database.url, tokio_postgres::NoTls)
        .await
        .expect("a connection");
    let driver = AbortOnDropHandle::new(tokio::spawn(async move {
        let _ = connection.await;
    }));
    let reader = Reader::prepare(client, driver).await.expect("a reader");
    let column = async |sql: &str| -> Vec<String> {
        let messages = reader.client().simple_query(sql).await.expect(sql);
        let rows = messages.iter().filter_map(|message| match message {
            SimpleQueryMessage::Row(row) => row.get(0).map(str::to_owned),
            _ => None,
        });
        rows.collect()
    };
    let statements = column(
        "select format('explain execute %I(%s)', name, array_to_string(array_fill('null'::text, array[cardinality(parameter_types)]), ',')) \
         from pg_prepared_statements where statement like '%row_changes%'",
    )
    .await;
    assert_eq!(statements.len(), 5, "{statements:?}");
    for statement in statements {
        let plan = column(&statement).await.join("\n");
        assert!(plan.contains("row_changes"), "{plan}");
        assert!(!plan.contains("Seq Scan on row_changes"), "{plan}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_place_in_the_journal_agrees_with_postgres() {
    use space_events::journal::watermark::Snapshot;

    let database = Database::create().await;
    let mut open = Vec::new();
    for nth in 0..8 {
        let session = database.connect().await;
        session.sql("begin; select pg_current_xact_id()").await;
        if nth % 3 == 0 {
            session
                .sql("savepoint s; select pg_current_xact_id()")
                .await;
        }
        open.push(session);
        database.sql("select pg_current_xact_id()").await;
    }
    let text = database.sql("select pg_current_snapshot()").await.remove(0);
    let snapshot = Snapshot::parse(&text).expect("a snapshot");
    assert_eq!(snapshot.to_string(), text);
    let answers = database
        .sql(&format!(
            "select xid || ' ' || pg_visible_in_snapshot(xid::text::xid8, '{text}')
            from generate_series({} - 40, {} + 10) xid",
            snapshot.xmax(),
            snapshot.xmax(),
        ))
        .await;
    assert_eq!(answers.len(), 51);
    for answer in answers {
        let (xid, visible) = answer.split_once(' ').expect("two words");
        let sees = snapshot.sees(xid.parse().expect("a number"));
        assert_eq!(sees.to_string(), visible, "{xid} in {text}");
    }
}
