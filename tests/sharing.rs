//! The program in a database that is not its own: beside other programs, as a role
//! with settings and few rights, and beside other versions of itself.

use std::process::Command;

use space_events::store::database_url::DatabaseUrl;
use sqlx::migrate::{Migration, MigrationType, Migrator};
use sqlx::{ConnectOptions as _, SqlSafeStr as _};

use crate::support::program::command;
use crate::support::{Database, TestApp};

/// The one line with which the program refuses to start.
fn refusal(url: &str) -> String {
    let output = command()
        .arg("migrate")
        .env("DATABASE_URL", url)
        .output()
        .expect("it runs");
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(said.lines().count(), 1, "{said}");
    said
}

/// Starts the program, and hears a change.
async fn check_events(database: &Database, version: &str) {
    let app = TestApp::start(database).await;
    let mut client = app.join().await;
    database
        .sql(&format!(
            "insert into public.services (name) values ('Zoom') on conflict do nothing;
            insert into public.pricings (service_name, version) values ('Zoom', '{version}')"
        ))
        .await;
    assert_eq!(client.next_event().await, format!("CREATED Zoom {version}"));
    let (status, ready) = app.get("/readyz").await;
    assert_eq!(status, 200, "{ready}");
    app.stop().await;
}

/// Another program's migrations, by sqlx's own runner.
async fn migrate_another_program(database: &Database) {
    let table = "create table theirs (id bigint)";
    let migrations = Migrator::with_migrations(vec![Migration::new(
        1,
        "theirs".into(),
        MigrationType::Simple,
        table.into_sql_str(),
        false,
    )]);
    let url = DatabaseUrl::parse(&database.url).expect("a URL");
    let mut connection = url.sqlx_options("test").connect().await.expect("Postgres");
    let migrated = migrations.run(&mut connection).await;
    migrated.expect("the other program is not disturbed");
}

#[tokio::test(flavor = "multi_thread")]
async fn another_program_with_migrations_shares_the_database() {
    let database = Database::create().await;
    migrate_another_program(&database).await;
    for version in ["1", "2"] {
        check_events(&database, version).await;
        migrate_another_program(&database).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_role_may_have_any_settings() {
    for (number, settings) in [
        "search_path = myapp",
        "search_path = ''",
        "search_path = public, space_events",
        "search_path = space_events, public",
        "quote_all_identifiers = on",
        "default_transaction_read_only = on",
        "default_transaction_isolation = serializable",
    ]
    .into_iter()
    .enumerate()
    {
        let database = Database::create().await;
        let role = format!("role_{}_{number}", database.name);
        database
            .sql(&format!(
                "create role {role} login; alter role {role} set {settings};
                alter database {} owner to {role}; create schema myapp authorization {role}",
                database.name
            ))
            .await;
        let as_role = database.again(&role).await;
        as_role.sql("set default_transaction_read_only = off").await;
        check_events(&as_role, "1").await;
        check_events(&as_role, "2").await;
        let lists = "select oid::regclass from pg_class where relname in ('_sqlx_migrations', 'migrations')";
        assert_eq!(
            database.sql(lists).await,
            ["space_events.migrations"],
            "{settings}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_stands_in_the_way_is_said_in_one_line_with_what_to_do() {
    let database = Database::create().await;
    database.sql("create table services (theirs text)").await;
    let said = refusal(&database.url);
    assert!(said.contains("a database of its own"), "{said}");

    let database = Database::create().await;
    database.sql("create schema space_events").await;
    let said = refusal(&database.url);
    assert!(said.contains("a database of its own"), "{said}");

    let database = Database::create().await;
    let role = format!("limited_{}", database.name);
    database.sql(&format!("create role {role} login")).await;
    let limited = database.again(&role).await;
    let said = refusal(&limited.url);
    assert!(
        said.contains("space-events migrate") && said.contains(&role),
        "{said}"
    );
    database
        .sql(&format!(
            "alter database {} owner to {role}; revoke execute on function pg_control_system() from public",
            database.name
        ))
        .await;
    let grant = format!("grant execute on function pg_catalog.pg_control_system() to {role}");
    let said = refusal(&limited.url);
    assert!(said.contains(&grant), "{said}");
    database.sql(&grant).await;
    check_events(&limited, "1").await;
    database
        .sql("update space_events.migrations set checksum = '\\x00' where version = 3")
        .await;
    let said = refusal(&limited.url);
    assert!(said.contains("migration 3"), "{said}");

    let whole = Database::create().await;
    check_events(&whole, "1").await;
    let copy = Database::create().await;
    let restored = Command::new("sh")
        .args([
            "-c",
            "pg_dump --schema public \"$0\" | psql --quiet --no-psqlrc \"$1\" > /dev/null 2>&1",
        ])
        .args([&whole.url, &copy.url])
        .status()
        .expect("sh runs");
    assert!(restored.success());
    assert_eq!(copy.sql("select count(*) from pricings").await, ["1"]);
    let said = refusal(&copy.url);
    assert!(said.contains("restore"), "{said}");
    whole
        .sql("alter table space_events.marks rename to other")
        .await;
    let said = refusal(&whole.url);
    assert!(said.contains("lost a part (marks)"), "{said}");
    whole.sql("drop table services, pricings").await;
    let said = refusal(&whole.url);
    assert!(said.contains("restore"), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_older_program_runs_beside_a_newer_schema_that_lets_it() {
    let database = Database::create().await;
    check_events(&database, "1").await;
    database
        .sql("insert into space_events.migrations (version, description, checksum) values (9999, 'from the future', '\\x00')")
        .await;
    check_events(&database, "2").await;
    database
        .sql("create or replace function space_events.needs_migration() returns bigint language sql immutable parallel safe as 'select 9999::bigint'")
        .await;
    let said = refusal(&database.url);
    assert!(said.contains("upgrade") && said.contains("9999"), "{said}");
}
