//! What operators see: what is counted, whether the program captures and announces,
//! and whether it serves.

pub mod metrics;
pub mod scrape;
pub mod capture;
pub mod readiness;
pub mod healthcheck;
pub mod memory;
