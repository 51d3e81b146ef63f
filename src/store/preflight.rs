//! Tries a database before anything is done with it, and says in one sentence what
//! stands in the way and what to do about it.

use anyhow::{anyhow, ensure};
use tokio_postgres::{Client, SimpleQueryMessage};
use tokio_util::task::AbortOnDropHandle;

use super::database_url::{DatabaseUrl, Unusable};
use super::transaction::Sessions;

const OLDEST_VERSION: u32 = 130_000;

/// What was found at a database that can be used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// Whether a connection to it keeps its session.
    pub sessions: Sessions,
    /// The database's number and name.
    pub database: String,
}

/// Tries a database. `variable` is the setting that its URL comes from.
///
/// # Errors
///
/// One sentence that names the variable, the host and a remedy.
pub async fn check(variable: &str, url: &DatabaseUrl) -> anyhow::Result<Found> {
    let refused = |error| anyhow!("{variable}: {}", sentence(url, &error));
    let (first, _driver) = connect(url).await.map_err(refused)?;
    let found = row(
        &first,
        "select current_setting('server_version_num'), current_setting('server_encoding'), \
         (select oid || ' ' || datname from pg_catalog.pg_database where datname = current_database())",
    );
    let found = found.await.map_err(refused)?;
    let [version, encoding, database] = found.as_slice() else {
        return Err(refused(anyhow!("an answer without columns")));
    };
    let at = url.hosts();
    ensure!(
        version.parse().unwrap_or(0) >= OLDEST_VERSION,
        "{variable}: the Postgres at {at} is of version {}; 13 or newer is needed",
        version.parse().unwrap_or(0) / 10_000
    );
    ensure!(
        encoding == "UTF8",
        "{variable}: the database `{}` at {at} has the encoding {encoding}; UTF8 is needed: create one \
         with `create database … encoding 'UTF8' template template0`",
        url.database()
    );
    let (second, _other_driver) = connect(url).await.map_err(refused)?;
    Ok(Found {
        sessions: sessions(&first, &second).await.map_err(refused)?,
        database: database.clone(),
    })
}

/// As [`check`], for a database to listen on.
///
/// # Errors
///
/// As those of [`check`]; a connection that does not keep its session.
pub async fn check_direct(variable: &str, url: &DatabaseUrl) -> anyhow::Result<Found> {
    let found = check(variable, url).await?;
    ensure!(
        found.sessions == Sessions::Kept,
        match variable {
            "DATABASE_LISTEN_URL" => format!(
                "DATABASE_LISTEN_URL: at {} there is a transaction pooler, through which LISTEN does \
                 not work; name the Postgres behind it",
                url.hosts()
            ),
            _ => format!(
                "DATABASE_LISTEN_URL: needed, since at {} ({variable}) there is a transaction pooler, \
                 through which LISTEN does not work; set it to the Postgres behind it",
                url.hosts()
            ),
        }
    );
    Ok(found)
}

/// Two clients that have the same backend, or one that has several in turn, are
/// behind a transaction pooler: it gives out whichever session is free.
async fn sessions(first: &Client, second: &Client) -> anyhow::Result<Sessions> {
    const BACKEND: &str = "select pg_backend_pid()";
    let mine = row(first, BACKEND).await?;
    for _ in 0..3 {
        let theirs = row(second, BACKEND).await?;
        let mine_again = row(first, BACKEND).await?;
        if theirs == mine || mine_again != mine {
            return Ok(Sessions::Shared);
        }
    }
    Ok(Sessions::Kept)
}

async fn connect(url: &DatabaseUrl) -> anyhow::Result<(Client, AbortOnDropHandle<()>)> {
    let (client, connection) = url.connect("space-events start").await?;
    let driver = AbortOnDropHandle::new(tokio::spawn(async move {
        // What went wrong shows at the client.
        let _ = connection.await;
    }));
    Ok((client, driver))
}

/// The columns of the last row.
async fn row(client: &Client, statement: &str) -> anyhow::Result<Vec<String>> {
    let answer = client.simple_query(statement).await?;
    let row = answer.iter().rev().find_map(|message| match message {
        SimpleQueryMessage::Row(row) => Some(row),
        _ => None,
    });
    Ok(row.map_or_else(Vec::new, |row| {
        let columns = (0..row.len()).map(|column| row.get(column).unwrap_or_default().to_owned());
        columns.collect()
    }))
}

/// What a database answered to who wanted to connect, and what to do.
fn sentence(url: &DatabaseUrl, error: &anyhow::Error) -> String {
    let (at, user, database) = (url.hosts(), url.user(), url.database());
    match error.downcast_ref::<Unusable>() {
        Some(Unusable::Silent(limit)) => {
            return format!("{at} did not answer within {limit:?}; correct the host and port");
        }
        Some(Unusable::Standby) => {
            return format!(
                "the Postgres at {at} is a standby (in recovery); name the primary, or all hosts, separated by commas"
            );
        }
        Some(Unusable::ReadOnly) => {
            return format!(
                "the Postgres at {at} is read-only, and target_session_attrs=read-write asks for another"
            );
        }
        None => {}
    }
    let causes = || error.chain();
    let refusal = causes().find_map(|cause| cause.downcast_ref::<tokio_postgres::error::DbError>());
    if let Some(refusal) = refusal {
        let why = refusal.message();
        return match refusal.code().code() {
            "28P01" => format!("{at} refuses the password of the user `{user}`; correct it"),
            "28000" => format!(
                "{at} refuses the user `{user}`: {why}; correct the user, or its pg_hba.conf"
            ),
            "3D000" => {
                format!("at {at} there is no database `{database}`; create it, or correct its name")
            }
            "42501" => format!(
                "at {at} the user `{user}` may not use the database `{database}`: {why}; grant it"
            ),
            "53300" => format!("{at} has no connection left: {why}; raise its max_connections"),
            "57P03" => format!("the Postgres at {at} is not ready: {why}; try again"),
            "08P01" => {
                format!("{at} refuses the connection: {why}; leave `options` out of the URL")
            }
            _ => format!("{at} refuses the connection: {why}"),
        };
    }
    let mut why: Vec<String> = Vec::new();
    for cause in causes().skip(1).map(ToString::to_string) {
        if !why.iter().any(|said| said.contains(&cause)) {
            why.push(cause);
        }
    }
    let why = why.join(": ");
    if why.contains("password missing") {
        format!("{at} asks for a password, and there is none; put one into the URL or PGPASSWORD")
    } else if why.contains("TLS") || why.contains("ssl") || why.contains("certificate") {
        format!("no TLS with {at}: {why}; correct sslmode and its certificates")
    } else {
        format!("no Postgres answers at {at}: {why}; start it, or correct the host and port")
    }
}
