//! The sides, and what a run of a row is given: a database, a server on it.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

use anyhow::{Context as _, Result, ensure};
use tokio::process::Command;

use crate::HERE;
use crate::disk::{Disk, SlowFlushes};
use crate::server::{Server, cpu_seconds_of_family};
use crate::sql::Session;

const TABLES: &str = include_str!("../../migrations/0001_services_and_pricings.sql");
const PEER_TRIGGERS: &str = include_str!("../peer/schema.sql");
/// The databases of runs are called so, and a number.
const DATABASE_PREFIX: &str = "bench_";

/// What is compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Side {
    /// This program.
    Ours,
    /// A server in Node, as one would write it by hand.
    Peer,
    /// The tables without triggers, and no server.
    Plain,
}

impl Side {
    /// As it is called in the table.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Ours => "this program",
            Self::Peer => "the peer",
            Self::Plain => "no triggers",
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Sizes {
    Whole,
    /// For developing.
    Quick,
}

/// Files that are open besides the clients' sockets.
const OTHER_FILES: u64 = 200;

/// What the rows share.
pub(crate) struct Bench {
    pub(crate) sizes: Sizes,
    /// How many files a process may have open.
    pub(crate) open_files: u64,
    /// A connection to a database that no run uses.
    pub(crate) admin: Session,
    program: PathBuf,
    slow_flushes: SlowFlushes,
    /// Without the name of a database.
    server_url: String,
    databases: AtomicU32,
}

/// A database of its own.
pub(crate) struct Database {
    pub(crate) url: String,
    pub(crate) sql: Session,
}

/// A server on a database of its own.
pub(crate) struct Running {
    pub(crate) database: Database,
    pub(crate) server: Server,
}

impl Bench {
    pub(crate) async fn new(
        program: &Path,
        postgres: &str,
        slow_flushes: SlowFlushes,
        sizes: Sizes,
        open_files: u64,
    ) -> Result<Self> {
        let (server_url, _) = postgres.rsplit_once('/').context("a URL with a database")?;
        Ok(Self {
            sizes,
            open_files,
            admin: Session::connect(postgres).await?,
            program: std::path::absolute(program).context("find the program")?,
            slow_flushes,
            server_url: server_url.to_owned(),
            databases: AtomicU32::new(0),
        })
    }

    /// The first, or the second for quick runs.
    pub(crate) fn size(&self, whole: u64, quick: u64) -> u64 {
        match self.sizes {
            Sizes::Whole => whole,
            Sizes::Quick => quick,
        }
    }

    /// How many clients the limit of open files lets in.
    pub(crate) fn most_clients(&self) -> u64 {
        self.open_files.saturating_sub(OTHER_FILES)
    }

    /// Gives Postgres a disk.
    pub(crate) async fn use_disk(&self, disk: Disk) -> Result<()> {
        disk.set(&self.slow_flushes, &self.admin).await
    }

    /// The CPU time that Postgres took so far.
    pub(crate) async fn postgres_cpu_seconds(&self) -> Result<f64> {
        let lock_file = "select split_part(pg_read_file('postmaster.pid'), E'\\n', 1)";
        cpu_seconds_of_family(self.admin.text(lock_file).await?.trim().parse()?)
    }

    /// A new database with the tables, the side's triggers, and the services.
    pub(crate) async fn database(&self, side: Side, services: &[&str]) -> Result<Database> {
        let number = self.databases.fetch_add(1, Ordering::Relaxed);
        let name = format!("{DATABASE_PREFIX}{number}");
        self.admin.run(&format!("create database {name}")).await?;
        let url = format!("{}/{name}", self.server_url);
        let sql = Session::connect(&url).await?;
        match side {
            Side::Ours => {
                let mut migrate = self.program(&url);
                let migrated = migrate.arg("migrate").output().await;
                let migrated = migrated.context("start the program")?;
                ensure!(
                    migrated.status.success(),
                    "the migrations failed: {}",
                    String::from_utf8_lossy(&migrated.stderr)
                );
            }
            Side::Peer => {
                sql.run(TABLES).await?;
                sql.run(PEER_TRIGGERS).await?;
            }
            Side::Plain => sql.run(TABLES).await?,
        }
        for service in services {
            sql.run(&format!("insert into services (name) values ('{service}')"))
                .await?;
        }
        sql.run("checkpoint").await?;
        Ok(Database { url, sql })
    }

    /// The side's server on a new database that has the services.
    pub(crate) async fn start(&self, side: Side, services: &[&str]) -> Result<Running> {
        let database = self.database(side, services).await?;
        let server = self.server(side, &database).await?;
        Ok(Running { database, server })
    }

    /// The side's server on a database.
    pub(crate) async fn server(&self, side: Side, database: &Database) -> Result<Server> {
        let command = match side {
            Side::Ours => self.program(&database.url),
            Side::Peer => {
                let mut node = Command::new("node");
                node.arg(Path::new(HERE).join("peer/server.mjs"));
                in_environment(&mut node, &database.url);
                node
            }
            Side::Plain => anyhow::bail!("there is no server without triggers"),
        };
        Server::start(command).await
    }

    fn program(&self, url: &str) -> Command {
        let mut program = Command::new(&self.program);
        in_environment(&mut program, url);
        program
    }

    /// Removes the databases of runs that are over.
    pub(crate) async fn clean_up(&self) -> Result<()> {
        let names = format!(
            "select coalesce(string_agg(datname, ' '), '') from pg_database
            where datname like '{DATABASE_PREFIX}%'"
        );
        for name in self.admin.text(&names).await?.split_whitespace() {
            self.admin
                .run(&format!("drop database {name} with (force)"))
                .await?;
        }
        self.admin.run("checkpoint").await
    }
}

/// No settings but these.
fn in_environment(command: &mut Command, url: &str) {
    command
        .env_clear()
        .env("PATH", std::env::var_os("PATH").unwrap_or_default())
        .env("NODE_ENV", "production")
        .env("DATABASE_URL", url)
        .env("PORT", "0")
        .current_dir(std::env::temp_dir());
}
