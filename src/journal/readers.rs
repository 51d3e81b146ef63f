//! The few connections over which clients catch up from the journal.
//!
//! However many clients come back at once, so many read at a time; the others
//! wait their turn, page by page. A page is in memory before its client gets
//! the first event of it, so that a slow client holds no connection.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::Context as _;
use tokio::sync::Semaphore;
use tokio::time::timeout;
use tokio_util::task::AbortOnDropHandle;

use super::batch::JournalEvent;
use super::position::Position;
use super::reader::Reader;
use crate::store::database_url::DatabaseUrl;

/// How many pages are read at the same time.
const CONNECTIONS: usize = 4;
/// The most rows of a page.
const PAGE_ROWS: usize = 512;
/// How long a page may take.
const TIME_LIMIT: Duration = Duration::from_secs(10);

/// Reads pages of the journal, a few at a time.
#[derive(Debug)]
pub struct Readers {
    database: DatabaseUrl,
    turns: Semaphore,
    idle: Mutex<Vec<Reader>>,
}

/// A part of the journal.
#[derive(Debug)]
pub struct Page {
    /// Its events, in order.
    pub events: Vec<Arc<JournalEvent>>,
    /// The place behind it.
    pub end: Position,
    /// Whether it led up to what was visible when it was read.
    pub reached_now: bool,
}

impl Readers {
    /// Connects when a page is asked for.
    pub fn new(database: DatabaseUrl) -> Self {
        Self {
            database,
            turns: Semaphore::new(CONNECTIONS),
            idle: Mutex::default(),
        }
    }

    /// The page behind a position. Cancel safe.
    ///
    /// # Errors
    ///
    /// The database is away, or took longer than ten seconds.
    pub async fn page(&self, from: &Position) -> anyhow::Result<Page> {
        let _turn = self.turns.acquire().await.context("wait for a turn")?;
        timeout(TIME_LIMIT, async {
            let idle = self.idle().pop();
            let reader = match idle {
                Some(reader) => reader,
                None => self.connect().await?,
            };
            let page = read_page(&reader, from).await?;
            // After an error the connection is not used again.
            self.idle().push(reader);
            Ok(page)
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

    fn idle(&self) -> std::sync::MutexGuard<'_, Vec<Reader>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

async fn read_page(reader: &Reader, from: &Position) -> anyhow::Result<Page> {
    let limit = i64::try_from(PAGE_ROWS)?;
    let mut rows = reader.read(from, Some(limit), 0).await?;
    let batch = Arc::clone(rows.batch());
    let mut events = Vec::new();
    let mut count = 0;
    let mut last_id = 0;
    while let Some(row) = rows.next().await? {
        count += 1;
        last_id = row.id;
        events.extend(row.event.map(Arc::new));
    }
    let whole = count < PAGE_ROWS;
    let end = if whole {
        Position::after(Arc::clone(&batch.next))
    } else {
        Position::within(&batch.base, &batch.next, last_id)
    };
    Ok(Page {
        events,
        end,
        reached_now: whole && from.within.is_none(),
    })
}
