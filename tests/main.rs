//! The program from outside: real Postgres, real sockets, real clients.

#![allow(
    unreachable_pub,
    missing_docs,
    reason = "a program has no public items"
)]
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "what fails here fails the test"
)]

mod support;

mod answers;
mod asking;
mod bad_proxies;
mod capture;
mod clients;
mod consistency;
mod container;
mod database_tls;
mod early_answers;
mod deploy;
mod embedded_postgres;
mod examples;
mod faults;
mod filters;
mod following;
mod frames;
mod history;
mod interface;
mod lane;
mod lifecycle;
mod live_page;
mod log;
mod limits;
mod metrics;
mod migrations;
mod poolers;
mod organizations;
mod pages;
mod parts;
mod positions;
mod replication;
mod rest;
mod notifying;
mod sharing;
mod sessions;
mod slow_clients;
mod start_errors;
mod watching;
