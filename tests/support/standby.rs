//! Copies of a server's files: standbys that follow it, backups that are restored.

use std::fs;
use std::os::unix::fs::{MetadataExt as _, chown};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command};

use super::postgres::{new_directory, watch};
use super::server::{End, Server};
use super::wait_until;

/// The files of a server as they were once.
pub struct Backup {
    directory: PathBuf,
    _watchdog: Child,
}

impl Server {
    /// A server that follows this one by streaming replication, once it has all that
    /// there is.
    pub async fn standby(&self) -> Self {
        let directory = new_directory("standby");
        self.copy_to(&directory, &["--write-recovery-conf"]);
        let standby = Self::start_on(directory).await;
        self.is_followed().await;
        standby
    }

    /// Waits until the server that follows this one has all that was committed.
    pub async fn is_followed(&self) {
        let session = self.connect().await;
        let now = session.sql("select pg_current_wal_lsn()").await.remove(0);
        wait_until("the standby has it all", async || {
            let question =
                format!("select count(*) from pg_stat_replication where replay_lsn >= '{now}'");
            session.sql(&question).await == ["1"]
        })
        .await;
    }

    /// As a standby: hears nothing more from the server that it follows.
    pub async fn cut_off(&self) {
        let session = self.connect().await;
        session
            .sql("alter system set primary_conninfo = 'host=/nowhere'")
            .await;
        session.sql("select pg_reload_conf()").await;
        wait_until("the standby is cut off", async || {
            let question = "select count(*) from pg_stat_wal_receiver where status = 'streaming'";
            session.sql(question).await == ["0"]
        })
        .await;
    }

    /// As a standby: takes over.
    pub async fn promote(&self) {
        let session = self.connect().await;
        session
            .sql("alter system reset synchronous_standby_names")
            .await;
        assert_eq!(session.sql("select pg_promote()").await, ["t"]);
    }

    /// From now on a commit is answered when the standby has it.
    pub async fn wait_for_standby(&self) {
        let session = self.connect().await;
        session
            .sql("alter system set synchronous_standby_names = 'standby'")
            .await;
        session.sql("select pg_reload_conf()").await;
        wait_until("the standby is synchronous", async || {
            let question = "select sync_state from pg_stat_replication";
            session.sql(question).await == ["sync"]
        })
        .await;
    }

    /// Copies its files, while it runs.
    pub fn back_up(&self) -> Backup {
        let directory = new_directory("backup");
        let watchdog = watch(&directory);
        self.copy_to(&directory, &[]);
        Backup {
            directory,
            _watchdog: watchdog,
        }
    }

    /// Ends it, puts the files of a backup in the place of its own, and starts it.
    pub async fn restore(&mut self, backup: Backup) {
        self.stop(End::Fast).await;
        let data = self.directory.join("data");
        fs::remove_dir_all(&data).expect("its files go");
        fs::rename(backup.directory.join("data"), &data).expect("the backup's files come");
        self.start_again().await;
    }

    /// As the user that it runs as, with the programs that it runs.
    fn copy_to(&self, directory: &Path, options: &[&str]) {
        fs::create_dir_all(directory).expect("a directory");
        let owner = fs::metadata(self.directory.join("data")).expect("its files");
        chown(directory, Some(owner.uid()), Some(owner.gid())).expect("the owner of its files");
        let program = fs::read_link(format!("/proc/{}/exe", self.postmaster()));
        let programs = program.expect("its program");
        let copied = Command::new(programs.with_file_name("pg_basebackup"))
            .arg("--pgdata")
            .arg(directory.join("data"))
            .arg("--dbname")
            .arg(format!(
                "host={} user=postgres application_name=standby",
                self.socket_directory()
            ))
            .args(["--checkpoint=fast", "--no-sync", "--wal-method=stream"])
            .args(options)
            .current_dir("/")
            .uid(owner.uid())
            .gid(owner.gid())
            .output()
            .expect("pg_basebackup runs");
        let said = String::from_utf8_lossy(&copied.stderr);
        assert!(copied.status.success(), "{said}");
    }
}
