//! A loaded YAML value that still knows where it stands and how it was written.

use std::rc::Rc;

use chrono::{DateTime, Utc};

use super::invalid::{Place, Shown};
use super::limits::Size;
use super::{scalar, timestamp};

/// A value and its place. An alias shares the node that it names.
#[derive(Debug, PartialEq)]
pub(super) struct Node {
    pub(super) place: Place,
    pub(super) value: Value,
    /// How many levels of lists and maps it is high; a scalar is 0.
    pub(super) levels: usize,
    pub(super) size: Size,
}

/// What a scalar, a list or a map says.
#[derive(Debug, PartialEq)]
pub(super) enum Value {
    Null,
    Bool(bool),
    /// A JavaScript number, and how the document writes it.
    Number {
        value: f64,
        written: Box<str>,
    },
    /// A timestamp, and how the document writes it.
    Time {
        instant: DateTime<Utc>,
        written: Box<str>,
    },
    Text(Box<str>),
    List(Vec<Rc<Node>>),
    Map(Map),
}

/// A map in the order of the document, no key twice.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Map {
    pub(super) entries: Vec<Entry>,
}

/// A key as JavaScript's `String(key)`, and its value.
#[derive(Debug, PartialEq)]
pub(super) struct Entry {
    pub(super) key: Rc<str>,
    pub(super) value: Rc<Node>,
}

impl Node {
    pub(super) fn new(place: Place, value: Value, size: Size) -> Node {
        let below = |nodes: &mut dyn Iterator<Item = &Rc<Node>>| {
            1 + nodes.map(|node| node.levels).max().unwrap_or(0)
        };
        let levels = match &value {
            Value::List(items) => below(&mut items.iter()),
            Value::Map(map) => below(&mut map.entries.iter().map(|entry| &entry.value)),
            _ => 0,
        };
        Node {
            place,
            value,
            levels,
            size,
        }
    }

    /// The node as a map key: what JavaScript's `String(value)` gives.
    ///
    /// # Errors
    ///
    /// A list inside of a list, which js-yaml refuses in keys.
    pub(super) fn key_text(&self) -> Result<Rc<str>, String> {
        let text = match &self.value {
            Value::List(items) => {
                let mut texts = Vec::with_capacity(items.len());
                for item in items {
                    texts.push(match &item.value {
                        Value::Null => String::new(),
                        Value::List(_) => return Err("a key is a list inside of a list".into()),
                        value => value.javascript_string(),
                    });
                }
                texts.join(",")
            }
            value => value.javascript_string(),
        };
        Ok(text.into())
    }
}

impl Value {
    pub(super) fn number(value: f64, written: &str) -> Value {
        Value::Number {
            value,
            written: written.into(),
        }
    }

    pub(super) fn time(instant: DateTime<Utc>, written: &str) -> Value {
        Value::Time {
            instant,
            written: written.into(),
        }
    }

    fn javascript_string(&self) -> String {
        match self {
            Value::Null => "null".into(),
            Value::Bool(value) => value.to_string(),
            Value::Number { value, .. } => scalar::javascript_string(*value),
            Value::Time { instant, .. } => timestamp::javascript_string(*instant),
            Value::Text(text) => text.to_string(),
            Value::List(_) | Value::Map(_) => "[object Object]".into(),
        }
    }

    /// The value in a message: `the number 2024`, `a list`.
    pub(super) fn described(&self) -> String {
        match self {
            Value::Null => "nothing".into(),
            Value::Bool(value) => format!("the boolean {value}"),
            Value::Number { written, .. } => format!("the number {}", Shown(written)),
            Value::Time { written, .. } => format!("the date {}", Shown(written)),
            Value::Text(text) => format!("the text `{}`", Shown(text)),
            Value::List(_) => "a list".into(),
            Value::Map(_) => "a map".into(),
        }
    }
}

impl Map {
    /// The value of `key`. Walks over all keys: ask each map for a few keys only.
    pub(super) fn get(&self, key: &str) -> Option<&Node> {
        let entry = self.entries.iter().find(|entry| &*entry.key == key)?;
        Some(&entry.value)
    }

    /// The value of `key`, unless it is null: JavaScript code treats both alike.
    pub(super) fn present(&self, key: &str) -> Option<&Node> {
        self.get(key)
            .filter(|node| !matches!(node.value, Value::Null))
    }
}

#[cfg(test)]
mod tests {
    use super::super::yaml::load;

    #[test]
    fn values_in_messages_read_as_they_were_written() {
        for (yaml, described) in [
            ("", "nothing"),
            ("True", "the boolean true"),
            ("1.0", "the number 1.0"),
            ("0x1F", "the number 0x1F"),
            ("2024-01-01", "the date 2024-01-01"),
            ("'a'", "the text `a`"),
            ("[]", "a list"),
            ("{}", "a map"),
        ] {
            let found = load(yaml).ok().map(|node| node.value.described());
            assert_eq!(found.as_deref(), Some(described), "{yaml}");
        }
    }

    #[test]
    fn a_node_counts_what_its_aliases_stand_for() {
        let levels_and_nodes = |yaml| load(yaml).ok().map(|node| (node.levels, node.size.nodes));
        assert_eq!(levels_and_nodes("a"), Some((0, 1)));
        assert_eq!(levels_and_nodes("[a, [b]]"), Some((2, 4)));
        assert_eq!(levels_and_nodes("{a: &x [b], c: *x}"), Some((2, 7)));
    }
}
