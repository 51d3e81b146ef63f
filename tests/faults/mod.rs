//! Nothing is lost, doubled or reordered, whatever fails between a commit and a
//! client.

#![expect(
    clippy::print_stdout,
    reason = "figures, for whoever looks at them with --nocapture"
)]

mod away;
mod connections;
mod copies;
mod failovers;
mod held_up;
mod instances;
mod late_rows;
mod restarts;
mod slow_clients;
mod standbys;
mod transactions;
