//! A change-data-capture emitter for Postgres that speaks SPACE's Socket.IO
//! protocol. The flow, from a row to a frame:
//!
//! 1. Whoever writes to `services` and `pricings`: triggers (`migrations/`) record each
//!    row change in the journal, in the writer's transaction, and notify a feed that
//!    sleeps.
//! 2. The [`feed`] listens, reads the [`journal`] from its position, and
//!    publishes the events that the changes mean.
//! 3. The [`sockets`] hand them to each client at its own pace; a client that
//!    fell behind or came back reads the journal from its own position.
//! 4. The [`rest`] handlers are one writer among others: they meet the feed only in
//!    Postgres.

// In the order of the flow: each uses only those above it.
pub mod organization;
pub mod api_key;
pub mod event;
pub mod metrics;
pub mod store;
pub mod journal;
pub mod feed;
pub mod http;
pub mod sockets;
mod live_page;
pub mod documents;
pub mod rest;
pub mod operations;
pub mod asking;
pub mod config;
pub mod app;
pub mod panics;
pub mod process;
