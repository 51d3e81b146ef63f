//! What a database can have against a start: one sentence on one line, which names
//! the variable, the host and what to do.

use std::net::TcpListener;

use crate::support::program::command;
use crate::support::{Database, Proxy, Server};

/// Checks the one line with which the program refuses to start.
fn refuses(settings: &[(&str, &str)], expected: &[&str]) {
    let output = command()
        .envs(settings.iter().copied())
        .output()
        .expect("it runs");
    assert_eq!(output.status.code(), Some(1), "{settings:?}: {output:?}");
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(said.lines().count(), 1, "{said}");
    for part in expected {
        assert!(said.contains(part), "no `{part}` in: {said}");
    }
    for part in ["secret", "at line", "db error"] {
        assert!(!said.contains(part), "`{part}` in: {said}");
    }
    // Nothing is said twice.
    let parts: Vec<&str> = said.trim().split(": ").collect();
    for (number, part) in parts.iter().enumerate() {
        assert!(!parts[number + 1..].contains(part), "{said}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_is_not_there() {
    refuses(
        &[("DATABASE_URL", "postgres://ada:secret@127.0.0.1:1/none")],
        &["DATABASE_URL: ", "127.0.0.1:1", "refused", "start it"],
    );
    refuses(
        &[("DATABASE_URL", "postgres://ada:secret@%2Fnowhere/none")],
        &["DATABASE_URL: ", "/nowhere:5432", "start it"],
    );
    refuses(
        &[(
            "DATABASE_URL",
            "postgres://ada:secret@no.such.host.invalid/none",
        )],
        &[
            "DATABASE_URL: ",
            "no.such.host.invalid:5432",
            "correct the host",
        ],
    );
    let silent = TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = silent.local_addr().expect("an address").port();
    let url = format!("postgres://ada:secret@127.0.0.1:{port}/none?connect_timeout=1");
    refuses(
        &[("DATABASE_URL", &url)],
        &["DATABASE_URL: ", &format!("127.0.0.1:{port}"), "within 1s"],
    );
    let server = Server::start(&[]).await;
    refuses(
        &[
            ("DATABASE_URL", &server.url),
            (
                "DATABASE_LISTEN_URL",
                "postgres://ada:secret@127.0.0.1:1/none",
            ),
        ],
        &["DATABASE_LISTEN_URL: ", "127.0.0.1:1"],
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_does_not_let_us_in() {
    let mut server = Server::start(&[]).await;
    let session = server.connect().await;
    let rules = session.sql("show hba_file").await.remove(0);
    for statement in [
        "create role locked login password 'x'; create role nobody login",
        "create database closed",
        "revoke connect on database closed from public",
    ] {
        session.sql(statement).await;
    }
    drop(session);
    let written = std::fs::read_to_string(&rules).expect("its rules");
    std::fs::write(
        &rules,
        format!("local all locked scram-sha-256\nhostssl all all all trust\n{written}"),
    )
    .expect("its rules");
    server.restart(crate::support::End::Fast).await;
    let as_role = |role: &str| server.url.replace("postgres@", &format!("{role}@"));
    let at = server.socket_directory();
    for (url, expected) in [
        (
            as_role("locked:secret"),
            ["refuses the password", "`locked`", "correct it"],
        ),
        (
            as_role("locked"),
            ["asks for a password", "PGPASSWORD", "URL"],
        ),
        (
            as_role("stranger"),
            ["refuses the user", "`stranger`", "correct the user"],
        ),
        (
            server.url.replace("/space_events", "/nothing"),
            ["there is no database", "`nothing`", "create it"],
        ),
        (
            as_role("nobody").replace("/space_events", "/closed"),
            ["may not use", "`closed`", "grant"],
        ),
        (
            as_role("nobody"),
            ["permission denied", "migration 1", "grant"],
        ),
    ] {
        let [why, what, remedy] = expected;
        refuses(
            &[("DATABASE_URL", &url)],
            &["DATABASE_URL: ", &at, why, what, remedy],
        );
    }
    let migrated = command()
        .arg("migrate")
        .env("DATABASE_URL", &server.url)
        .status()
        .expect("it runs");
    assert!(migrated.success());
    refuses(
        &[("DATABASE_URL", &as_role("nobody"))],
        &["DATABASE_URL: ", &at, "permission denied", "grant it"],
    );
    let proxy = Proxy::start(&server).await;
    let url = proxy.url.replace("sslmode=disable", "sslmode=require");
    refuses(
        &[("DATABASE_URL", &url)],
        &["DATABASE_URL: ", "127.0.0.1:", "TLS", "sslmode"],
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_database_in_another_encoding() {
    let shared = Database::create().await;
    for encoding in ["SQL_ASCII", "LATIN1", "EUC_JP", "WIN1252"] {
        let name = format!("{}_{}", shared.name, encoding.to_lowercase());
        shared
            .sql(&format!(
                "create database {name} encoding '{encoding}' lc_collate 'C' lc_ctype 'C' template template0"
            ))
            .await;
        let url = shared.url.replace(&shared.name, &name);
        refuses(
            &[("DATABASE_URL", &url)],
            &["DATABASE_URL: ", &name, encoding, "UTF8"],
        );
        // Before any migration.
        let session = crate::support::postgres::Session::connect(&url).await;
        let schemas = "select count(*) from pg_namespace where nspname = 'space_events'";
        assert_eq!(session.sql(schemas).await, ["0"]);
        drop(session);
        shared.sql(&format!("drop database {name}")).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_standby() {
    let primary = Server::start(&[]).await;
    let standby = primary.standby().await;
    refuses(
        &[("DATABASE_URL", &standby.url)],
        &[
            "DATABASE_URL: ",
            &standby.socket_directory(),
            "is a standby",
            "name the primary",
        ],
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn two_urls_of_two_databases() {
    let one = Database::create().await;
    let other = Database::create().await;
    refuses(
        &[
            ("DATABASE_URL", &one.url),
            ("DATABASE_LISTEN_URL", &other.url),
        ],
        &["DATABASE_LISTEN_URL: ", "another database"],
    );
}
