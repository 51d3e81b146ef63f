//! The embedded Postgres: what is committed outlives every end of it.

use std::fs;
use std::io::Write;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::atomic::{AtomicU32, Ordering};

use embedded_postgres::EmbeddedPostgres;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::time::timeout;
use tokio_postgres::NoTls;

use crate::support::{LIMIT, wait_until};

/// Set for the copy of this program that is to be killed.
const HOLD_DATA_DIR: &str = "SPACE_EVENTS_TEST_HOLD_DATA_DIR";

/// A data directory of a test's own, removed at its end.
struct TestDir(PathBuf);

impl TestDir {
    fn new() -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let path = PathBuf::from(format!(
            "/tmp/space-events-test-{}-{count}",
            std::process::id()
        ));
        let _ = fs::remove_dir_all(&path);
        Self(path)
    }

    fn lock_file(&self) -> PathBuf {
        self.0.join("data/postmaster.pid")
    }

    fn server_pid(&self) -> i32 {
        let text = fs::read_to_string(self.lock_file()).expect("a server runs");
        text.lines()
            .next()
            .expect("it has a number")
            .parse()
            .expect("a number")
    }
}

impl Drop for TestDir {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

async fn start(dir: &TestDir) -> EmbeddedPostgres {
    EmbeddedPostgres::start(&dir.0)
        .await
        .expect("the embedded Postgres starts")
}

async fn try_sql(url: &str, sql: &str) -> Result<Vec<String>, tokio_postgres::Error> {
    let (client, connection) = tokio_postgres::connect(url, NoTls).await?;
    let connection = tokio::spawn(connection);
    let messages = client.simple_query(sql).await?;
    drop(client);
    let _ = connection.await;
    let row = |message| match message {
        tokio_postgres::SimpleQueryMessage::Row(row) => row.get(0).map(str::to_owned),
        _ => None,
    };
    Ok(messages.into_iter().filter_map(row).collect())
}

async fn sql(postgres: &EmbeddedPostgres, sql: &str) -> Vec<String> {
    try_sql(&postgres.url(), sql)
        .await
        .expect("the statement succeeds")
}

fn is_alive(pid: i32) -> bool {
    // One that ended and whose parent has not asked how is no longer alive.
    let state = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    match state.rsplit(')').next() {
        Some(rest) if !state.is_empty() => !rest.trim_start().starts_with('Z'),
        _ => !Path::new("/proc/self").exists() && kill(Pid::from_raw(pid), None).is_ok(),
    }
}

/// This test program again, as a process that starts the server and waits to be killed.
fn another_process(dir: &TestDir) -> tokio::process::Child {
    // The same whether this file is a test program or a module of one.
    let module = module_path!()
        .split_once("::")
        .map(|(_, module)| format!("{module}::"));
    let holding_test = module.unwrap_or_default() + "holds_a_server_until_it_is_killed";
    tokio::process::Command::new(std::env::current_exe().expect("a path"))
        .args(["--exact", &holding_test, "--ignored", "--nocapture"])
        .env(HOLD_DATA_DIR, &dir.0)
        .stdout(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .expect("this program starts again")
}

async fn start_in_another_process(dir: &TestDir) -> tokio::process::Child {
    let mut other = another_process(dir);
    let mut lines = BufReader::new(other.stdout.take().expect("piped")).lines();
    let holding = async {
        while let Some(line) = lines.next_line().await.expect("it prints text") {
            if line == "holding" {
                return;
            }
        }
        panic!("the other process ended");
    };
    timeout(LIMIT, holding).await.expect("a server in time");
    other
}

#[tokio::test]
#[ignore = "other tests run it, in a process that they kill"]
async fn holds_a_server_until_it_is_killed() {
    if let Some(dir) = std::env::var_os(HOLD_DATA_DIR) {
        let _postgres = EmbeddedPostgres::start(Path::new(&dir))
            .await
            .expect("it starts");
        writeln!(std::io::stdout(), "\nholding").expect("somebody reads");
        std::future::pending::<()>().await;
    }
}

#[tokio::test]
async fn rows_survive_a_restart() {
    let dir = TestDir::new();
    let postgres = start(&dir).await;
    sql(
        &postgres,
        "create table kept (word text); insert into kept values ('é')",
    )
    .await;
    postgres.stop().await.expect("it stops");
    assert!(!dir.lock_file().exists(), "the stop was a clean one");
    let postgres = start(&dir).await;
    assert_eq!(sql(&postgres, "select word from kept").await, ["é"]);
    assert_eq!(sql(&postgres, "show server_encoding").await, ["UTF8"]);
    assert_eq!(sql(&postgres, "show fsync").await, ["on"]);
    assert_eq!(sql(&postgres, "show listen_addresses").await, [""]);
    let mode = fs::metadata(dir.0.join("socket"))
        .expect("it is there")
        .permissions()
        .mode();
    assert_eq!(mode & 0o777, 0o700);
    postgres.stop().await.expect("it stops");
}

#[tokio::test]
async fn a_killed_server_is_started_again() {
    let dir = TestDir::new();
    let mut postgres = start(&dir).await;
    let url = postgres.url();
    sql(
        &postgres,
        "create table kept (word text); insert into kept values ('a')",
    )
    .await;
    for _ in 0..2 {
        let killed = dir.server_pid();
        // A session that outlives its server for a moment must not be in the way.
        let (_client, connection) = tokio_postgres::connect(&url, NoTls)
            .await
            .expect("it accepts");
        let connection = tokio::spawn(connection);
        kill(Pid::from_raw(killed), Signal::SIGKILL).expect("it was alive");
        let back = wait_until("another server is there with the row", async || {
            let rows = try_sql(&url, "select word from kept").await;
            rows.is_ok_and(|rows| rows == ["a"]) && dir.server_pid() != killed
        });
        tokio::select! {
            () = postgres.supervise() => unreachable!("it never returns"),
            () = back => {}
        }
        let _ = connection.await;
    }
    postgres.stop().await.expect("it stops");
}

#[tokio::test]
async fn a_server_that_another_process_left_is_taken_over() {
    let dir = TestDir::new();
    let mut other = start_in_another_process(&dir).await;
    let left = dir.server_pid();
    other.kill().await.expect("it was alive");
    assert!(is_alive(left), "the server outlives its parent");
    let postgres = start(&dir).await;
    assert!(!is_alive(left));
    assert_eq!(sql(&postgres, "select 'here'").await, ["here"]);
    postgres.stop().await.expect("it stops");
}

#[tokio::test]
async fn a_server_killed_with_its_parent_is_started_again() {
    let dir = TestDir::new();
    let mut other = start_in_another_process(&dir).await;
    let left = dir.server_pid();
    other.kill().await.expect("it was alive");
    kill(Pid::from_raw(left), Signal::SIGKILL).expect("it was alive");
    let postgres = start(&dir).await;
    assert_eq!(sql(&postgres, "select 'here'").await, ["here"]);
    postgres.stop().await.expect("it stops");
}

#[tokio::test]
async fn a_lock_file_with_the_number_of_another_program_is_stale() {
    let dir = TestDir::new();
    let postgres = start(&dir).await;
    let lock_file = fs::read_to_string(dir.lock_file()).expect("a server runs");
    let server_pid = dir.server_pid();
    postgres.stop().await.expect("it stops");

    // Postgres itself obeys the number of any process of its own user.
    let owner = fs::metadata(dir.0.join("data")).expect("it is there");
    let mut other = tokio::process::Command::new("sleep");
    other.arg("600").stdout(Stdio::null()).kill_on_drop(true);
    if nix::unistd::geteuid().is_root() {
        other.uid(owner.uid()).gid(owner.gid());
    }
    let mut other = other.spawn().expect("sleep starts");
    let reused = lock_file.replacen(
        &server_pid.to_string(),
        &other.id().expect("it runs").to_string(),
        1,
    );
    for stale in [reused.as_str(), ""] {
        fs::write(dir.lock_file(), stale).expect("it is written");
        fs::write(dir.0.join("socket/.s.PGSQL.5432.lock"), stale).expect("it is written");
        let postgres = start(&dir).await;
        postgres.stop().await.expect("it stops");
    }
    assert!(
        other.try_wait().expect("it is our child").is_none(),
        "the other program lives on"
    );
    other.kill().await.expect("it lives");
}

#[tokio::test]
async fn a_directory_in_use_is_refused_in_one_line() {
    let dir = TestDir::new();
    let postgres = start(&dir).await;
    let refusal = EmbeddedPostgres::start(&dir.0)
        .await
        .expect_err("it is in use");
    let refusal = format!("{refusal:#}");
    assert!(
        refusal.contains(&format!(
            "another space-events, process {}",
            std::process::id()
        )),
        "{refusal}"
    );
    assert!(!refusal.contains('\n'), "{refusal}");
    assert_eq!(
        sql(&postgres, "select 'undisturbed'").await,
        ["undisturbed"]
    );
    postgres.stop().await.expect("it stops");
}

#[tokio::test]
async fn what_an_interrupted_initdb_left_is_made_again() {
    let dir = TestDir::new();
    fs::create_dir_all(dir.0.join("data.new-1/base")).expect("it is made");
    fs::write(dir.0.join("data.new-1/PG_VERSION"), "15\n").expect("it is written");
    let postgres = start(&dir).await;
    assert_eq!(
        sql(&postgres, "select current_database()").await,
        ["space_events"]
    );
    assert!(!dir.0.join("data.new-1").exists());
    postgres.stop().await.expect("it stops");
}

#[tokio::test]
async fn an_initdb_whose_parent_was_killed_is_not_in_the_way() {
    let dir = TestDir::new();
    let mut other = another_process(&dir);
    let is_half_made = || {
        let entries = fs::read_dir(&dir.0).into_iter().flatten().flatten();
        entries
            .map(|entry| entry.path())
            .any(|path| path.join("PG_VERSION").exists())
    };
    wait_until("initdb has begun", async || is_half_made()).await;
    other.kill().await.expect("it was alive");
    let postgres = start(&dir).await;
    assert_eq!(
        sql(&postgres, "select current_database()").await,
        ["space_events"]
    );
    postgres.stop().await.expect("it stops");
}

#[tokio::test]
async fn data_of_a_version_that_is_not_installed_is_left_alone() {
    let dir = TestDir::new();
    fs::create_dir_all(dir.0.join("data")).expect("it is made");
    fs::write(dir.0.join("data/PG_VERSION"), "11\n").expect("it is written");
    if nix::unistd::geteuid().is_root() {
        std::os::unix::fs::chown(dir.0.join("data"), Some(65534), None).expect("root may");
    }
    let refusal = EmbeddedPostgres::start(&dir.0)
        .await
        .expect_err("11 is too old to be installed");
    assert!(
        format!("{refusal:#}").starts_with("the data is of PostgreSQL 11 and only"),
        "{refusal:#}"
    );
}

#[tokio::test]
async fn a_long_or_odd_path_gets_its_socket_elsewhere() {
    let top = TestDir::new();
    let dir = TestDir(
        top.0
            .join(format!("with a space, a comma and {}", "x".repeat(90))),
    );
    let postgres = start(&dir).await;
    let socket = sql(&postgres, "show unix_socket_directories")
        .await
        .concat();
    assert!(!Path::new(&socket).starts_with(&dir.0), "{socket}");
    assert_eq!(
        postgres.psql_command(),
        format!("psql -h {socket} -U postgres space_events")
    );
    postgres.stop().await.expect("it stops");
    assert!(!Path::new(&socket).exists());
}

#[tokio::test]
async fn a_dropped_server_stops_by_itself() {
    let dir = TestDir::new();
    let postgres = start(&dir).await;
    let pid = dir.server_pid();
    drop(postgres);
    wait_until("the server has stopped", async || !is_alive(pid)).await;
}
