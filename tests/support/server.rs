//! A Postgres of one test: it can be stopped, crashed and started again.

use std::path::{Path, PathBuf};
use std::process::Child;

use embedded_postgres::EmbeddedPostgres;

use super::postgres::{Session, new_directory, watch};
use super::{signal, wait_for};

/// A server with a database `space_events`, in a directory of its own.
pub struct Server {
    pub url: String,
    pub(super) directory: PathBuf,
    postgres: Option<EmbeddedPostgres>,
    _watchdog: Child,
}

/// How a server ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// SIGINT: sessions are ended, and a checkpoint is written.
    Fast,
    /// SIGQUIT, as `pg_ctl stop -m immediate`: the next start recovers.
    Immediate,
    /// SIGKILL for the postmaster; its sessions notice by themselves. One that waited
    /// for a standby then waits no longer: what it committed can be heard, and is lost
    /// in a failover.
    Kill,
    /// All processes at the same moment, as when the machine goes.
    Machine,
}

impl Server {
    /// Starts it, with settings such as `max_connections = 300`. What is written
    /// survives the end of its processes; fsync, which is for the end of the
    /// machine, only makes each recovery slow here.
    pub async fn start(settings: &[&str]) -> Self {
        let mut server = Self::start_on(new_directory("server")).await;
        let session = server.connect().await;
        for setting in [&["fsync = off"], settings].concat() {
            session.sql(&format!("alter system set {setting}")).await;
        }
        drop(session);
        server.restart(End::Fast).await;
        server
    }

    /// One whose files are in a directory already.
    pub(super) async fn start_on(directory: PathBuf) -> Self {
        let watchdog = watch(&directory);
        let postgres = start(&directory).await;
        Self {
            url: postgres.url(),
            directory,
            postgres: Some(postgres),
            _watchdog: watchdog,
        }
    }

    /// Ends it, and waits until it has ended.
    pub async fn stop(&mut self, end: End) {
        let postgres = self.postgres.take().expect("it runs");
        match end {
            End::Fast => {}
            End::Immediate => signal("-QUIT", &[self.postmaster()]),
            End::Kill => signal("-KILL", &[self.postmaster()]),
            End::Machine => self.kill_all(),
        }
        postgres.stop().await.expect("Postgres stops");
    }

    /// Starts it again on the same data.
    pub async fn start_again(&mut self) {
        self.postgres = Some(start(&self.directory).await);
    }

    /// Ends it and starts it again.
    pub async fn restart(&mut self, end: End) {
        self.stop(end).await;
        self.start_again().await;
    }

    /// A connection.
    pub async fn connect(&self) -> Session {
        Session::connect(&self.url).await
    }

    /// The directory of its unix socket.
    pub fn socket_directory(&self) -> String {
        let (_, rest) = self.url.split_once('@').expect("a user");
        let (host, _) = rest.split_once('/').expect("a database");
        host.replace("%2F", "/")
    }

    /// The number of its first process.
    pub(super) fn postmaster(&self) -> String {
        let lock_file = std::fs::read_to_string(self.directory.join("data/postmaster.pid"));
        let lock_file = lock_file.expect("a lock file");
        lock_file.lines().next().expect("a process").to_owned()
    }

    /// None acts any more once the first is dead.
    fn kill_all(&self) {
        let postmaster = self.postmaster();
        // First, so that it begins no other.
        signal("-STOP", &[&postmaster]);
        let children = format!("/proc/{postmaster}/task/{postmaster}/children");
        let children = std::fs::read_to_string(children).expect("its sessions");
        let mut all: Vec<_> = children.split_whitespace().collect();
        signal("-STOP", &all);
        all.push(&postmaster);
        signal("-KILL", &all);
    }
}

async fn start(directory: &Path) -> EmbeddedPostgres {
    wait_for("Postgres starts", async || {
        let error = match EmbeddedPostgres::start(directory).await {
            Ok(postgres) => return Ok(postgres),
            Err(error) => format!("{error:#}"),
        };
        // Other tests start processes meanwhile, which hold all files of this one,
        // its lock on the directory too, until they run their program.
        assert!(error.contains("another space-events"), "{error}");
        Err(error)
    })
    .await
}
