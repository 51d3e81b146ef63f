//! A Postgres for the tests of one process, and a database for each test.

use std::fmt::Display;
use std::future::{pending, poll_fn};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use embedded_postgres::EmbeddedPostgres;
use space_events::store::database_url::DatabaseUrl;
use tokio::sync::OnceCell;
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio_postgres::{AsyncMessage, Client, Config, NoTls, SimpleQueryMessage};
use tokio_util::task::AbortOnDropHandle;

use super::wait_until;

/// How long connecting may take.
const CONNECT_LIMIT: Duration = Duration::from_secs(10);

/// A database of its own: NOTIFY is per database.
pub struct Database {
    pub url: String,
    pub name: String,
    session: Session,
}

/// A connection for plain SQL.
pub struct Session {
    client: Client,
    _driver: AbortOnDropHandle<()>,
}

impl Session {
    /// Connects.
    pub async fn connect(url: &str) -> Self {
        Self::try_connect(url).await.expect("Postgres answers")
    }

    /// Connects, where Postgres may be away; to a standby too.
    pub async fn try_connect(url: &str) -> Result<Self, String> {
        let mut config: Config = url.parse().expect("a URL");
        config.application_name("space-events test");
        let (client, connection) = timeout(CONNECT_LIMIT, config.connect(NoTls))
            .await
            .map_err(|error| error.to_string())?
            .map_err(|error| format!("{error:?}"))?;
        let driver = AbortOnDropHandle::new(tokio::spawn(async move {
            let _ = connection.await;
        }));
        Ok(Self {
            client,
            _driver: driver,
        })
    }

    /// Runs statements, and returns the first column of all rows.
    pub async fn try_sql(&self, sql: &str) -> Result<Vec<String>, tokio_postgres::Error> {
        let messages = self.client.simple_query(sql).await?;
        Ok(messages
            .iter()
            .filter_map(|message| match message {
                SimpleQueryMessage::Row(row) => Some(row.get(0).unwrap_or_default().to_owned()),
                _ => None,
            })
            .collect())
    }

    /// As [`Session::try_sql`], for statements that succeed.
    pub async fn sql(&self, sql: &str) -> Vec<String> {
        match self.try_sql(sql).await {
            Ok(rows) => rows,
            Err(error) => panic!("{sql}: {error:?}"),
        }
    }

    /// Adds a service.
    pub async fn add_service(&self, name: &str) {
        self.add_services(&[name]).await;
    }

    /// Adds services, in one statement.
    pub async fn add_services(&self, names: &[&str]) {
        let values: Vec<_> = names.iter().map(|name| format!("('{name}')")).collect();
        let values = values.join(", ");
        self.sql(&format!("insert into services (name) values {values}"))
            .await;
    }

    /// Adds a pricing of a service, active.
    pub async fn add_pricing(&self, service_name: &str, version: impl Display) {
        self.sql(&format!(
            "insert into pricings (service_name, version) values ('{service_name}', '{version}')"
        ))
        .await;
    }

    /// Adds a pricing of a service for each number, as [`insert_pricings`].
    pub async fn add_pricings(&self, service_name: &str, versions: Range<usize>) {
        self.sql(&insert_pricings(service_name, versions)).await;
    }

    /// Waits until nothing is left in the journal.
    pub async fn is_pruned(&self) {
        wait_until("the journal is empty", async || {
            let question = "select count(*) from space_events.row_changes";
            self.sql(question).await == ["0"]
        })
        .await;
    }

    /// The connection, for COPY and the like.
    pub fn client(&self) -> &Client {
        &self.client
    }
}

/// The texts of the notifications on a channel of a database, until the handle is
/// dropped.
pub async fn listen(
    url: &str,
    channel: &str,
) -> (UnboundedReceiver<String>, AbortOnDropHandle<()>) {
    let url = DatabaseUrl::parse(url).expect("a URL");
    let (client, mut connection) = url.connect("test").await.expect("Postgres answers");
    let (teller, told) = unbounded_channel();
    let driver = AbortOnDropHandle::new(tokio::spawn(async move {
        while let Some(Ok(message)) = poll_fn(|context| connection.poll_message(context)).await {
            if let AsyncMessage::Notification(one) = message {
                let _ = teller.send(one.payload().to_owned());
            }
        }
    }));
    let listening = client.batch_execute(&format!("listen {channel}")).await;
    listening.expect("listens");
    let held = AbortOnDropHandle::new(tokio::spawn(async move {
        let _both = (client, driver);
        pending().await
    }));
    (told, held)
}

impl Database {
    /// Makes a database; the program's migrations are not applied yet.
    pub async fn create() -> Self {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let name = format!(
            "test_{}_{}",
            std::process::id(),
            NUMBER.fetch_add(1, Ordering::Relaxed)
        );
        let server = server_url().await;
        Session::connect(server)
            .await
            .sql(&format!("create database {name}"))
            .await;
        let (base, _) = server.rsplit_once('/').expect("a URL with a database");
        let url = format!("{base}/{name}");
        Self {
            session: Session::connect(&url).await,
            url,
            name,
        }
    }

    /// The same database as another role.
    pub async fn again(&self, role: &str) -> Self {
        let url = self.url.replace("postgres@", &format!("{role}@"));
        Self {
            session: Session::connect(&url).await,
            url,
            name: self.name.clone(),
        }
    }

    /// As [`Session::sql`].
    pub async fn sql(&self, sql: &str) -> Vec<String> {
        self.session.sql(sql).await
    }

    /// Runs statements on another connection, while the test goes on: a client that
    /// does not read meanwhile would be taken for gone.
    pub async fn sql_meanwhile(&self, sql: &str) -> JoinHandle<()> {
        let session = self.connect().await;
        let sql = sql.to_owned();
        tokio::spawn(async move {
            session.sql(&sql).await;
        })
    }

    /// The connection that [`Database::sql`] uses.
    pub fn session(&self) -> &Session {
        &self.session
    }

    /// As [`Session::add_service`].
    pub async fn add_service(&self, name: &str) {
        self.session.add_service(name).await;
    }

    /// As [`Session::add_services`].
    pub async fn add_services(&self, names: &[&str]) {
        self.session.add_services(names).await;
    }

    /// As [`Session::add_pricing`].
    pub async fn add_pricing(&self, service_name: &str, version: impl Display) {
        self.session.add_pricing(service_name, version).await;
    }

    /// As [`Session::add_pricings`].
    pub async fn add_pricings(&self, service_name: &str, versions: Range<usize>) {
        self.session.add_pricings(service_name, versions).await;
    }

    /// As [`Session::is_pruned`].
    pub async fn is_pruned(&self) {
        self.session.is_pruned().await;
    }

    /// Another connection.
    pub async fn connect(&self) -> Session {
        Session::connect(&self.url).await
    }
}

/// A statement that adds a pricing of a service for each number, in their order.
pub fn insert_pricings(service_name: &str, versions: Range<usize>) -> String {
    let Range { start, end } = versions;
    format!(
        "insert into pricings (service_name, version)
        select '{service_name}', n from generate_series({start}, {end} - 1) n order by n"
    )
}

/// The server that the tests of this process share; it ends with the process,
/// however that ends.
async fn server_url() -> &'static str {
    static SERVER: OnceCell<String> = OnceCell::const_new();
    SERVER
        .get_or_init(|| async {
            let directory = new_directory("shared");
            // The tests run in many runtimes; the server outlives each of them.
            let started = directory.clone();
            let (url, watchdog) = std::thread::spawn(move || {
                let runtime = tokio::runtime::Builder::new_current_thread()
                    .enable_all()
                    .build()
                    .expect("a runtime");
                let postgres = runtime
                    .block_on(EmbeddedPostgres::start(&started))
                    .expect("Postgres starts");
                let url = postgres.url();
                std::mem::forget(postgres);
                std::mem::forget(runtime);
                (url, watch(&started))
            })
            .join()
            .expect("Postgres starts");
            std::mem::forget(watchdog);
            url
        })
        .await
}

/// A new directory that the server's user can enter.
pub fn new_directory(name: &str) -> PathBuf {
    static NUMBER: AtomicU32 = AtomicU32::new(0);
    let number = NUMBER.fetch_add(1, Ordering::Relaxed);
    std::env::temp_dir().join(format!(
        "space-events-test-{}-{name}-{number}",
        std::process::id()
    ))
}

/// Stops the Postgres in a directory, and removes it, when this process ends:
/// then the pipe to the shell closes.
pub fn watch(data_dir: &Path) -> Child {
    Command::new("sh")
        .arg("-c")
        .arg(
            r#"trap '' INT TERM; cat > /dev/null
            pid=$(head -n 1 "$0"/*/postmaster.pid "$0"/postmaster.pid 2> /dev/null | grep -E '^[0-9]+$' | head -n 1)
            [ -n "$pid" ] && kill -QUIT "$pid"
            for _ in $(seq 50); do kill -0 "$pid" 2> /dev/null || break; sleep 0.1; done
            rm -rf "$0""#,
        )
        .arg(data_dir)
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("sh starts")
}
