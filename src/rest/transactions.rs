//! The transactions of requests: each is done again, from its beginning, if another
//! transaction came between.

use std::time::Duration;

use tokio::time::{sleep, timeout};

use super::event_position::EventPosition;
use super::{Api, Error};
use crate::store::{self, Pool, Transaction};

/// How long the database may take for a request about a few rows.
const USUAL_LIMIT: Duration = Duration::from_secs(5);
/// How long it may take for one that reaches any number of rows.
const LONG_LIMIT: Duration = Duration::from_secs(120);

/// How many rows a change may reach. The way to begin it and its time limit depend on
/// that.
#[derive(Clone, Copy, Debug)]
pub(super) enum Reach {
    /// A few rows, by one statement.
    OneStatement,
    /// A few rows.
    FewRows,
    /// Any number of rows.
    ManyRows,
}

impl Reach {
    async fn begin(self, pool: &Pool) -> sqlx::Result<Transaction> {
        match self {
            Self::OneStatement => store::begin_one_statement(pool).await,
            Self::FewRows => store::begin(pool).await,
            Self::ManyRows => store::begin_long(pool).await,
        }
    }

    fn limit(self) -> Duration {
        match self {
            Self::OneStatement | Self::FewRows => USUAL_LIMIT,
            Self::ManyRows => LONG_LIMIT,
        }
    }
}

/// Reads what a GET answers, and the position of the events in the same snapshot.
pub(super) async fn read<T, F>(
    api: &Api,
    work: impl Fn(Transaction) -> F,
) -> Result<(EventPosition, T), Error>
where
    F: Future<Output = Result<T, Error>>,
{
    read_rows(&api.pool, async |mut tx| {
        let position = EventPosition::of_snapshot(&mut tx, &api.catch_up).await?;
        Ok((position, work(tx).await?))
    })
    .await
}

/// Reads without a position.
pub(super) async fn read_rows<T, F>(
    pool: &Pool,
    work: impl Fn(Transaction) -> F,
) -> Result<T, Error>
where
    F: Future<Output = Result<T, Error>>,
{
    with_retries(USUAL_LIMIT, async || {
        work(store::begin_read(pool).await?).await
    })
    .await
}

/// Does `work`, and commits the transaction that it gives back beside its result. If it
/// fails, nothing has changed.
// If `work` borrowed the transaction, the compiler could not see that the future is `Send`.
pub(super) async fn write<T, F>(
    pool: &Pool,
    reach: Reach,
    work: impl Fn(Transaction) -> F,
) -> Result<T, Error>
where
    F: Future<Output = Result<(Transaction, T), Error>>,
{
    with_retries(reach.limit(), async || {
        let tx = reach.begin(pool).await?;
        let (tx, done) = work(tx).await?;
        tx.commit().await?;
        Ok(done)
    })
    .await
}

/// Tries again when `attempt` ends in a deadlock or another transaction came between, a
/// few times at most and within `limit`.
///
/// An attempt that the limit cuts off may have been committed all the same.
async fn with_retries<T, F>(limit: Duration, attempt: impl Fn() -> F) -> Result<T, Error>
where
    F: Future<Output = Result<T, Error>>,
{
    const MAX_TRIES: u32 = 6;
    const MAX_PAUSE_MS: u64 = 40;
    let trying = async {
        let mut tries = 1;
        loop {
            match attempt().await {
                Err(error) if tries < MAX_TRIES && error.asks_for_another_try() => {
                    tries += 1;
                    sleep(Duration::from_millis(fastrand::u64(..MAX_PAUSE_MS))).await;
                }
                end => return end,
            }
        }
    };
    match timeout(limit, trying).await {
        Ok(end) => end,
        Err(_) => Err(Error::DatabaseTimeout),
    }
}
