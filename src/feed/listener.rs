//! One connection that waits for NOTIFY and reads the journal.

use std::future::poll_fn;
use std::sync::Arc;

use anyhow::Context as _;
use tokio::sync::Notify;
use tokio_postgres::AsyncMessage;
use tokio_util::task::AbortOnDropHandle;

use crate::journal::Reader;
use crate::store::database_url::DatabaseUrl;

/// A connection that listens.
#[derive(Debug)]
pub struct Listener {
    reader: Reader,
    bell: Arc<Notify>,
}

impl Listener {
    /// Connects, and listens before anything is read.
    ///
    /// # Errors
    ///
    /// The database cannot be reached, or the journal is not there.
    pub async fn connect(database: &DatabaseUrl) -> anyhow::Result<Self> {
        let (client, mut connection) = database.connect("space-events feed").await?;
        let bell = Arc::new(Notify::new());
        let ringer = Arc::clone(&bell);
        let driver = AbortOnDropHandle::new(tokio::spawn(async move {
            loop {
                match poll_fn(|context| connection.poll_message(context)).await {
                    Some(Ok(AsyncMessage::Notification(_))) => ringer.notify_one(),
                    Some(Ok(_)) => {}
                    // The read that follows fails, and says why.
                    Some(Err(_)) | None => break,
                }
            }
            ringer.notify_one();
        }));
        client
            .batch_execute("listen space_events")
            .await
            .context("listen")?;
        let reader = Reader::prepare(client, driver).await?;
        Ok(Self { reader, bell })
    }

    /// Reads the journal on this connection.
    pub fn reader(&self) -> &Reader {
        &self.reader
    }

    /// Waits for the doorbell, or for the end of the connection. Cancel safe:
    /// a ring while nobody waits is not lost.
    pub async fn rung(&self) {
        self.bell.notified().await;
    }
}
