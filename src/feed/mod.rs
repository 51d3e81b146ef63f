//! Follows the row changes in Postgres and hands on their events.
//!
//! A notification only wakes the feed, and it can be lost (a dropped connection, a
//! restart). So after every connection the feed reads the journal before it waits, and
//! it also reads once a second unasked. Each read has a time limit, so a half-open
//! connection is noticed. Each read also tells whether what was published is still in
//! the journal. Writers notify only while the feed [sleeps](sleep).
//!
//! The feed begins anew if it cannot go on: the journal went back, was pruned beyond the
//! feed's position, or is another one. Then it drops the events in memory and the shared
//! pages. Each client that took from them loses its connection without a goodbye,
//! because some clients stay away after a DISCONNECT or an Engine.IO CLOSE.

pub mod listener;
mod outage;
pub mod sleep;

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use sqlx::Connection as _;
use tokio::time::{self, Instant, timeout};
use tokio_util::sync::CancellationToken;
use tracing::{debug, info, warn};

use crate::journal::bounds::{Gap, JournalBounds};
use crate::journal::page::Page;
use crate::journal::{CatchUp, Position, ReplayBuffer, Told};
use crate::store;
use crate::store::database_url::DatabaseUrl;
use listener::Listener;
use outage::{Outage, Telling};
use sleep::{POLL_INTERVAL, Sleep};

/// How long Postgres may take to connect, and for each page.
const TIME_LIMIT: Duration = Duration::from_secs(10);
/// The most rows of a page. A page is in memory as a whole before it is published: if
/// the connection that listens stayed in a statement while clients are slow, Postgres
/// would have to keep all notifications. Larger pages take more memory, and clients hear
/// later of the first row.
const PAGE_ROWS: usize = 2048;
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
    listener: Listener,
    position: Position,
}

/// Why the feed cannot go on from where it was: it begins anew from now, and clients
/// have to be told that there is a gap.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
enum Lost {
    /// It was away for longer than the journal is kept.
    #[error(
        "the journal was pruned beyond the position of the feed: EVENT_RETENTION is too short for such a pause"
    )]
    Pruned,
    /// What it had published is not there any more.
    #[error("the journal went back, as after a failover that lost commits or a restored backup")]
    WentBack,
    /// It came back to a database that was restored or replaced.
    #[error("the database has another journal than before")]
    Replaced,
}

impl From<Gap> for Lost {
    fn from(gap: Gap) -> Self {
        match gap {
            Gap::Pruned => Self::Pruned,
            Gap::WentBack => Self::WentBack,
        }
    }
}

impl Feed {
    /// Connects, listens and finds the place to begin: now.
    ///
    /// # Errors
    ///
    /// The database cannot be reached, or the journal is not there.
    pub async fn start(database: DatabaseUrl) -> anyhow::Result<(Self, JournalBounds)> {
        let listener = connect(&database).await?;
        let bounds = bounds(&listener, &[]).await?;
        let feed = Self {
            database,
            listener,
            position: Position::after(Arc::new(bounds.now.clone())),
        };
        Ok((feed, bounds))
    }

    /// Reads the journal, publishes, waits; for ever, until it is cancelled. Whatever
    /// happens, it connects again.
    pub async fn run(
        self,
        replay_buffer: Arc<ReplayBuffer>,
        catch_up: Arc<CatchUp>,
        stop: CancellationToken,
    ) {
        let Self {
            database,
            listener,
            position,
        } = self;
        let mut follower = Follower {
            position,
            replay_buffer,
            catch_up,
            pause: FIRST_PAUSE,
            outage: Outage::default(),
        };
        let mut listener = Some(listener);
        while !stop.is_cancelled() {
            let followed = async {
                let listener = match listener.take() {
                    Some(listener) => listener,
                    None => follower.connect_again(&database).await?,
                };
                follower.follow(&listener, &stop).await
            };
            let Err(error) = followed.await else {
                break;
            };
            let pause = follower.lose();
            let error = format!("{error:#}");
            match follower.outage.tell() {
                Telling::Aloud(None) => warn!(error, "lost the feed; connecting again"),
                Telling::Aloud(Some(lasted)) => {
                    warn!(error, "still without the feed, after {lasted}");
                }
                Telling::Quietly => debug!(error, "still without the feed"),
            }
            tokio::select! {
                () = time::sleep(pause) => {}
                () = stop.cancelled() => {}
            }
        }
        info!("the feed has stopped");
    }
}

/// The feed while it runs.
struct Follower {
    position: Position,
    replay_buffer: Arc<ReplayBuffer>,
    catch_up: Arc<CatchUp>,
    /// Before the next attempt to connect.
    pause: Duration,
    outage: Outage,
}

impl Follower {
    /// Connects, and makes sure that it is the journal from before.
    async fn connect_again(&mut self, database: &DatabaseUrl) -> anyhow::Result<Listener> {
        timeout(TIME_LIMIT, adopt(database))
            .await
            .context("check whose journal it is")??;
        let listener = connect(database).await?;
        let key = timeout(TIME_LIMIT, listener.reader().key())
            .await
            .context("read the key of the journal")??;
        let published = self.replay_buffer.rows();
        let ids: Vec<i64> = published.iter().map(|row| row.id).collect();
        let bounds = bounds(&listener, &ids).await?;
        if key != *self.catch_up.key() {
            self.catch_up.set_key(key);
            self.begin_anew(bounds, Lost::Replaced);
        } else if !bounds.has(&published) {
            self.begin_anew(bounds, Lost::WentBack);
        }
        Ok(listener)
    }

    /// Says that the journal cannot be read; returns how long to wait.
    fn lose(&mut self) -> Duration {
        self.replay_buffer.set_follows(false);
        self.catch_up.forget();
        let jittered = self.pause.mul_f64(0.5 + fastrand::f64() / 2.0);
        self.pause = (self.pause * 2).min(LONGEST_PAUSE);
        jittered
    }

    fn begin_anew(&mut self, bounds: JournalBounds, why: Lost) {
        warn!(
            "{why}; going on from now, and disconnecting the clients, which come back or are refused"
        );
        self.position = Position::after(Arc::new(bounds.now.clone()));
        self.catch_up.forget();
        self.replay_buffer.begin_anew(bounds);
    }

    /// Returns when it is cancelled.
    async fn follow(
        &mut self,
        listener: &Listener,
        stop: &CancellationToken,
    ) -> anyhow::Result<()> {
        let mut sleep = Sleep::new(Instant::now());
        let mut told: Option<String> = None;
        let mut read_at = Instant::now();
        // The pages of clients that the last read covers.
        let mut pages = None;
        while !stop.is_cancelled() {
            let transition = sleep.transition(Instant::now());
            let page = match (told.take(), transition) {
                (Some(told), None)
                    if read_at.elapsed() < POLL_INTERVAL
                        && pages.is_some()
                        && pages == self.replay_buffer.pages() =>
                {
                    self.page_of(&told)
                }
                _ => None,
            };
            if let Some(page) = page {
                self.publish(page, stop).await;
                sleep.has_read(None, &self.position.base, 1, Instant::now());
            } else {
                pages = self.replay_buffer.pages();
                // Said ahead of the read, whose statement does not wait for the answer.
                let (said, rows) = tokio::join!(
                    biased;
                    timeout(TIME_LIMIT, listener.say(transition)),
                    self.publish_unseen(listener, stop),
                );
                let (transition, rows) = (said.context("tell writers whether to notify")??, rows?);
                read_at = Instant::now();
                sleep.has_read(transition, &self.position.base, rows, read_at);
            }
            let (pause, hears) = sleep.pause(Instant::now());
            tokio::select! {
                notified = listener.notified(), if hears => told = notified,
                () = time::sleep_until(read_at + pause) => {}
                () = stop.cancelled() => {}
            }
        }
        Ok(())
    }

    /// What a notification told, if it is all that came after the position. It is not
    /// used until a read has covered the pages that clients were shown. After a
    /// notification the position says only by the ids what was seen, and a page may have
    /// shown higher ids.
    fn page_of(&self, told: &str) -> Option<Page> {
        let told = Told::parse(told, &self.catch_up.key())?;
        let kept_from = self.replay_buffer.kept_from();
        told.page(&self.position, self.replay_buffer.reads() + 1, kept_from)
    }

    /// Publishes a page, and moves the position behind it. If it is cancelled, what is left
    /// of the page is not published, and the position stays.
    async fn publish(&mut self, page: Page, stop: &CancellationToken) {
        for chunk in page.events.chunks(CHUNK_EVENTS) {
            if stop.is_cancelled() {
                return;
            }
            self.replay_buffer.publish(chunk).await;
        }
        self.replay_buffer.passed_over(&page.silent);
        self.position = page.end;
        if self.position.within.is_none() {
            self.replay_buffer
                .end_read(&self.position.base, page.kept_from);
        }
    }

    /// Publishes what came after the position, and moves it with each page: after an
    /// error it stands behind the last event that was published. Returns how many
    /// rows there were.
    async fn publish_unseen(
        &mut self,
        listener: &Listener,
        stop: &CancellationToken,
    ) -> anyhow::Result<usize> {
        let mut rows = 0;
        loop {
            let number = self.replay_buffer.reads() + 1;
            let reading = listener.reader().page(&self.position, PAGE_ROWS, number);
            let page = timeout(TIME_LIMIT, reading)
                .await
                .context("read the journal")??;
            // Only who has read it follows it.
            if !self.replay_buffer.follows() {
                match self.outage.end() {
                    None => info!("following the journal"),
                    Some(lasted) => info!("following the journal again, after {lasted}"),
                }
                self.replay_buffer.set_follows(true);
            }
            self.pause = FIRST_PAUSE;
            let page = match page {
                Ok(page) => page,
                Err(gap) => {
                    let bounds = bounds(listener, &[]).await?;
                    self.begin_anew(bounds, gap.into());
                    continue;
                }
            };
            rows += page.rows;
            let reached_now = page.reached_now;
            self.publish(page, stop).await;
            if reached_now || stop.is_cancelled() {
                return Ok(rows);
            }
        }
    }
}

async fn connect(database: &DatabaseUrl) -> anyhow::Result<Listener> {
    timeout(TIME_LIMIT, Listener::connect(database))
        .await
        .context("connect to listen")?
}

/// A backup that was restored meanwhile may come from another cluster.
async fn adopt(database: &DatabaseUrl) -> anyhow::Result<()> {
    let mut connection = database
        .connect_sqlx("space-events feed")
        .await
        .context("connect to check whose journal it is")?;
    store::journal::adopt(&mut connection)
        .await
        .context("check whose journal it is")?;
    connection.close().await.context("close a connection")
}

async fn bounds(listener: &Listener, ids: &[i64]) -> anyhow::Result<JournalBounds> {
    timeout(TIME_LIMIT, listener.reader().bounds(ids))
        .await
        .context("read the place of the journal")?
}
