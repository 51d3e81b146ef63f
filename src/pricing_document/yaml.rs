//! YAML as js-yaml 4.1.0 loads it with its default schema.
//!
//! Deliberately stricter where a file is unsafe or cannot be kept as JSON:
//! cycles, bombs of aliases, impossible dates, NUL and lone surrogates.
//! An alias shares its node, so a bomb costs nothing here; but a node counts
//! again wherever it is used, because JSON will repeat it.

use std::borrow::Cow;
use std::collections::HashMap;
use std::rc::Rc;

use granit_parser::{ErrorKind, Event, Parser, ScalarStyle, ScanError, Span};

use super::invalid::{Place, Refusal, Shown};
use super::limits::{self, Size};
use super::mapping::OpenMap;
use super::node::{Node, Value};
use super::tag::{self, Tag};
use super::{scalar, stand_in};

/// How long a key may be. js-yaml has no limit; but the parser keeps every token
/// that may still turn out to be a key, 400 MB for a line of 2 MiB.
const MAX_KEY_CHARS: usize = 1 << 16;

/// Loads the one document of `source`; an empty source is null.
///
/// # Errors
///
/// What js-yaml refuses: wrong syntax, duplicate keys, unknown tags and
/// aliases, control characters, a second document. And what is not for us: see
/// the module.
pub(super) fn load(source: &str) -> Result<Rc<Node>, Refusal> {
    let options = granit_parser::options! {
        simple_key_max_lookahead: MAX_KEY_CHARS,
        bom_inside_document_as_content: true,
    };
    let source = stand_in::hide(source);
    let mut parser = Parser::new_from_str_with_options(&source, options);
    let mut loader = Loader {
        source: &source,
        has_stand_ins: matches!(source, Cow::Owned(_)),
        ..Loader::default()
    };
    while let Some(event) = parser.next_event() {
        let (event, span) = event.map_err(|error| refused_by_parser(&error))?;
        loader.take(event, span)?;
    }
    let nothing = || Rc::new(Node::new(Place::START, Value::Null, Size::default()));
    Ok(loader.root.unwrap_or_else(nothing))
}

/// The document as far as it has been read.
#[derive(Default)]
struct Loader<'a> {
    /// As the parser reads it: maybe with stand-ins.
    source: &'a str,
    has_stand_ins: bool,
    documents: usize,
    /// The lists and maps not yet closed, outermost first.
    open: Vec<Open>,
    /// The closed nodes that have an anchor.
    anchors: HashMap<usize, Rc<Node>>,
    spent: Size,
    root: Option<Rc<Node>>,
}

/// A list or a map that is being read.
struct Open {
    place: Place,
    anchor: usize,
    tag: Option<Tag>,
    spent_before: Size,
    content: Content,
}

enum Content {
    List(Vec<Rc<Node>>),
    Map(OpenMap),
}

impl Loader<'_> {
    fn take(&mut self, event: Event<'_>, span: Span) -> Result<(), Refusal> {
        let place = Place {
            line: span.start.line().max(1),
            column: span.start.col() + 1,
        };
        match event {
            Event::DocumentStart(..) => {
                self.documents += 1;
                if self.documents > 1 {
                    return Err(self.refusal(place, "a second document: only one is expected"));
                }
                Ok(())
            }
            Event::Scalar(text, style, anchor, tag) => {
                let text = self.restored(text);
                self.check_characters(place, &text, style, &span)?;
                let tag = self.tag(place, tag.as_deref())?;
                self.scalar(place, &text, style, anchor, tag)
            }
            Event::SequenceStart(_, anchor, tag) => {
                let tag = self.tag(place, tag.as_deref())?;
                self.open(place, anchor, tag, Content::List(Vec::new()))
            }
            Event::MappingStart(_, anchor, tag) => {
                let tag = self.tag(place, tag.as_deref())?;
                self.open(place, anchor, tag, Content::Map(OpenMap::default()))
            }
            Event::SequenceEnd | Event::MappingEnd => self.close(),
            Event::Alias(anchor) => {
                let Some(node) = self.anchors.get(&anchor).cloned() else {
                    return Err(self.refusal(place, "the alias stands inside what it names"));
                };
                self.check_levels(place, node.levels)?;
                self.spend(place, node.size)?;
                self.add(node, false)
            }
            _ => Ok(()),
        }
    }

    fn scalar(
        &mut self,
        place: Place,
        text: &str,
        style: ScalarStyle,
        anchor: usize,
        tag: Option<Tag>,
    ) -> Result<(), Refusal> {
        let size = Size::of_one(text);
        self.spend(place, size)?;
        let plain = style == ScalarStyle::Plain;
        let value = match tag {
            None if plain => scalar::resolve(text).map_err(|_| tag::impossible(text)),
            None => Ok(Value::Text(text.into())),
            // The parser gives `~` for nothing, but "" for a tag before nothing.
            Some(tag) if plain && text.is_empty() => tag.empty(),
            Some(tag) => tag.scalar(text),
        };
        let value = value.map_err(|what| self.refusal(place, what))?;
        let merge = match tag {
            None => plain && text == "<<",
            Some(tag) => tag == Tag::Merge,
        };
        let node = Rc::new(Node::new(place, value, size));
        self.keep(anchor, &node);
        self.add(node, merge)
    }

    fn open(
        &mut self,
        place: Place,
        anchor: usize,
        tag: Option<Tag>,
        content: Content,
    ) -> Result<(), Refusal> {
        let spent_before = self.spent;
        self.check_levels(place, 1)?;
        self.spend(place, Size::of_one(""))?;
        self.open.push(Open {
            place,
            anchor,
            tag,
            spent_before,
            content,
        });
        Ok(())
    }

    fn close(&mut self) -> Result<(), Refusal> {
        let Some(open) = self.open.pop() else {
            return Ok(());
        };
        let value = match open.content {
            Content::List(items) => Value::List(items),
            Content::Map(map) => Value::Map(map.close()),
        };
        let value = match open.tag {
            None => value,
            Some(tag) => {
                let fit = tag.collection(value);
                fit.map_err(|what| self.refusal(open.place, what))?
            }
        };
        let size = self.spent.since(open.spent_before);
        let node = Rc::new(Node::new(open.place, value, size));
        self.keep(open.anchor, &node);
        self.add(node, false)
    }

    /// Puts a node where it belongs: in the list or map around it, or at the top.
    fn add(&mut self, node: Rc<Node>, merge: bool) -> Result<(), Refusal> {
        match self.open.last_mut().map(|open| &mut open.content) {
            None => self.root = Some(node),
            Some(Content::List(items)) => items.push(node),
            Some(Content::Map(map)) => {
                let taken = map.take(node, merge);
                taken.map_err(|(place, what)| self.refusal(place, what))?;
            }
        }
        Ok(())
    }

    fn keep(&mut self, anchor: usize, node: &Rc<Node>) {
        // The parser counts anchors from 1; 0 stands for none.
        if anchor > 0 {
            self.anchors.insert(anchor, Rc::clone(node));
        }
    }

    fn tag(&self, place: Place, tag: Option<&granit_parser::Tag>) -> Result<Option<Tag>, Refusal> {
        let tag = tag.map(Tag::parse).transpose();
        tag.map_err(|what| self.refusal(place, what))
    }

    /// Refuses what js-yaml calls non-printable, and NUL however it is written.
    fn check_characters(
        &self,
        place: Place,
        text: &str,
        style: ScalarStyle,
        span: &Span,
    ) -> Result<(), Refusal> {
        if text.contains('\0') {
            return Err(self.refusal(place, "the character nul is not allowed"));
        }
        let found = match style {
            // An escape may stand for any character: look at the source.
            ScalarStyle::SingleQuoted | ScalarStyle::DoubleQuoted => {
                let written = self.restored(span.slice(self.source).unwrap_or_default().into());
                written.chars().find(|c| *c < ' ' && stand_in::is_hard(*c))
            }
            _ => text.chars().find(|c| stand_in::is_hard(*c)),
        };
        match found {
            None => Ok(()),
            Some(c) => {
                let what = format!(
                    "the control character {} is not allowed",
                    c.escape_unicode()
                );
                Err(self.refusal(place, what))
            }
        }
    }

    fn restored<'t>(&self, text: Cow<'t, str>) -> Cow<'t, str> {
        if self.has_stand_ins {
            Cow::Owned(stand_in::restore(&text))
        } else {
            text
        }
    }

    fn check_levels(&self, place: Place, more: usize) -> Result<(), Refusal> {
        let checked = limits::check_levels(self.open.len() + more);
        checked.map_err(|what| self.refusal(place, what))
    }

    fn spend(&mut self, place: Place, size: Size) -> Result<(), Refusal> {
        let spent = self.spent.add(size);
        spent.map_err(|what| self.refusal(place, what))
    }

    /// A refusal with the path of what is being read.
    fn refusal(&self, place: Place, what: impl Into<String>) -> Refusal {
        let inner = Refusal::new(place, what);
        self.open
            .iter()
            .rev()
            .fold(inner, |refusal, open| match &open.content {
                Content::List(items) => refusal.at(items.len()),
                Content::Map(map) => match map.current_key() {
                    Some(key) => refusal.under(key),
                    None => refusal,
                },
            })
    }
}

fn refused_by_parser(error: &ScanError) -> Refusal {
    let place = Place {
        line: error.marker().line().max(1),
        column: error.marker().col() + 1,
    };
    let what = match error.kind() {
        ErrorKind::RecursionLimitExceeded => limits::too_deep(),
        ErrorKind::UnknownAnchor => "the alias names no anchor before it".into(),
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
    Refusal::new(place, what)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::invalid::InvalidPricing;
    use super::super::json;
    use super::*;

    fn load_json(text: &str) -> Result<serde_json::Value, String> {
        let json = load(text).and_then(|node| json::of(&node));
        json.map_err(|refusal| InvalidPricing::from(refusal).to_string())
    }

    fn refused(text: &str) -> String {
        load_json(text).err().unwrap_or_default()
    }

    #[test]
    fn documents_load() {
        for (yaml, expected) in [
            ("", json!(null)),
            ("---\n...\n# the end\n", json!(null)),
            ("%YAML 1.1\n---\na: yes", json!({"a": "yes"})),
            ("a: 'b\u{92}' # \u{1}", json!({"a": "b\u{92}"})),
            ("a: \u{10F001}", json!({"a": "\u{10F001}"})),
            ("a: &x [1]\nb: *x", json!({"a": [1], "b": [1]})),
            ("a: &x 1\nb: &x 2\nc: *x", json!({"a": 1, "b": 2, "c": 2})),
            (
                "'2024': \"\\e \\ud83d\\ude00\"",
                json!({"2024": "\u{1b} 😀"}),
            ),
            (
                "a: |\n  b\n  c\nd: >-\n  e\n  f\n",
                json!({"a": "b\nc\n", "d": "e f"}),
            ),
        ] {
            assert_eq!(load_json(yaml), Ok(expected), "{yaml}");
        }
        let key = "k".repeat(5000);
        assert_eq!(load_json(&format!("{key}: 1")), Ok(json!({ key: 1 })));
    }

    #[test]
    fn what_is_wrong_is_refused_with_its_place() {
        for (yaml, message) in [
            (
                "a: 1\n---\nb: 2",
                "line 2, column 1: a second document: only one is expected",
            ),
            (
                "%YAML 2.0\n---\na",
                "line 1, column 1: a yaml version other than 1",
            ),
            (
                "a: *x",
                "line 1, column 4: the alias names no anchor before it",
            ),
            (
                "a: &x [*x]",
                "line 1, column 8: a[0]: the alias stands inside what it names",
            ),
            ("a: @", "line 1, column 4: unexpected character `@`"),
            ("a: [1", "line 1, column 4: unclosed bracket '['"),
            (
                "a: \"\\0\"",
                "line 1, column 4: a: the character nul is not allowed",
            ),
            (
                "a: \"\\ud800\"",
                "line 1, column 4: half of a surrogate pair is not a character",
            ),
            (
                "- b\u{7}",
                "line 1, column 3: [0]: the control character \\u{7} is not allowed",
            ),
            (
                "- 'b\u{7}'",
                "line 1, column 3: [0]: the control character \\u{7} is not allowed",
            ),
            (
                "a: 2024-02-30",
                "line 1, column 4: a: impossible date 2024-02-30",
            ),
        ] {
            assert_eq!(refused(yaml), message, "{yaml}");
        }
    }
}
