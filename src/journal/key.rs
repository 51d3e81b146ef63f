//! The key of a journal, with which it signs the positions that it gives out.
//!
//! So a text that is no position of this journal is refused without a read. A journal that
//! came from elsewhere in a dump gets a new key (`store::journal::adopt`).

use std::fmt;

use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::Sha256;

/// The bytes of a signature: half of HMAC-SHA-256.
pub const SIGNATURE_BYTES: usize = 16;

/// Signs positions. Another key is another journal.
#[derive(Clone)]
pub struct JournalKey {
    bytes: Vec<u8>,
    /// With the key taken in.
    mac: Hmac<Sha256>,
}

impl JournalKey {
    /// Of the bytes that the journal keeps.
    pub fn new(bytes: Vec<u8>) -> Self {
        Self {
            mac: Hmac::new_from_slice(&bytes).expect("HMAC takes keys of any length"),
            bytes,
        }
    }

    /// Signs.
    pub fn sign(&self, content: &[u8]) -> [u8; SIGNATURE_BYTES] {
        let mac = self.mac.clone().chain_update(content);
        let [left, _] = *mac.finalize().into_bytes().as_chunks().0 else {
            unreachable!("SHA-256 has two halves");
        };
        left
    }

    /// Whether this key signed the content, in constant time.
    pub fn has_signed(&self, content: &[u8], signature: &[u8; SIGNATURE_BYTES]) -> bool {
        let mac = self.mac.clone().chain_update(content);
        mac.verify_truncated_left(signature).is_ok()
    }
}

impl PartialEq for JournalKey {
    fn eq(&self, other: &Self) -> bool {
        self.bytes == other.bytes
    }
}

impl Eq for JournalKey {}

impl fmt::Debug for JournalKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("JournalKey").finish_non_exhaustive()
    }
}
