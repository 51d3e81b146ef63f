//! The connections for REST and for looking after the journal, and whether the
//! database behind them is there.
//!
//! One more connection watches the database. It asks once a second, and at once when a
//! request waits longer than usual. So a request is told that the database is away
//! without trying for itself. After the database was away there is a new pool, for the
//! server that is the primary now.

use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use sqlx::Connection as _;
use sqlx::postgres::{PgPool, PgPoolOptions};
use tokio::sync::{Notify, watch};
use tokio::time::{sleep, timeout};
use tokio_postgres::{Client, SimpleQueryMessage};
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;
use tracing::{info, warn};

use super::database_url::{DatabaseUrl, Unusable};
use super::transaction::{Sessions, Transaction};

/// What holds for a statement without a transaction around it. Nothing is compiled:
/// that costs up to a second, and gains milliseconds.
const SESSION: &str = "set lock_timeout = '4s'; set jit = off; set statement_timeout = '5s'";

/// How long a request waits for a connection while all are in use.
const ACQUIRE_TIMEOUT: Duration = Duration::from_secs(3);
/// A connection that was idle for longer is tested before it is used.
const TRUSTED_IDLE: Duration = Duration::from_secs(1);
/// When a transaction takes longer than this to begin, the watch looks at once.
const USUAL_BEGIN: Duration = Duration::from_millis(250);
/// How often the database is asked whether it is there.
const WATCH_INTERVAL: Duration = Duration::from_secs(1);
/// How long it may take to say so.
const WATCH_LIMIT: Duration = Duration::from_secs(1);
/// The pause between two attempts to reach it, unless somebody asks …
const RETRY_PAUSE: Duration = Duration::from_secs(1);
/// … and even then.
const SHORTEST_PAUSE: Duration = Duration::from_millis(50);
/// How long a request waits for the attempt that it asked for.
const RETRY_LIMIT: Duration = Duration::from_millis(300);

/// Connections to the database.
#[derive(Clone, Debug)]
pub struct Pool {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    url: DatabaseUrl,
    sessions: Sessions,
    /// How many connections there may be.
    size: NonZeroU32,
    state: watch::Sender<State>,
    /// Somebody wants to know now.
    asked: Arc<Notify>,
}

#[derive(Clone, Debug)]
struct State {
    connections: PgPool,
    /// Why the database cannot be used; none while it can.
    away: Option<&'static str>,
    /// How many times it was looked for while it was away.
    attempts: u64,
}

/// How a transaction begins.
#[derive(Clone, Copy, Debug)]
pub(super) enum Begin {
    /// By these statements.
    Explicitly(&'static str),
    /// By its one statement, which commits it too; by others where connections keep
    /// no session.
    OneStatement { otherwise: &'static str },
}

/// Keeps a [`Pool`] informed.
#[derive(Debug)]
pub struct Watch {
    shared: Arc<Shared>,
    client: Option<Watcher>,
}

#[derive(Debug)]
struct Watcher {
    client: Client,
    _driver: AbortOnDropHandle<()>,
}

impl Pool {
    /// A pool of at most `size` connections, whose database counts as away until the
    /// watch finds it.
    pub fn new(url: DatabaseUrl, sessions: Sessions, size: NonZeroU32) -> (Self, Watch) {
        let (state, _) = watch::channel(State {
            connections: connections(&url, sessions, size),
            away: Some("not connected yet"),
            attempts: 0,
        });
        let pool = Self {
            shared: Arc::new(Shared {
                url,
                sessions,
                size,
                state,
                asked: Arc::default(),
            }),
        };
        let watch = Watch {
            shared: Arc::clone(&pool.shared),
            client: None,
        };
        (pool, watch)
    }

    /// Whether the database is there, as far as it is known: why not, if not.
    ///
    /// # Errors
    ///
    /// Why not, in a few words.
    pub fn reachable(&self) -> Result<(), &'static str> {
        self.shared.state.borrow().away.map_or(Ok(()), Err)
    }

    /// How many connections there are, how many of them are idle, and how many there
    /// may be.
    pub fn counts(&self) -> (usize, usize, usize) {
        let state = self.shared.state.borrow();
        let pool = &state.connections;
        (
            pool.size() as usize,
            pool.num_idle(),
            pool.options().get_max_connections() as usize,
        )
    }

    /// Closes the connections that are idle, and the others when they are.
    pub async fn close(&self) {
        let connections = self.shared.state.borrow().connections.clone();
        connections.close().await;
    }

    /// Begins a transaction. One that cannot even begin has changed nothing: where a
    /// connection was lost since it was used, the next one is tried.
    pub(super) async fn begin(&self, begin: Begin) -> sqlx::Result<Transaction> {
        let mut states = self.shared.state.subscribe();
        let mut lost = 0;
        loop {
            let connections = self.connections(&mut states).await?;
            let begun = tokio::select! {
                begun = timeout(ACQUIRE_TIMEOUT, self.begin_on(connections, begin)) => {
                    begun.unwrap_or(Err(sqlx::Error::PoolTimedOut))
                }
                Ok(state) = states.wait_for(|state| state.away.is_some()) => Err(is_away(&state)),
                () = self.ask_when_late() => continue,
            };
            match begun {
                // Nothing else in these statements is not supported.
                Err(error) if code(&error).as_deref() == Some("0A000") => {
                    self.shared.asked.notify_one();
                    return Err(io_error("is a standby"));
                }
                Err(error) if is_lost_connection(&error) && lost < self.shared.size.get() => {
                    lost += 1
                }
                begun => return begun,
            }
        }
    }

    async fn begin_on(&self, connections: PgPool, begin: Begin) -> sqlx::Result<Transaction> {
        let sessions = self.shared.sessions;
        Ok(match begin {
            Begin::OneStatement { .. } if sessions == Sessions::Kept => {
                Transaction::of_one_statement(connections.acquire().await?)
            }
            Begin::Explicitly(begin) | Begin::OneStatement { otherwise: begin } => {
                Transaction::new(connections.begin_with(begin).await?, sessions)
            }
        })
    }

    /// The connections, if the database is there or is found at the next attempt.
    async fn connections(&self, states: &mut watch::Receiver<State>) -> sqlx::Result<PgPool> {
        let attempts = {
            let state = states.borrow_and_update();
            if state.away.is_none() {
                return Ok(state.connections.clone());
            }
            state.attempts
        };
        self.shared.asked.notify_one();
        let tried = states.wait_for(|state| state.away.is_none() || state.attempts > attempts);
        let _ = timeout(RETRY_LIMIT, tried).await;
        let state = states.borrow();
        match state.away {
            None => Ok(state.connections.clone()),
            Some(_) => Err(is_away(&state)),
        }
    }

    async fn ask_when_late(&self) {
        loop {
            sleep(USUAL_BEGIN).await;
            self.shared.asked.notify_one();
        }
    }
}

impl Watch {
    /// Looks for the database.
    ///
    /// # Errors
    ///
    /// It cannot be reached, or is a standby.
    pub async fn find(&mut self) -> anyhow::Result<()> {
        let Shared {
            url,
            sessions,
            size,
            state,
            asked,
        } = &*self.shared;
        match connect(url, asked).await {
            Ok((host, client)) => {
                self.client = Some(client);
                state.send_modify(|state| {
                    state.connections = connections(&host, *sessions, *size);
                    state.away = None;
                });
                Ok(())
            }
            Err(error) => {
                self.lose(&error);
                Err(error)
            }
        }
    }

    fn lose(&mut self, error: &anyhow::Error) {
        self.client = None;
        // Said to whoever asks, so it names no host.
        let why = match error.downcast_ref() {
            Some(Unusable::Standby) => "is a standby",
            _ => "away",
        };
        self.shared.state.send_modify(|state| {
            if state.away != Some(why) {
                warn!(error = format!("{error:#}"), "the database is away");
            }
            state.away = Some(why);
            state.attempts += 1;
        });
    }

    /// Watches until it is cancelled.
    pub async fn run(mut self, stop: CancellationToken) {
        stop.run_until_cancelled(async {
            loop {
                self.step().await;
            }
        })
        .await;
    }

    async fn step(&mut self) {
        let asked = &self.shared.asked;
        if let Some(Watcher { client, .. }) = &self.client {
            let _ = timeout(WATCH_INTERVAL, asked.notified()).await;
            if let Err(error) = check(client).await {
                self.lose(&error);
            }
        } else {
            sleep(SHORTEST_PAUSE).await;
            let _ = timeout(RETRY_PAUSE, asked.notified()).await;
            if self.find().await.is_ok() {
                info!("the database is there again");
            }
        }
    }
}

/// Connects to the database, to ask it from time to time whether it is there.
async fn connect(url: &DatabaseUrl, asked: &Arc<Notify>) -> anyhow::Result<(DatabaseUrl, Watcher)> {
    let (host, client, connection) = url.connect_to_primary("space-events watch").await?;
    let asked = Arc::clone(asked);
    let driver = AbortOnDropHandle::new(tokio::spawn(async move {
        // What went wrong shows at the client.
        let _ = connection.await;
        asked.notify_one();
    }));
    Ok((
        host,
        Watcher {
            client,
            _driver: driver,
        },
    ))
}

/// In one message, since behind a pooler two may reach two servers.
async fn check(client: &Client) -> anyhow::Result<()> {
    let answer = timeout(
        WATCH_LIMIT,
        client.simple_query("select pg_is_in_recovery()"),
    );
    let answer = answer.await.context("the database does not answer")??;
    let in_recovery = answer
        .iter()
        .any(|message| matches!(message, SimpleQueryMessage::Row(row) if row.get(0) == Some("t")));
    ensure!(!in_recovery, Unusable::Standby);
    Ok(())
}

fn is_away(state: &State) -> sqlx::Error {
    io_error(state.away.unwrap_or_default())
}

fn io_error(why: &'static str) -> sqlx::Error {
    sqlx::Error::Io(std::io::Error::other(why))
}

fn code(error: &sqlx::Error) -> Option<String> {
    let error = error.as_database_error()?;
    error.code().map(std::borrow::Cow::into_owned)
}

/// Whether the connection ended, or is about to, and not the statement.
pub fn is_lost_connection(error: &sqlx::Error) -> bool {
    match error {
        sqlx::Error::Io(_) | sqlx::Error::Protocol(_) | sqlx::Error::WorkerCrashed => true,
        // The server ended the session, or is about to end.
        error => code(error).is_some_and(|code| code.starts_with("57P0")),
    }
}

fn connections(host: &DatabaseUrl, sessions: Sessions, size: NonZeroU32) -> PgPool {
    let options = PgPoolOptions::new()
        .max_connections(size.get())
        .acquire_timeout(ACQUIRE_TIMEOUT)
        .test_before_acquire(false)
        .before_acquire(|connection, about| {
            Box::pin(async move {
                if about.idle_for > TRUSTED_IDLE {
                    connection.ping().await?;
                }
                Ok(true)
            })
        });
    let options = match sessions {
        Sessions::Shared => options,
        // For statements without a transaction of their own.
        Sessions::Kept => options.after_connect(|connection, _| {
            Box::pin(async move {
                sqlx::raw_sql(SESSION).execute(connection).await?;
                Ok(())
            })
        }),
    };
    options.connect_lazy_with(host.sqlx_options("space-events rest"))
}
