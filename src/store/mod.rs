//! Every SQL statement, one file for each table; and here how transactions begin.
//!
//! Behind a transaction pooler a session serves another client a moment later. So nothing
//! is set on sessions: limits are set inside transactions, and there JIT compilation is
//! switched off. Names are qualified, so that the `search_path` does not matter.
//!
//! Everything here fails while the database is away. A function's `# Errors` tell
//! what else can make it fail; where there are none, nothing does.

pub mod database_url;
pub mod tls;
pub mod preflight;
pub mod pool;
pub mod transaction;
pub mod migrations;
pub mod services;
pub mod pricings;
pub mod journal;
pub mod capture;

pub use pool::{Pool, is_lost_connection};
pub use transaction::Transaction;

use pool::Begin;

/// Begins a transaction that reads: all of it sees one snapshot.
pub async fn begin_read(pool: &Pool) -> sqlx::Result<Transaction> {
    // `read write` is refused by a standby, which must not be read: its snapshots
    // list no transactions that are in progress.
    pool.begin(Begin::Explicitly(
        "begin isolation level repeatable read read write; \
         set transaction read only; \
         set local jit = off; \
         set local statement_timeout = '5s'",
    ))
    .await
}

/// Begins a transaction for a change of a few rows: a lock is waited for up to
/// 4 s, a statement may take 5 s.
pub async fn begin(pool: &Pool) -> sqlx::Result<Transaction> {
    pool.begin(Begin::Explicitly(BEGIN)).await
}

/// As [`begin`], for a change by one statement: where connections keep a session,
/// the statement begins and commits the transaction, without round trips of its own.
pub async fn begin_one_statement(pool: &Pool) -> sqlx::Result<Transaction> {
    pool.begin(Begin::OneStatement { otherwise: BEGIN }).await
}

const BEGIN: &str = "begin isolation level read committed read write; \
    set local lock_timeout = '4s'; \
    set local jit = off; \
    set local statement_timeout = '5s'";

/// Begins a transaction for a change of any number of rows: a lock is waited
/// for up to 4 s, a statement may take two minutes.
pub async fn begin_long(pool: &Pool) -> sqlx::Result<Transaction> {
    pool.begin(Begin::Explicitly(
        "begin isolation level read committed read write; \
         set local lock_timeout = '4s'; \
         set local jit = off; \
         set local statement_timeout = '120s'",
    ))
    .await
}
