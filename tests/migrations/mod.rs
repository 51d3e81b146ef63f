//! The migrations: a database that a build from before 0.1.0 has made is taken over as it
//! is, beside its writers, or refused in one sentence.

use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use space_events::config::{Config, Settings};

use crate::support::postgres::Session;
use crate::support::{Database, TestApp, wait_until};

/// A database that the last build from before 0.1.0 has made, as pg_dump wrote it.
const MADE_BEFORE: &str = concat!(
    env!("CARGO_MANIFEST_DIR"),
    "/tests/migrations/before_0.1.0.sql"
);

/// The list, as far as it does not tell when.
const LIST: &str = "select concat_ws(' ', version, description, checksum)
    from space_events.migrations order by version";

async fn made_before() -> Database {
    let database = Database::create().await;
    let restored = Command::new("psql")
        .args(["--quiet", "--no-psqlrc", "--set", "ON_ERROR_STOP=1"])
        .args(["--output", "/dev/null", "--file", MADE_BEFORE])
        .arg(&database.url)
        .status()
        .expect("psql runs");
    assert!(restored.success());
    database
}

async fn migrate(database: &Database) -> anyhow::Result<()> {
    let settings = Settings {
        database_url: Some(database.url.clone()),
        ..Settings::default()
    };
    let config = Config::check(settings).await?;
    space_events::app::migrate(&config).await
}

/// Every definition, comment, grant, default and state of a trigger.
fn schema(database: &Database) -> String {
    let output = Command::new("pg_dump")
        .args(["--schema-only", &database.url])
        .output()
        .expect("pg_dump runs");
    assert!(output.status.success(), "{output:?}");
    let text = String::from_utf8(output.stdout).expect("UTF-8");
    // Newer ones begin and end with a random word.
    text.lines()
        .filter(|line| !line.starts_with("\\restrict") && !line.starts_with("\\unrestrict"))
        .flat_map(|line| [line, "\n"])
        .collect()
}

/// The rows of each table that writers and readers have.
async fn rows(database: &Database) -> Vec<String> {
    let mut found = Vec::new();
    for table in [
        "public.services",
        "public.pricings",
        "space_events.row_changes",
        "space_events.marks",
        "space_events.journal",
    ] {
        let rows = format!("select t::text from {table} t order by 1");
        let rows = database.sql(&rows).await;
        assert!(!rows.is_empty(), "{table}");
        found.extend(rows);
    }
    found
}

/// Adds pricings until it is told to stop, one or many at a time; returns how many.
async fn write(session: Session, stop: Arc<AtomicBool>) -> usize {
    let mut written = 0;
    for count in [1, 1, 1, 500].into_iter().cycle() {
        if stop.load(Ordering::Relaxed) {
            break;
        }
        session
            .sql(&format!(
                "insert into pricings (service_name, version)
                select 'Zoom', 'new ' || {written} + n from generate_series(1, {count}) n"
            ))
            .await;
        written += count;
    }
    written
}

#[tokio::test(flavor = "multi_thread")]
async fn a_database_from_before_becomes_what_a_new_one_is_and_keeps_its_rows() {
    let new = Database::create().await;
    migrate(&new).await.expect("it is empty");
    let database = made_before().await;
    // As if it had been made here: the journal of a copy is emptied.
    database
        .sql(
            "update space_events.journal set
                system_identifier = (select system_identifier from pg_control_system()),
                database_oid = (select oid from pg_database where datname = current_database())",
        )
        .await;
    assert_eq!(database.sql(LIST).await.len(), 18);
    let before = rows(&database).await;
    migrate(&database).await.expect("it is taken over");
    assert_eq!(rows(&database).await, before);
    pretty_difference(&schema(&database), &schema(&new));
    for alike in [
        LIST,
        "select e::text from space_events.expected_capture e order by 1",
        "select p::text from space_events.present_capture() p order by 1",
    ] {
        let expected = new.sql(alike).await;
        assert!(!expected.is_empty());
        assert_eq!(database.sql(alike).await, expected);
    }
    // From now on nothing is pending, so nothing is written.
    let written = "select string_agg(xmin::text, ' ') from space_events.migrations";
    let by = database.sql(written).await;
    migrate(&database).await.expect("nothing is to be done");
    assert_eq!(database.sql(written).await, by);
}

/// Fails with the first line in which two texts differ, rather than with all of both.
fn pretty_difference(one: &str, other: &str) {
    for (number, (line, expected)) in one.lines().zip(other.lines()).enumerate() {
        assert_eq!(line, expected, "line {number}");
    }
    assert_eq!(one.lines().count(), other.lines().count());
}

#[tokio::test(flavor = "multi_thread")]
async fn several_instances_take_a_database_over_beside_its_writers() {
    let database = made_before().await;
    let stop = Arc::new(AtomicBool::new(false));
    let writer = tokio::spawn(write(database.connect().await, Arc::clone(&stop)));
    let (one, two, three) = tokio::join!(
        TestApp::start(&database),
        TestApp::start(&database),
        TestApp::start(&database)
    );
    stop.store(true, Ordering::Relaxed);
    let written = writer.await.expect("nothing a writer did failed");
    assert!(written > 0);
    let kept = "select count(*) from pricings where version like 'new %'";
    assert_eq!(database.sql(kept).await, [written.to_string()]);
    for app in [one, two, three] {
        let mut client = app.join().await;
        database
            .sql(
                "insert into services (name) values ('Later');
                insert into pricings (service_name, version) values ('Later', '2024');
                delete from services where name = 'Later'",
            )
            .await;
        // A feed that was behind announces first what was written before.
        let mut event = client.next_event().await;
        while event.starts_with("CREATED Zoom new ") {
            event = client.next_event().await;
        }
        assert_eq!(event, "CREATED Later 2024");
        let (status, ready) = app.get("/readyz").await;
        assert_eq!(status, 200, "{ready}");
        app.stop().await;
    }
}

/// Whether a migration waits for a lock.
const WAITS: &str = "select exists (select from pg_stat_activity
    where application_name = 'space-events migrations' and datname = current_database() and wait_event_type = 'Lock')";

/// Its trigger calls functions by the names that they had when it began.
#[tokio::test(flavor = "multi_thread")]
async fn a_writer_in_the_middle_of_its_trigger_is_waited_for() {
    let database = made_before().await;
    let blocker = database.connect().await;
    blocker
        .sql("begin; lock table space_events.row_changes in exclusive mode")
        .await;
    let session = database.connect().await;
    let writing = tokio::spawn(async move {
        session
            .sql("insert into pricings (service_name, version) values ('Zoom', 'one'), ('Zoom', 'two')")
            .await
    });
    wait_until("the trigger waits", async || {
        let waits = "select exists (select from pg_stat_activity
            where query like 'insert into pricings%' and datname = current_database() and wait_event_type = 'Lock')";
        database.sql(waits).await == ["t"]
    })
    .await;
    let again = database.again("postgres").await;
    let migrating = tokio::spawn(async move { migrate(&again).await });
    wait_until("the migration waits", async || {
        database.sql(WAITS).await == ["t"]
    })
    .await;
    blocker.sql("rollback").await;
    writing.await.expect("what the trigger calls is there");
    let migrated = migrating.await.expect("no panic");
    migrated.expect("the database is taken over");
}

#[tokio::test(flavor = "multi_thread")]
async fn writers_go_on_while_a_migration_waits_for_an_open_transaction() {
    let database = made_before().await;
    // So there is also something to put back before.
    database
        .sql("alter table pricings disable trigger pricings_updated")
        .await;
    let open = database.connect().await;
    open.sql("begin; update pricings set url = 'http://x' where service_name = 'Slack'")
        .await;
    let stop = Arc::new(AtomicBool::new(false));
    let written = write(database.connect().await, Arc::clone(&stop));
    let again = database.again("postgres").await;
    let migrating = tokio::spawn(async move { migrate(&again).await });
    let watched = async {
        // It waits, gives up so that writers go on, and waits again.
        for is_waiting in ["t", "f", "t", "f"] {
            wait_until("it waits, or gives up", async || {
                database.sql(WAITS).await == [is_waiting]
            })
            .await;
        }
        stop.store(true, Ordering::Relaxed);
    };
    let (written, ()) = tokio::join!(written, watched);
    assert!(written > 0 && !migrating.is_finished());
    open.sql("commit").await;
    let migrated = migrating.await.expect("no panic");
    migrated.expect("the database is taken over");
    let fires = "select tgenabled from pg_trigger where tgname = 'pricings_updated'";
    assert_eq!(database.sql(fires).await, ["O"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_list_that_is_not_known_to_its_end_is_refused_and_nothing_is_changed() {
    const INCOMPLETE: &str = "run `space-events migrate` of a build that has migration 25";
    const UNKNOWN: &str = "migration 1 of this space-events is not the one that was applied";
    for (change, sentence) in [
        (
            "delete from space_events.migrations where version = 25",
            INCOMPLETE,
        ),
        (
            "delete from space_events.migrations where version > 7;
            comment on table space_events.migrations is null",
            INCOMPLETE,
        ),
        (
            "delete from space_events.migrations where version > 7;
            update space_events.migrations set checksum = ''",
            INCOMPLETE,
        ),
        (
            "delete from space_events.migrations;
            comment on table space_events.migrations is 'The migrations that were applied: 1, 2, 3, 4, 5, 6, 7'",
            INCOMPLETE,
        ),
        (
            "insert into space_events.migrations (version, description, checksum) values (26, '', '\\x00')",
            INCOMPLETE,
        ),
        (
            "update space_events.migrations set checksum = '\\x00' where version = 3",
            INCOMPLETE,
        ),
        (
            "update space_events.migrations set checksum = '\\x00';
            comment on table space_events.migrations is null",
            UNKNOWN,
        ),
        (
            "delete from space_events.migrations;
            comment on table space_events.migrations is null",
            "restore the rows",
        ),
    ] {
        let database = made_before().await;
        database.sql(change).await;
        let before = (schema(&database), database.sql(LIST).await);
        let refused = migrate(&database).await.expect_err(change);
        let said = format!("{refused:#}");
        assert!(said.contains(sentence) && !said.contains('\n'), "{said}");
        assert_eq!(
            (schema(&database), database.sql(LIST).await),
            before,
            "{change}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_list_is_known_by_its_rows_or_by_the_comment_that_a_copy_has() {
    let new = Database::create().await;
    migrate(&new).await.expect("it is empty");
    let expected = new.sql(LIST).await;
    for change in [
        "comment on table space_events.migrations is null",
        "delete from space_events.migrations",
        // As a build from before wrote it down in a copy.
        "update space_events.migrations set checksum = ''",
    ] {
        let database = made_before().await;
        database.sql(change).await;
        migrate(&database).await.expect(change);
        assert_eq!(database.sql(LIST).await, expected, "{change}");
    }
    let numbers =
        "select string_agg(version::text, ',' order by version) from space_events.migrations";
    let expected = new.sql(numbers).await;
    let before = schema(&new);
    new.sql("delete from space_events.migrations").await;
    migrate(&new).await.expect("the comment says it");
    assert_eq!(new.sql(numbers).await, expected);
    pretty_difference(&schema(&new), &before);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_role_that_may_not_take_a_database_over_is_told_who_may() {
    let database = made_before().await;
    let role = format!("reader_{}", database.name);
    database
        .sql(&format!(
            "create role {role} login;
            grant usage on schema space_events to {role};
            grant select on all tables in schema space_events, public to {role}"
        ))
        .await;
    let refused = migrate(&database.again(&role).await).await;
    let said = format!("{:#}", refused.expect_err("a refusal"));
    assert!(
        said.contains(
            "run `space-events migrate` once as the role that owns the schema space_events"
        ) && !said.contains('\n'),
        "{said}"
    );
    migrate(&database).await.expect("the owner may");
}
