//! The journal as far back as it is kept: the few connections over which clients
//! catch up, and the positions from which they may.
//!
//! However many clients come back at once, so many read at a time; the others
//! wait their turn, page by page. A page is in memory before its client gets
//! the first event of it, so that a slow client holds no connection. After a
//! restart all come back from one place: the last pages are shared. Whether a
//! position is good is asked over a connection of its own, for all that ask at the
//! same time.

use std::collections::{BTreeSet, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::Context as _;
use tokio::sync::Semaphore;
use tokio::time::{Instant, timeout};
use tokio_util::task::AbortOnDropHandle;
use tracing::debug;

use super::bounds::{Gap, JournalBounds};
use super::key::JournalKey;
use super::page::Page;
use super::position::Position;
use super::reader::Reader;
use super::recorded::Recorded;
use super::replay_buffer::ReplayBuffer;
use super::since::PositionRefused;
use super::watermark::Watermark;
use crate::organization::Organization;
use crate::store::database_url::DatabaseUrl;

/// How many pages are read at the same time.
const CONNECTIONS: usize = 4;
/// The most rows of a page.
pub const PAGE_ROWS: usize = 512;
/// How many pages are kept for whoever comes to the same place next.
const SHARED_PAGES: usize = 16;
/// How long a page is kept that led up to what was visible when it was read.
const LAST_PAGE_LIFE: Duration = Duration::from_secs(1);
/// How long a page may take.
const TIME_LIMIT: Duration = Duration::from_secs(10);
/// How long checking a position may take.
const CHECK_LIMIT: Duration = Duration::from_secs(3);

/// Reads pages of the journal, a few at a time.
#[derive(Debug)]
pub struct CatchUp {
    database: DatabaseUrl,
    replay_buffer: Arc<ReplayBuffer>,
    turns: Semaphore,
    state: Mutex<State>,
    checks: tokio::sync::Mutex<Checks>,
    /// The ids of the rows that the next check asks for.
    asked: Mutex<BTreeSet<i64>>,
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

/// The connection that checks positions, and what it found last.
#[derive(Debug, Default)]
struct Checks {
    reader: Option<(u64, Reader)>,
    last: Option<Check>,
}

#[derive(Debug)]
struct Check {
    begun: Instant,
    asked: BTreeSet<i64>,
    /// `None` if the database did not answer.
    found: Option<Arc<JournalBounds>>,
}

/// A page for a client that goes on with the replay buffer behind it.
#[derive(Clone, Debug)]
pub struct SharedPage {
    /// The page.
    pub page: Arc<Page>,
    /// The number of the next event in the replay buffer when reading it began: those
    /// before it were visible to the page.
    pub head: u64,
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
            checks: tokio::sync::Mutex::default(),
            asked: Mutex::default(),
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

    /// Checks that the journal still has what was seen at a position, and keeps all
    /// that came after it. However many ask at once, the database is asked a few
    /// times.
    ///
    /// # Errors
    ///
    /// Why nobody can go on from there.
    pub async fn check(&self, position: &Position) -> Result<(), PositionRefused> {
        let witnesses = position.witnessed().witnesses.iter();
        let ids = witnesses.map(|witness| witness.id).collect();
        let bounds = self.bounds_now(ids).await;
        let bounds = bounds.ok_or(PositionRefused::Unavailable)?;
        if position.base.max_id > bounds.now.max_id {
            return Err(PositionRefused::WentBack);
        }
        Ok(bounds.leads_on_from(position)?)
    }

    /// The same for a client that would not try again by itself if it were refused:
    /// while the database is away, what the feed knew last has to do.
    ///
    /// # Errors
    ///
    /// As [`CatchUp::check`], but never [`PositionRefused::Unavailable`].
    pub async fn check_or_ask_feed(&self, position: &Position) -> Result<(), PositionRefused> {
        match self.check(position).await {
            Err(PositionRefused::Unavailable) => {
                let kept_from = self.replay_buffer.kept_from();
                let is_kept = position.is_kept(kept_from.as_ref());
                is_kept.then_some(()).ok_or(PositionRefused::Expired)
            }
            checked => checked,
        }
    }

    /// Where the journal is now or later, and which of the rows with these ids it
    /// has; `None` if the database did not answer.
    async fn bounds_now(&self, mut ids: BTreeSet<i64>) -> Option<Arc<JournalBounds>> {
        self.asked().extend(&ids);
        let earliest = Instant::now();
        let mut checks = self.checks.lock().await;
        if let Some(last) = &checks.last
            && last.begun >= earliest
            && last.asked.is_superset(&ids)
        {
            return last.found.clone();
        }
        // For whoever waits behind this one, too.
        ids.append(&mut self.asked());
        let begun = Instant::now();
        let asked: Vec<i64> = ids.iter().copied().collect();
        let found = match timeout(CHECK_LIMIT, self.read_bounds(&mut checks, &asked)).await {
            Ok(Ok(bounds)) => Some(Arc::new(bounds)),
            Ok(Err(error)) => {
                debug!(error = format!("{error:#}"), "cannot check positions");
                None
            }
            Err(_) => {
                debug!("cannot check positions in time");
                None
            }
        };
        checks.last = Some(Check {
            begun,
            asked: ids,
            found: found.clone(),
        });
        found
    }

    /// After an error, or if this is dropped, the connection is not used again.
    async fn read_bounds(&self, checks: &mut Checks, ids: &[i64]) -> anyhow::Result<JournalBounds> {
        let era = self.state().era;
        let reader = match checks.reader.take() {
            Some((of, reader)) if of == era && !reader.is_closed() => reader,
            _ => self.connect("space-events checks").await?,
        };
        let bounds = reader.bounds(ids).await?;
        checks.reader = Some((era, reader));
        Ok(bounds)
    }

    /// The place where all that is visible now has been seen.
    ///
    /// # Errors
    ///
    /// The database is away, or took longer than three seconds.
    pub async fn end(&self) -> anyhow::Result<Position> {
        Ok(Position::after(Arc::new(self.bounds().await?.now.clone())))
    }

    /// The oldest place from which all is kept.
    ///
    /// # Errors
    ///
    /// The database is away, or took longer than three seconds.
    pub async fn beginning(&self) -> anyhow::Result<Position> {
        let kept_from = self.bounds().await?.kept_from.clone();
        Ok(Position::after(Arc::new(
            kept_from.unwrap_or_else(Watermark::nothing),
        )))
    }

    async fn bounds(&self) -> anyhow::Result<Arc<JournalBounds>> {
        let bounds = self.bounds_now(BTreeSet::new()).await;
        bounds.context("read the place of the journal")
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

    fn asked(&self) -> MutexGuard<'_, BTreeSet<i64>> {
        self.asked.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The last pages, the positions that they begin at, and when they were kept.
#[derive(Debug, Default)]
struct SharedPages(VecDeque<(Position, SharedPage, Instant)>);

impl SharedPages {
    fn find(&mut self, from: &Position) -> Option<SharedPage> {
        self.0.retain(|(_, shared, kept_at)| {
            !shared.page.reached_now || kept_at.elapsed() < LAST_PAGE_LIFE
        });
        let found = self.0.iter().find(|(begin, ..)| begin == from);
        found.map(|(_, shared, _)| shared.clone())
    }

    fn keep(&mut self, from: &Position, shared: &SharedPage) {
        if self.find(from).is_none() {
            self.0.truncate(SHARED_PAGES - 1);
            self.0
                .push_front((from.clone(), shared.clone(), Instant::now()));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(max_id: i64) -> Position {
        Position::after(Arc::new(Watermark {
            max_id,
            ..Watermark::nothing()
        }))
    }

    fn page(end: Position, reached_now: bool) -> SharedPage {
        let page = Page {
            events: Vec::new(),
            rows: 0,
            silent: Vec::new(),
            end,
            reached_now,
            kept_from: None,
        };
        SharedPage {
            page: Arc::new(page),
            head: 0,
        }
    }

    #[tokio::test(start_paused = true)]
    async fn the_last_page_is_shared_while_it_is_fresh() {
        let mut pages = SharedPages::default();
        pages.keep(&at(1), &page(at(2), false));
        pages.keep(&at(2), &page(at(3), true));
        for place in [1, 2] {
            assert!(pages.find(&at(place)).is_some(), "{place}");
        }
        assert!(pages.find(&at(3)).is_none());
        tokio::time::advance(LAST_PAGE_LIFE).await;
        assert!(pages.find(&at(1)).is_some());
        assert!(pages.find(&at(2)).is_none(), "others were visible since");
    }

    #[tokio::test(start_paused = true)]
    async fn so_many_pages_are_shared() {
        let mut pages = SharedPages::default();
        let count = i64::try_from(SHARED_PAGES).expect("a few");
        for place in 0..=count {
            pages.keep(&at(place), &page(at(place + 1), false));
        }
        let shared: Vec<i64> = (0..=count)
            .filter(|place| pages.find(&at(*place)).is_some())
            .collect();
        assert_eq!(shared, (1..=count).collect::<Vec<_>>());
    }
}
