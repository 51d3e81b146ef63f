//! Why a document is refused, and where.

use std::fmt;

/// A line and a column of the document, both from 1; columns count characters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) line: usize,
    pub(super) column: usize,
}

impl Place {
    /// For refusals that have no place of their own.
    pub(super) const START: Place = Place { line: 1, column: 1 };
}

/// A document that is refused.
///
/// Displayed as `line 4, column 10: version: a text expected, found the number
/// 2024: put it in quotes`.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("line {line}, column {column}: {message}")]
pub struct InvalidPricing {
    /// The line of the value that is wrong, from 1.
    pub line: usize,
    /// Its column in characters, from 1.
    pub column: usize,
    /// The value's path, if it has one, and what is wrong: `version: missing`.
    pub message: String,
}

/// An [`InvalidPricing`] in the making: its path grows from the inside out,
/// so that a document without a fault pays nothing for paths.
#[derive(Debug)]
pub(super) struct Refusal {
    place: Place,
    path: String,
    what: String,
}

impl Refusal {
    pub(super) fn new(place: Place, what: impl Into<String>) -> Refusal {
        Refusal {
            place,
            path: String::new(),
            what: what.into(),
        }
    }

    /// The same refusal, seen from the map that holds it under `key`.
    pub(super) fn under(mut self, key: &str) -> Refusal {
        let dot = if self.path.is_empty() || self.path.starts_with('[') {
            ""
        } else {
            "."
        };
        self.path = format!("{}{dot}{}", Shown(key), self.path);
        self
    }

    /// The same refusal, seen from the list that holds it at `index`, from 0.
    pub(super) fn at(mut self, index: usize) -> Refusal {
        let dot = if self.path.is_empty() || self.path.starts_with('[') {
            ""
        } else {
            "."
        };
        self.path = format!("[{index}]{dot}{}", self.path);
        self
    }
}

impl From<Refusal> for InvalidPricing {
    fn from(refusal: Refusal) -> InvalidPricing {
        let Refusal { place, path, what } = refusal;
        InvalidPricing {
            line: place.line,
            column: place.column,
            message: match path.char_indices().nth(PATH_CHARS) {
                _ if path.is_empty() => what,
                None => format!("{path}: {what}"),
                Some((end, _)) => format!("{}…: {what}", path.split_at(end).0),
            },
        }
    }
}

/// Text of the document inside a message: one line, and not a long one.
pub(super) struct Shown<'a>(pub(super) &'a str);

/// How many characters of one text of the document a message repeats at most.
const SHOWN_CHARS: usize = 60;
/// How many characters of a path a message shows at most.
const PATH_CHARS: usize = 200;

impl fmt::Display for Shown<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (count, c) in self.0.chars().enumerate() {
            if count == SHOWN_CHARS {
                return f.write_str("…");
            }
            if c.is_control() || matches!(c, '\u{2028}' | '\u{2029}' | '\u{FEFF}') {
                write!(f, "{}", c.escape_unicode())?;
            } else {
                fmt::Write::write_char(f, c)?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_grows_from_the_inside_out() {
        let refusal = Refusal::new(Place { line: 3, column: 7 }, "missing")
            .under("name")
            .at(2)
            .under("features");
        assert_eq!(
            InvalidPricing::from(refusal).to_string(),
            "line 3, column 7: features[2].name: missing"
        );
    }

    #[test]
    fn a_long_path_is_cut() {
        let start = Refusal::new(Place::START, "missing");
        let refusal = (0..300).fold(start, |refusal, _| refusal.under("a"));
        assert_eq!(
            InvalidPricing::from(refusal).message,
            format!("{}…: missing", "a.".repeat(100))
        );
    }

    #[test]
    fn a_name_in_a_message_stays_on_one_short_line() {
        assert_eq!(Shown("a\nb\u{2028}").to_string(), "a\\u{a}b\\u{2028}");
        assert_eq!(Shown(&"é".repeat(100)).to_string().chars().count(), 61);
    }
}
