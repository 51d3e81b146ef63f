//! Pricing documents: Pricing2Yaml text to name, version, date and JSON; pure.
//!
//! `yaml` makes text a tree of nodes with places, `syntax`, `identity` and `shape`
//! check the tree, `json` makes it what Postgres keeps.
//! What SPACE takes is taken here with the same name and version, except for
//! what is unsafe or cannot be kept. Nothing in a document is ever evaluated.

/// The table of a test: `given => expected`.
#[cfg(test)]
macro_rules! table {
    ($($given:expr => $expected:expr,)*) => { [$(($given, $expected)),*] };
}

mod yaml;
mod limits;
mod node;
mod scalar;
mod timestamp;
mod syntax;
mod identity;
mod shape;
mod json;
mod fault;

use chrono::{DateTime, Utc};

use self::fault::Place;
use self::node::Value;

pub use self::fault::Fault;

/// A checked pricing document.
#[derive(Clone, Debug, PartialEq)]
pub struct PricingDocument {
    /// The service that the pricing is of, trimmed as JavaScript trims: 3 to
    /// 255 UTF-16 units.
    pub saas_name: String,
    /// The pricing's version as the event carries it: taken as it is, or made
    /// from [`created_at`](Self::created_at) in UTC as `2024-3-5`.
    pub version: String,
    /// When the pricing was made, at midnight in UTC for a plain date.
    pub created_at: DateTime<Utc>,
    /// The whole document as it was written, except for:
    ///
    /// - `version`, which is always [`version`](Self::version). In a document of
    ///   syntax 1.0, 1.1 or 2.0 it replaces the syntax version, which moves to
    ///   `syntaxVersion`.
    /// - `createdAt` and every other timestamp: `2024-03-15T00:00:00.000Z`.
    /// - numbers, which are JavaScript's doubles: `1.0` is 1, and `.inf` is
    ///   100000000, which is how SPACE keeps "unlimited".
    /// - aliases and merges, which are expanded.
    pub json: serde_json::Value,
}

/// Reads and checks a pricing document; `now` is what "in the future" refers to.
///
/// Takes time in proportion to the length of `bytes`, and no more than 200,000
/// nodes and 8 MiB of text, however a document repeats itself by aliases.
///
/// # Errors
///
/// One sentence about the first fault found, with its place: bytes that are not
/// UTF-8, wrong YAML, tags other than `!` and `!!str`, keys that are lists or maps,
/// control characters, more than 64 levels, cycles, impossible dates, an unknown
/// syntax version, a missing or unfit `saasName`, `version`, `createdAt`, `currency`
/// or `features`, and numbers that JSON cannot keep.
///
/// # Examples
///
/// ```text
/// line 4, column 10: version: a text expected, found the number 2024: put it in quotes
/// line 2, column 1: duplicate key `plans`
/// ```
pub fn parse(bytes: &[u8], now: DateTime<Utc>) -> Result<PricingDocument, Fault> {
    let root = yaml::load(text_of(bytes)?)?;
    let Value::Map(document) = &root.value else {
        return Err(root.expected("a map"));
    };
    let old_syntax = syntax::old(document)?;
    let saas_name = identity::saas_name(document)?;
    let created_at = identity::created_at(document, old_syntax, now)?;
    let version = identity::version(document, old_syntax, created_at)?;
    shape::check_currency(document)?;
    shape::check_features(document)?;
    shape::check_prices(document)?;

    let mut json = json::of(&root)?;
    if let Some(fields) = json.as_object_mut() {
        fields.insert("version".into(), version.clone().into());
        fields.insert("createdAt".into(), timestamp::iso(created_at).into());
        if let Some(syntax) = old_syntax {
            fields.insert("syntaxVersion".into(), syntax.into());
        }
    }
    Ok(PricingDocument {
        saas_name,
        version,
        created_at,
        json,
    })
}

fn text_of(bytes: &[u8]) -> Result<&str, Fault> {
    std::str::from_utf8(bytes).map_err(|error| {
        let (sound, _) = bytes.split_at(error.valid_up_to());
        let place = Place::after(&String::from_utf8_lossy(sound));
        Fault::new(place, "the document is not utf-8")
    })
}

/// Reads a document on 1 June 2025.
#[cfg(test)]
fn read(text: &str) -> Result<PricingDocument, String> {
    let now = "2025-06-01T12:00:00Z".parse().expect("a time");
    parse(text.as_bytes(), now).map_err(|fault| fault.to_string())
}

/// The JSON of any YAML, or why it is refused.
#[cfg(test)]
fn json_of(text: &str) -> Result<serde_json::Value, String> {
    let json = yaml::load(text).and_then(|node| json::of(&node));
    json.map_err(|fault| fault.to_string())
}

/// Checks why each text is refused.
#[cfg(test)]
fn assert_refused<const N: usize>(table: [(&str, &str); N]) {
    for (text, message) in table {
        assert_eq!(json_of(text), Err(message.into()), "{text}");
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    #[test]
    fn a_document_becomes_name_version_date_and_json() {
        let yaml = "\u{FEFF}saasName: ' WireMock '\nsyntaxVersion: \"3.0\"\nversion: \"2024\"\n\
            createdAt: 2024-03-05\ncurrency: USD\nfeatures:\n  mock: &mock {defaultValue: true}\n  \
            stub: *mock\nusageLimits:\n  calls: {defaultValue: .inf}\n";
        let expected = PricingDocument {
            saas_name: "WireMock".into(),
            version: "2024".into(),
            created_at: "2024-03-05T00:00:00Z".parse().expect("a time"),
            json: json!({
                "saasName": " WireMock ",
                "syntaxVersion": "3.0",
                "version": "2024",
                "createdAt": "2024-03-05T00:00:00.000Z",
                "currency": "USD",
                "features": {"mock": {"defaultValue": true}, "stub": {"defaultValue": true}},
                "usageLimits": {"calls": {"defaultValue": 100_000_000}},
            }),
        };
        assert_eq!(read(yaml), Ok(expected));
    }

    #[test]
    fn the_json_of_an_old_document_has_both_versions() {
        let yaml = "saasName: Wire\nversion: '1.0'\nday: 5\nmonth: 3\nyear: 2024\n\
            currency: USD\nfeatures: {}\n";
        let expected = json!({
            "saasName": "Wire",
            "syntaxVersion": "1.0",
            "version": "2024-3-5",
            "createdAt": "2024-03-05T00:00:00.000Z",
            "day": 5,
            "month": 3,
            "year": 2024,
            "currency": "USD",
            "features": {},
        });
        let json = read(yaml).map(|document| document.json);
        assert_eq!(json, Ok(expected));
    }

    #[test]
    fn what_is_no_map_is_refused() {
        for (yaml, message) in table! {
            "" => "line 1, column 1: a map expected, found nothing",
            "\n- a" => "line 2, column 1: a map expected, found a list",
            "12" => "line 1, column 1: a map expected, found the number 12",
        } {
            assert_eq!(read(yaml), Err(message.into()), "{yaml}");
        }
    }

    #[test]
    fn what_is_not_utf_8_is_refused_with_its_place() {
        for (bytes, place) in table! {
            b"a: 1\r\nb: \xFF".as_slice() => "line 2, column 4",
            b"\xC3\xA9\xFF" => "line 1, column 2",
            b"\xFF\xFEa\0" => "line 1, column 1",
        } {
            let fault = parse(bytes, Utc::now()).map_err(|fault| fault.to_string());
            assert_eq!(fault, Err(format!("{place}: the document is not utf-8")));
        }
    }

    /// What YAML or a pricing gives a meaning to.
    const PIECES: &str = "\n§\n  §: §- §? §---\n§...\n§%YAML 1.2\n§&a §*a§<<: §!!str §!!set §\
        ! §|-\n §>+2\n  §\"\\ud83d§\\x00§\u{FEFF}§\u{85}§1e999§.nan§\
        0x_1§1_0§2024-02-29§2024-1-1 25:00:00§saasName: abc\n§syntaxVersion: \"3.0\"\n§\
        version: \"1.0\"\n§createdAt: 2024-01-01\n§currency: EUR\n§features: {}\n§plans: §\
        price: §day: 1e9\n§month: -1\n§year: .inf\n";

    /// Text with much of what YAML gives a meaning to.
    fn yamlish() -> impl Strategy<Value = String> {
        let piece = prop_oneof![
            "[ \\n:,\\-?\\[\\]{}&*!|>'\"%#@`~<.\\\\\t\r]{1,3}",
            prop::sample::select(PIECES.split('§').collect::<Vec<_>>()).prop_map(String::from),
            "\\PC{0,3}",
        ];
        prop::collection::vec(piece, 0..40).prop_map(|pieces| pieces.concat())
    }

    proptest! {
        #[test]
        fn arbitrary_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = parse(&bytes, Utc::now());
        }

        #[test]
        fn arbitrary_yaml_never_panics(text in yamlish()) {
            match read(&text) {
                Ok(document) => prop_assert!(!document.json.to_string().contains("\\u0000")),
                Err(fault) => prop_assert!(!fault.contains('\n')),
            }
        }
    }
}
