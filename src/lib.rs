//! A change-data-capture emitter for Postgres that speaks SPACE's Socket.IO
//! protocol. The flow, from a row to a frame:
//!
//! 1. Whoever writes `services` and `pricings`, triggers (`migrations/`) record
//!    each row change in the journal, in the writer's transaction, and NOTIFY.
//! 2. The [`feed`] listens, reads the [`journal`] from its position, and
//!    publishes the events that the changes mean.
//! 3. The [`sockets`] hand them to each client at its own pace; a client that
//!    fell behind or came back reads the journal from its own position.
//! 4. The [`rest`] handlers are one writer among others: they meet the feed in
//!    Postgres, and nowhere else.

pub mod event;
pub mod metrics;
pub mod asyncapi;
pub mod organization;
pub mod api_key;
pub mod rest;
mod live_page;
pub mod store;
pub mod journal;
pub mod feed;
pub mod sockets;
pub mod capture;
pub mod readiness;
pub mod scrape;
pub mod requests;
pub mod server;
pub mod unread_body;
pub mod pace;
pub mod open_files;
pub mod app;
pub mod healthcheck;
pub mod asking;
pub mod config;
pub mod panics;
pub mod process;
