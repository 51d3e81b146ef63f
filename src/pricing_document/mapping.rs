//! A map while it is read: duplicate keys and merges.

use std::collections::{HashMap, HashSet};
use std::rc::Rc;

use super::invalid::{Place, Shown};
use super::node::{Entry, Map, Node, Value};

/// A map that is not closed yet. Takes keys and values in turn.
#[derive(Default)]
pub(super) struct OpenMap {
    map: Map,
    positions: HashMap<Rc<str>, usize>,
    /// Keys that came by `<<` only: one of the map's own replaces them.
    merged: HashSet<Rc<str>>,
    key: Option<Key>,
}

/// A key whose value is still to come.
enum Key {
    Merge,
    Own { text: Rc<str>, place: Place },
}

impl OpenMap {
    /// Takes the next key, or the value of the last one; `merge` marks the key `<<`.
    ///
    /// # Errors
    ///
    /// A key that the map has already, and a merge of what is no map; each with
    /// its place.
    pub(super) fn take(&mut self, node: Rc<Node>, merge: bool) -> Result<(), (Place, String)> {
        let place = node.place;
        match self.key.take() {
            None if merge => self.key = Some(Key::Merge),
            None => {
                let text = node.key_text().map_err(|what| (place, what))?;
                self.key = Some(Key::Own { text, place });
            }
            Some(Key::Merge) => self.merge(&node).map_err(|what| (place, what))?,
            Some(Key::Own { text, place }) => {
                self.insert(text, node).map_err(|what| (place, what))?;
            }
        }
        Ok(())
    }

    /// The key whose value is being read.
    pub(super) fn current_key(&self) -> Option<&str> {
        match self.key.as_ref()? {
            Key::Merge => Some("<<"),
            Key::Own { text, .. } => Some(text),
        }
    }

    pub(super) fn close(self) -> Map {
        self.map
    }

    fn insert(&mut self, key: Rc<str>, value: Rc<Node>) -> Result<(), String> {
        let Some(&position) = self.positions.get(&key) else {
            self.push(key, value);
            return Ok(());
        };
        if !self.merged.remove(&key) {
            return Err(format!("duplicate key `{}`", Shown(&key)));
        }
        if let Some(entry) = self.map.entries.get_mut(position) {
            entry.value = value;
        }
        Ok(())
    }

    /// Own keys win over merged ones, and earlier sources over later ones.
    fn merge(&mut self, source: &Node) -> Result<(), String> {
        match &source.value {
            Value::List(sources) => sources.iter().try_for_each(|one| self.merge_one(one)),
            _ => self.merge_one(source),
        }
    }

    fn merge_one(&mut self, source: &Node) -> Result<(), String> {
        match &source.value {
            Value::Map(map) => {
                for entry in &map.entries {
                    self.merge_entry(Rc::clone(&entry.key), &entry.value);
                }
                Ok(())
            }
            // To JavaScript, lists and dates are objects, too.
            Value::List(items) => {
                for (index, item) in items.iter().enumerate() {
                    self.merge_entry(index.to_string().into(), item);
                }
                Ok(())
            }
            Value::Time { .. } => Ok(()),
            other => Err(format!(
                "`<<` takes a map or a list of maps, found {}",
                other.described()
            )),
        }
    }

    fn merge_entry(&mut self, key: Rc<str>, value: &Rc<Node>) {
        if !self.positions.contains_key(&key) {
            self.merged.insert(Rc::clone(&key));
            self.push(key, Rc::clone(value));
        }
    }

    fn push(&mut self, key: Rc<str>, value: Rc<Node>) {
        self.positions
            .insert(Rc::clone(&key), self.map.entries.len());
        self.map.entries.push(Entry { key, value });
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::invalid::InvalidPricing;
    use super::super::{json, yaml};

    fn load(text: &str) -> Result<serde_json::Value, String> {
        let json = yaml::load(text).and_then(|node| json::of(&node));
        json.map_err(|refusal| InvalidPricing::from(refusal).to_string())
    }

    #[test]
    fn keys_become_javascript_strings() {
        let yaml = "{true: 1, : 2, 1.0: 3, 1e21: 4, [a, ~, b]: 5, {a: 1}: 6, '<<': 7, .inf: 8}";
        let expected = json!({
            "true": 1, "null": 2, "1": 3, "1e+21": 4, "a,,b": 5, "[object Object]": 6, "<<": 7,
            "Infinity": 8,
        });
        assert_eq!(load(yaml), Ok(expected));
    }

    #[test]
    fn merges_give_way_to_own_keys_and_to_earlier_sources() {
        for (yaml, expected) in [
            ("<<: {a: 1, b: 2}\na: 3", json!({"a": 3, "b": 2})),
            ("a: 3\n<<: {a: 1, b: 2}", json!({"a": 3, "b": 2})),
            ("<<: [{a: 1}, {a: 2, b: 2}]", json!({"a": 1, "b": 2})),
            ("<<: {a: 1}\n<<: {a: 2, b: 2}", json!({"a": 1, "b": 2})),
            ("<<: []", json!({})),
            (
                "x: &x {a: 1}\ny: {<<: *x, b: 2}",
                json!({"x": {"a": 1}, "y": {"a": 1, "b": 2}}),
            ),
            ("[<<: {a: 1}]", json!([{"a": 1}])),
        ] {
            assert_eq!(load(yaml), Ok(expected), "{yaml}");
        }
    }

    #[test]
    fn a_wrong_merge_is_refused() {
        for (yaml, message) in [
            (
                "a:\n  <<: x",
                "line 2, column 7: a: `<<` takes a map or a list of maps, found the text `x`",
            ),
            (
                "<<: [{}, 1]",
                "line 1, column 5: `<<` takes a map or a list of maps, found the number 1",
            ),
        ] {
            assert_eq!(load(yaml), Err(message.into()), "{yaml}");
        }
    }

    #[test]
    fn duplicate_keys_are_refused_anywhere() {
        for (yaml, message) in [
            (
                "plans: {}\nplans: {}",
                "line 2, column 1: duplicate key `plans`",
            ),
            (
                "a:\n  - b: {c: 1, \"c\": 2}",
                "line 2, column 15: a[0].b: duplicate key `c`",
            ),
            (
                "1000: a\n0x3E8: b",
                "line 2, column 1: duplicate key `1000`",
            ),
            (
                "<<: {a: 1}\na: 2\na: 3",
                "line 3, column 1: duplicate key `a`",
            ),
            (
                "? [[a]]\n: 1",
                "line 1, column 3: a key is a list inside of a list",
            ),
        ] {
            assert_eq!(load(yaml), Err(message.into()), "{yaml}");
        }
    }

    #[test]
    fn many_keys_are_compared_in_linear_time() {
        let keys: String = (0..90_000).map(|n| format!("k{n}: 1\n")).collect();
        assert!(load(&keys).is_ok());
        assert_eq!(
            load(&format!("{keys}k0: 1")),
            Err("line 90001, column 1: duplicate key `k0`".into())
        );
    }
}
