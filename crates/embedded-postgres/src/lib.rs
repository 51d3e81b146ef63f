//! A private Postgres where none is given.
//!
//! The server is a child process in a process group of its own: Ctrl-C reaches
//! us alone, and we stop it last. It listens on a socket in a directory of mode
//! 0700, not on TCP, so it trusts whoever connects. `fsync` stays on. After a
//! `kill -9` of this program the server runs on; the next start ends it and
//! starts its own, since only a child's end is noticed at once.

mod programs;
mod account;
mod data_dir;
mod server;

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, anyhow, bail};
use nix::sys::signal::Signal;
use nix::unistd::geteuid;
use tokio::process::Child;
use tokio::time::{Instant, sleep, timeout};
use tracing::{info, warn};

use data_dir::DataDir;
use programs::{Programs, last_words, run};
use server::{POLL_PAUSE, WAYS_TO_END, end_leftover_server, is_ready, send};

const DATABASE: &str = "space_events";
const SUPERUSER: &str = "postgres";
/// Tried in this order: not every system has the first two.
const LOCALES: [&str; 3] = ["C.UTF-8", "en_US.UTF-8", "C"];
/// How long a server may take until it accepts connections, recovery included.
const START_LIMIT: Duration = Duration::from_secs(60);
/// How long the sessions of a killed server may outlive it.
const LEFTOVER_SESSIONS_LIMIT: Duration = Duration::from_secs(10);
const FIRST_RESTART_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_RESTART_PAUSE: Duration = Duration::from_secs(5);

/// Where an embedded Postgres keeps its files unless `DATA_DIR` says otherwise:
/// `.space-events` in the current directory, as root `/var/lib/space-events`.
#[must_use]
pub fn default_data_dir() -> PathBuf {
    PathBuf::from(if geteuid().is_root() {
        "/var/lib/space-events"
    } else {
        ".space-events"
    })
}

/// A running Postgres of our own.
///
/// Dropped without [`stop`](Self::stop), it is asked to stop and not waited for.
#[derive(Debug)]
pub struct EmbeddedPostgres {
    dir: DataDir,
    programs: Programs,
    child: Option<Child>,
}

impl EmbeddedPostgres {
    /// Starts the server of `data_dir`, and makes its files at the first start.
    /// Returns once it accepts connections.
    ///
    /// The server's programs are those on `PATH`, of `pg_config`, or in the usual
    /// places; existing data gets those of its own major version. As root, the
    /// server runs as the owner of the data, at first `postgres`, else `nobody`.
    ///
    /// Cancel safe: a server that was started is asked to stop, and half-made
    /// files are made again at the next start.
    ///
    /// # Errors
    ///
    /// In one line each: no server programs, or none of the data's version;
    /// another process uses `data_dir`; the server's user cannot enter it, or it
    /// belongs to somebody else; initdb or the server failed, with its last words;
    /// not ready within 60 s.
    pub async fn start(data_dir: &Path) -> Result<Self> {
        let installed = programs::installed().await?;
        let dir = DataDir::open(data_dir).await?;
        let data_major = dir.data_major()?;
        let programs = programs::choose(installed, data_major)?;
        let mut postgres = Self {
            dir,
            programs,
            child: None,
        };
        if data_major.is_none() {
            postgres.make_data().await?;
        }
        postgres.launch().await?;
        info!(
            data.dir = %postgres.dir.path.display(),
            postgres.major = postgres.programs.major,
            "embedded Postgres is ready"
        );
        Ok(postgres)
    }

    /// The URL of its database `space_events`, which sqlx, tokio-postgres and
    /// psql read alike: the host is the socket's directory, percent-encoded.
    #[must_use]
    pub fn url(&self) -> String {
        let host = self.dir.socket.to_string_lossy().replace('/', "%2F");
        format!("postgres://{SUPERUSER}@{host}/{DATABASE}")
    }

    /// How a person reaches the database: as the user that started this program, or as root.
    #[must_use]
    pub fn psql_command(&self) -> String {
        format!(
            "psql -h {} -U {SUPERUSER} {DATABASE}",
            self.dir.socket.display()
        )
    }

    /// Starts the server again whenever it ends, for ever, with a pause that
    /// doubles from 100 ms to 5 s. The URL stays the same. Never returns.
    ///
    /// Cancel safe: drop it to [`stop`](Self::stop) the server.
    pub async fn supervise(&mut self) {
        let mut pause = FIRST_RESTART_PAUSE;
        loop {
            let since = Instant::now();
            let end = match &mut self.child {
                Some(child) => child
                    .wait()
                    .await
                    .map_or_else(|error| error.to_string(), |status| status.to_string()),
                None => "not started".to_owned(),
            };
            // One that fails right after each start is not started ten times a second.
            if since.elapsed() > LONGEST_RESTART_PAUSE {
                pause = FIRST_RESTART_PAUSE;
            }
            warn!(
                postgres.end = end,
                pause_ms = pause.as_millis(),
                "embedded Postgres ended; starting it again"
            );
            loop {
                sleep(pause).await;
                pause = (pause * 2).min(LONGEST_RESTART_PAUSE);
                match self.launch().await {
                    Ok(()) => break,
                    Err(error) => warn!(
                        error = format!("{error:#}"),
                        pause_ms = pause.as_millis(),
                        "could not start the embedded Postgres; trying again"
                    ),
                }
            }
            info!("embedded Postgres is ready again");
        }
    }

    /// Stops the server: open transactions are rolled back, and within 8 s it has
    /// ended in one way or another. What was committed is kept in all of them.
    ///
    /// # Errors
    ///
    /// The server's process cannot be waited for, or does not end.
    pub async fn stop(mut self) -> Result<()> {
        self.end_child().await?;
        self.dir.remove_outer_socket_dir();
        info!("embedded Postgres stopped");
        Ok(())
    }

    /// Makes the server's files and the database, aside, and moves them into
    /// place: what an interruption leaves is never taken for data.
    async fn make_data(&self) -> Result<()> {
        info!(data.dir = %self.dir.path.display(), "first start: making the files of an embedded Postgres");
        let mut made = Err(anyhow!("no locale"));
        let mut data = PathBuf::new();
        for locale in LOCALES {
            data = self.dir.make_new_data()?;
            let mut initdb = self.dir.command(&self.programs.folder.join("initdb"));
            initdb
                .arg("-D")
                .arg(&data)
                .args(["--username", SUPERUSER, "--auth", "trust"]);
            initdb.args(["--encoding", "UTF8", "--locale", locale]);
            made = run(initdb, "").await.context("run initdb");
            match &made {
                Err(error) if format!("{error:#}").contains("locale") => {}
                _ => break,
            }
        }
        made?;
        let mut single = self.dir.command(&self.programs.folder.join("postgres"));
        single
            .arg("--single")
            .arg("-D")
            .arg(&data)
            .args(["-c", "exit_on_error=on", "postgres"]);
        // A line is a statement. With the times of commits a delay tells what its
        // writer took and what the program did.
        let statements =
            format!("create database {DATABASE}\nalter system set track_commit_timestamp = on\n");
        run(single, &statements)
            .await
            .context("create the database")?;
        self.dir.rename_to_data(&data)
    }

    /// Starts the server and waits until it accepts connections.
    async fn launch(&mut self) -> Result<()> {
        let begun = Instant::now();
        loop {
            match self.try_launch().await {
                // Postgres does not start beside sessions that a killed server left.
                Err(error)
                    if error.to_string().contains("is still in use")
                        && begun.elapsed() < LEFTOVER_SESSIONS_LIMIT =>
                {
                    sleep(FIRST_RESTART_PAUSE).await;
                }
                result => return result,
            }
        }
    }

    async fn try_launch(&mut self) -> Result<()> {
        let data = self.dir.data();
        end_leftover_server(&data).await?;
        self.dir.prepare_socket_dir()?;
        let log = self.dir.open_log()?;
        let logged_before = log.metadata().context("look at postgres.log")?.len();
        let mut command = self.dir.command(&self.programs.folder.join("postgres"));
        command.arg("-D").arg(&data);
        for setting in [
            "listen_addresses=",
            &format!("unix_socket_directories={}", self.dir.socket.display()),
            "unix_socket_permissions=0700",
            "port=5432",
            "max_connections=200",
            // Where memory that is written may not be run, as in a hardened
            // service, a query that is compiled fails; ours are too short to gain.
            "jit=off",
            "timezone=UTC",
            "log_timezone=UTC",
            "log_destination=stderr",
            "logging_collector=off",
        ] {
            command.args(["-c", setting]);
        }
        command
            .stdout(log.try_clone().context("share postgres.log")?)
            .stderr(log);
        let child = self
            .child
            .insert(command.spawn().context("start postgres")?);
        let pid = child.id();
        let begun = Instant::now();
        while !is_ready(&data, pid) {
            if let Some(status) = child.try_wait().context("wait for postgres")? {
                let words = last_words(&self.dir.read_log(logged_before));
                bail!("postgres ended while starting ({status}): {words}");
            }
            if begun.elapsed() > START_LIMIT {
                self.end_child().await?;
                let words = last_words(&self.dir.read_log(logged_before));
                bail!(
                    "postgres is not ready after {} s: {words}",
                    START_LIMIT.as_secs()
                );
            }
            sleep(POLL_PAUSE).await;
        }
        Ok(())
    }

    async fn end_child(&mut self) -> Result<()> {
        let Some(child) = &mut self.child else {
            return Ok(());
        };
        for (signal, limit) in WAYS_TO_END {
            send(child.id(), signal);
            if let Ok(ended) = timeout(limit, child.wait()).await {
                ended.context("wait for the end of postgres")?;
                return Ok(());
            }
            warn!(signal = signal.as_str(), "embedded Postgres does not end");
        }
        bail!("the embedded Postgres does not end")
    }
}

impl Drop for EmbeddedPostgres {
    fn drop(&mut self) {
        // After `stop` there is no process left to signal.
        send(self.child.as_ref().and_then(Child::id), Signal::SIGINT);
    }
}
