//! The bytes of an upload as text.

use super::invalid::{Place, Refusal};

/// The document's text, without a byte order mark at its start.
///
/// # Errors
///
/// Bytes that are not UTF-8, and NUL, which Postgres cannot keep and js-yaml
/// refuses even in comments.
pub(super) fn decode(bytes: &[u8]) -> Result<&str, Refusal> {
    let bytes = bytes.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(bytes);
    let text = std::str::from_utf8(bytes).map_err(|error| {
        let (sound, _) = bytes.split_at(error.valid_up_to());
        Refusal::new(
            end_of(&String::from_utf8_lossy(sound)),
            "the document is not utf-8",
        )
    })?;
    match text.split_once('\0') {
        None => Ok(text),
        Some((before, _)) => Err(Refusal::new(
            end_of(before),
            "the character nul is not allowed",
        )),
    }
}

/// The place right after `text`.
fn end_of(text: &str) -> Place {
    let mut place = Place::START;
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        if c == '\n' || (c == '\r' && chars.peek() != Some(&'\n')) {
            place = Place {
                line: place.line + 1,
                column: 1,
            };
        } else {
            place.column += 1;
        }
    }
    place
}

#[cfg(test)]
mod tests {
    use super::super::invalid::InvalidPricing;
    use super::*;

    #[test]
    fn one_byte_order_mark_is_removed() {
        assert_eq!(decode(b"\xEF\xBB\xBFa: 1").ok(), Some("a: 1"));
        assert_eq!(decode(b"a: 1").ok(), Some("a: 1"));
    }

    #[test]
    fn what_is_not_text_is_refused_with_its_place() {
        for (bytes, message) in [
            (
                b"a: 1\r\nb: \xFF".as_slice(),
                "line 2, column 4: the document is not utf-8",
            ),
            (
                b"\xFF\xFEa\0",
                "line 1, column 1: the document is not utf-8",
            ),
            (
                b"a: 1\n# \xC3\xA9\0",
                "line 2, column 4: the character nul is not allowed",
            ),
        ] {
            let refusal = decode(bytes).err().map(InvalidPricing::from);
            assert_eq!(
                refusal.map(|refusal| refusal.to_string()).as_deref(),
                Some(message)
            );
        }
    }
}
