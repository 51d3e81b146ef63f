//! Control characters past the parser.
//!
//! js-yaml takes most of them in quotes and looks at none in comments, where
//! editors leave them (a Windows apostrophe becomes U+0092); the parser takes
//! them nowhere. So each is replaced by a stand-in of private use while the
//! document is parsed, and put back in every scalar.

use std::borrow::Cow;

/// The stand-in for U+0000; the others follow in order.
const FIRST: u32 = 0x10_F000;

/// `source` with stand-ins; borrowed if it needs none.
///
/// A source that has such private characters of its own is left as it is, and
/// the parser refuses its control characters.
pub(super) fn hide(source: &str) -> Cow<'_, str> {
    if !source.contains(is_hard) || source.contains(|c| character_behind(c).is_some()) {
        return Cow::Borrowed(source);
    }
    let stand_in = |c: char| char::from_u32(FIRST + (u32::from(c) & 0xFF)).unwrap_or(c);
    let hidden = source
        .chars()
        .map(|c| if is_hard(c) { stand_in(c) } else { c });
    Cow::Owned(hidden.collect())
}

/// A part of a source with stand-ins, as it was.
pub(super) fn restore(hidden: &str) -> String {
    let restored = hidden.chars().map(|c| character_behind(c).unwrap_or(c));
    restored.collect()
}

/// Not printable, in YAML's words.
pub(super) fn is_hard(c: char) -> bool {
    match c {
        '\t' | '\n' | '\r' | '\u{85}' => false,
        '\u{FFFE}' | '\u{FFFF}' => true,
        c => c.is_control(),
    }
}

fn character_behind(c: char) -> Option<char> {
    let code = match u32::from(c).checked_sub(FIRST)? {
        code @ 0..0xA0 => code,
        code @ 0xFE..=0xFF => 0xFF00 + code,
        _ => return None,
    };
    char::from_u32(code).filter(|c| is_hard(*c))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stand_ins_are_put_back() {
        let source = "a\u{1}\u{7f}\u{80}\u{92}\u{9f}\u{FFFE}\u{FFFF}\t\u{85}\u{A0}é😀";
        let hidden = hide(source);
        assert!(!hidden.contains(is_hard));
        assert_eq!(hidden.chars().count(), source.chars().count());
        assert_eq!(restore(&hidden), source);
    }

    #[test]
    fn a_source_with_private_characters_is_left_alone() {
        for source in ["", "a\tb\r\n", "\u{10F001}", "\u{1}\u{10F092}"] {
            assert_eq!(hide(source), Cow::Borrowed(source));
        }
    }
}
