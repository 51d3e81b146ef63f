//! Capture watches itself, and the program says whether it is ready.

use crate::support::{Database, Program, TestApp};

/// Everything that captures, as it is.
const STATE: &str = "select string_agg(concat_ws(' ', table_name, name, fires, definition), ', ' order by table_name, name)
    from space_events.present_capture() where fires is distinct from 'D'";

#[tokio::test(flavor = "multi_thread")]
async fn what_captures_is_repaired_at_the_next_check_and_never_by_a_probe() {
    let database = Database::create().await;
    let app = TestApp::start(&database).await;
    let mut client = app.join().await;
    let (status, ready) = app.get("/readyz").await;
    assert_eq!(status, 200, "{ready}");
    for check in ["database", "listen", "triggers", "lag"] {
        assert_eq!(ready["checks"][check], "ok", "{ready}");
    }
    let before = database.sql(STATE).await;
    for damage in [
        "alter table pricings disable trigger all; alter table pricings enable trigger all;
            alter table services disable trigger all; alter table services enable trigger all",
        "alter table pricings disable trigger all",
        "drop trigger pricings_inserted on pricings; drop trigger services_updated on services",
        "drop trigger pricings_inserted on pricings; create function nothing() returns trigger language plpgsql as 'begin return null; end';
            create trigger pricings_inserted after insert on pricings for each statement execute function nothing()",
        "alter trigger services_updated on services rename to other",
        "create trigger once_more after delete on pricings referencing old table as old_rows for each statement execute function space_events.record_deleted_pricings()",
        "create or replace function space_events.notify_readers() returns void language plpgsql set search_path = pg_catalog, pg_temp as 'begin end'",
        "alter function space_events.record_services() reset all",
        "alter function space_events.record_service() security invoker",
        "drop function space_events.record_truncate() cascade",
        "alter table space_events.row_changes disable trigger all; alter table space_events.row_changes enable trigger all",
    ] {
        database.sql(damage).await;
        let damaged = database.sql(STATE).await;
        assert_ne!(damaged, before, "{damage}");
        let (status, ready) = app.get("/readyz").await;
        assert_eq!(status, 503, "{damage}: {ready}");
        assert_eq!(database.sql(STATE).await, damaged, "{damage}");
        // A check is made at each start, too.
        TestApp::start(&database).await.stop().await;
        assert_eq!(database.sql(STATE).await, before, "{damage}");
        let (status, ready) = app.get("/readyz").await;
        assert_eq!(status, 200, "{damage}: {ready}");
    }
    database
        .sql(
            "set session_replication_role = replica; insert into services (name) values ('Zoom'); set session_replication_role = origin;
            insert into pricings (service_name, version) values ('Zoom', '1'); update services set disabled = true",
        )
        .await;
    assert_eq!(
        client.next_events(2).await,
        ["CREATED Zoom 1", "DISABLED Zoom"]
    );
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn how_a_session_writes_names_repairs_nothing() {
    let database = Database::create().await;
    TestApp::start(&database).await.stop().await;
    let rows = "select string_agg(concat_ws(' ', tgname, oid, xmin), ', ' order by tgname) from pg_trigger where not tgisinternal";
    let before = database.sql(rows).await;
    for settings in [
        "search_path = ''",
        "search_path = 'public', 'space_events'",
        "quote_all_identifiers = on",
    ] {
        let set = format!("alter database {} set {settings}", database.name);
        database.sql(&set).await;
        let app = TestApp::start(&database).await;
        let (status, ready) = app.get("/readyz").await;
        assert_eq!(status, 200, "{settings}: {ready}");
        assert_eq!(database.sql(rows).await, before, "{settings}");
        app.stop().await;
        database
            .sql(&format!("alter database {} reset all", database.name))
            .await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn row_level_security_that_blinds_the_triggers_makes_the_program_unready() {
    let database = Database::create().await;
    let role = format!("owner_{}", database.name);
    database
        .sql(&format!(
            "create role {role} login; alter database {} owner to {role}",
            database.name
        ))
        .await;
    let owned = database.again(&role).await;
    let app = TestApp::start(&owned).await;
    // The owner of a table is exempt unless it is forced.
    owned
        .sql("alter table pricings enable row level security")
        .await;
    assert_eq!(app.get("/readyz").await.0, 200);
    owned
        .sql("alter table pricings force row level security")
        .await;
    let (status, ready) = app.get("/readyz").await;
    assert_eq!(status, 503, "{ready}");
    let said = ready["checks"]["triggers"].as_str().expect("a line");
    assert!(
        said.contains("table public.pricings: row level security") && said.contains(&role),
        "{said}"
    );
    let mut program = Program::start(&[("DATABASE_URL", &owned.url)]);
    program.line_after("table public.pricings: row level security");
    drop(program);
    database.sql(&format!("alter role {role} bypassrls")).await;
    assert_eq!(app.get("/readyz").await.0, 200);
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_may_not_be_repaired_makes_the_program_unready() {
    // Where nothing is pending, starting needs no right to create.
    let database = Database::create().await;
    database
        .sql("revoke create on schema public from public")
        .await;
    TestApp::start(&database).await.stop().await;
    let role = format!("emitter_{}", database.name);
    database
        .sql(&format!(
            "create role {role} login;
            grant usage on schema space_events to {role};
            grant all on all tables in schema public, space_events to {role};
            grant all on all sequences in schema public, space_events to {role}"
        ))
        .await;
    let limited = database.again(&role).await;
    let app = TestApp::start(&limited).await;
    assert_eq!(app.get("/readyz").await.0, 200);
    database
        .sql("alter table pricings disable trigger pricings_inserted")
        .await;
    let (status, ready) = app.get("/readyz").await;
    assert_eq!(status, 503, "{ready}");
    let said = ready["checks"]["triggers"].as_str().expect("a line");
    assert!(said.contains("pricings_inserted"), "{said}");
    database
        .sql("alter table pricings enable trigger pricings_inserted")
        .await;
    assert_eq!(app.get("/readyz").await.0, 200);
    app.stop().await;
    drop(limited);
    database
        .sql(&format!("drop owned by {role}; drop role {role}"))
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_writer_that_does_not_ring_is_found_by_the_poll() {
    let database = Database::create().await;
    let app = TestApp::start(&database).await;
    let mut client = app.join().await;
    database
        .sql("set space_events.wake = 'poll'; insert into services (name) values ('Zoom'); insert into pricings (service_name, version) values ('Zoom', '1')")
        .await;
    assert_eq!(client.next_event().await, "CREATED Zoom 1");
    app.stop().await;
}
