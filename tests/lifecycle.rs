//! The program as a process: its settings, its start, its stop.

use crate::support::postgres::{Session, new_directory, watch};
use crate::support::program::command;
use crate::support::{Client, Database, Program};

#[tokio::test(flavor = "multi_thread")]
async fn the_embedded_postgres_keeps_its_data_over_a_stop_and_a_kill() {
    let directory = new_directory("lifecycle");
    let watchdog = watch(&directory);
    let data_dir = directory.to_str().expect("a path").to_owned();
    for round in 0..3 {
        let mut program = Program::start(&[("DATA_DIR", &data_dir)]);
        let address = program.address();
        let session = Session::connect(&program.embedded_url()).await;
        if round == 0 {
            session.add_service("Zoom").await;
        }
        let mut client = Client::join(address, "40/pricings,").await;
        session.add_pricing("Zoom", round).await;
        assert_eq!(client.next_event().await, format!("CREATED Zoom {round}"));
        drop(session);
        if round == 0 {
            program.signal("-TERM");
            // Without a packet that python-socketio takes for good.
            assert_eq!(client.next_frame_or_end().await, None);
            assert_eq!(program.wait(), Some(0));
        } else if round == 1 {
            program.signal("-KILL");
            assert_eq!(program.wait(), None);
        } else {
            program.signal("-INT");
            assert_eq!(program.wait(), Some(0));
        }
    }
    drop(watchdog);
}

#[tokio::test(flavor = "multi_thread")]
async fn several_instances_start_at_once_and_each_announces_everything() {
    let database = Database::create().await;
    let mut programs: Vec<Program> = (0..3)
        .map(|_| Program::start(&[("DATABASE_URL", &database.url)]))
        .collect();
    let mut clients = Vec::new();
    for program in &mut programs {
        clients.push(Client::join(program.address(), "40/pricings,").await);
    }
    database.add_service("Zoom").await;
    database.add_pricing("Zoom", "1").await;
    for client in &mut clients {
        assert_eq!(client.next_event().await, "CREATED Zoom 1");
    }
    let names = database
        .sql("select distinct application_name from pg_stat_activity where datname = current_database() and backend_type = 'client backend' and application_name <> 'space-events test'")
        .await;
    assert!(!names.is_empty());
    for name in names {
        assert!(name.starts_with("space-events"), "{name}");
    }
    for program in programs {
        program.signal("-TERM");
        assert_eq!(program.wait(), Some(0));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn migrate_applies_the_migrations_and_exits() {
    let database = Database::create().await;
    for _ in 0..2 {
        let output = command()
            .arg("migrate")
            .env("DATABASE_URL", &database.url)
            .output()
            .expect("it runs");
        assert!(output.status.success(), "{output:?}");
    }
    assert_eq!(database.sql("select count(*) from services").await, ["0"]);
}

#[test]
fn a_wrong_setting_stops_the_start_with_one_line_that_names_it() {
    let cases = [
        ("DATABASE_URL", "mysql://x/y"),
        ("DATABASE_URL", "postgres://x/y?sslmode=perhaps"),
        ("DATABASE_LISTEN_URL", "postgres://x/y"),
        ("HOST", "no such host"),
        ("PORT", "65536"),
        ("PORT", "abc"),
        ("API_KEYS", "secret"),
        ("API_KEYS", "secret:SOME"),
        ("API_KEYS", ":ALL"),
        ("CORS_ORIGINS", "example.com"),
        ("SOCKET_TRANSPORTS", "carrier-pigeon"),
        ("SOCKET_AUTH", "maybe"),
        ("SOCKET_AUTH", "key"),
        ("EVENT_RETENTION", "forever"),
        ("EVENT_RETENTION", "0d"),
        ("EVENT_RETENTION", "7é"),
        ("PRICING_URL_ALLOW", "http://x/"),
        ("DATABASE_POOL_SIZE", "0"),
        ("DATABASE_POOL_SIZE", "many"),
        ("MAX_CONNECTIONS", "0"),
        ("MAX_CONNECTIONS", "many"),
        ("MAX_CONNECTIONS_PER_ADDRESS", "-1"),
        ("DATABASE_URL", "postgres://x/y?schema=secret"),
        (
            "DATABASE_URL",
            "postgres://x,z/y?target_session_attrs=standby",
        ),
        ("RUST_LOG", "a=b=c"),
        ("RUST_LOG", "loud"),
        ("RUST_LOG", "info,loud"),
        ("LOG_FORMAT", "xml"),
    ];
    for (name, value) in cases {
        let output = command().env(name, value).output().expect("it runs");
        assert_eq!(output.status.code(), Some(1), "{name}={value}: {output:?}");
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(said.lines().count(), 1, "{name}={value}: {said}");
        assert!(said.contains(name), "{name}={value}: {said}");
        assert!(!said.contains("secret"), "{said}");
    }
    let output = command().env("HOST", "0.0.0.0").output().expect("it runs");
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(
        said.contains("API_KEYS") && said.lines().count() == 1,
        "{said}"
    );
    for arguments in [["--help"], ["--version"]] {
        let output = command().args(arguments).output().expect("it runs");
        assert_eq!(output.status.code(), Some(0));
        assert!(!output.stdout.is_empty());
    }
    let output = command().arg("--frobnicate").output().expect("it runs");
    assert_eq!(output.status.code(), Some(1));
}
