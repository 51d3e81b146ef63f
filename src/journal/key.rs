//! The key of a journal, with which it signs the positions that it gives out, and its
//! triggers what they tell in notifications.
//!
//! So a text that is no position of this journal is refused without a read. And no event
//! comes of a notification that somebody else sends: every role may. A journal that came
//! from elsewhere in a dump gets a new key (`store::journal::adopt`).

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::{Digest as _, Sha256};
use subtle::ConstantTimeEq as _;

/// The bytes of a signature: half of HMAC-SHA-256.
pub const SIGNATURE_BYTES: usize = 16;

/// The letters of base64 for a signature that is told: half of a SHA-256 too.
const TOLD_SIGNATURE_LETTERS: usize = SIGNATURE_BYTES.div_ceil(3) * 4;

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
        half_of(&mac.finalize().into_bytes())
    }

    /// Whether this key signed the content, in constant time.
    pub fn has_signed(&self, content: &[u8], signature: &[u8; SIGNATURE_BYTES]) -> bool {
        let mac = self.mac.clone().chain_update(content);
        mac.verify_truncated_left(signature).is_ok()
    }

    /// The content of what a trigger of this journal told: signature and content, as
    /// `space_events.tell_readers` puts them together from what Postgres has everywhere.
    pub fn content_of<'t>(&self, told: &'t str) -> Option<&'t str> {
        let (signature, content) = told.split_at_checked(TOLD_SIGNATURE_LETTERS)?;
        let expected = self.told_signature(content);
        let is_signed = expected.as_bytes().ct_eq(signature.as_bytes());
        bool::from(is_signed).then_some(content)
    }

    fn told_signature(&self, content: &str) -> String {
        let hash = |content: &[u8]| {
            let keyed = Sha256::new().chain_update(&self.bytes);
            keyed.chain_update(content).finalize()
        };
        STANDARD.encode(half_of(&hash(&hash(content.as_bytes()))))
    }

    /// As a trigger tells a content.
    #[cfg(test)]
    pub(super) fn tell(&self, content: &str) -> String {
        self.told_signature(content) + content
    }
}

fn half_of(hash: &[u8]) -> [u8; SIGNATURE_BYTES] {
    *hash.first_chunk().expect("SHA-256 is longer")
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_trigger_signs_what_it_tells() {
        let key: Vec<u8> = (0..32).collect();
        let content = "[1, \"Zoom\", \"1.0 \u{e9}\"]";
        // select encode(substring(sha256(key || sha256(key || content)) for 16), 'base64')
        let told = format!("SIMSryY0TllTfUTgNHuGRg=={content}");
        assert_eq!(JournalKey::new(key).content_of(&told), Some(content));
    }
}
