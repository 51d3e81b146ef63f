//! Tags: `!`, and those of `tag:yaml.org,2002:` that js-yaml knows.
//!
//! Reading never runs anything: every other tag is refused.

use std::collections::HashSet;
use std::rc::Rc;

use super::invalid::Shown;
use super::limits::Size;
use super::node::{Entry, Map, Node, Value};
use super::scalar;
use super::timestamp::{self, Impossible};

/// What stands before a node to say how it is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Tag {
    /// `!`: a scalar stays text.
    Plain,
    Null,
    Bool,
    Int,
    Float,
    Timestamp,
    Merge,
    Binary,
    Str,
    Seq,
    Omap,
    Pairs,
    Map,
    Set,
}

/// Why a node is not what its tag says.
type Unfit = String;

impl Tag {
    /// # Errors
    ///
    /// A tag that is not known.
    pub(super) fn parse(tag: &granit_parser::Tag) -> Result<Tag, Unfit> {
        if matches!(tag.parts(), ("!", "") | ("", "!")) {
            return Ok(Tag::Plain);
        }
        match tag.suffix_in_namespace("tag:yaml.org,2002:").as_deref() {
            Some("null") => Ok(Tag::Null),
            Some("bool") => Ok(Tag::Bool),
            Some("int") => Ok(Tag::Int),
            Some("float") => Ok(Tag::Float),
            Some("timestamp") => Ok(Tag::Timestamp),
            Some("merge") => Ok(Tag::Merge),
            Some("binary") => Ok(Tag::Binary),
            Some("str") => Ok(Tag::Str),
            Some("seq") => Ok(Tag::Seq),
            Some("omap") => Ok(Tag::Omap),
            Some("pairs") => Ok(Tag::Pairs),
            Some("map") => Ok(Tag::Map),
            Some("set") => Ok(Tag::Set),
            _ => Err(format!("unknown tag {}", Shown(&tag.original()))),
        }
    }

    /// The value of a tagged node without content: `!!str` alone is `""`.
    pub(super) fn empty(self) -> Result<Value, Unfit> {
        match self {
            Tag::Plain | Tag::Null | Tag::Merge => Ok(Value::Null),
            Tag::Str => Ok(Value::Text("".into())),
            Tag::Seq | Tag::Omap | Tag::Pairs => Ok(Value::List(Vec::new())),
            Tag::Map | Tag::Set => Ok(Value::Map(Map::default())),
            Tag::Bool | Tag::Int | Tag::Float | Tag::Timestamp | Tag::Binary => {
                Err(self.unfit("nothing"))
            }
        }
    }

    /// The value of a tagged scalar, quoted or not.
    pub(super) fn scalar(self, text: &str) -> Result<Value, Unfit> {
        let value = match self {
            Tag::Plain | Tag::Str => Some(Value::Text(text.into())),
            Tag::Null => scalar::is_null(text).then_some(Value::Null),
            Tag::Bool => scalar::boolean(text).map(Value::Bool),
            Tag::Int => scalar::integer(text).map(|value| Value::number(value, text)),
            // Every integer is a float, too; `0x1F` is not.
            Tag::Float => scalar::float(text).map(|value| Value::number(value, text)),
            Tag::Timestamp => timestamp::parse(text)
                .map_err(|Impossible| impossible(text))?
                .map(|instant| Value::time(instant, text)),
            Tag::Merge => (text == "<<").then(|| Value::Text(text.into())),
            Tag::Binary => base64(text).map(|text| Value::Text(text.into())),
            Tag::Seq | Tag::Omap | Tag::Pairs | Tag::Map | Tag::Set => None,
        };
        value.ok_or_else(|| self.unfit(&format!("`{}`", Shown(text))))
    }

    /// The value of a tagged list or map; `!!pairs` become lists of key and value.
    pub(super) fn collection(self, value: Value) -> Result<Value, Unfit> {
        match (self, &value) {
            (Tag::Plain | Tag::Seq, Value::List(_)) | (Tag::Plain | Tag::Map, Value::Map(_)) => {}
            (Tag::Omap, Value::List(items)) => {
                let mut seen = HashSet::new();
                if !items
                    .iter()
                    .all(|item| single(item).is_some_and(|entry| seen.insert(&entry.key)))
                {
                    return Err("!!omap: maps with one key each expected, no key twice".into());
                }
            }
            (Tag::Pairs, Value::List(items)) => {
                let pairs: Option<_> = items.iter().map(as_pair).collect();
                return pairs
                    .map(Value::List)
                    .ok_or_else(|| "!!pairs: maps with one key each expected".into());
            }
            (Tag::Set, Value::Map(map)) => {
                let empty = |entry: &Entry| matches!(entry.value.value, Value::Null);
                if !map.entries.iter().all(empty) {
                    return Err("!!set: a map without values expected".into());
                }
            }
            _ => return Err(self.unfit(&value.described())),
        }
        Ok(value)
    }

    fn unfit(self, found: &str) -> Unfit {
        let name = format!("{self:?}").to_lowercase();
        format!("the tag !!{name} does not fit {found}")
    }
}

/// What is said of a timestamp that does not exist.
pub(super) fn impossible(text: &str) -> String {
    format!("impossible date {}", Shown(text))
}

/// The only entry of a map with one key.
fn single(node: &Node) -> Option<&Entry> {
    match &node.value {
        Value::Map(map) => match map.entries.as_slice() {
            [entry] => Some(entry),
            _ => None,
        },
        _ => None,
    }
}

/// `{key: value}` as `[key, value]`, which is no deeper and no larger.
fn as_pair(node: &Rc<Node>) -> Option<Rc<Node>> {
    let Entry { key, value } = single(node)?;
    let key = Node::new(node.place, Value::Text((&**key).into()), Size::default());
    let pair = Value::List(vec![Rc::new(key), Rc::clone(value)]);
    Some(Rc::new(Node::new(node.place, pair, node.size)))
}

/// Base64 without its line breaks; nothing if bits are left over.
fn base64(text: &str) -> Option<String> {
    let text = text.replace(['\r', '\n'], "");
    let fits = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'+' | b'/' | b'=');
    (text.len().is_multiple_of(4) && text.bytes().all(fits)).then_some(text)
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
    fn tags_are_read_as_js_yaml_reads_them() {
        for (yaml, expected) in [
            ("[! 12, ! true, !]", json!(["12", "true", null])),
            ("!!str 12", json!("12")),
            ("!<tag:yaml.org,2002:str> 12", json!("12")),
            ("%TAG !e! tag:yaml.org,2002:\n---\n!e!int \"3\"", json!(3)),
            ("[!!int 0x10, !!float 2, !!float 1.5]", json!([16, 2, 1.5])),
            ("[!!bool \"true\", !!null ~]", json!([true, null])),
            (
                "!!timestamp \"2024-01-01\"",
                json!("2024-01-01T00:00:00.000Z"),
            ),
            ("!!binary |\n  aG\n  k=\n", json!("aGk=")),
            (
                "[!!str , !!seq , !!map , !!omap , !!set ]",
                json!(["", [], {}, [], {}]),
            ),
            ("!!seq [1]", json!([1])),
            ("!!map {a: 1}", json!({"a": 1})),
            ("!!omap [a: 1, b: 2]", json!([{"a": 1}, {"b": 2}])),
            ("!!merge <<: {a: 1}\nb: 2", json!({"a": 1, "b": 2})),
        ] {
            assert_eq!(load(yaml), Ok(expected), "{yaml}");
        }
    }

    #[test]
    fn other_tags_and_unfit_values_are_refused() {
        for (yaml, message) in [
            ("a: !foo x", "line 1, column 9: a: unknown tag !foo"),
            (
                "!!js/function x",
                "line 1, column 15: unknown tag !!js/function",
            ),
            (
                "!!int x",
                "line 1, column 7: the tag !!int does not fit `x`",
            ),
            (
                "!!int",
                "line 1, column 6: the tag !!int does not fit nothing",
            ),
            (
                "!!map [a]",
                "line 1, column 7: the tag !!map does not fit a list",
            ),
            (
                "!!seq {a: 1}",
                "line 1, column 7: the tag !!seq does not fit a map",
            ),
            (
                "!!binary a",
                "line 1, column 10: the tag !!binary does not fit `a`",
            ),
            (
                "!!set {a: 1}",
                "line 1, column 7: !!set: a map without values expected",
            ),
            (
                "!!omap [a: 1, a: 2]",
                "line 1, column 8: !!omap: maps with one key each expected, no key twice",
            ),
            (
                "!!pairs [{a: 1, b: 2}]",
                "line 1, column 9: !!pairs: maps with one key each expected",
            ),
            (
                "!!timestamp 2024-02-30",
                "line 1, column 13: impossible date 2024-02-30",
            ),
        ] {
            assert_eq!(load(yaml), Err(message.into()), "{yaml}");
        }
    }
}
