//! The server programs of an installed PostgreSQL: finds them, and hears why they failed.

use std::collections::HashSet;
use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use anyhow::{Context, Result, bail};
use tokio::io::AsyncWriteExt;
use tokio::process::Command;

/// The oldest major version whose SQL the migrations speak.
const OLDEST_MAJOR: u32 = 13;

/// Folders with one installation per version: a base, what the version's folder starts with.
const VERSIONED_PLACES: [(&str, &str); 5] = [
    ("/usr/lib/postgresql", ""),
    ("/usr", "pgsql-"),
    ("/opt/homebrew/opt", "postgresql"),
    ("/usr/local/opt", "postgresql"),
    ("/Applications/Postgres.app/Contents/Versions", ""),
];

/// The folder of `initdb` and `postgres`, and their major version.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Programs {
    pub(crate) folder: PathBuf,
    pub(crate) major: u32,
}

/// All installed servers: the one on `PATH`, the one of `pg_config`, then the
/// usual places, highest version first.
///
/// # Errors
///
/// None is installed; the message says how to install one.
pub(crate) async fn installed() -> Result<Vec<Programs>> {
    let mut seen = HashSet::new();
    let mut found = Vec::new();
    let preferred: Vec<PathBuf> = on_path().into_iter().chain(by_pg_config().await).collect();
    for (folders, sorted) in [(preferred, false), (in_usual_places(), true)] {
        let mut here = Vec::new();
        for folder in folders {
            let folder = fs::canonicalize(&folder).unwrap_or(folder);
            if seen.insert(folder.clone())
                && folder.join("initdb").is_file()
                && let Some(major) = major_version(&folder.join("postgres")).await
            {
                here.push(Programs { folder, major });
            }
        }
        if sorted {
            here.sort_by_key(|programs| std::cmp::Reverse(programs.major));
        }
        found.append(&mut here);
    }
    if found.is_empty() {
        bail!(
            "no PostgreSQL server programs found: install them, for example with \
             `apt-get install postgresql` (Debian, Ubuntu) or `brew install postgresql@17` \
             (macOS), or set DATABASE_URL"
        );
    }
    Ok(found)
}

/// The programs for data of major version `data_major`, or for new data.
///
/// # Errors
///
/// Only other versions are installed; the message names them.
pub(crate) fn choose(installed: Vec<Programs>, data_major: Option<u32>) -> Result<Programs> {
    let versions: Vec<String> = installed
        .iter()
        .map(|found| found.major.to_string())
        .collect();
    let fits = |found: &Programs| match data_major {
        Some(major) => found.major == major,
        None => found.major >= OLDEST_MAJOR,
    };
    installed.into_iter().find(fits).with_context(|| {
        let versions = versions.join(", ");
        match data_major {
            Some(major) => format!(
                "the data is of PostgreSQL {major} and only {versions} is installed: \
                 install PostgreSQL {major}, or set DATA_DIR to another directory"
            ),
            None => format!(
                "PostgreSQL {OLDEST_MAJOR} or newer is needed and only {versions} is installed: \
                 install a newer one, or set DATABASE_URL"
            ),
        }
    })
}

/// The folders of every `postgres` on `PATH`, behind symbolic links: `initdb`
/// is often beside the program and not beside the link.
fn on_path() -> Vec<PathBuf> {
    let path = env::var_os("PATH").unwrap_or_default();
    env::split_paths(&path)
        .filter(|folder| folder.is_absolute())
        .filter_map(|folder| fs::canonicalize(folder.join("postgres")).ok())
        .filter_map(|program| program.parent().map(Path::to_path_buf))
        .collect()
}

async fn by_pg_config() -> Option<PathBuf> {
    output_of(Command::new("pg_config").arg("--bindir"))
        .await
        .map(PathBuf::from)
}

fn in_usual_places() -> Vec<PathBuf> {
    let mut folders = vec![PathBuf::from("/usr/local/pgsql/bin")];
    for (base, prefix) in VERSIONED_PLACES {
        let entries = fs::read_dir(base).into_iter().flatten().flatten();
        folders.extend(
            entries
                .filter(|entry| entry.file_name().to_string_lossy().starts_with(prefix))
                .map(|entry| entry.path().join("bin")),
        );
    }
    folders
}

async fn major_version(postgres: &Path) -> Option<u32> {
    parse_major(&output_of(Command::new(postgres).arg("--version")).await?)
}

/// `postgres (PostgreSQL) 15.18 (Debian 15.18-0+deb12u1)` is 15.
fn parse_major(version: &str) -> Option<u32> {
    let number = version
        .split_whitespace()
        .find(|word| word.starts_with(|c: char| c.is_ascii_digit()))?;
    let digits: String = number.chars().take_while(char::is_ascii_digit).collect();
    digits.parse().ok()
}

async fn output_of(command: &mut Command) -> Option<String> {
    let output = command
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .output()
        .await
        .ok()
        .filter(|output| output.status.success())?;
    let text = String::from_utf8(output.stdout).ok()?;
    Some(text.trim().to_owned())
}

/// Runs a program to its end, with `input`; its last words are the error.
pub(crate) async fn run(mut command: Command, input: &str) -> Result<()> {
    command
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .kill_on_drop(true);
    let mut child = command.spawn()?;
    if let Some(mut stdin) = child.stdin.take() {
        // One that ended early says why in its last words.
        let _ = stdin.write_all(input.as_bytes()).await;
    }
    let output = child.wait_with_output().await?;
    if !output.status.success() {
        bail!(
            "{}: {}",
            output.status,
            last_words(&String::from_utf8_lossy(&output.stderr))
        );
    }
    Ok(())
}

/// The last three lines that tell of a failure, else the last three, in one line.
pub(crate) fn last_words(log: &str) -> String {
    const TELLING: [&str; 6] = [
        "error: ", "ERROR: ", "FATAL: ", "PANIC: ", "DETAIL: ", "HINT: ",
    ];
    let from_telling_word = |line: &str| {
        TELLING.iter().find_map(|word| {
            line.find(word)
                .and_then(|at| line.get(at..).map(str::to_owned))
        })
    };
    let mut lines: Vec<String> = log.lines().filter_map(from_telling_word).collect();
    if lines.is_empty() {
        lines = log
            .lines()
            .map(|line| line.trim().to_owned())
            .filter(|line| !line.is_empty())
            .collect();
    }
    let last = lines.split_off(lines.len().saturating_sub(3));
    if last.is_empty() {
        "it said nothing".to_owned()
    } else {
        last.join("; ")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn installed_majors(majors: &[u32]) -> Vec<Programs> {
        majors
            .iter()
            .map(|&major| Programs {
                folder: PathBuf::from(format!("/pg/{major}/bin")),
                major,
            })
            .collect()
    }

    #[test]
    fn a_major_version_is_read_from_every_form() {
        for (version, major) in [
            (
                "postgres (PostgreSQL) 15.18 (Debian 15.18-0+deb12u1)",
                Some(15),
            ),
            ("postgres (PostgreSQL) 18beta1", Some(18)),
            ("postgres (PostgreSQL) 9.6.24", Some(9)),
            ("postgres", None),
        ] {
            assert_eq!(parse_major(version), major, "{version}");
        }
    }

    #[test]
    fn existing_data_gets_the_programs_of_its_version() {
        let chosen = choose(installed_majors(&[17, 14, 15]), Some(14)).expect("14 is there");
        assert_eq!(chosen.major, 14);
        let refusal = choose(installed_majors(&[17, 15]), Some(14)).expect_err("14 is not there");
        assert!(
            refusal
                .to_string()
                .contains("PostgreSQL 14 and only 17, 15 is installed"),
            "{refusal}"
        );
    }

    #[test]
    fn new_data_gets_the_first_programs_that_are_new_enough() {
        let chosen = choose(installed_majors(&[12, 15, 17]), None).expect("15 is new enough");
        assert_eq!(chosen.major, 15);
        choose(installed_majors(&[12]), None).expect_err("12 is too old");
    }

    #[test]
    fn the_last_words_are_those_that_tell_why() {
        let log = "2026-01-01 00:00:00 UTC [7] LOG:  starting\n\
                   2026-01-01 00:00:00 UTC [7] FATAL:  could not map memory\n\
                   2026-01-01 00:00:00 UTC [7] HINT:  reduce it\n\
                   2026-01-01 00:00:00 UTC [7] LOG:  shut down\n";
        assert_eq!(
            last_words(log),
            "FATAL:  could not map memory; HINT:  reduce it"
        );
        assert_eq!(last_words("a\n\nb\nc\nd\n"), "b; c; d");
        assert_eq!(last_words(""), "it said nothing");
    }
}
