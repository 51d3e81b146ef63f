//! Catching up: the few connections over which clients read the journal, and the
//! positions from which they may.
//!
//! However many clients come back at once, only a few read at a time. The others wait
//! their turn, page by page. A page is in memory as a whole before its client gets the
//! first event of it, so a slow client holds no connection. After a restart all clients
//! come back from one place, so they share the last pages.

mod checks;
mod shared_pages;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::Context as _;
use tokio::sync::Semaphore;
use tokio::time::timeout;
use tokio_util::task::AbortOnDropHandle;

use super::bounds::Gap;
use super::key::JournalKey;
use super::page::Page;
use super::position::Position;
use super::reader::Reader;
use super::recorded::Recorded;
use super::replay_buffer::ReplayBuffer;
use crate::organization::Organization;
use crate::store::database_url::DatabaseUrl;
use checks::Checks;
pub use shared_pages::SharedPage;
use shared_pages::SharedPages;

/// How many pages are read at the same time.
const CONNECTIONS: usize = 4;
/// The most rows of a page.
pub const PAGE_ROWS: usize = 512;
/// How long a page may take.
const TIME_LIMIT: Duration = Duration::from_secs(10);

/// Reads pages of the journal, a few at a time.
#[derive(Debug)]
pub struct CatchUp {
    database: DatabaseUrl,
    replay_buffer: Arc<ReplayBuffer>,
    turns: Semaphore,
    state: Mutex<State>,
    checks: Checks,
}

/// What is true of one journal, as long as the feed follows it.
#[derive(Debug)]
struct State {
    key: Arc<JournalKey>,
    /// Rises whenever the feed has lost the journal: what was read before is dropped.
    era: u64,
    idle: Vec<Reader>,
    shared: SharedPages,
}

impl CatchUp {
    /// Connects when a page is asked for. `key` is the journal's.
    pub fn new(database: DatabaseUrl, key: JournalKey, replay_buffer: Arc<ReplayBuffer>) -> Self {
        Self {
            database,
            replay_buffer,
            turns: Semaphore::new(CONNECTIONS),
            state: Mutex::new(State {
                key: Arc::new(key),
                era: 0,
                idle: Vec::new(),
                shared: SharedPages::default(),
            }),
            checks: Checks::default(),
        }
    }

    /// The key of the journal, which signs positions.
    pub fn key(&self) -> Arc<JournalKey> {
        Arc::clone(&self.state().key)
    }

    /// Drops what was read so far, connections too: the feed has lost the journal,
    /// and it may be another when it is back.
    pub fn forget(&self) {
        let mut state = self.state();
        state.era += 1;
        state.idle.clear();
        state.shared = SharedPages::default();
    }

    /// Goes on with another journal.
    pub fn set_key(&self, key: JournalKey) {
        self.state().key = Arc::new(key);
    }

    /// The page behind a position, of at most `limit` rows or as many as a page has,
    /// with all of its rows, those too that mean no event. Cancel safe.
    ///
    /// # Errors
    ///
    /// The database is away, or took longer than ten seconds.
    pub async fn page_and_rows(
        &self,
        from: &Position,
        limit: usize,
    ) -> anyhow::Result<Result<(Page, Vec<Recorded>), Gap>> {
        let limit = limit.min(PAGE_ROWS);
        self.in_turn(async |reader, _| reader.page_and_rows(from, limit).await)
            .await
    }

    /// The newest rows of an organisation that had been seen at a position, the newest
    /// first, at most `limit` or as many as a page has; of one service, if it is named.
    /// Cancel safe.
    ///
    /// # Errors
    ///
    /// The database is away, or took longer than ten seconds.
    pub async fn rows_before(
        &self,
        position: &Position,
        organization: &Organization,
        service_name: Option<&str>,
        limit: usize,
    ) -> anyhow::Result<Vec<Recorded>> {
        let limit = limit.min(PAGE_ROWS);
        self.in_turn(async |reader, _| {
            let rows = reader.rows_before(position, organization, service_name, limit);
            rows.await
        })
        .await
    }

    /// The page behind a position, for a client that goes on with the replay buffer
    /// behind the last: whoever comes to the same place gets the same. Cancel safe.
    ///
    /// # Errors
    ///
    /// The database is away, or took longer than ten seconds.
    pub async fn shared_page(&self, from: &Position) -> anyhow::Result<Result<SharedPage, Gap>> {
        self.in_turn(async |reader, era| {
            // Whoever came back with the same position may have read it by now.
            let shared = self.state().shared.find(from);
            if let Some(shared) = shared {
                return Ok(Ok(shared));
            }
            let under_way = self.replay_buffer.begin_page();
            let head = under_way.head;
            let page = match reader.page(from, PAGE_ROWS, 0).await? {
                Ok(page) => Arc::new(page),
                Err(gap) => return Ok(Err(gap)),
            };
            let shared = SharedPage { page, head };
            let mut state = self.state();
            if state.era == era {
                state.shared.keep(from, &shared);
            }
            Ok(Ok(shared))
        })
        .await
    }

    async fn in_turn<T>(
        &self,
        read: impl AsyncFnOnce(&Reader, u64) -> anyhow::Result<T>,
    ) -> anyhow::Result<T> {
        let _turn = self.turns.acquire().await.context("wait for a turn")?;
        timeout(TIME_LIMIT, async {
            let (era, idle) = {
                let mut state = self.state();
                state.idle.retain(|reader| !reader.is_closed());
                (state.era, state.idle.pop())
            };
            let reader = match idle {
                Some(reader) => reader,
                None => self.connect("space-events readers").await?,
            };
            let found = read(&reader, era).await?;
            // After an error the connection is not used again.
            let mut state = self.state();
            if state.era == era {
                state.idle.push(reader);
            }
            Ok(found)
        })
        .await
        .context("read a page of the journal")?
    }

    async fn connect(&self, name: &str) -> anyhow::Result<Reader> {
        let (client, connection) = self.database.connect(name).await?;
        let driver = AbortOnDropHandle::new(tokio::spawn(async move {
            // What went wrong shows at the client.
            let _ = connection.await;
        }));
        Reader::prepare(client, driver).await
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
