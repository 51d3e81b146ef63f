//! Nothing is lost, doubled or reordered, whatever fails between a commit and a
//! client.

mod connections;
mod instances;
mod late_rows;
mod restarts;
