//! Capture watches itself, and the program says whether it is ready.

use crate::support::{Database, TestApp};

#[tokio::test(flavor = "multi_thread")]
async fn triggers_that_were_reset_or_dropped_are_repaired() {
    let database = Database::create().await;
    let app = TestApp::start(&database).await;
    let mut client = app.join().await;
    let (status, ready) = app.get("/readyz").await;
    assert_eq!(status, 200, "{ready}");
    for check in ["database", "listen", "triggers", "lag"] {
        assert_eq!(ready["checks"][check], "ok", "{ready}");
    }
    let state = "select string_agg(format('%s %s %s', tgrelid::regclass, tgenabled, pg_get_triggerdef(oid)), ', ' order by tgrelid, tgname)
        from pg_trigger where not tgisinternal";
    let before = database.sql(state).await;
    for damage in [
        "alter table pricings disable trigger all; alter table pricings enable trigger all;
            alter table services disable trigger all; alter table services enable trigger all",
        "alter table pricings disable trigger all",
        "drop trigger pricings_inserted on pricings; drop trigger services_updated on services",
        "drop trigger pricings_inserted on pricings; create function nothing() returns trigger language plpgsql as 'begin return null; end';
            create trigger pricings_inserted after insert on pricings for each statement execute function nothing()",
    ] {
        database.sql(damage).await;
        assert_ne!(database.sql(state).await, before);
        let (status, ready) = app.get("/readyz").await;
        assert_eq!(status, 200, "{ready}");
        assert_eq!(database.sql(state).await, before, "{damage}");
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
async fn what_may_not_be_repaired_makes_the_program_unready() {
    let database = Database::create().await;
    TestApp::start(&database).await.stop().await;
    let role = format!("emitter_{}", database.name);
    database
        .sql(&format!(
            "create role {role} login;
            grant usage on schema space_events to {role};
            grant all on all tables in schema public, space_events to {role};
            grant all on all sequences in schema public, space_events to {role};
            grant create on schema public to {role}"
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
