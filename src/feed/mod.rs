//! Follows the row changes in Postgres and hands on their events.
//!
//! NOTIFY is only a doorbell: it can be lost (a dropped connection, a restart),
//! so after every connection the feed reads the journal before it waits, and it
//! reads once a second unasked. The read is the heartbeat too: it has a time
//! limit, so a half-open connection is noticed. Writers ring only while the feed
//! [sleeps](sleep).

pub mod listener;
pub mod sleep;

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use tokio::time::{self, Instant, timeout};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use crate::journal::reader::{Extent, Gap};
use crate::journal::{JournalKey, Position, Recent};
use crate::store::database_url::DatabaseUrl;
use listener::Listener;
use sleep::Sleep;

/// How long Postgres may take to connect, and for each page.
const TIME_LIMIT: Duration = Duration::from_secs(10);
/// The most rows of a page. Each is whole in memory before it is published: the
/// connection that listens must not sit in a statement while clients are slow, or
/// Postgres could not forget its notifications.
const PAGE_ROWS: usize = 8192;
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
    key: JournalKey,
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
    /// What it had read is not there any more.
    #[error("the journal went back, as after a failover or a restored backup")]
    WentBack,
    /// It came back to a database that was restored or replaced.
    #[error("the database has another journal than before")]
    Replaced,
}

impl Feed {
    /// Connects, listens and finds the place to begin: now. `key` is the
    /// journal's.
    ///
    /// # Errors
    ///
    /// The database cannot be reached, or the journal is not there.
    pub async fn start(database: DatabaseUrl, key: JournalKey) -> anyhow::Result<(Self, Extent)> {
        let listener = connect(&database, &key).await?;
        let extent = timeout(TIME_LIMIT, listener.reader().extent(&[]))
            .await
            .context("read the place of the journal")??;
        let feed = Self {
            database,
            key,
            listener,
            position: Position::after(Arc::new(extent.now.clone())),
        };
        Ok((feed, extent))
    }

    /// Reads the journal, publishes, waits; for ever, until it is cancelled.
    ///
    /// # Errors
    ///
    /// [`Lost`]: whatever else happens, it connects again.
    pub async fn run(self, recent: Arc<Recent>, stop: CancellationToken) -> anyhow::Result<()> {
        let Self {
            database,
            key,
            listener,
            mut position,
        } = self;
        let mut listener = Some(listener);
        let mut pause = FIRST_PAUSE;
        while !stop.is_cancelled() {
            let followed = async {
                let listener = match listener.take() {
                    Some(listener) => listener,
                    None => connect(&database, &key).await?,
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
                () = time::sleep(jittered) => {}
                () = stop.cancelled() => {}
            }
        }
        info!("the feed has stopped");
        Ok(())
    }
}

async fn connect(database: &DatabaseUrl, key: &JournalKey) -> anyhow::Result<Listener> {
    let listener = timeout(TIME_LIMIT, Listener::connect(database))
        .await
        .context("connect to listen")??;
    let found = timeout(TIME_LIMIT, listener.reader().key())
        .await
        .context("read the key of the journal")??;
    anyhow::ensure!(found == *key, Lost::Replaced);
    Ok(listener)
}

/// Returns when it is cancelled.
async fn follow(
    listener: &Listener,
    position: &mut Position,
    recent: &Recent,
    stop: &CancellationToken,
) -> anyhow::Result<()> {
    let mut sleep = Sleep::new(Instant::now());
    while !stop.is_cancelled() {
        let change = sleep.change(Instant::now());
        // Said ahead of the read, whose statement does not wait for the answer.
        let (said, rows) = tokio::join!(
            biased;
            timeout(TIME_LIMIT, listener.say(change)),
            publish_unseen(listener, position, recent, stop),
        );
        let (change, rows) = (said.context("tell writers whether to ring")??, rows?);
        sleep.has_read(change, &position.base, rows, Instant::now());
        let (pause, hears) = sleep.pause(Instant::now());
        tokio::select! {
            () = listener.rung(), if hears => {}
            () = time::sleep(pause) => {}
            () = stop.cancelled() => {}
        }
    }
    Ok(())
}

/// Publishes what came after the position, and moves it with each page: after an
/// error it stands behind the last event that was published. Returns how many rows
/// there were.
async fn publish_unseen(
    listener: &Listener,
    position: &mut Position,
    recent: &Recent,
    stop: &CancellationToken,
) -> anyhow::Result<usize> {
    let mut rows = 0;
    loop {
        let reading = listener
            .reader()
            .page(position, PAGE_ROWS, recent.reads() + 1);
        let page = timeout(TIME_LIMIT, reading)
            .await
            .context("read the journal")??
            .map_err(|gap| match gap {
                Gap::Pruned => Lost::Pruned,
                Gap::WentBack => Lost::WentBack,
            })?;
        for chunk in page.events.chunks(CHUNK_EVENTS) {
            if stop.is_cancelled() {
                return Ok(rows);
            }
            recent.publish(chunk).await;
        }
        rows += page.rows;
        *position = page.end;
        if position.within.is_none() {
            recent.end_read(&position.base, page.kept_from);
        }
        if page.reached_now {
            return Ok(rows);
        }
    }
}
