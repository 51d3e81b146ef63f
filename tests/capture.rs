//! Every writer causes its events, once and in order, and nothing else does.

use futures_util::SinkExt as _;
use std::pin::pin;

use crate::support::postgres::Session;
use crate::support::{Client, Database, TestApp};

/// Runs a writer's statements, then a change that is heard, and checks what the
/// client heard before that.
async fn heard(session: &Session, client: &mut Client, sql: &str) -> Vec<String> {
    session.sql(sql).await;
    heard_so_far(session, client).await
}

/// What the client hears up to a change that is made now, and undone again.
async fn heard_so_far(session: &Session, client: &mut Client) -> Vec<String> {
    session.add_service("end").await;
    session.add_pricing("end", "1").await;
    let events = client.events_before("CREATED end 1").await;
    session.sql("delete from services where name = 'end'").await;
    assert_eq!(client.next_event().await, "DISABLED end");
    events
}

#[tokio::test(flavor = "multi_thread")]
async fn each_statement_causes_its_events() {
    let database = Database::create().await;
    let app = TestApp::start(&database).await;
    let mut client = app.join().await;
    let cases: &[(&str, &[&str])] = &[
        ("insert into services (name) values ('Zoom')", &[]),
        ("insert into pricings (service_name, version) values ('Zoom', '1'), ('Zoom', '2')", &["CREATED Zoom 1", "CREATED Zoom 2"]),
        ("insert into pricings (service_name, version, availability) values ('Zoom', 'old', 'archived')", &["CREATED Zoom old"]),
        ("update pricings set availability = 'archived' where version = '1'", &["ARCHIVED Zoom 1"]),
        ("update pricings set availability = 'archived' where version = '1'", &[]),
        ("update pricings set document = '{}', url = 'http://x', updated_at = now()", &[]),
        ("update pricings set availability = 'active' where version = '1'", &["ACTIVED Zoom 1"]),
        ("update pricings set version = '1.1' where version = '1'", &["CREATED Zoom 1.1"]),
        ("delete from pricings where version = 'old'", &[]),
        ("delete from pricings where version = '1.1'", &["ARCHIVED Zoom 1.1"]),
        ("update services set name = 'ZOOM'", &[]),
        ("update pricings set availability = 'archived'", &["ARCHIVED ZOOM 2"]),
        ("update pricings set availability = 'active'", &["ACTIVED ZOOM 2"]),
        ("update services set disabled = true", &["DISABLED ZOOM"]),
        ("update services set disabled = true", &[]),
        ("insert into pricings (service_name, version) values ('ZOOM', '3')", &[]),
        ("update pricings set availability = 'archived' where version = '2'", &[]),
        ("delete from pricings where version = '2'", &[]),
        ("insert into pricings (service_name, version) values ('ZOOM', '4')", &[]),
        ("update services set disabled = false", &["ACTIVED ZOOM 3", "ACTIVED ZOOM 4"]),
        // Upserts.
        ("insert into pricings (service_name, version) values ('ZOOM', '3') on conflict do nothing", &[]),
        ("insert into pricings (service_name, version) values ('ZOOM', '3'), ('ZOOM', '5')
            on conflict (service_name, version, organization) do update set availability = 'archived'", &["ARCHIVED ZOOM 3", "CREATED ZOOM 5"]),
        ("insert into pricings (service_name, version) values ('ZOOM', '3')
            on conflict on constraint pricings_pkey do update set availability = 'active'", &["ACTIVED ZOOM 3"]),
        ("update pricings set availability = 'archived' where version = '3'", &["ARCHIVED ZOOM 3"]),
        // MERGE.
        ("merge into pricings p using (values ('3'), ('4'), ('6')) v (version)
            on p.service_name = 'ZOOM' and p.version = v.version
            when matched and v.version = '4' then delete
            when matched then update set availability = 'active'
            when not matched then insert (service_name, version) values ('ZOOM', v.version)",
            &["CREATED ZOOM 6", "ACTIVED ZOOM 3", "ARCHIVED ZOOM 4"]),
        // A writable common table expression.
        ("with s as (insert into services (name) values ('Slack') returning name)
            insert into pricings (service_name, version) select name, '1' from s", &["CREATED Slack 1"]),
        ("with gone as (delete from pricings where service_name = 'Slack' returning version)
            insert into pricings (service_name, version) select 'ZOOM', 'from Slack ' || version from gone",
            &["CREATED ZOOM from Slack 1", "ARCHIVED Slack 1"]),
        // A cascade.
        ("delete from services where name = 'ZOOM'", &["DISABLED ZOOM"]),
        ("delete from services where name = 'Slack'", &["DISABLED Slack"]),
        // Savepoints, and there and back within a transaction.
        ("begin;
            insert into services (name) values ('A');
            insert into pricings (service_name, version) values ('A', '1');
            savepoint s;
            insert into pricings (service_name, version) values ('A', 'undone');
            rollback to s;
            insert into pricings (service_name, version) values ('A', '2');
            commit", &["CREATED A 1", "CREATED A 2"]),
        ("begin;
            update pricings set availability = 'archived' where version = '1';
            update pricings set availability = 'active' where version = '1';
            delete from pricings where version = '2';
            commit", &["ARCHIVED A 1", "ACTIVED A 1", "ARCHIVED A 2"]),
        ("begin; delete from services where name = 'A'; rollback", &[]),
        ("begin;
            update services set disabled = true where name = 'A';
            insert into pricings (service_name, version) values ('A', '3');
            update services set disabled = false where name = 'A';
            commit", &["DISABLED A", "ACTIVED A 1", "ACTIVED A 3"]),
        // TRUNCATE, of each table.
        ("insert into pricings (service_name, version, availability) values ('A', '4', 'archived')", &["CREATED A 4"]),
        ("truncate pricings", &["ARCHIVED A 1", "ARCHIVED A 3"]),
        ("insert into pricings (service_name, version) values ('A', '1')", &["CREATED A 1"]),
        ("insert into services (name, disabled) values ('B', true); insert into pricings (service_name, version) values ('B', '1')", &[]),
        ("truncate services cascade", &["DISABLED A"]),
        ("insert into services (name) values ('A'); insert into pricings (service_name, version) values ('A', '1')", &["CREATED A 1"]),
        ("truncate pricings, services", &["DISABLED A"]),
    ];
    for (sql, expected) in cases {
        let mut events = heard(database.session(), &mut client, sql).await;
        let mut expected = expected.to_vec();
        if sql.starts_with("merge") || sql.starts_with("with") {
            // One statement that does several things does them in no order.
            events.sort();
            expected.sort_unstable();
        }
        assert_eq!(events, expected, "{sql}");
    }
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_copy_of_5000_rows_is_heard_whole_and_in_order() {
    let database = Database::create().await;
    let app = TestApp::start(&database).await;
    let mut client = app.join().await;
    database.add_service("Zoom").await;
    let copy = database
        .session()
        .client()
        .copy_in("copy pricings (service_name, version) from stdin")
        .await
        .expect("COPY begins");
    let mut copy = pin!(copy);
    for version in 0..5000 {
        let line = bytes::Bytes::from(format!("Zoom\t{version}\n"));
        copy.send(line).await.expect("a line");
    }
    copy.finish().await.expect("COPY ends");
    client.hears_created("Zoom", 0..5000).await;
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_that_made_small_changes_makes_large_ones_as_fast() {
    const ROWS: usize = 60_000;
    let database = Database::create().await;
    let app = TestApp::start(&database).await;
    // A plan for one row, kept for many, takes minutes.
    database.sql("set statement_timeout = '60s'").await;
    let insert = |range: std::ops::Range<usize>| {
        format!(
            "insert into pricings (service_name, version)
            select 'Zoom', n from generate_series({}, {}) n",
            range.start,
            range.end - 1
        )
    };
    let small = [
        "insert into services (name) values ('Zoom')",
        &insert(0..2),
        "update pricings set availability = 'archived' where version = '0'",
        "delete from pricings where version = '0'",
        "insert into services (name) values ('Slack')",
        "update services set disabled = true where name = 'Slack'",
    ];
    for sql in small {
        database.sql(sql).await;
    }
    let large = [
        &insert(2..ROWS),
        "update pricings set availability = case version when '1' then 'archived' else 'active' end",
        "update pricings set availability = 'archived'",
        "insert into services (name) select 'Service ' || n from generate_series(1, 20000) n",
        "update services set disabled = true",
        "delete from pricings",
    ];
    for sql in large {
        database.sql(sql).await;
    }
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_writer_needs_rights_on_the_two_tables_alone() {
    let database = Database::create().await;
    let app = TestApp::start(&database).await;
    let mut client = app.join().await;
    let role = format!("writer_{}", database.name);
    // Its functions and operators must not be used by the triggers.
    database
        .sql(&format!(
            "create role {role} login;
            grant select, insert, update, delete, truncate on services, pricings to {role};
            create schema hostile;
            grant usage on schema hostile to {role};
            create function hostile.never(text, text) returns boolean language sql as 'select 1 / 0 = 1';
            create operator hostile.<> (leftarg = text, rightarg = text, function = hostile.never);
            create operator hostile.= (leftarg = text, rightarg = text, function = hostile.never);
            create function hostile.current_setting(text, boolean) returns text language sql as 'select (1 / 0)::text';
            create function hostile.pg_try_advisory_lock(integer, integer) returns boolean language sql as 'select 1 / 0 = 1';
            create domain hostile.text as integer;
            create domain hostile.bool as integer;
            create table hostile.row_changes ()"
        ))
        .await;
    let writer = Session::connect(&database.url.replace("postgres@", &format!("{role}@"))).await;
    writer
        .sql("set search_path = hostile, pg_catalog, pg_temp, public; create temporary table new_rows ()")
        .await;
    let events = [
        ("insert into public.services (name) values ('Zoom')", vec![]),
        (
            "insert into public.pricings (service_name, version) values ('Zoom', '1')",
            vec!["CREATED Zoom 1"],
        ),
        (
            "update public.pricings set availability = 'archived'",
            vec!["ARCHIVED Zoom 1"],
        ),
        ("delete from public.pricings", vec![]),
        (
            "insert into public.pricings (service_name, version) values ('Zoom', '1'), ('Zoom', '2')",
            vec!["CREATED Zoom 1", "CREATED Zoom 2"],
        ),
        (
            "update public.pricings set availability = 'archived'",
            vec!["ARCHIVED Zoom 1", "ARCHIVED Zoom 2"],
        ),
        (
            "update public.services set disabled = true",
            vec!["DISABLED Zoom"],
        ),
        (
            "delete from public.pricings where id = (select max(id) from public.pricings)",
            vec![],
        ),
        (
            "set search_path = ''; update public.services set disabled = false; update public.pricings set availability = 'active'",
            vec!["ACTIVED Zoom 1"],
        ),
        ("truncate public.services cascade", vec!["DISABLED Zoom"]),
    ];
    for (sql, expected) in events {
        writer.sql(sql).await;
        assert_eq!(
            heard_so_far(database.session(), &mut client).await,
            expected,
            "{sql}"
        );
        let path = writer.sql("show search_path").await;
        let expected = if sql.starts_with("set") || sql.starts_with("truncate") {
            r#""""#
        } else {
            "hostile, pg_catalog, pg_temp, public"
        };
        assert_eq!(path, [expected], "{sql}");
    }
    let refused = writer.try_sql("select from space_events.row_changes").await;
    assert!(refused.is_err(), "a writer cannot read the journal");
    app.stop().await;
    drop(writer);
    database
        .sql(&format!("drop owned by {role}; drop role {role}"))
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replica_session_is_a_writer_too() {
    let database = Database::create().await;
    let app = TestApp::start(&database).await;
    let mut client = app.join().await;
    database.sql("set session_replication_role = replica").await;
    database
        .sql(
            "insert into services (name) values ('Zoom');
            insert into pricings (service_name, version) values ('Zoom', '1'), ('Zoom', '2');
            update pricings set availability = 'archived' where version = '1';
            update pricings set document = '{}';
            update services set disabled = true;
            update pricings set availability = 'active';
            update services set disabled = false;
            truncate pricings;
            delete from services",
        )
        .await;
    let expected = [
        "CREATED Zoom 1",
        "CREATED Zoom 2",
        "ARCHIVED Zoom 1",
        "DISABLED Zoom",
        "ACTIVED Zoom 1",
        "ACTIVED Zoom 2",
        "ARCHIVED Zoom 1",
        "ARCHIVED Zoom 2",
        "DISABLED Zoom",
    ];
    assert_eq!(client.next_events(expected.len()).await, expected);
    database.sql("set session_replication_role = origin").await;
    assert_eq!(heard_so_far(database.session(), &mut client).await, [""; 0]);
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pricing_added_while_its_service_is_enabled_is_announced_by_one_of_them() {
    let database = Database::create().await;
    let app = TestApp::start(&database).await;
    let mut client = app.join().await;
    database
        .sql("insert into services (name, disabled) values ('Zoom', true)")
        .await;
    let (adder, enabler) = (database.connect().await, database.connect().await);
    for round in 0..20 {
        // One row or several, which are recorded in different ways.
        let count = 1 + round % 2;
        let add = async {
            let sql = format!(
                "begin; insert into pricings (service_name, version) select 'Zoom', n::text from generate_series(1, {count}) n; commit"
            );
            adder.sql(&sql).await;
        };
        let enable = async {
            enabler
                .sql("begin; update services set disabled = false; commit")
                .await
        };
        tokio::join!(add, enable);
        for version in 1..=count {
            let event = client.next_event().await;
            let (kind, what) = event.split_once(' ').expect("two words");
            assert!(["CREATED", "ACTIVED"].contains(&kind), "{event}");
            assert_eq!(what, format!("Zoom {version}"));
        }
        database
            .sql("delete from pricings; update services set disabled = true")
            .await;
        for version in 1..=count {
            let event = client.next_event().await;
            assert_eq!(event, format!("ARCHIVED Zoom {version}"));
        }
        assert_eq!(client.next_event().await, "DISABLED Zoom");
    }
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn transactions_that_take_the_service_first_do_not_deadlock() {
    let database = Database::create().await;
    let app = TestApp::start(&database).await;
    let mut client = app.join().await;
    database.add_service("Zoom").await;
    database.add_pricings("Zoom", 0..4).await;
    assert_eq!(client.next_events(4).await[3], "CREATED Zoom 3");
    let mut sessions = Vec::new();
    for _ in 0..4 {
        sessions.push(database.connect().await);
    }
    let disable = "update services set disabled = true where name = 'Zoom'";
    let archive =
        "update pricings set availability = 'archived' where service_name = 'Zoom' and version =";
    for round in 0..25 {
        // Disabled first, or taken first: who comes first is heard, the others find
        // the service disabled.
        let take = "perform from services where name = 'Zoom' for update";
        let does = |version: usize| match round % 2 {
            0 => format!("{disable}; {archive} '{version}'"),
            _ => format!("do $$ begin {take}; end $$; {archive} '{version}'; {disable}"),
        };
        let transactions = sessions.iter().enumerate().map(|(version, session)| {
            let sql = format!("begin; {}; commit", does(version));
            async move { session.sql(&sql).await }
        });
        futures_util::future::join_all(transactions).await;
        if round % 2 == 1 {
            let archived = client.next_event().await;
            assert!(archived.starts_with("ARCHIVED Zoom "), "{archived}");
        }
        assert_eq!(client.next_event().await, "DISABLED Zoom");
        database
            .sql(
                "update pricings set availability = 'active'; update services set disabled = false",
            )
            .await;
        let back: Vec<_> = (0..4)
            .map(|version| format!("ACTIVED Zoom {version}"))
            .collect();
        assert_eq!(client.next_events(4).await, back);
    }
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_hears_what_commits_right_after_its_connect() {
    let database = Database::create().await;
    let app = TestApp::start(&database).await;
    database.add_service("Zoom").await;
    for version in 0..200 {
        let mut client = app.join().await;
        database.add_pricing("Zoom", version).await;
        assert_eq!(client.next_event().await, format!("CREATED Zoom {version}"));
    }
    app.stop().await;
}
