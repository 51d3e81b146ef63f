//! Which pricing a document is: its service's name, its version, its date.

use chrono::{DateTime, Utc};

use super::invalid::{Place, Refusal};
use super::node::{Map, Node, Value};
use super::syntax::Syntax;
use super::tag;
use super::timestamp::{self, Impossible};

/// How long names and versions may be, in UTF-16 units as in JavaScript.
const MAX_UNITS: usize = 255;
/// How long a service's name must be.
const MIN_NAME_UNITS: usize = 3;

/// `saasName`, trimmed as JavaScript trims.
pub(super) fn saas_name(document: &Map) -> Result<String, Refusal> {
    let key = "saasName";
    let node = required(document, key)?;
    let name = trim(text(node).map_err(|refusal| refusal.under(key))?);
    let units = name.encode_utf16().count();
    let what = if !(MIN_NAME_UNITS..=MAX_UNITS).contains(&units) {
        format!("{MIN_NAME_UNITS} to {MAX_UNITS} characters expected, found {units}")
    } else if let Some(c) = control_character(name) {
        format!("the control character or line break {c} is not allowed")
    } else {
        return Ok(name.into());
    };
    Err(Refusal::new(node.place, what).under(key))
}

/// `version` as it is; made from the date where it is absent or null, and
/// always before syntax 2.1.
pub(super) fn version(
    document: &Map,
    syntax: Syntax,
    created_at: DateTime<Utc>,
) -> Result<String, Refusal> {
    let key = "version";
    let Some(node) = document.present(key).filter(|_| syntax == Syntax::Later) else {
        return Ok(timestamp::version_of(created_at));
    };
    let version = text(node).map_err(|refusal| refusal.under(key))?;
    let units = version.encode_utf16().count();
    let what = if trim(version).is_empty() {
        "a text expected, found only blanks".into()
    } else if units > MAX_UNITS {
        format!("at most {MAX_UNITS} characters expected, found {units}")
    } else if let Some(c) = control_character(version) {
        format!("the control character or line break {c} is not allowed")
    } else {
        return Ok(version.into());
    };
    Err(Refusal::new(node.place, what).under(key))
}

/// `createdAt`, or `year`, `month` and `day` in syntax 1.0; not after `now`.
pub(super) fn created_at(
    document: &Map,
    syntax: Syntax,
    now: DateTime<Utc>,
) -> Result<DateTime<Utc>, Refusal> {
    let (key, place, instant) = if syntax == Syntax::V1_0 {
        let (place, instant) = from_day_month_year(document)?;
        ("day", place, instant)
    } else {
        let key = "createdAt";
        let node = required(document, key)?;
        let instant = instant(node).map_err(|refusal| refusal.under(key))?;
        (key, node.place, instant)
    };
    if instant > now {
        let what = format!("{} is in the future", timestamp::iso(instant));
        return Err(Refusal::new(place, what).under(key));
    }
    Ok(instant)
}

fn instant(node: &Node) -> Result<DateTime<Utc>, Refusal> {
    let refusal = |what| Err(Refusal::new(node.place, what));
    match &node.value {
        Value::Time { instant, .. } => Ok(*instant),
        Value::Text(text) => match timestamp::parse_date(text) {
            Ok(Some(instant)) => Ok(instant),
            Ok(None) => refusal(format!(
                "a date as 2024-03-15 expected, found {}",
                node.value.described()
            )),
            Err(Impossible) => refusal(tag::impossible(text)),
        },
        other => refusal(format!(
            "a date as 2024-03-15 expected, found {}",
            other.described()
        )),
    }
}

fn from_day_month_year(document: &Map) -> Result<(Place, DateTime<Utc>), Refusal> {
    let whole = |key: &str| {
        let node = required(document, key)?;
        match &node.value {
            // Beyond four digits nothing is a date; `as` is exact within them.
            Value::Number { value, .. }
                if value.fract() == 0.0 && (0.0..=9999.0).contains(value) =>
            {
                Ok((node.place, *value as u16))
            }
            other => {
                let what = format!("a whole number expected, found {}", other.described());
                Err(Refusal::new(node.place, what).under(key))
            }
        }
    };
    let (place, day) = whole("day")?;
    let (_, month) = whole("month")?;
    let (_, year) = whole("year")?;
    match timestamp::from_ymd(year.into(), month.into(), day.into()) {
        Some(instant) => Ok((place, instant)),
        None => {
            let what = tag::impossible(&format!("{year}-{month}-{day}"));
            Err(Refusal::new(place, what).under("day"))
        }
    }
}

/// The value of `key`, which must be there; null is refused later, as nothing.
pub(super) fn required<'a>(document: &'a Map, key: &str) -> Result<&'a Node, Refusal> {
    document
        .get(key)
        .ok_or_else(|| Refusal::new(Place::START, "missing").under(key))
}

/// The text of a YAML string.
pub(super) fn text(node: &Node) -> Result<&str, Refusal> {
    let advice = match &node.value {
        Value::Text(text) => return Ok(text),
        Value::Bool(_) | Value::Number { .. } | Value::Time { .. } => ": put it in quotes",
        Value::Null | Value::List(_) | Value::Map(_) => "",
    };
    let found = node.value.described();
    let what = format!("a text expected, found {found}{advice}");
    Err(Refusal::new(node.place, what))
}

/// The first control character or line break: names and versions are shown in lists,
/// logs and events, each in one line.
fn control_character(text: &str) -> Option<String> {
    let breaks = |c: &char| c.is_control() || matches!(c, '\u{2028}' | '\u{2029}');
    let found = text.chars().find(breaks)?;
    Some(format!("U+{:04X}", u32::from(found)))
}

/// `String.prototype.trim`: Rust's `trim` keeps U+FEFF and removes U+0085.
fn trim(text: &str) -> &str {
    text.trim_matches(|c: char| c == '\u{FEFF}' || (c != '\u{85}' && c.is_whitespace()))
}

#[cfg(test)]
mod tests {
    use super::super::invalid::InvalidPricing;
    use super::super::{parse, timestamp, yaml};
    use super::*;

    /// Name, version and date of a document of this head, or why it is refused.
    fn read(head: &str) -> Result<(String, String, String), String> {
        let now = "2025-06-01T12:00:00Z".parse().expect("a time");
        let yaml = format!("{head}\ncurrency: EUR\nfeatures: {{}}\n");
        let document = parse(yaml.as_bytes(), now).map_err(|refusal| refusal.to_string())?;
        let date = timestamp::iso(document.created_at);
        Ok((document.saas_name, document.version, date))
    }

    fn version_of(head: &str) -> Result<String, String> {
        let head = format!("saasName: Wire\nsyntaxVersion: \"3.0\"\n{head}");
        read(&head).map(|(_, version, _)| version)
    }

    #[test]
    fn names_are_trimmed_as_in_javascript() {
        let name_of = |name: &str| {
            let node = yaml::load(&format!("saasName: \"{name}\"")).ok()?;
            let Value::Map(map) = &node.value else {
                return None;
            };
            Some(saas_name(map).map_err(|refusal| InvalidPricing::from(refusal).to_string()))
        };
        for (name, expected) in [
            ("WireMock", Ok("WireMock".to_string())),
            ("  Wire  Mock\\t\\n", Ok("Wire  Mock".into())),
            ("\\uFEFF\\xA0\\u2003abc\\u2028\\v", Ok("abc".into())),
            (
                "\\Nabc",
                Err("line 1, column 11: saasName: the control character or line break U+0085 is not allowed".into()),
            ),
            (
                "ab\\nc",
                Err("line 1, column 11: saasName: the control character or line break U+000A is not allowed".into()),
            ),
            (
                "ab\\Pc",
                Err("line 1, column 11: saasName: the control character or line break U+2029 is not allowed".into()),
            ),
            ("a😀", Ok("a😀".into())),
            (
                "  ab  ",
                Err("line 1, column 11: saasName: 3 to 255 characters expected, found 2".into()),
            ),
            (
                "",
                Err("line 1, column 11: saasName: 3 to 255 characters expected, found 0".into()),
            ),
        ] {
            assert_eq!(name_of(name), Some(expected), "{name}");
        }
        assert!(name_of(&"x".repeat(255)).is_some_and(|name| name.is_ok()));
        assert!(name_of(&"x".repeat(256)).is_some_and(|name| name.is_err()));
        assert!(name_of(&"😀".repeat(128)).is_some_and(|name| name.is_err()));
    }

    #[test]
    fn versions_are_taken_as_they_are() {
        for (version, expected) in [
            ("\"2024\"", "2024"),
            ("'1.0'", "1.0"),
            ("1.0.0", "1.0.0"),
            ("2024_beta", "2024_beta"),
            ("\" V1 \"", " V1 "),
            ("!!str 2024", "2024"),
            ("2024-3-5", "2024-3-5"),
            ("yes", "yes"),
            ("\"2.0\"", "2.0"),
        ] {
            let head = format!("createdAt: 2024-03-05\nversion: {version}");
            assert_eq!(version_of(&head), Ok(expected.into()), "{version}");
        }
    }

    #[test]
    fn a_version_that_is_no_text_is_refused() {
        for (version, what) in [
            (
                "2024",
                "a text expected, found the number 2024: put it in quotes",
            ),
            (
                "1.0",
                "a text expected, found the number 1.0: put it in quotes",
            ),
            (
                "true",
                "a text expected, found the boolean true: put it in quotes",
            ),
            (
                "2024-01-01",
                "a text expected, found the date 2024-01-01: put it in quotes",
            ),
            ("[a]", "a text expected, found a list"),
            ("{a: b}", "a text expected, found a map"),
            ("\"\"", "a text expected, found only blanks"),
            ("\" \\t\\uFEFF\"", "a text expected, found only blanks"),
        ] {
            let message = format!("line 4, column 10: version: {what}");
            let head = format!("createdAt: 2024-03-05\nversion: {version}");
            assert_eq!(version_of(&head), Err(message), "{version}");
        }
        let head = |length| format!("createdAt: 2024-03-05\nversion: {}", "v".repeat(length));
        assert!(version_of(&head(255)).is_ok());
        assert_eq!(
            version_of(&head(256)),
            Err("line 4, column 10: version: at most 255 characters expected, found 256".into())
        );
    }

    #[test]
    fn a_missing_version_is_made_from_the_date_in_utc() {
        for (head, expected) in [
            ("createdAt: 2024-03-05", "2024-3-5"),
            ("createdAt: '2024-03-05'\nversion:", "2024-3-5"),
            (
                "createdAt: 2024-12-31T23:30:00-01:00\nversion: ~",
                "2025-1-1",
            ),
        ] {
            assert_eq!(version_of(head), Ok(expected.into()), "{head}");
        }
    }

    #[test]
    fn dates_are_refused_that_are_none_or_still_to_come() {
        let long = "a date as 2024-03-15 expected, found the text `2024-03-05T00:00:00Z`";
        for (date, what) in [
            ("\"2024-03-05T00:00:00Z\"", long),
            (
                "2024-3-5",
                "a date as 2024-03-15 expected, found the text `2024-3-5`",
            ),
            (
                "20240305",
                "a date as 2024-03-15 expected, found the number 20240305",
            ),
            ("~", "a date as 2024-03-15 expected, found nothing"),
            ("2024-02-30", "impossible date 2024-02-30"),
            ("'2023-02-29'", "impossible date 2023-02-29"),
            ("2025-06-02", "2025-06-02T00:00:00.000Z is in the future"),
        ] {
            let message = format!("line 3, column 12: createdAt: {what}");
            assert_eq!(
                version_of(&format!("createdAt: {date}")),
                Err(message),
                "{date}"
            );
        }
        assert_eq!(
            version_of(""),
            Err("line 1, column 1: createdAt: missing".into())
        );
        assert!(version_of("createdAt: 2025-06-01T12:00:00Z").is_ok());
    }

    #[test]
    fn old_documents_have_the_version_of_their_date() {
        for (head, version, date) in [
            (
                "version: '1.0'\nday: 5\nmonth: 3\nyear: 2024",
                "2024-3-5",
                "2024-03-05",
            ),
            (
                "version: '1.1'\ncreatedAt: 2024-03-05",
                "2024-3-5",
                "2024-03-05",
            ),
            (
                "version: '2.0'\nsyntaxVersion: ~\ncreatedAt: '2024-03-05'",
                "2024-3-5",
                "2024-03-05",
            ),
        ] {
            let date = format!("{date}T00:00:00.000Z");
            let expected = ("Wire".into(), version.into(), date);
            assert_eq!(
                read(&format!("saasName: Wire\n{head}")),
                Ok(expected),
                "{head}"
            );
        }
    }

    #[test]
    fn day_month_and_year_make_a_real_day() {
        for (head, message) in [
            (
                "day: 31\nmonth: 2\nyear: 2024",
                "line 2, column 6: day: impossible date 2024-2-31",
            ),
            (
                "day: '5'\nmonth: 2\nyear: 2024",
                "line 2, column 6: day: a whole number expected, found the text `5`",
            ),
            (
                "day: 5\nmonth: 2.5\nyear: 2024",
                "line 3, column 8: month: a whole number expected, found the number 2.5",
            ),
            ("day: 5\nmonth: 2", "line 1, column 1: year: missing"),
            (
                "day: 5\nmonth: 2\nyear: 2026",
                "line 2, column 6: day: 2026-02-05T00:00:00.000Z is in the future",
            ),
        ] {
            let read = read(&format!("version: '1.0'\n{head}\nsaasName: Wire"));
            assert_eq!(read, Err(message.into()), "{head}");
        }
    }
}
