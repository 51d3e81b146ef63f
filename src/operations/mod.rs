//! What operators see: what is counted and how things are, and whether the program
//! captures and announces.

pub mod scrape;
pub mod capture;
pub mod readiness;
pub mod memory;
