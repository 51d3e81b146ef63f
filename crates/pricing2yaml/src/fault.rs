//! Why a document is refused, and where.

use std::fmt;

use granit_parser::Marker;

/// A line and a column of the document, both from 1; columns count characters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) line: usize,
    pub(crate) column: usize,
}

impl Place {
    /// For faults that have no place of their own.
    pub(crate) const START: Place = Place { line: 1, column: 1 };

    /// Right after `text`, which begins the document.
    pub(crate) fn after(text: &str) -> Place {
        let line = text.rsplit('\n').next().unwrap_or_default();
        Place {
            line: 1 + text.matches('\n').count(),
            column: 1 + line.chars().count(),
        }
    }

    /// Where the parser stands: its lines count from 1, its columns from 0.
    pub(crate) fn of(marker: &Marker) -> Place {
        Place {
            line: marker.line().max(1),
            column: marker.col() + 1,
        }
    }
}

/// Why a document is refused, and where; one line.
///
/// Displayed as `line 4, column 10: version: a text expected, found the number
/// 2024: put it in quotes`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    place: Place,
    /// Grows from the inside out, so that a sound document pays nothing for it.
    /// None where the parser refuses: it knows of no path.
    path: Option<String>,
    what: String,
}

impl Fault {
    pub(crate) fn new(place: Place, what: impl Into<String>) -> Fault {
        Fault {
            place,
            path: Some(String::new()),
            what: what.into(),
        }
    }

    pub(crate) fn without_path(self) -> Fault {
        Fault { path: None, ..self }
    }

    /// The same fault, seen from the map that holds it under `key`.
    pub(crate) fn under(self, key: &str) -> Fault {
        self.behind(Shown(key))
    }

    /// The same fault, seen from the list that holds it at `index`, from 0.
    pub(crate) fn at(self, index: usize) -> Fault {
        self.behind(format_args!("[{index}]"))
    }

    fn behind(mut self, outer: impl fmt::Display) -> Fault {
        if let Some(path) = &mut self.path {
            let joined = path.is_empty() || path.starts_with('[');
            *path = format!("{outer}{}{path}", if joined { "" } else { "." });
        }
        self
    }
}

impl std::error::Error for Fault {}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Place { line, column } = self.place;
        write!(f, "line {line}, column {column}: ")?;
        let path = self.path.as_deref().unwrap_or_default();
        match path.char_indices().nth(PATH_CHARS) {
            _ if path.is_empty() => {}
            None => write!(f, "{path}: ")?,
            Some((end, _)) => write!(f, "{}…: ", path.split_at(end).0)?,
        }
        f.write_str(&self.what)
    }
}

/// Text of the document inside a message: one line, and not a long one.
pub(crate) struct Shown<'a>(pub(crate) &'a str);

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
        let fault = Fault::new(Place { line: 3, column: 7 }, "missing")
            .under("name")
            .at(2)
            .under("features");
        assert_eq!(
            fault.to_string(),
            "line 3, column 7: features[2].name: missing"
        );
    }

    #[test]
    fn a_long_path_is_cut() {
        let start = Fault::new(Place::START, "missing");
        let fault = (0..300).fold(start, |fault, _| fault.under("a"));
        assert_eq!(
            fault.to_string(),
            format!("line 1, column 1: {}…: missing", "a.".repeat(100))
        );
    }

    #[test]
    fn a_name_in_a_message_stays_on_one_short_line() {
        assert_eq!(Shown("a\nb\u{2028}").to_string(), "a\\u{a}b\\u{2028}");
        assert_eq!(Shown(&"é".repeat(100)).to_string().chars().count(), 61);
    }
}
