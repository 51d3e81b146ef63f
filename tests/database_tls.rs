//! Every `sslmode` against a real Postgres with TLS and one without, on both drivers.
//!
//! The program reads one URL for two drivers; where they differ, one of its
//! connections would be encrypted or checked less than the other.

use std::fs;
use std::io::{BufRead, BufReader};
use std::net::TcpListener;
use std::os::unix::fs::{PermissionsExt, chown};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::mpsc;
use std::time::Duration;

use futures_util::future::poll_fn;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};
use space_events::store::database_url::DatabaseUrl;
use sqlx::{ConnectOptions, Connection as _};
use tokio_postgres::AsyncMessage;

const PASSWORD: &str = "p@ss/w%rd";
const START_LIMIT: Duration = Duration::from_secs(60);
const LIMIT: Duration = Duration::from_secs(30);

/// How a connection ended up, as the server sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Outcome {
    Encrypted,
    Plain,
    Refused,
}
use Outcome::{Encrypted, Plain, Refused};

#[tokio::test]
async fn both_drivers_obey_every_sslmode_alike() {
    let ca = Ca::new();
    let stranger = Ca::new();
    let server = Postgres::start(Some(&ca));
    let plain = Postgres::start(None);
    let right = server.file("right.pem", &ca.pem());
    let wrong = server.file("wrong.pem", &stranger.pem());
    let root = |path: &Path| format!("&sslrootcert={}", path.display());
    let (right, wrong, none) = (root(&right), root(&wrong), String::new());

    // The certificate is for `localhost`, so 127.0.0.1 is the wrong host.
    for (mode, roots, localhost, other_host, without_tls) in [
        ("disable", &none, Plain, Plain, Plain),
        ("disable", &right, Plain, Plain, Plain),
        ("disable", &wrong, Plain, Plain, Plain),
        ("allow", &none, Plain, Plain, Plain),
        ("allow", &right, Plain, Plain, Plain),
        ("allow", &wrong, Plain, Plain, Plain),
        ("prefer", &none, Encrypted, Encrypted, Plain),
        ("prefer", &right, Encrypted, Encrypted, Plain),
        ("prefer", &wrong, Encrypted, Encrypted, Plain),
        ("require", &none, Encrypted, Encrypted, Refused),
        ("require", &right, Encrypted, Encrypted, Refused),
        ("require", &wrong, Refused, Refused, Refused),
        ("verify-ca", &none, Refused, Refused, Refused),
        ("verify-ca", &right, Encrypted, Encrypted, Refused),
        ("verify-ca", &wrong, Refused, Refused, Refused),
        ("verify-full", &none, Refused, Refused, Refused),
        ("verify-full", &right, Encrypted, Refused, Refused),
        ("verify-full", &wrong, Refused, Refused, Refused),
    ] {
        let options = format!("sslmode={mode}{roots}");
        for (host, postgres, expected) in [
            ("localhost", &server, localhost),
            ("127.0.0.1", &server, other_host),
            ("localhost", &plain, without_tls),
            ("127.0.0.1", &plain, without_tls),
        ] {
            let url = postgres.url(host, "postgres", &options);
            outcomes(&url, expected).await;
        }
        // Never encrypted and never refused: there is nothing in between to read along.
        if roots.is_empty() {
            outcomes(&server.url(&server.socket(), "postgres", &options), Plain).await;
        }
    }

    // What raises the checks works as if they were asked for.
    for (options, localhost, other_host) in [
        (
            format!("sslmode=require&channel_binding=require{right}"),
            Encrypted,
            Refused,
        ),
        (format!("channel_binding=require{wrong}"), Refused, Refused),
        ("sslrootcert=system".to_owned(), Refused, Refused),
    ] {
        outcomes(&server.url("localhost", "postgres", &options), localhost).await;
        outcomes(&server.url("127.0.0.1", "postgres", &options), other_host).await;
    }
}

#[tokio::test]
async fn a_server_that_asks_who_we_are_is_shown_a_certificate() {
    let ca = Ca::new();
    let stranger = Ca::new();
    let server = Postgres::start(Some(&ca));
    let root = server.file("right.pem", &ca.pem());
    let mut pairs = Vec::new();
    for (name, issuer) in [("ours", &ca), ("strangers", &stranger)] {
        let (cert, key) = issuer.certificate("space-events");
        let cert = server.file(&format!("{name}.crt"), &cert);
        let key = server.file(&format!("{name}.key"), &key);
        pairs.push(format!(
            "&sslcert={}&sslkey={}",
            cert.display(),
            key.display()
        ));
    }
    let options = format!("sslmode=verify-full&sslrootcert={}", root.display());
    let url = |pair: &str| server.url("localhost", "certified", &format!("{options}{pair}"));
    outcomes(&url(""), Refused).await;
    for (pair, expected) in pairs.iter().zip([Encrypted, Refused]) {
        outcomes(&url(pair), expected).await;
    }
}

#[tokio::test]
async fn notifications_arrive_with_and_without_tls() {
    let ca = Ca::new();
    let server = Postgres::start(Some(&ca));
    for mode in ["disable", "require"] {
        let url = server.url("localhost", "postgres", &format!("sslmode={mode}"));
        let url = DatabaseUrl::parse(&url).expect("a URL");
        let (client, mut connection) = url.connect("space-events listener").await.expect("connect");
        let (heard, mut payloads) = tokio::sync::mpsc::unbounded_channel();
        tokio::spawn(async move {
            while let Some(Ok(message)) = poll_fn(|task| connection.poll_message(task)).await {
                if let AsyncMessage::Notification(notification) = message {
                    let _ = heard.send(notification.payload().to_owned());
                }
            }
        });
        client
            .batch_execute("listen door; notify door, 'ring'")
            .await
            .expect("notify");
        let payload = tokio::time::timeout(LIMIT, payloads.recv())
            .await
            .expect("in time");
        assert_eq!(payload.as_deref(), Some("ring"), "{mode}");
    }
}

#[tokio::test]
async fn a_session_is_set_up_alike_by_both_drivers() {
    let server = Postgres::start(None);
    let options = "application_name=theirs&options=-c%20test.words%3Da%5C%20b%20--work-mem=3MB";
    let url = server.url(&server.socket(), "postgres", options);
    let url = DatabaseUrl::parse(&url).expect("a URL");
    let query = "select concat_ws('|', current_user, current_database(), \
                 current_setting('application_name'), current_setting('test.words'), \
                 current_setting('work_mem'))";
    let expected = "postgres|postgres|space-events feed|a b|3MB";

    let mut sqlx = url
        .sqlx_options("space-events feed")
        .connect()
        .await
        .expect("connect by sqlx");
    let row: String = sqlx::query_scalar(query)
        .fetch_one(&mut sqlx)
        .await
        .expect("row");
    assert_eq!(row, expected);

    let (client, connection) = url
        .connect("space-events feed")
        .await
        .expect("connect by tokio-postgres");
    tokio::spawn(connection);
    let row = client.query_one(query, &[]).await.expect("row");
    assert_eq!(row.get::<_, String>(0), expected);
}

#[tokio::test]
async fn a_server_that_says_nothing_is_given_up_by_name() {
    let silent = TcpListener::bind("127.0.0.1:0").expect("bind");
    let port = silent.local_addr().expect("address").port();
    let url = format!("postgres://ada:secret@127.0.0.1:{port}/space?connect_timeout=1");
    let url = DatabaseUrl::parse(&url).expect("a URL");
    let error = match tokio::time::timeout(LIMIT, url.connect("space-events feed")).await {
        Ok(Ok(_)) => panic!("connected to a server that says nothing"),
        Ok(Err(error)) => format!("{error:#}"),
        Err(_) => panic!("waited for ever"),
    };
    assert_eq!(
        error,
        format!("connect to ada@127.0.0.1:{port}/space: no answer within 1s")
    );
}

/// Connects with both drivers and asks the server what came of it.
async fn outcomes(url: &str, expected: Outcome) {
    const QUERY: &str = "select ssl from pg_stat_ssl where pid = pg_backend_pid()";
    let outcome = |encrypted| if encrypted { Encrypted } else { Plain };
    let read = DatabaseUrl::parse(url).unwrap_or_else(|error| panic!("{url}: {error}"));

    let by_sqlx = async {
        let mut connection = read.sqlx_options("space-events test").connect().await?;
        let encrypted = sqlx::query_scalar(QUERY).fetch_one(&mut connection).await?;
        connection.close().await?;
        anyhow::Ok(outcome(encrypted))
    };
    let by_sqlx = tokio::time::timeout(LIMIT, by_sqlx)
        .await
        .expect("sqlx in time");

    let by_tokio_postgres = async {
        let (client, connection) = read.connect("space-events test").await?;
        let connection = tokio::spawn(connection);
        let encrypted = client.query_one(QUERY, &[]).await?.get(0);
        drop(client);
        connection.await??;
        anyhow::Ok(outcome(encrypted))
    };
    let by_tokio_postgres = tokio::time::timeout(LIMIT, by_tokio_postgres)
        .await
        .expect("tokio-postgres in time");

    for (driver, got) in [("sqlx", by_sqlx), ("tokio-postgres", by_tokio_postgres)] {
        let got_outcome = *got.as_ref().unwrap_or(&Refused);
        assert_eq!(got_outcome, expected, "{driver} on {url}: {got:?}");
    }
}

/// A certificate authority that nobody else knows.
struct Ca(CertifiedIssuer<'static, KeyPair>);

impl Ca {
    fn new() -> Self {
        let mut params = CertificateParams::new(Vec::new()).expect("no names");
        params
            .distinguished_name
            .push(DnType::CommonName, "a CA of this test");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().expect("a key");
        Self(CertifiedIssuer::self_signed(params, key).expect("a CA"))
    }

    fn pem(&self) -> String {
        self.0.pem()
    }

    /// A certificate for a host or a client, and its key.
    fn certificate(&self, name: &str) -> (String, String) {
        let mut params = CertificateParams::new(vec![name.to_owned()]).expect("a name");
        params.distinguished_name.push(DnType::CommonName, name);
        let key = KeyPair::generate().expect("a key");
        let certificate = params.signed_by(&key, &self.0).expect("a certificate");
        (certificate.pem(), key.serialize_pem())
    }
}

/// A Postgres on a free port of 127.0.0.1 and on `socket/`, stopped and removed on drop.
struct Postgres {
    directory: PathBuf,
    port: u16,
    process: Child,
}

impl Postgres {
    /// With a CA: TLS with a certificate for `localhost`, and a database
    /// `certified` that asks clients for a certificate of that CA.
    fn start(ca: Option<&Ca>) -> Self {
        static STARTED: AtomicU32 = AtomicU32::new(0);
        let number = STARTED.fetch_add(1, Ordering::Relaxed);
        let directory = std::env::temp_dir().join(format!(
            "space-events-database-tls-{}-{number}",
            std::process::id()
        ));
        fs::create_dir(&directory).expect("a directory for Postgres");
        own(&directory, 0o700);
        let socket = directory.join("socket");
        fs::create_dir(&socket).expect("a directory for the socket");
        own(&socket, 0o700);
        let data = directory.join("data");
        let password = write(&directory, "password", PASSWORD);
        let initdb = program("initdb")
            .args([
                "--no-sync",
                "--no-locale",
                "--encoding=UTF8",
                "--username=postgres",
            ])
            // Hashing a password takes most of the time of a connection, so few are asked.
            .args(["--auth-host=trust", "--auth-local=scram-sha-256"])
            .arg(format!("--pwfile={}", password.display()))
            .arg(format!("--pgdata={}", data.display()))
            .output()
            .expect("run initdb");
        assert!(
            initdb.status.success(),
            "{}",
            String::from_utf8_lossy(&initdb.stderr)
        );

        let mut settings = vec![
            "fsync=off".to_owned(),
            "listen_addresses=127.0.0.1".to_owned(),
        ];
        settings.push(format!("unix_socket_directories={}", socket.display()));
        if let Some(ca) = ca {
            let (certificate, key) = ca.certificate("localhost");
            write(&data, "server.crt", &certificate);
            write(&data, "server.key", &key);
            write(&data, "ca.crt", &ca.pem());
            write(
                &data,
                "pg_hba.conf",
                "hostssl certified all all scram-sha-256 clientcert=verify-ca\n\
                 host postgres all all trust\n\
                 local all all scram-sha-256\n",
            );
            settings.extend(["ssl=on", "ssl_ca_file=ca.crt"].map(str::to_owned));
            create_database(&data, "certified");
        }

        // A free port may be taken by the time that Postgres asks for it.
        for _ in 0..10 {
            let free = TcpListener::bind("127.0.0.1:0").expect("a free port");
            let port = free.local_addr().expect("its address").port();
            drop(free);
            let mut postgres = program("postgres");
            postgres
                .arg("-D")
                .arg(&data)
                .arg("-p")
                .arg(port.to_string());
            for setting in &settings {
                postgres.arg("-c").arg(setting);
            }
            let mut process = postgres
                .stderr(Stdio::piped())
                .spawn()
                .expect("run postgres");
            if is_ready(&mut process) {
                return Self {
                    directory,
                    port,
                    process,
                };
            }
            let _ = process.wait();
        }
        panic!("Postgres does not start in {}", directory.display());
    }

    fn url(&self, host: &str, database: &str, options: &str) -> String {
        let password = PASSWORD
            .replace('%', "%25")
            .replace('@', "%40")
            .replace('/', "%2F");
        format!(
            "postgres://postgres:{password}@{host}:{}/{database}?{options}",
            self.port
        )
    }

    /// The socket's directory, as a host in a URL.
    fn socket(&self) -> String {
        self.directory
            .join("socket")
            .display()
            .to_string()
            .replace('/', "%2F")
    }

    fn file(&self, name: &str, text: &str) -> PathBuf {
        write(&self.directory, name, text)
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        // SIGINT asks for a fast stop; the process is ours and not yet waited for.
        if let Ok(pid) = i32::try_from(self.process.id()) {
            let pid = nix::unistd::Pid::from_raw(pid);
            let _ = nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGINT);
        }
        let _ = self.process.wait();
        let _ = fs::remove_dir_all(&self.directory);
    }
}

/// Creates a database while no server runs, so that no connection is needed.
fn create_database(data: &Path, name: &str) {
    use std::io::Write;
    let mut single = program("postgres")
        .args(["--single", "-c", "fsync=off", "-D"])
        .arg(data)
        .arg("postgres")
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("run postgres alone");
    let mut input = single.stdin.take().expect("its input");
    writeln!(input, "create database {name}").expect("write to it");
    drop(input);
    assert!(
        single.wait().expect("its end").success(),
        "create database {name}"
    );
}

/// Waits for the line that says so; false if the server ends before. Reads on
/// afterwards, so that a full pipe never stops the server.
fn is_ready(process: &mut Child) -> bool {
    let log = process.stderr.take().expect("its log");
    let (ready, is_ready) = mpsc::channel();
    std::thread::spawn(move || {
        for line in BufReader::new(log).lines().map_while(Result::ok) {
            if line.contains("ready to accept connections") {
                let _ = ready.send(());
            }
        }
    });
    match is_ready.recv_timeout(START_LIMIT) {
        Ok(()) => true,
        Err(mpsc::RecvTimeoutError::Disconnected) => false,
        Err(mpsc::RecvTimeoutError::Timeout) => {
            let _ = process.kill();
            false
        }
    }
}

/// A program of Postgres, as the user `postgres` where we are root, which Postgres refuses.
fn program(name: &str) -> Command {
    let mut command = Command::new(programs().join(name));
    command.current_dir(std::env::temp_dir());
    // Whatever else is set for libpq would reach initdb and the server.
    for (variable, _) in std::env::vars_os() {
        if variable.to_string_lossy().starts_with("PG") {
            command.env_remove(variable);
        }
    }
    if let Some((uid, gid)) = server_user() {
        command.uid(uid).gid(gid);
    }
    command
}

/// The newest Postgres that is installed, or the one in PATH.
fn programs() -> PathBuf {
    let installed = fs::read_dir("/usr/lib/postgresql")
        .into_iter()
        .flatten()
        .flatten();
    let version = |path: &PathBuf| path.file_name()?.to_str()?.parse::<u32>().ok();
    let newest = installed.map(|entry| entry.path()).max_by_key(version);
    newest.map(|path| path.join("bin")).unwrap_or_else(|| {
        let path = std::env::var_os("PATH").unwrap_or_default();
        let has_initdb = |directory: &PathBuf| directory.join("initdb").exists();
        std::env::split_paths(&path)
            .find(has_initdb)
            .expect("Postgres is installed")
    })
}

fn server_user() -> Option<(u32, u32)> {
    if !nix::unistd::geteuid().is_root() {
        return None;
    }
    let user = nix::unistd::User::from_name("postgres").expect("read the users");
    let user = user.expect("a user `postgres`, since Postgres refuses root");
    Some((user.uid.as_raw(), user.gid.as_raw()))
}

fn write(directory: &Path, name: &str, text: &str) -> PathBuf {
    let path = directory.join(name);
    fs::write(&path, text).expect("write a file for Postgres");
    own(&path, 0o600);
    path
}

fn own(path: &Path, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).expect("set the mode");
    if let Some((uid, gid)) = server_user() {
        chown(path, Some(uid), Some(gid)).expect("give it to the server's user");
    }
}
