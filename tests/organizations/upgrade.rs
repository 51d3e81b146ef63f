//! A database that an older program has filled: its writers are not held up, and what
//! was there is the default organisation's.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use space_events::config::{Config, Settings};

use crate::support::postgres::Session;
use crate::support::{Database, TestApp};

/// The migrations from before there were organisations.
const BEFORE: [(&str, &str); 12] = [
    (
        "1",
        include_str!("../../migrations/0001_services_and_pricings.sql"),
    ),
    ("2", include_str!("../../migrations/0002_row_changes.sql")),
    (
        "3",
        include_str!("../../migrations/0003_keeping_the_journal.sql"),
    ),
    (
        "4",
        include_str!("../../migrations/0004_late_rows_and_large_statements.sql"),
    ),
    (
        "5",
        include_str!("../../migrations/0005_positions_that_are_checked.sql"),
    ),
    (
        "6",
        include_str!("../../migrations/0006_expected_capture.sql"),
    ),
    (
        "7",
        include_str!("../../migrations/0007_ring_for_sleepers.sql"),
    ),
    (
        "15",
        include_str!("../../migrations/0015_availability_in_one_statement.sql"),
    ),
    (
        "16",
        include_str!("../../migrations/0016_ids_of_replicated_rows.sql"),
    ),
    (
        "17",
        include_str!("../../migrations/0017_no_control_characters.sql"),
    ),
    (
        "18",
        include_str!("../../migrations/0018_check_for_control_characters.sql"),
    ),
    (
        "19",
        include_str!("../../migrations/0019_changes_that_are_told.sql"),
    ),
];

/// A database as an older program left it, with 20,000 pricings.
async fn filled() -> Database {
    let database = Database::create().await;
    for (_, sql) in BEFORE {
        let session = database.connect().await;
        session.sql("set search_path = pg_catalog, pg_temp").await;
        session.sql(&format!("begin; {sql}; commit")).await;
    }
    let numbers = BEFORE.map(|(number, _)| number).join(", ");
    database
        .sql(&format!(
            "create table space_events.migrations (
                version bigint constraint migrations_pkey primary key,
                description text not null,
                installed_on timestamptz not null default now(),
                checksum bytea not null);
            comment on table space_events.migrations is 'The migrations that were applied: {numbers}';
            insert into services (name, disabled) select 's' || n, n % 10 = 0 from generate_series(1, 100) n;
            insert into pricings (service_name, version) select 's' || n % 100 + 1, n from generate_series(1, 20000) n;
            update pricings set availability = 'archived' where version::int % 7 = 0"
        ))
        .await;
    database
}

/// Adds pricings as an older program's writers do, until it is told to stop; how many.
async fn write(session: Session, stop: Arc<AtomicBool>) -> usize {
    let mut written = 0;
    while !stop.load(Ordering::Relaxed) {
        session
            .sql(&format!(
                "insert into pricings (service_name, version) values ('s1', 'new {written}')"
            ))
            .await;
        written += 1;
    }
    written
}

async fn config(database: &Database) -> Config {
    let settings = Settings {
        database_url: Some(database.url.clone()),
        ..Settings::default()
    };
    Config::check(settings)
        .await
        .expect("the settings are good")
}

const STATE: &str =
    "select string_agg(concat_ws(' ', id, service_name, version, availability), ',' order by id)
    from pricings where version not like 'new %' and organization = ''";

#[tokio::test(flavor = "multi_thread")]
async fn a_filled_database_gets_organizations_beside_its_writers() {
    let database = filled().await;
    let before = database
        .sql(&STATE.replace(" and organization = ''", ""))
        .await;
    let stop = Arc::new(AtomicBool::new(false));
    let writer = tokio::spawn(write(database.connect().await, Arc::clone(&stop)));
    // An attempt that was cut off has left an index, perhaps an invalid one.
    database
        .sql("create index pricings_version_organization_key on pricings (version)")
        .await;
    // Several instances at once.
    let (one, two, three) = tokio::join!(
        TestApp::start(&database),
        TestApp::start(&database),
        TestApp::start(&database)
    );
    stop.store(true, Ordering::Relaxed);
    let written = writer.await.expect("nothing a writer did failed");
    assert!(written > 0);
    assert_eq!(database.sql(STATE).await, before);
    let sound = "select bool_and(convalidated) from pg_constraint
        where conrelid in ('services'::regclass, 'pricings'::regclass)
        union all
        select bool_and(indisvalid) and count(*) = 5 from pg_index
        where indrelid in ('services'::regclass, 'pricings'::regclass)
        union all
        select pg_get_indexdef('pricings_pkey'::regclass) like '%(service_name, version, organization)'
        union all
        select exists (select from space_events.row_changes where organization = '' and service_name = 's2')";
    assert_eq!(database.sql(sound).await, ["t"; 4]);

    // Plain writers and plain clients go on as before.
    let mut client = one.join().await;
    database
        .sql(
            "insert into services (name) values ('Zoom');
            insert into pricings (service_name, version) values ('Zoom', '2024')",
        )
        .await;
    assert_eq!(
        client.next_frame().await,
        r#"42/pricings,["message",{"code":"PRICING_CREATED","details":{"serviceName":"Zoom","pricingVersion":"2024"}}]"#
    );
    let (_, service) = two.get("/services/S2").await;
    assert_eq!(
        service["activePricings"]
            .as_object()
            .map(serde_json::Map::len),
        Some(171)
    );
    for app in [one, two, three] {
        app.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn writers_go_on_while_the_migrations_wait_for_an_open_transaction() {
    let database = filled().await;
    let open = database.connect().await;
    open.sql("begin; update pricings set url = 'http://x' where service_name = 's5'")
        .await;
    let stop = Arc::new(AtomicBool::new(false));
    let written = write(database.connect().await, Arc::clone(&stop));
    let config = config(&database).await;
    let migrating = tokio::spawn(async move { space_events::app::migrate(&config).await });
    let waits = "select exists (select from pg_stat_activity
        where application_name = 'space-events migrations' and datname = current_database() and wait_event_type = 'Lock')";
    let watched = async {
        // It waits, gives up so that writers go on, and waits again.
        for is_waiting in ["t", "f", "t", "f"] {
            while database.sql(waits).await != [is_waiting] {
                tokio::time::sleep(std::time::Duration::from_millis(5)).await;
            }
        }
        stop.store(true, Ordering::Relaxed);
    };
    let (written, ()) = tokio::join!(written, watched);
    assert!(written > 0 && !migrating.is_finished());
    open.sql("commit").await;
    migrating
        .await
        .expect("no panic")
        .expect("the migrations are applied");
    assert_eq!(
        database
            .sql("select count(*) from pricings where organization = ''")
            .await,
        [(20_000 + written).to_string()]
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn other_tables_that_refer_to_a_name_are_named_before_anything_is_changed() {
    let database = filled().await;
    database
        .sql("create table theirs (service text constraint theirs_service_fkey references services (name))")
        .await;
    let config = config(&database).await;
    let refused = space_events::app::migrate(&config).await;
    let sentence = format!("{:#}", refused.expect_err("a refusal"));
    assert!(
        sentence
            .contains("migration 20: the table public.theirs refers to public.services by a name")
            && sentence.contains("drop its constraint theirs_service_fkey")
            && !sentence.contains('\n'),
        "{sentence}"
    );
    let columns = "select count(*) from pg_attribute where attrelid = 'services'::regclass and attname = 'organization'";
    assert_eq!(database.sql(columns).await, ["0"]);
    database
        .sql("alter table theirs drop constraint theirs_service_fkey; alter table theirs add column id bigint references services (id)")
        .await;
    space_events::app::migrate(&config)
        .await
        .expect("a reference to the id stands in nobody's way");
}
