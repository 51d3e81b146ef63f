//! How much a document may hold, each alias counted as what it names.
//!
//! An alias costs nothing to load, but JSON repeats what it names: ten lines
//! can stand for millions of nodes.

/// How many lists and maps may stand inside each other.
const MAX_LEVELS: usize = 64;
/// How many nodes a document may have. Keys are nodes, too.
const MAX_NODES: usize = 200_000;
/// How many bytes of text a document may have.
const MAX_TEXT_BYTES: usize = 8 << 20;

/// How much a node is once its aliases are expanded.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Size {
    pub(super) nodes: usize,
    pub(super) text_bytes: usize,
}

impl Size {
    /// One node, and the text that it has of its own.
    pub(super) fn of_one(text: &str) -> Size {
        Size {
            nodes: 1,
            text_bytes: text.len(),
        }
    }

    /// # Errors
    ///
    /// What is too much, if the sum is.
    pub(super) fn add(&mut self, more: Size) -> Result<(), String> {
        self.nodes += more.nodes;
        self.text_bytes += more.text_bytes;
        if self.nodes > MAX_NODES {
            Err(format!("more than {MAX_NODES} nodes, aliases expanded"))
        } else if self.text_bytes > MAX_TEXT_BYTES {
            let what = format!("more than {MAX_TEXT_BYTES} bytes of text, aliases expanded");
            Err(what)
        } else {
            Ok(())
        }
    }

    /// What was added since this was `before`.
    pub(super) fn since(self, before: Size) -> Size {
        Size {
            nodes: self.nodes - before.nodes,
            text_bytes: self.text_bytes - before.text_bytes,
        }
    }
}

/// # Errors
///
/// Too many levels.
pub(super) fn check_levels(levels: usize) -> Result<(), String> {
    if levels > MAX_LEVELS {
        return Err(too_deep());
    }
    Ok(())
}

/// What is said of too many levels.
pub(super) fn too_deep() -> String {
    format!("more than {MAX_LEVELS} levels of lists and maps")
}

#[cfg(test)]
mod tests {
    use super::super::invalid::InvalidPricing;
    use super::super::{json, yaml};

    fn load_json(text: &str) -> Result<serde_json::Value, String> {
        let json = yaml::load(text).and_then(|node| json::of(&node));
        json.map_err(|refusal| InvalidPricing::from(refusal).to_string())
    }

    fn refused(text: &str) -> String {
        load_json(text).err().unwrap_or_default()
    }

    #[test]
    fn nesting_ends_at_64_levels() {
        let deep = |levels| format!("{}{}", "[".repeat(levels), "]".repeat(levels));
        assert!(load_json(&deep(64)).is_ok());
        for levels in [65, 1 << 20] {
            let message = refused(&deep(levels));
            assert!(
                message.ends_with("more than 64 levels of lists and maps"),
                "{message}"
            );
        }
        let staircase: String = (0..1000)
            .map(|n| format!("{}a:\n", " ".repeat(n)))
            .collect();
        assert!(refused(&staircase).ends_with("more than 64 levels of lists and maps"));
        assert!(refused(&"- ".repeat(1 << 19)).ends_with("more than 64 levels of lists and maps"));

        let aliased = format!(
            "- &a {}\n- {}*a{}",
            deep(40),
            "[".repeat(30),
            "]".repeat(30)
        );
        assert!(refused(&aliased).ends_with("more than 64 levels of lists and maps"));
    }

    #[test]
    fn bombs_are_refused_where_they_go_too_far() {
        let mut bomb = String::from("l0: &l0 [x]\n");
        for n in 1..30 {
            let below = format!("*l{}, ", n - 1).repeat(9);
            bomb.push_str(&format!("l{n}: &l{n} [{below}]\n"));
        }
        assert_eq!(
            refused(&bomb),
            "line 7, column 10: l6[0]: more than 200000 nodes, aliases expanded"
        );

        let text = format!("a: &a {}\nb: [{}]", "x".repeat(1 << 20), "*a, ".repeat(10));
        assert_eq!(
            refused(&text),
            "line 2, column 29: b[6]: more than 8388608 bytes of text, aliases expanded"
        );

        let keys: String = (0..1000).map(|n| format!("k{n}: 1, ")).collect();
        let merges = format!("a: &a {{{keys}}}\nb: {{<<: [{}]}}", "*a, ".repeat(100_000));
        assert!(refused(&merges).ends_with("more than 200000 nodes, aliases expanded"));

        assert!(load_json(&"- a\n".repeat(199_999)).is_ok());
        assert!(load_json(&"- a\n".repeat(200_000)).is_err());
    }
}
