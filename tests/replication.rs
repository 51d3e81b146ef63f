//! A logical replication subscription is a writer too: its initial copy and its
//! apply worker. Two Postgres clusters.

use std::path::Path;
use std::process::Command;

use embedded_postgres::EmbeddedPostgres;
use space_events::config::Settings;

use crate::support::postgres::{Session, new_directory, watch};
use crate::support::{Database, Server, TestApp, wait_until};

/// A publisher, with its own cluster.
async fn publisher(directory: &Path) -> EmbeddedPostgres {
    let postgres = EmbeddedPostgres::start(directory)
        .await
        .expect("Postgres starts");
    let session = Session::connect(&postgres.url()).await;
    session.sql("alter system set wal_level = logical").await;
    postgres.stop().await.expect("Postgres stops");
    EmbeddedPostgres::start(directory)
        .await
        .expect("Postgres starts again")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_subscription_is_a_writer_too() {
    let directory = new_directory("publisher");
    let postgres = publisher(&directory).await;
    let watchdog = watch(&directory);
    let source = Session::connect(&postgres.url()).await;
    source
        .sql(
            "create table services (id bigint generated always as identity, name text,
                disabled boolean not null default false, created_at timestamptz default now(), updated_at timestamptz default now(),
                organization text not null default '', primary key (name, organization));
            create table pricings (id bigint generated always as identity, service_name text, version text,
                availability text not null default 'active', url text, document jsonb, source bytea,
                created_at timestamptz default now(), updated_at timestamptz default now(),
                organization text not null default '', primary key (service_name, version, organization));
            insert into services (name) values ('Zoom');
            insert into pricings (service_name, version) select 'Zoom', n from generate_series(0, 4999) n;
            create publication changes for table services, pricings",
        )
        .await;

    // In a cluster of its own: a subscription keeps its database from being dropped.
    let database = Database::create().await;
    let app = TestApp::start(&database).await;
    let mut client = app.join().await;
    let socket = postgres.url();
    let host = socket
        .split_once('@')
        .and_then(|(_, rest)| rest.split_once('/'))
        .map(|(host, _)| host.replace("%2F", "/"))
        .expect("a socket directory");
    database
        .sql(&format!(
            "create subscription {0} connection 'host={host} user=postgres dbname=space_events' publication changes",
            database.name,
        ))
        .await;

    let mut versions: Vec<usize> = Vec::new();
    for event in client.next_events(5000).await {
        let version = event
            .strip_prefix("CREATED Zoom ")
            .expect("a created pricing");
        versions.push(version.parse().expect("a number"));
    }
    versions.sort_unstable();
    assert!(
        versions.into_iter().eq(0..5000),
        "each row of the copy once"
    );
    wait_until("the copy is over", async || {
        let question = "select bool_and(srsubstate in ('r', 's')) from pg_subscription_rel";
        database.sql(question).await == ["t"]
    })
    .await;

    source
        .sql(
            "delete from pricings where version::int > 1;
            update pricings set document = '{}' where version = '0'",
        )
        .await;
    for event in client.next_events(4998).await {
        assert!(event.starts_with("ARCHIVED Zoom "), "{event}");
    }
    source
        .sql(
            "update pricings set availability = 'archived' where version = '0';
            update pricings set availability = 'active' where version = '0';
            insert into pricings (service_name, version) values ('Zoom', 'new');
            update services set disabled = true;
            insert into pricings (service_name, version) values ('Zoom', 'unheard');
            update services set disabled = false;
            truncate pricings;
            insert into services (name) values ('Slack');
            insert into pricings (service_name, version) values ('Slack', '1');
            truncate pricings, services;
            insert into services (name) values ('Teams');
            insert into pricings (service_name, version) values ('Teams', '1');
            delete from services",
        )
        .await;
    let mut heard = client.next_events(15).await;
    // An enabled service's pricings, and those of a truncated table, come by
    // their ids here, which the copy gave out.
    heard[4..8].sort();
    heard[8..12].sort();
    assert_eq!(
        heard,
        [
            "ARCHIVED Zoom 0",
            "ACTIVED Zoom 0",
            "CREATED Zoom new",
            "DISABLED Zoom",
            "ACTIVED Zoom 0",
            "ACTIVED Zoom 1",
            "ACTIVED Zoom new",
            "ACTIVED Zoom unheard",
            "ARCHIVED Zoom 0",
            "ARCHIVED Zoom 1",
            "ARCHIVED Zoom new",
            "ARCHIVED Zoom unheard",
            "CREATED Slack 1",
            "DISABLED Zoom",
            "DISABLED Slack",
        ]
    );
    assert_eq!(
        client.next_events(2).await,
        ["CREATED Teams 1", "DISABLED Teams"]
    );
    app.stop().await;
    database
        .sql(&format!("drop subscription {}", database.name))
        .await;
    drop(source);
    postgres.stop().await.expect("the publisher stops");
    drop(watchdog);
}

/// What the subscriber has before it subscribes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Before {
    /// Rows of its own, whose ids in the journal are those of the publisher's.
    OwnRows,
    /// A dump of the publisher.
    Dump,
    /// A dump of the publisher's schema, which the program starts on first.
    SchemaAndProgram,
    /// A dump of the publisher's schema.
    Schema,
}

/// Publishes all tables of a database with the program, and subscribes another with
/// the program to them.
async fn check_all_tables(before: Before) {
    let source = Server::start(&["wal_level = logical"]).await;
    let target = Server::start(&[]).await;
    TestApp::start_at(&source.url, Settings::default())
        .await
        .stop()
        .await;
    let publisher = source.connect().await;
    publisher
        .sql(
            "insert into services (name) values ('Zoom');
            insert into pricings (service_name, version) select 'Zoom', n from generate_series(1, 20) n;
            create publication everything for all tables",
        )
        .await;
    let subscriber = target.connect().await;
    let start = async || TestApp::start_at(&target.url, Settings::default()).await;
    let dump = |options: &str| {
        let command = format!(
            "pg_dump {options} \"$0\" | psql --quiet --no-psqlrc --set ON_ERROR_STOP=1 \"$1\" > /dev/null"
        );
        let dumped = Command::new("sh")
            .args(["-c", &command, &source.url, &target.url])
            .status();
        assert!(dumped.expect("sh runs").success());
    };
    match before {
        Before::OwnRows => {
            start().await.stop().await;
            subscriber.add_service("Own").await;
            subscriber.add_pricings("Own", 1..11).await;
        }
        Before::Dump => dump("--no-publications"),
        Before::SchemaAndProgram => {
            dump("--schema-only --no-publications");
            start().await.stop().await;
        }
        Before::Schema => dump("--schema-only --no-publications"),
    }
    subscriber
        .sql(&format!(
            "create subscription everything connection 'host={} user=postgres dbname=space_events'
                publication everything with (copy_data = {})",
            source.socket_directory(),
            before != Before::Dump,
        ))
        .await;
    wait_until("the subscriber follows", async || {
        let question = "select bool_and(srsubstate = 'r') from pg_subscription_rel";
        subscriber.sql(question).await == ["t"]
    })
    .await;

    let app = start().await;
    let mut client = app.join().await;
    let own = "select string_agg(concat_ws(' ', id, xid, service_name), ',' order by id) from space_events.row_changes";
    let journal = "select row(identity, pruned_max_id) from space_events.journal";
    let (own_rows, own_journal) = (subscriber.sql(own).await, subscriber.sql(journal).await);
    assert_ne!(own_journal, publisher.sql(journal).await);
    // As an emitter does there: what it keeps for itself changes too.
    publisher
        .sql(
            "update space_events.row_changes set changed_at = now() where id = 1;
            delete from space_events.row_changes where id < 10;
            update space_events.journal set pruned_max_id = 9;
            insert into space_events.marks (max_id) values (9);
            insert into space_events.migrations (version, description, checksum) values (9999, '', '');
            delete from space_events.expected_capture",
        )
        .await;
    publisher.add_pricing("Zoom", "new").await;
    assert_eq!(client.next_event().await, "CREATED Zoom new");
    let kept = format!("select starts_with(({own}), '{}')", own_rows[0]);
    assert_eq!(subscriber.sql(&kept).await, ["t"]);
    assert_eq!(subscriber.sql(journal).await, own_journal);
    publisher
        .sql(
            "update pricings set availability = 'archived' where version = 'new';
            delete from pricings where version = '20';
            update services set disabled = true;
            insert into pricings (service_name, version) values ('Zoom', 'unheard');
            delete from pricings;
            update services set disabled = false;
            insert into pricings (service_name, version) values ('Zoom', 'last')",
        )
        .await;
    let heard = client.next_events(4).await;
    assert_eq!(
        heard,
        [
            "ARCHIVED Zoom new",
            "ARCHIVED Zoom 20",
            "DISABLED Zoom",
            "CREATED Zoom last"
        ]
    );
    subscriber.add_pricing("Zoom", "here").await;
    assert_eq!(client.next_event().await, "CREATED Zoom here");
    let (status, ready) = app.get("/readyz").await;
    assert_eq!(status, 200, "{ready}");
    app.stop().await;
    start().await.stop().await;
    subscriber.sql("drop subscription everything").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_publication_of_all_tables_leaves_the_journal_of_the_subscriber_alone() {
    check_all_tables(Before::OwnRows).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dump_may_follow_its_original_by_a_publication_of_all_tables() {
    check_all_tables(Before::Dump).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dump_of_the_schema_may_follow_its_original_by_a_publication_of_all_tables() {
    check_all_tables(Before::SchemaAndProgram).await;
    check_all_tables(Before::Schema).await;
}
