//! The user that an embedded Postgres runs as: under root, another than root.

use std::fs;
use std::io::ErrorKind;
use std::os::unix::fs::{MetadataExt, lchown};
use std::path::Path;
use std::process::Stdio;

use anyhow::{Context, Result, bail};
use nix::unistd::{Uid, User, geteuid};
use tokio::process::Command;

/// The user that root lets the server run as.
#[derive(Debug)]
pub(crate) struct Account {
    pub(crate) uid: u32,
    pub(crate) gid: u32,
    name: String,
}

impl Account {
    /// As root: who owns `data`, else `postgres`, else `nobody`, since Postgres
    /// refuses root. Otherwise nobody else than who we are.
    pub(crate) fn of_server(data: &Path) -> Result<Option<Self>> {
        let owner = fs::metadata(data)
            .ok()
            .map(|found| (found.uid(), found.gid()));
        match owner {
            Some((0, _)) if geteuid().is_root() => bail!(
                "`{0}` belongs to root, whom Postgres refuses: `chown -R postgres {0}`, for example",
                data.display()
            ),
            Some((uid, gid)) if geteuid().is_root() => Ok(Some(Self {
                uid,
                gid,
                name: name_of(uid),
            })),
            Some((uid, _)) if uid != geteuid().as_raw() => bail!(
                "`{}` belongs to user `{}`: start as that user or as root, or set DATA_DIR to another directory",
                data.display(),
                name_of(uid)
            ),
            None if geteuid().is_root() => {
                let user = ["postgres", "nobody"]
                    .iter()
                    .find_map(|name| User::from_name(name).ok().flatten());
                let user = user.context(
                    "Postgres refuses root, and there is no user `postgres` or `nobody` to run it as: add one, \
                     start as an ordinary user, or set DATABASE_URL",
                )?;
                Ok(Some(Self {
                    uid: user.uid.as_raw(),
                    gid: user.gid.as_raw(),
                    name: user.name,
                }))
            }
            None if matches!(User::from_uid(geteuid()), Ok(None)) => bail!(
                "user {} has no entry in /etc/passwd, which initdb needs: add one, or set DATABASE_URL",
                geteuid()
            ),
            _ => Ok(None),
        }
    }

    /// Asks the kernel, as that user, so that access lists count as well.
    pub(crate) async fn check_can_enter(&self, path: &Path) -> Result<()> {
        let mut there: Vec<&Path> = path.ancestors().filter(|folder| folder.exists()).collect();
        there.reverse();
        for folder in there {
            let mut command = Command::new("/bin/sh");
            command
                .args(["-c", ":"])
                .current_dir(folder)
                .stdin(Stdio::null())
                .kill_on_drop(true);
            self.own(&mut command);
            match command.status().await {
                Err(error)
                    if error.kind() == ErrorKind::PermissionDenied && folder != Path::new("/") =>
                {
                    bail!(
                        "user `{}`, whom the embedded Postgres runs as under root, cannot enter `{}`: \
                     set DATA_DIR to a place it can, for example DATA_DIR=/var/lib/space-events",
                        self.name,
                        folder.display()
                    )
                }
                result => {
                    result.with_context(|| format!("run a program as user `{}`", self.name))?
                }
            };
        }
        Ok(())
    }

    /// Supplementary groups are given up as well.
    pub(crate) fn own(&self, command: &mut Command) {
        command.uid(self.uid).gid(self.gid);
    }
}

/// Makes `path` the account's, where there is one.
pub(crate) fn give(path: &Path, account: Option<&Account>) -> Result<()> {
    if let Some(account) = account {
        lchown(path, Some(account.uid), Some(account.gid))
            .with_context(|| format!("give `{}` to user `{}`", path.display(), account.name))?;
    }
    Ok(())
}

fn name_of(uid: u32) -> String {
    User::from_uid(Uid::from_raw(uid))
        .ok()
        .flatten()
        .map_or_else(|| uid.to_string(), |user| user.name)
}
