//! A loaded YAML value that still knows where it stands and how it was written.

use std::rc::Rc;

use chrono::{DateTime, Utc};
use indexmap::IndexMap;

use crate::fault::{Fault, Place, Shown};

/// A value and its place. An alias shares the node that it names.
#[derive(Debug, PartialEq)]
pub(crate) struct Node {
    pub(crate) place: Place,
    /// The text of a scalar, without its quotes; nothing for a list or a map.
    pub(crate) text: Box<str>,
    pub(crate) value: Value,
}

/// What a scalar, a list or a map says.
#[derive(Debug, PartialEq)]
pub(crate) enum Value {
    Null,
    Bool(bool),
    /// A JavaScript number.
    Number(f64),
    Time(DateTime<Utc>),
    Text,
    List(Vec<Rc<Node>>),
    Map(Map),
}

/// A map in the order of the document, no key twice.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Map(pub(crate) IndexMap<Rc<str>, Rc<Node>>);

impl Node {
    /// The text of a YAML string.
    pub(crate) fn string(&self) -> Result<&str, Fault> {
        match &self.value {
            Value::Text => Ok(&self.text),
            Value::Bool(_) | Value::Number(_) | Value::Time(_) => {
                let found = self.described();
                Err(self.refused(format!("a text expected, found {found}: put it in quotes")))
            }
            Value::Null | Value::List(_) | Value::Map(_) => Err(self.expected("a text")),
        }
    }

    /// The first fault of a value of this map or list; nothing for a scalar.
    pub(crate) fn check_each(
        &self,
        check: impl Fn(&Node) -> Result<(), Fault>,
    ) -> Result<(), Fault> {
        match &self.value {
            Value::Map(map) => map
                .0
                .iter()
                .try_for_each(|(key, value)| check(value).map_err(|fault| fault.under(key))),
            Value::List(items) => items
                .iter()
                .enumerate()
                .try_for_each(|(index, item)| check(item).map_err(|fault| fault.at(index))),
            _ => Ok(()),
        }
    }

    /// Says that the node should have been something else.
    pub(crate) fn expected(&self, what: &str) -> Fault {
        self.refused(format!("{what} expected, found {}", self.described()))
    }

    pub(crate) fn refused(&self, what: impl Into<String>) -> Fault {
        Fault::new(self.place, what)
    }

    /// The value in a message: `the number 2024`, `a list`.
    pub(crate) fn described(&self) -> String {
        let text = Shown(&self.text);
        match &self.value {
            Value::Null => "nothing".into(),
            Value::Bool(value) => format!("the boolean {value}"),
            Value::Number(_) => format!("the number {text}"),
            Value::Time(_) => format!("the date {text}"),
            Value::Text => format!("the text `{text}`"),
            Value::List(_) => "a list".into(),
            Value::Map(_) => "a map".into(),
        }
    }
}

impl Map {
    pub(crate) fn get(&self, key: &str) -> Option<&Node> {
        self.0.get(key).map(Rc::as_ref)
    }

    /// The value of `key`, unless it is null: JavaScript code treats both alike.
    pub(crate) fn present(&self, key: &str) -> Option<&Node> {
        self.get(key)
            .filter(|node| !matches!(node.value, Value::Null))
    }

    /// What `read` makes of the value of `key`, which must be there.
    pub(crate) fn read<'a, T>(
        &'a self,
        key: &str,
        read: impl FnOnce(&'a Node) -> Result<T, Fault>,
    ) -> Result<T, Fault> {
        let missing = || Fault::new(Place::START, "missing");
        let value = self.get(key).ok_or_else(missing).and_then(read);
        value.map_err(|fault| fault.under(key))
    }
}

#[cfg(test)]
mod tests {
    use crate::yaml::load;

    #[test]
    fn values_in_messages_read_as_they_were_written() {
        for (yaml, described) in table! {
            "" => "nothing", "True" => "the boolean true", "1.0" => "the number 1.0",
            "0x1F" => "the number 0x1F", "2024-01-01" => "the date 2024-01-01",
            "'a'" => "the text `a`", "[]" => "a list", "{}" => "a map",
        } {
            let found = load(yaml).ok().map(|node| node.described());
            assert_eq!(found.as_deref(), Some(described), "{yaml}");
        }
    }
}
