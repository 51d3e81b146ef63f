//! The version of the file format.

use super::identity::text;
use super::invalid::{Place, Refusal, Shown};
use super::node::{Map, Node};

/// A version of the file format.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Syntax {
    V1_0,
    V1_1,
    V2_0,
    /// 2.1 and later: `version` is the pricing's own.
    Later,
}

impl Syntax {
    /// Reads `syntaxVersion`, or `version` where the first is absent or null.
    pub(super) fn of(document: &Map) -> Result<Syntax, Refusal> {
        let Some(node) = document.present("syntaxVersion") else {
            return match document.present("version") {
                Some(node) => Syntax::in_old_place(node),
                None => Err(Syntax::missing()),
            };
        };
        let refusal = match text(node) {
            Ok("2.1" | "3.0" | "3.1") => return Ok(Syntax::Later),
            Ok(old @ ("1.0" | "1.1" | "2.0")) => Refusal::new(
                node.place,
                format!("syntax {old} is written in `version`, not here"),
            ),
            Ok(other) => Refusal::new(
                node.place,
                format!(
                    "\"2.1\", \"3.0\" or \"3.1\" expected, found `{}`",
                    Shown(other)
                ),
            ),
            Err(refusal) => refusal,
        };
        Err(refusal.under("syntaxVersion"))
    }

    fn in_old_place(version: &Node) -> Result<Syntax, Refusal> {
        match text(version).map_err(|refusal| refusal.under("version"))? {
            "1.0" => Ok(Syntax::V1_0),
            "1.1" => Ok(Syntax::V1_1),
            "2.0" => Ok(Syntax::V2_0),
            _ => Err(Syntax::missing()),
        }
    }

    fn missing() -> Refusal {
        let what = "missing: \"2.1\", \"3.0\" or \"3.1\" expected";
        Refusal::new(Place::START, what).under("syntaxVersion")
    }

    /// The version's text where the document has it in `version`.
    pub(super) fn old_text(self) -> Option<&'static str> {
        match self {
            Syntax::V1_0 => Some("1.0"),
            Syntax::V1_1 => Some("1.1"),
            Syntax::V2_0 => Some("2.0"),
            Syntax::Later => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::invalid::InvalidPricing;
    use super::super::node::Value;
    use super::super::yaml;
    use super::*;

    fn syntax_of(document: &str) -> Result<Syntax, String> {
        let syntax = yaml::load(document).and_then(|node| match &node.value {
            Value::Map(map) => Syntax::of(map),
            _ => Err(Refusal::new(Place::START, "no map")),
        });
        syntax.map_err(|refusal| InvalidPricing::from(refusal).to_string())
    }

    #[test]
    fn known_syntax_versions_are_found_in_both_places() {
        for (head, expected) in [
            ("version: '1.0'", Syntax::V1_0),
            ("version: \"1.1\"", Syntax::V1_1),
            ("syntaxVersion: ~\nversion: '2.0'", Syntax::V2_0),
            ("syntaxVersion: '2.1'\nversion: '2.0'", Syntax::Later),
            ("syntaxVersion: !!str 3.0", Syntax::Later),
            ("syntaxVersion: '3.1'", Syntax::Later),
        ] {
            assert_eq!(syntax_of(head), Ok(expected), "{head}");
        }
    }

    #[test]
    fn unknown_syntax_versions_are_refused() {
        let missing =
            "line 1, column 1: syntaxVersion: missing: \"2.1\", \"3.0\" or \"3.1\" expected";
        for (head, message) in [
            ("", missing),
            ("version: '1.5'", missing),
            ("version: ~\nsyntaxVersion: ~", missing),
            (
                "syntaxVersion: 3.0",
                "line 1, column 16: syntaxVersion: a text expected, found the number 3.0: put it in quotes",
            ),
            (
                "version: 2.0",
                "line 1, column 10: version: a text expected, found the number 2.0: put it in quotes",
            ),
            (
                "syntaxVersion: '2.0'",
                "line 1, column 16: syntaxVersion: syntax 2.0 is written in `version`, not here",
            ),
            (
                "syntaxVersion: '4.0'",
                "line 1, column 16: syntaxVersion: \"2.1\", \"3.0\" or \"3.1\" expected, found `4.0`",
            ),
        ] {
            let refusal = syntax_of(&format!("{head}\nsaasName: Wire"));
            assert_eq!(refusal, Err(message.into()), "{head}");
        }
    }
}
