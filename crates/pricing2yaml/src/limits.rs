//! How much a document may hold, each alias counted as what it names.
//!
//! An alias costs nothing to load. But JSON repeats what it names: ten lines can
//! stand for millions of nodes.

use crate::fault::{Fault, Place};
use crate::node::{Node, Value};

/// How many lists and maps may stand inside each other.
const MAX_LEVELS: usize = 64;
/// How many nodes a document may have. Keys are nodes, too.
const MAX_NODES: usize = 200_000;
/// How many bytes of text a document may have.
const MAX_TEXT_BYTES: usize = 8 << 20;

/// What was read so far. Its places are where the reader stands.
#[derive(Default)]
pub(crate) struct Spent {
    nodes: usize,
    text_bytes: usize,
}

impl Spent {
    /// Adds what an alias repeats, inside of `levels` lists and maps.
    pub(crate) fn add(&mut self, node: &Node, place: Place, levels: usize) -> Result<(), Fault> {
        match &node.value {
            Value::List(items) => {
                self.add_one("", place, levels + 1)?;
                let mut items = items.iter();
                items.try_for_each(|item| self.add(item, place, levels + 1))
            }
            Value::Map(map) => {
                self.add_one("", place, levels + 1)?;
                map.0.iter().try_for_each(|(key, value)| {
                    self.add_one(key, place, levels)?;
                    self.add(value, place, levels + 1)
                })
            }
            _ => self.add_one(&node.text, place, levels),
        }
    }

    /// Adds a scalar of this text, or the start of a list or a map.
    pub(crate) fn add_one(&mut self, text: &str, place: Place, levels: usize) -> Result<(), Fault> {
        self.nodes += 1;
        self.text_bytes += text.len();
        let what = if levels > MAX_LEVELS {
            too_deep()
        } else if self.nodes > MAX_NODES {
            format!("more than {MAX_NODES} nodes, aliases expanded")
        } else if self.text_bytes > MAX_TEXT_BYTES {
            format!("more than {MAX_TEXT_BYTES} bytes of text, aliases expanded")
        } else {
            return Ok(());
        };
        Err(Fault::new(place, what))
    }
}

/// What is said of too many levels.
pub(crate) fn too_deep() -> String {
    format!("more than {MAX_LEVELS} levels of lists and maps")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{assert_refused, yaml};

    fn refused(text: &str) -> String {
        yaml::load(text)
            .expect_err("more than is allowed")
            .to_string()
    }

    #[test]
    fn nesting_ends_at_64_levels() {
        let deep = |levels| format!("{}{}", "[".repeat(levels), "]".repeat(levels));
        assert!(yaml::load(&deep(64)).is_ok());
        let staircase: String = (0..1000)
            .map(|n| format!("{}a:\n", " ".repeat(n)))
            .collect();
        let (below, above) = (deep(40), deep(30).replace("[]", "[*a]"));
        for yaml in [
            deep(65),
            deep(1 << 20),
            staircase,
            "- ".repeat(1 << 19),
            "? ".repeat(1 << 19),
            format!("- &a {below}\n- {above}"),
        ] {
            let message = refused(&yaml);
            assert!(message.ends_with(&too_deep()), "{message}");
        }
    }

    #[test]
    fn bombs_are_refused_where_they_go_too_far() {
        let mut bomb = String::from("l0: &l0 [x]\n");
        for n in 1..30 {
            let below = format!("*l{}, ", n - 1).repeat(9);
            bomb.push_str(&format!("l{n}: &l{n} [{below}]\n"));
        }
        let message = "line 7, column 10: l6[0]: more than 200000 nodes, aliases expanded";
        assert_refused([(&bomb, message)]);

        let text = format!("a: &a {}\nb: [{}]", "x".repeat(1 << 20), "*a, ".repeat(10));
        let message = "line 2, column 29: b[6]: more than 8388608 bytes of text, aliases expanded";
        assert_refused([(&text, message)]);

        let keys: String = (0..1000).map(|n| format!("k{n}: 1, ")).collect();
        let merges = format!("a: &a {{{keys}}}\nb: {{<<: [{}]}}", "*a, ".repeat(100_000));
        assert!(refused(&merges).ends_with("more than 200000 nodes, aliases expanded"));

        assert!(yaml::load(&"- a\n".repeat(199_999)).is_ok());
        assert!(yaml::load(&"- a\n".repeat(200_000)).is_err());
    }
}
