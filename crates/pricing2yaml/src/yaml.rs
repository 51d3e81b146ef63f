//! Text to a tree of nodes: YAML 1.2 with unique keys, merges and aliases.

use std::collections::HashMap;
use std::rc::Rc;

use granit_parser::{ErrorKind, Event, Parser, ScalarStyle, ScanError, StrInput, Tag};

use crate::fault::{Fault, Place, Shown};
use crate::limits::{self, Spent};
use crate::node::{Map, Node, Value};
use crate::scalar;

/// How long a key may be. The parser keeps every token that may still turn out
/// to be a key: 400 MB for a line of 2 MiB.
const MAX_KEY_CHARS: usize = 1 << 16;
/// What Postgres cannot keep.
const NUL: &str = "the character nul is not allowed";

/// Loads the one document of `source`; an empty source is null.
///
/// # Errors
///
/// Wrong syntax, duplicate keys, keys that are lists or maps, tags other than
/// `!` and `!!str`, a second document, cycles, NUL, impossible dates, and more
/// than `limits` allows.
pub(crate) fn load(source: &str) -> Result<Rc<Node>, Fault> {
    let options = granit_parser::options! {
        simple_key_max_lookahead: MAX_KEY_CHARS,
        bom_inside_document_as_content: true,
    };
    let mut loader = Loader {
        parser: Parser::new_from_str_with_options(source, options),
        anchors: HashMap::new(),
        spent: Spent::default(),
    };
    let mut root = None;
    loop {
        match loader.next()? {
            (Event::StreamEnd, _) => break,
            (Event::DocumentStart(..), place) if root.is_some() => {
                let what = "a second document: only one is expected";
                return Err(Fault::new(place, what));
            }
            (Event::StreamStart | Event::DocumentStart(..) | Event::DocumentEnd, _) => {}
            (event, place) => root = Some(loader.node(event, place, 0)?),
        }
    }
    let (place, text, value) = (Place::START, "".into(), Value::Null);
    Ok(root.unwrap_or_else(|| Rc::new(Node { place, text, value })))
}

struct Loader<'a> {
    parser: Parser<'a, StrInput<'a>>,
    /// The complete nodes that have an anchor.
    anchors: HashMap<usize, Rc<Node>>,
    spent: Spent,
}

impl<'a> Loader<'a> {
    fn next(&mut self) -> Result<(Event<'a>, Place), Fault> {
        match self.parser.next_event() {
            None => Ok((Event::StreamEnd, Place::START)),
            Some(Ok((event, span))) => Ok((event, Place::of(&span.start))),
            Some(Err(error)) => Err(refused_by_parser(&error)),
        }
    }

    /// The node that begins with `event`, inside of `levels` lists and maps.
    fn node(&mut self, event: Event<'a>, place: Place, levels: usize) -> Result<Rc<Node>, Fault> {
        let (anchor, text, value) = match event {
            Event::Alias(anchor) => return self.alias(anchor, place, levels),
            Event::Scalar(text, style, anchor, tag) => {
                let value = self.scalar(&text, style, tag.as_deref(), place)?;
                (anchor, text, value)
            }
            Event::SequenceStart(_, anchor, tag) => {
                self.open(tag.as_deref(), place, levels)?;
                (anchor, "".into(), Value::List(self.list(levels + 1)?))
            }
            Event::MappingStart(_, anchor, tag) => {
                self.open(tag.as_deref(), place, levels)?;
                (anchor, "".into(), Value::Map(self.map(levels + 1)?))
            }
            _ => return Err(Fault::new(place, "a value expected")),
        };
        let text = text.into();
        let node = Rc::new(Node { place, text, value });
        // The parser counts anchors from 1; 0 stands for none.
        if anchor > 0 {
            self.anchors.insert(anchor, Rc::clone(&node));
        }
        Ok(node)
    }

    fn alias(&mut self, anchor: usize, place: Place, levels: usize) -> Result<Rc<Node>, Fault> {
        let Some(node) = self.anchors.get(&anchor).cloned() else {
            let what = "the alias stands inside what it names";
            return Err(Fault::new(place, what));
        };
        self.spent.add(&node, place, levels)?;
        Ok(node)
    }

    fn scalar(
        &mut self,
        text: &str,
        style: ScalarStyle,
        tag: Option<&Tag>,
        place: Place,
    ) -> Result<Value, Fault> {
        if text.contains('\0') {
            return Err(Fault::new(place, NUL));
        }
        self.spent.add_one(text, place, 0)?;
        let plain = style == ScalarStyle::Plain;
        match tag {
            None if plain => scalar::resolve(text).map_err(|what| Fault::new(place, what)),
            // js-yaml's `!` before nothing.
            Some(tag) if is_plain_tag(tag) && plain && text.is_empty() => Ok(Value::Null),
            Some(tag) if !is_plain_tag(tag) && !tag.is_yaml_core_schema_tag("str") => {
                Err(tag_refused(tag, place))
            }
            _ => Ok(Value::Text),
        }
    }

    /// Begins a list or a map.
    fn open(&mut self, tag: Option<&Tag>, place: Place, levels: usize) -> Result<(), Fault> {
        if let Some(tag) = tag.filter(|tag| !is_plain_tag(tag)) {
            return Err(tag_refused(tag, place));
        }
        self.spent.add_one("", place, levels + 1)
    }

    fn list(&mut self, levels: usize) -> Result<Vec<Rc<Node>>, Fault> {
        let mut items = Vec::new();
        loop {
            let (event, place) = self.next()?;
            if event == Event::SequenceEnd {
                return Ok(items);
            }
            let item = self.node(event, place, levels);
            items.push(item.map_err(|fault| fault.at(items.len()))?);
        }
    }

    /// Own keys win over those that come by `<<`, and earlier sources over later ones.
    fn map(&mut self, levels: usize) -> Result<Map, Fault> {
        let mut map = Map::default();
        let mut sources = Vec::new();
        loop {
            let (event, place) = self.next()?;
            if event == Event::MappingEnd {
                break;
            }
            let merge = matches!(
                &event,
                Event::Scalar(text, ScalarStyle::Plain, _, None) if text == "<<"
            );
            let key = self.node(event, place, levels)?;
            let Some(text) = scalar::key(&key) else {
                let found = key.described();
                return Err(Fault::new(place, format!("a key cannot be {found}")));
            };
            let (event, place) = self.next()?;
            let value = self.node(event, place, levels);
            let value = value.map_err(|fault| fault.under(&text))?;
            if merge {
                sources.push(value);
            } else if map.0.insert(Rc::clone(&text), value).is_some() {
                let what = format!("duplicate key `{}`", Shown(&text));
                return Err(Fault::new(key.place, what));
            }
        }
        sources
            .iter()
            .try_for_each(|source| merge(&mut map, source))?;
        Ok(map)
    }
}

/// Adds the entries of a map, or of a list of maps, under keys that are still free.
fn merge(map: &mut Map, source: &Rc<Node>) -> Result<(), Fault> {
    let sources = match &source.value {
        Value::List(sources) => sources.as_slice(),
        _ => std::slice::from_ref(source),
    };
    for source in sources {
        let Value::Map(entries) = &source.value else {
            let found = source.described();
            let what = format!("`<<` takes a map or a list of maps, found {found}");
            return Err(source.refused(what));
        };
        for (key, value) in &entries.0 {
            let entry = map.0.entry(Rc::clone(key));
            entry.or_insert_with(|| Rc::clone(value));
        }
    }
    Ok(())
}

/// `!`, which leaves a scalar text and says nothing of a list or a map.
fn is_plain_tag(tag: &Tag) -> bool {
    matches!(tag.parts(), ("!", "") | ("", "!"))
}

fn tag_refused(tag: &Tag, place: Place) -> Fault {
    let tag = tag.original();
    Fault::new(place, format!("the tag {} is not allowed", Shown(&tag)))
}

fn refused_by_parser(error: &ScanError) -> Fault {
    let what = match error.kind() {
        ErrorKind::RecursionLimitExceeded => limits::too_deep(),
        ErrorKind::UnknownAnchor => "the alias names no anchor before it".into(),
        ErrorKind::UnexpectedCharacter { character: '\0' } => NUL.into(),
        ErrorKind::UnexpectedCharacter { character } => {
            format!("unexpected character `{}`", Shown(&character.to_string()))
        }
        ErrorKind::UnsupportedYamlMajorVersion => "a yaml version other than 1".into(),
        ErrorKind::InvalidLowSurrogate
        | ErrorKind::InvalidLowSurrogateHexEscape
        | ErrorKind::MissingLowSurrogate
        | ErrorKind::UnpairedLowSurrogate => "half of a surrogate pair is not a character".into(),
        other => {
            let text = other.to_string();
            text.trim_end_matches('.').replace("EOF", "end of file")
        }
    };
    Fault::new(Place::of(error.marker()), what).without_path()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::{assert_refused, json_of};

    #[test]
    fn documents_load() {
        for (yaml, expected) in table! {
            "" => json!(null),
            "---\n...\n# the end\n" => json!(null),
            "%YAML 1.1\n---\na: yes" => json!({"a": "yes"}),
            "\u{FEFF}a: 1" => json!({"a": 1}),
            "a: \u{10F001}" => json!({"a": "\u{10F001}"}),
            "a: &x [1]\nb: *x" => json!({"a": [1], "b": [1]}),
            "a: &x 1\nb: &x 2\nc: *x" => json!({"a": 1, "b": 2, "c": 2}),
            "'2024': \"\\e \\ud83d\\ude00\"" => json!({"2024": "\u{1b} 😀"}),
            "a: |\n  b\n  c\nd: >-\n  e\n  f\n" => json!({"a": "b\nc\n", "d": "e f"}),
        } {
            assert_eq!(json_of(yaml), Ok(expected), "{yaml}");
        }
        let key = "k".repeat(5000);
        assert_eq!(json_of(&format!("{key}: 1")), Ok(json!({ key: 1 })));
    }

    #[test]
    fn two_tags_are_read() {
        for (yaml, expected) in [
            ("[! 12, ! true, !, !!str ]", json!(["12", "true", null, ""])),
            ("!!str 12", json!("12")),
            ("!<tag:yaml.org,2002:str> 12", json!("12")),
            ("%TAG !e! tag:yaml.org,2002:\n---\n!e!str 3", json!("3")),
            ("! {a: ! [b]}", json!({"a": ["b"]})),
        ] {
            assert_eq!(json_of(yaml), Ok(expected), "{yaml}");
        }
    }

    #[test]
    fn what_is_wrong_is_refused_with_its_place() {
        assert_refused(table! {
            "a: 1\n---\nb: 2" => "line 2, column 1: a second document: only one is expected",
            "%YAML 2.0\n---\na" => "line 1, column 1: a yaml version other than 1",
            "a: *x" => "line 1, column 4: the alias names no anchor before it",
            "a: &x [*x]" => "line 1, column 8: a[0]: the alias stands inside what it names",
            "a: \0" => "line 1, column 4: the character nul is not allowed",
            "# é\0" => "line 1, column 4: the character nul is not allowed",
            "- 'b\u{7}'" => "line 1, column 5: unexpected character `\\u{7}`",
            "a: b # It\u{92}s" => "line 1, column 10: unexpected character `\\u{92}`",
            "a: @" => "line 1, column 4: unexpected character `@`",
            "a: [1" => "line 1, column 4: unclosed bracket '['",
            "a: \"\\0\"" => "line 1, column 4: a: the character nul is not allowed",
            "a: \"\\ud800\"" => "line 1, column 4: half of a surrogate pair is not a character",
            "a: 2024-02-30" => "line 1, column 4: a: impossible date 2024-02-30",
            "a: !foo x" => "line 1, column 9: a: the tag !foo is not allowed",
            "!!js/function x" => "line 1, column 15: the tag !!js/function is not allowed",
            "!!int 1" => "line 1, column 7: the tag !!int is not allowed",
            "!!str [a]" => "line 1, column 7: the tag !!str is not allowed",
            "!!set {a: 1}" => "line 1, column 7: the tag !!set is not allowed",
            "a:\n  <<: x" =>
                "line 2, column 7: a: `<<` takes a map or a list of maps, found the text `x`",
            "<<: [{}, 1]" =>
                "line 1, column 10: `<<` takes a map or a list of maps, found the number 1",
            "? [a]\n: 1" => "line 1, column 3: a key cannot be a list",
            "{a: 1}: 1" => "line 1, column 1: a key cannot be a map",
        });
    }

    #[test]
    fn merges_give_way_to_own_keys_and_to_earlier_sources() {
        for (yaml, expected) in table! {
            "<<: {a: 1, b: 2}\na: 3" => json!({"a": 3, "b": 2}),
            "a: 3\n<<: {a: 1, b: 2}" => json!({"a": 3, "b": 2}),
            "<<: [{a: 1}, {a: 2, b: 2}]" => json!({"a": 1, "b": 2}),
            "<<: {a: 1}\n<<: {a: 2, b: 2}" => json!({"a": 1, "b": 2}),
            "<<: []" => json!({}),
            "'<<': 7" => json!({"<<": 7}),
            "x: &x {a: 1}\ny: {<<: *x, b: 2}" => json!({"x": {"a": 1}, "y": {"a": 1, "b": 2}}),
            "[<<: {a: 1}]" => json!([{"a": 1}]),
        } {
            assert_eq!(json_of(yaml), Ok(expected), "{yaml}");
        }
    }

    #[test]
    fn duplicate_keys_are_refused_anywhere() {
        assert_refused(table! {
            "plans: {}\nplans: {}" => "line 2, column 1: duplicate key `plans`",
            "a:\n  - b: {c: 1, \"c\": 2}" => "line 2, column 15: a[0].b: duplicate key `c`",
            "1000: a\n0x3E8: b" => "line 2, column 1: duplicate key `1000`",
            "<<: {a: 1}\na: 2\na: 3" => "line 3, column 1: duplicate key `a`",
        });
    }

    #[test]
    fn many_keys_are_compared_in_linear_time() {
        let keys: String = (0..90_000).map(|n| format!("k{n}: 1\n")).collect();
        assert!(load(&keys).is_ok());
        let message = "line 90001, column 1: duplicate key `k0`";
        assert_refused([(&format!("{keys}k0: 1"), message)]);
    }
}
