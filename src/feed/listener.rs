//! One connection that waits for NOTIFY and reads the journal.

use std::future::poll_fn;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use anyhow::Context as _;
use tokio::sync::Notify;
use tokio_postgres::{AsyncMessage, SimpleQueryMessage};
use tokio_util::task::AbortOnDropHandle;

use super::sleep::Transition;
use crate::journal::Reader;
use crate::store::database_url::DatabaseUrl;

/// Writers notify as long as a session holds the lock of those that sleep. So Postgres
/// ends this one half a minute after the program is gone or stops reading.
const SESSION: &str = "listen space_events; \
    set tcp_keepalives_idle = 15; \
    set tcp_keepalives_interval = 5; \
    set tcp_keepalives_count = 3; \
    set tcp_user_timeout = '30s'";

/// A connection that listens.
#[derive(Debug)]
pub struct Listener {
    reader: Reader,
    inbox: Arc<Inbox>,
}

/// The notifications that came since the feed last looked.
#[derive(Debug, Default)]
struct Inbox {
    received: Mutex<Received>,
    wakes: Notify,
}

/// How many there were.
#[derive(Debug, Default)]
enum Received {
    #[default]
    None,
    /// One, with its text.
    One(String),
    /// Several, or the connection ended.
    Several,
}

impl Inbox {
    fn receive(&self, received: Received) {
        let mut state = self.lock();
        *state = match *state {
            Received::None => received,
            Received::One(_) | Received::Several => Received::Several,
        };
        drop(state);
        self.wakes.notify_one();
    }

    fn lock(&self) -> MutexGuard<'_, Received> {
        self.received.lock().unwrap_or_else(PoisonError::into_inner)
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
        let inbox = Arc::<Inbox>::default();
        let received = Arc::clone(&inbox);
        let driver = AbortOnDropHandle::new(tokio::spawn(async move {
            loop {
                match poll_fn(|context| connection.poll_message(context)).await {
                    Some(Ok(AsyncMessage::Notification(one))) => {
                        received.receive(Received::One(one.payload().to_owned()));
                    }
                    Some(Ok(_)) => {}
                    // The read that follows fails, and says why.
                    Some(Err(_)) | None => break,
                }
            }
            received.receive(Received::Several);
        }));
        client.batch_execute(SESSION).await.context("listen")?;
        let reader = Reader::prepare(client, driver).await?;
        Ok(Self { reader, inbox })
    }

    /// Reads the journal on this connection.
    pub fn reader(&self) -> &Reader {
        &self.reader
    }

    /// Tells writers whether they have to notify. Returns the transition that they know of
    /// now: none, if a writer was just looking, and they have to be told again.
    ///
    /// # Errors
    ///
    /// The connection is lost.
    pub async fn say(&self, transition: Option<Transition>) -> anyhow::Result<Option<Transition>> {
        let statement = match transition {
            None => return Ok(None),
            Some(Transition::FallAsleep) => "select space_events.fall_asleep()",
            Some(Transition::WakeUp) => "select space_events.wake_up()",
        };
        let answer = self.reader.client().simple_query(statement).await?;
        let is_so = answer.iter().any(
            |message| matches!(message, SimpleQueryMessage::Row(row) if row.get(0) == Some("t")),
        );
        Ok(transition.filter(|transition| is_so || *transition == Transition::WakeUp))
    }

    /// Waits for a notification, or for the end of the connection. Returns its text, if it
    /// is the only one. Cancel safe: a notification that comes while nobody waits is not
    /// lost.
    pub async fn notified(&self) -> Option<String> {
        self.inbox.wakes.notified().await;
        match std::mem::take(&mut *self.inbox.lock()) {
            Received::One(text) => Some(text),
            Received::None | Received::Several => None,
        }
    }
}
