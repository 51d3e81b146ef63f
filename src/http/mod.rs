//! HTTP, whatever answers: the connections and their limits, and what every request
//! gets.

pub mod connection_limit;
pub mod open_files;
pub mod connection;
pub mod pace;
pub mod unread_body;
pub mod failure;
pub mod loopback;
pub mod requests;
pub mod server;
