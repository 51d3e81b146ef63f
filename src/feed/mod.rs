//! Follows the row changes in Postgres and hands on their events.
//!
//! NOTIFY is only a doorbell: it can be lost (a dropped connection, a restart),
//! so after every connection the feed reads the journal before it waits, and it
//! reads once a second unasked. The read is the heartbeat too: it has a time
//! limit, so a half-open connection is noticed.

pub mod listener;

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use crate::journal::{Position, Recent, Seen};
use crate::store::database_url::DatabaseUrl;
use listener::Listener;

/// How long to wait for the doorbell before reading unasked.
const POLL_INTERVAL: Duration = Duration::from_secs(1);
/// How long Postgres may take to connect, and for each part of a read.
const TIME_LIMIT: Duration = Duration::from_secs(10);
/// How many events are published at a time.
const CHUNK_EVENTS: usize = 256;
/// The pause before the second attempt to connect; it doubles from there on.
const FIRST_PAUSE: Duration = Duration::from_millis(50);
/// The longest pause between two attempts to connect.
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

/// The feed before its first read: it listens already.
#[derive(Debug)]
pub struct Feed {
    database: DatabaseUrl,
    identity: i64,
    listener: Listener,
    position: Position,
}

/// What the feed cannot go on from: clients have to be told that there is a gap.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Lost {
    /// It was away for longer than the journal is kept.
    #[error(
        "the journal was pruned beyond the place of the feed; EVENT_RETENTION is too short for such a pause"
    )]
    Pruned,
    /// It came back to a database that was restored or replaced.
    #[error("the database has another journal than before")]
    Replaced,
}

impl Feed {
    /// Connects, listens and finds the place to begin: now. `identity` is the
    /// journal's.
    ///
    /// # Errors
    ///
    /// The database cannot be reached, or the journal is not there.
    pub async fn start(database: DatabaseUrl, identity: i64) -> anyhow::Result<(Self, Seen)> {
        let listener = connect(&database, identity).await?;
        let extent = timeout(TIME_LIMIT, listener.reader().extent())
            .await
            .context("read the place of the journal")??;
        let seen = extent.now;
        let feed = Self {
            database,
            identity,
            listener,
            position: Position::after(Arc::new(seen.clone())),
        };
        Ok((feed, seen))
    }

    /// Reads the journal, publishes, waits; for ever, until it is cancelled. A
    /// chunk that was read is always published.
    ///
    /// # Errors
    ///
    /// [`Lost`]: whatever else happens, it connects again.
    pub async fn run(self, recent: Arc<Recent>, stop: CancellationToken) -> anyhow::Result<()> {
        let Self {
            database,
            identity,
            listener,
            mut position,
        } = self;
        let mut listener = Some(listener);
        let mut pause = FIRST_PAUSE;
        while !stop.is_cancelled() {
            let followed = async {
                let listener = match listener.take() {
                    Some(listener) => listener,
                    None => connect(&database, identity).await?,
                };
                info!("following the journal");
                recent.set_follows(true);
                pause = FIRST_PAUSE;
                follow(&listener, &mut position, &recent, &stop).await
            };
            let Err(error) = followed.await else {
                break;
            };
            recent.set_follows(false);
            if error.is::<Lost>() {
                return Err(error);
            }
            let jittered = pause.mul_f64(0.5 + fastrand::f64() / 2.0);
            let pause_ms = u64::try_from(jittered.as_millis()).unwrap_or(u64::MAX);
            warn!(
                error = format!("{error:#}"),
                pause_ms, "lost the feed; connecting again"
            );
            pause = (pause * 2).min(LONGEST_PAUSE);
            tokio::select! {
                () = sleep(jittered) => {}
                () = stop.cancelled() => {}
            }
        }
        info!("the feed has stopped");
        Ok(())
    }
}

async fn connect(database: &DatabaseUrl, identity: i64) -> anyhow::Result<Listener> {
    let listener = timeout(TIME_LIMIT, Listener::connect(database))
        .await
        .context("connect to listen")??;
    let found = timeout(TIME_LIMIT, listener.reader().identity())
        .await
        .context("read the identity of the journal")??;
    anyhow::ensure!(found == identity, Lost::Replaced);
    Ok(listener)
}

/// Returns when it is cancelled.
async fn follow(
    listener: &Listener,
    position: &mut Position,
    recent: &Recent,
    stop: &CancellationToken,
) -> anyhow::Result<()> {
    while !stop.is_cancelled() {
        publish_unseen(listener, position, recent, stop).await?;
        tokio::select! {
            () = listener.rung() => {}
            () = sleep(POLL_INTERVAL) => {}
            () = stop.cancelled() => {}
        }
    }
    Ok(())
}

/// Publishes what came after the position, and moves it with each chunk: after
/// an error it stands behind the last event that was published.
async fn publish_unseen(
    listener: &Listener,
    position: &mut Position,
    recent: &Recent,
    stop: &CancellationToken,
) -> anyhow::Result<()> {
    loop {
        let from_within = position.within.is_some();
        let read = listener.reader().read(position, None, recent.reads() + 1);
        let mut rows = timeout(TIME_LIMIT, read)
            .await
            .context("read the journal")??
            .context(Lost::Pruned)?;
        let batch = Arc::clone(rows.batch());
        let mut chunk = Vec::new();
        loop {
            let row = timeout(TIME_LIMIT, rows.next())
                .await
                .context("read the journal")??;
            let Some(row) = row else {
                break;
            };
            chunk.extend(row.event);
            if chunk.len() == CHUNK_EVENTS {
                recent.publish(std::mem::take(&mut chunk)).await;
                *position = Position::within(&batch.base, &batch.next, row.id);
                if stop.is_cancelled() {
                    return Ok(());
                }
            }
        }
        if !chunk.is_empty() {
            recent.publish(chunk).await;
        }
        *position = Position::after(Arc::clone(&batch.next));
        recent.end_read(&batch.next);
        // The rest of a batch is not yet all that is there.
        if !from_within {
            return Ok(());
        }
    }
}
