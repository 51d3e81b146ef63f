//! The version of the file format.

use crate::fault::{Fault, Place, Shown};
use crate::node::{Map, Node};

/// The first version of the format, whose date is `day`, `month` and `year`.
pub(crate) const FIRST: &str = "1.0";

/// The syntax version of a document from before 2.1, which has it in `version`;
/// nothing for later ones, which have it in `syntaxVersion`: there `version` is
/// the pricing's own.
pub(crate) fn old(document: &Map) -> Result<Option<&str>, Fault> {
    let is_old = |text: &str| [FIRST, "1.1", "2.0"].contains(&text);
    if document.present("syntaxVersion").is_some() {
        return document.read("syntaxVersion", |node| {
            let text = node.string()?;
            Err(node.refused(match text {
                "2.1" | "3.0" | "3.1" => return Ok(None),
                _ if is_old(text) => format!("syntax {text} is written in `version`, not here"),
                _ => format!(
                    "\"2.1\", \"3.0\" or \"3.1\" expected, found `{}`",
                    Shown(text)
                ),
            }))
        });
    }
    if document.present("version").is_some() {
        let version = document.read("version", Node::string)?;
        if is_old(version) {
            return Ok(Some(version));
        }
    }
    let what = "missing: \"2.1\", \"3.0\" or \"3.1\" expected";
    Err(Fault::new(Place::START, what).under("syntaxVersion"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{node::Value, yaml};

    fn syntax_of(head: &str) -> Result<Option<String>, String> {
        let root = yaml::load(&format!("{head}\nsaasName: Wire"));
        let syntax = root.and_then(|root| match &root.value {
            Value::Map(map) => Ok(old(map)?.map(String::from)),
            _ => Err(root.expected("a map")),
        });
        syntax.map_err(|fault| fault.to_string())
    }

    #[test]
    fn known_syntax_versions_are_found_in_both_places() {
        for (head, expected) in [
            ("version: '1.0'", Some("1.0")),
            ("version: \"1.1\"", Some("1.1")),
            ("syntaxVersion: ~\nversion: '2.0'", Some("2.0")),
            ("syntaxVersion: '2.1'\nversion: '2.0'", None),
            ("syntaxVersion: !!str 3.0", None),
            ("syntaxVersion: '3.1'", None),
        ] {
            assert_eq!(syntax_of(head), Ok(expected.map(String::from)), "{head}");
        }
    }

    #[test]
    fn unknown_syntax_versions_are_refused() {
        let missing =
            "line 1, column 1: syntaxVersion: missing: \"2.1\", \"3.0\" or \"3.1\" expected";
        for (head, message) in table! {
            "" => missing,
            "version: '1.5'" => missing,
            "version: ~\nsyntaxVersion: ~" => missing,
            "syntaxVersion: 3.0" =>
                "line 1, column 16: syntaxVersion: a text expected, found the number 3.0: put it in quotes",
            "version: 2.0" =>
                "line 1, column 10: version: a text expected, found the number 2.0: put it in quotes",
            "syntaxVersion: '2.0'" =>
                "line 1, column 16: syntaxVersion: syntax 2.0 is written in `version`, not here",
            "syntaxVersion: '4.0'" =>
                "line 1, column 16: syntaxVersion: \"2.1\", \"3.0\" or \"3.1\" expected, found `4.0`",
        } {
            assert_eq!(syntax_of(head), Err(message.into()), "{head}");
        }
    }
}
