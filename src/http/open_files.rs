//! How many files the process may have open: each connection is one.

use nix::sys::resource::{Resource, getrlimit, setrlimit};
use tracing::{debug, warn};

/// The program never asks for more.
const MOST: u64 = 1 << 20;
/// What is allowed where the system says that there is no limit, but has one.
const USUAL_MOST: u64 = 10_240;

/// Raises the soft limit, often 1024, to the hard one. Returns the limit that
/// holds then.
pub fn raise_limit() -> u64 {
    let limits = match getrlimit(Resource::RLIMIT_NOFILE) {
        Ok(limits) => limits,
        Err(error) => {
            warn!(%error, "cannot read the limit of open files");
            return 1024;
        }
    };
    let (soft, hard) = limits;
    for wanted in [hard.min(MOST), hard.min(USUAL_MOST)] {
        if soft >= wanted {
            break;
        }
        match setrlimit(Resource::RLIMIT_NOFILE, wanted, hard) {
            Ok(()) => return wanted,
            Err(error) => debug!(%error, wanted, "cannot raise the limit of open files"),
        }
    }
    soft
}
