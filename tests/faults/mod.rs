//! Nothing is lost, doubled or reordered, whatever fails between a commit and a
//! client.

mod late_rows;
