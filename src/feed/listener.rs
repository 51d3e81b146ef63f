//! One connection that waits for NOTIFY and reads the journal.

use std::future::poll_fn;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use anyhow::Context as _;
use tokio::sync::Notify;
use tokio_postgres::{AsyncMessage, SimpleQueryMessage};
use tokio_util::task::AbortOnDropHandle;

use super::sleep::Change;
use crate::journal::{Reader, Told};
use crate::store::database_url::DatabaseUrl;

/// Writers ring as long as a session holds the lock of those that sleep. One whose
/// other end is gone, or takes nothing any more, is ended after half a minute.
const SESSION: &str = "listen space_events; \
    set tcp_keepalives_idle = 15; \
    set tcp_keepalives_interval = 5; \
    set tcp_keepalives_count = 3; \
    set tcp_user_timeout = '30s'";

/// A connection that listens.
#[derive(Debug)]
pub struct Listener {
    reader: Reader,
    bell: Arc<Bell>,
}

/// Who rang since somebody last looked.
#[derive(Debug, Default)]
struct Bell {
    rung: Mutex<Rung>,
    wakes: Notify,
}

/// What is known of the rings.
#[derive(Debug, Default)]
enum Rung {
    #[default]
    Not,
    /// One, with what it tells.
    Once(String),
    /// Several, or the connection ended.
    Often,
}

impl Bell {
    fn ring(&self, rung: Rung) {
        let mut state = self.lock();
        *state = match *state {
            Rung::Not => rung,
            Rung::Once(_) | Rung::Often => Rung::Often,
        };
        drop(state);
        self.wakes.notify_one();
    }

    fn lock(&self) -> MutexGuard<'_, Rung> {
        self.rung.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Listener {
    /// Connects, and listens before anything is read.
    ///
    /// # Errors
    ///
    /// The database cannot be reached, or the journal is not there.
    pub async fn connect(database: &DatabaseUrl) -> anyhow::Result<Self> {
        let (client, mut connection) = database.connect("space-events feed").await?;
        let bell = Arc::<Bell>::default();
        let ringer = Arc::clone(&bell);
        let driver = AbortOnDropHandle::new(tokio::spawn(async move {
            loop {
                match poll_fn(|context| connection.poll_message(context)).await {
                    Some(Ok(AsyncMessage::Notification(ring))) => {
                        ringer.ring(Rung::Once(ring.payload().to_owned()));
                    }
                    Some(Ok(_)) => {}
                    // The read that follows fails, and says why.
                    Some(Err(_)) | None => break,
                }
            }
            ringer.ring(Rung::Often);
        }));
        client.batch_execute(SESSION).await.context("listen")?;
        let reader = Reader::prepare(client, driver).await?;
        Ok(Self { reader, bell })
    }

    /// Reads the journal on this connection.
    pub fn reader(&self) -> &Reader {
        &self.reader
    }

    /// Says to writers whether they have to ring. Returns what they know now: the
    /// change, or nothing where one of them was looking just then, and it has to be
    /// said again.
    ///
    /// # Errors
    ///
    /// The connection is lost.
    pub async fn say(&self, change: Option<Change>) -> anyhow::Result<Option<Change>> {
        let statement = match change {
            None => return Ok(None),
            Some(Change::FallAsleep) => "select space_events.fall_asleep()",
            Some(Change::WakeUp) => "select space_events.wake_up()",
        };
        let answer = self.reader.client().simple_query(statement).await?;
        let is_so = answer.iter().any(
            |message| matches!(message, SimpleQueryMessage::Row(row) if row.get(0) == Some("t")),
        );
        Ok(change.filter(|change| is_so || *change == Change::WakeUp))
    }

    /// Waits for the doorbell, or for the end of the connection. Gives what a single
    /// ring told. Cancel safe: a ring while nobody waits is not lost.
    pub async fn rung(&self) -> Option<Told> {
        self.bell.wakes.notified().await;
        match std::mem::take(&mut *self.bell.lock()) {
            Rung::Once(text) => Told::parse(&text),
            Rung::Not | Rung::Often => None,
        }
    }
}
