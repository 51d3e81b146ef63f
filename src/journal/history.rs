//! The journal as far back as it is kept: the few connections over which clients
//! catch up, and the positions from which they may.
//!
//! However many clients come back at once, so many read at a time; the others
//! wait their turn, page by page. A page is in memory before its client gets
//! the first event of it, so that a slow client holds no connection. After a
//! restart all come back from one place: the last pages are shared.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::Context as _;
use tokio::sync::Semaphore;
use tokio::time::{Instant, timeout};
use tokio_util::task::AbortOnDropHandle;
use tracing::warn;

use super::position::{Foreign, Position, Seen};
use super::reader::{Extent, Page, Reader};
use crate::store::database_url::DatabaseUrl;

/// How many pages are read at the same time.
const CONNECTIONS: usize = 4;
/// The most rows of a page.
pub const PAGE_ROWS: usize = 512;
/// How many pages are kept for whoever comes to the same place next.
const SHARED_PAGES: usize = 16;
/// How long a page may take.
const TIME_LIMIT: Duration = Duration::from_secs(10);
/// How long checking a position may take.
const CHECK_LIMIT: Duration = Duration::from_secs(3);

/// Reads pages of the journal, a few at a time.
#[derive(Debug)]
pub struct History {
    database: DatabaseUrl,
    identity: i64,
    turns: Semaphore,
    idle: Mutex<Vec<Reader>>,
    shared: Mutex<SharedPages>,
    /// When the last check of a position began, and what it found.
    last_extent: tokio::sync::Mutex<Option<(Instant, Option<Extent>)>>,
}

/// Why a client cannot go on from a position; SPACE's clients see the text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PositionRefused {
    /// It was never given out by this journal.
    #[error("POSITION_INVALID: {0}")]
    Invalid(&'static str),
    /// What came after it is kept no more.
    #[error("POSITION_EXPIRED: the log does not go back to it any more; read the state anew")]
    Expired,
    /// The database is away: the client may try again.
    #[error("UNAVAILABLE: the database is away; try again")]
    Unavailable,
}

impl History {
    /// Connects when a page is asked for. `identity` is the journal's.
    pub fn new(database: DatabaseUrl, identity: i64) -> Self {
        Self {
            database,
            identity,
            turns: Semaphore::new(CONNECTIONS),
            idle: Mutex::default(),
            shared: Mutex::default(),
            last_extent: tokio::sync::Mutex::default(),
        }
    }

    /// Which journal it is.
    pub fn identity(&self) -> i64 {
        self.identity
    }

    /// Reads a position that a client gave.
    ///
    /// # Errors
    ///
    /// [`PositionRefused::Invalid`].
    pub fn decode(&self, text: &str) -> Result<Position, PositionRefused> {
        Position::decode(text, self.identity).map_err(|foreign| match foreign {
            Foreign::Malformed => PositionRefused::Invalid("no such position was given out"),
            Foreign::OtherJournal => PositionRefused::Invalid("it is of another database"),
        })
    }

    /// Checks that the journal still keeps all that came after a position. However
    /// many ask at once, the database is asked a few times.
    ///
    /// # Errors
    ///
    /// Why nobody can go on from there.
    pub async fn check(&self, position: &Position) -> Result<(), PositionRefused> {
        let Some(Extent { now, kept_from }) = self.extent_from(Instant::now()).await else {
            return Err(PositionRefused::Unavailable);
        };
        if kept_from.is_some_and(|kept_from| !position.base.covers(&kept_from)) {
            return Err(PositionRefused::Expired);
        }
        if position.base.max_id > now.max_id {
            return Err(PositionRefused::Invalid("it is from the future"));
        }
        Ok(())
    }

    /// What a reading that began at `earliest` or later found; `None` if the database
    /// did not answer it.
    async fn extent_from(&self, earliest: Instant) -> Option<Extent> {
        let mut last = self.last_extent.lock().await;
        if let Some((begun, extent)) = &*last
            && *begun >= earliest
        {
            return extent.clone();
        }
        let begun = Instant::now();
        let extent = match timeout(CHECK_LIMIT, self.extent()).await {
            Ok(Ok(extent)) => Some(extent),
            Ok(Err(error)) => {
                warn!(error = format!("{error:#}"), "cannot check positions");
                None
            }
            Err(_) => {
                warn!("cannot check positions in time");
                None
            }
        };
        *last = Some((begun, extent.clone()));
        extent
    }

    /// The place where all that is visible now has been seen.
    ///
    /// # Errors
    ///
    /// The database is away, or took longer than ten seconds.
    pub async fn end(&self) -> anyhow::Result<Position> {
        Ok(Position::after(Arc::new(self.extent().await?.now)))
    }

    /// The oldest place from which all is kept.
    ///
    /// # Errors
    ///
    /// The database is away, or took longer than ten seconds.
    pub async fn beginning(&self) -> anyhow::Result<Position> {
        let kept_from = self.extent().await?.kept_from;
        Ok(Position::after(Arc::new(
            kept_from.unwrap_or_else(Seen::nothing),
        )))
    }

    /// The page behind a position, of at most `limit` rows or as many as a page
    /// has; `None` if the journal does not go back so far. Cancel safe.
    ///
    /// # Errors
    ///
    /// The database is away, or took longer than ten seconds.
    pub async fn page(&self, from: &Position, limit: usize) -> anyhow::Result<Option<Arc<Page>>> {
        let limit = limit.min(PAGE_ROWS);
        self.in_turn(async |reader| {
            // Whoever came back with the same position may have read it by now.
            let shared = (limit == PAGE_ROWS).then(|| self.shared().find(from));
            if let Some(page) = shared.flatten() {
                return Ok(Some(page));
            }
            let Some(page) = reader.page(from, limit, 0).await? else {
                return Ok(None);
            };
            let page = Arc::new(page);
            // One that led up to now says less a moment later.
            if limit == PAGE_ROWS && !page.reached_now {
                self.shared().keep(from, &page);
            }
            Ok(Some(page))
        })
        .await
    }

    /// Where the journal is now, and how far back it goes. Cancel safe.
    ///
    /// # Errors
    ///
    /// The database is away, or took longer than ten seconds.
    pub async fn extent(&self) -> anyhow::Result<Extent> {
        self.in_turn(async |reader| reader.extent().await).await
    }

    async fn in_turn<T>(
        &self,
        read: impl AsyncFnOnce(&Reader) -> anyhow::Result<T>,
    ) -> anyhow::Result<T> {
        let _turn = self.turns.acquire().await.context("wait for a turn")?;
        timeout(TIME_LIMIT, async {
            let reader = match self.idle_reader() {
                Some(reader) => reader,
                None => self.connect().await?,
            };
            let found = read(&reader).await?;
            // After an error the connection is not used again.
            self.idle().push(reader);
            Ok(found)
        })
        .await
        .context("read a page of the journal")?
    }

    async fn connect(&self) -> anyhow::Result<Reader> {
        let (client, connection) = self.database.connect("space-events readers").await?;
        let driver = AbortOnDropHandle::new(tokio::spawn(async move {
            // What went wrong shows at the client.
            let _ = connection.await;
        }));
        Reader::prepare(client, driver).await
    }

    /// One whose connection has not ended meanwhile.
    fn idle_reader(&self) -> Option<Reader> {
        let mut idle = self.idle();
        idle.retain(|reader| !reader.is_closed());
        idle.pop()
    }

    fn idle(&self) -> MutexGuard<'_, Vec<Reader>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn shared(&self) -> MutexGuard<'_, SharedPages> {
        self.shared.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The last pages, and the positions that they begin at.
#[derive(Debug, Default)]
struct SharedPages(VecDeque<(Position, Arc<Page>)>);

impl SharedPages {
    fn find(&self, from: &Position) -> Option<Arc<Page>> {
        let found = self.0.iter().find(|(begin, _)| begin == from);
        found.map(|(_, page)| Arc::clone(page))
    }

    fn keep(&mut self, from: &Position, page: &Arc<Page>) {
        if self.find(from).is_none() {
            self.0.truncate(SHARED_PAGES - 1);
            self.0.push_front((from.clone(), Arc::clone(page)));
        }
    }
}
