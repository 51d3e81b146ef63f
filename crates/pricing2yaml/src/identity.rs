//! Which pricing a document is: its service's name, its version, its date.

use chrono::{DateTime, Utc};

use crate::fault::Fault;
use crate::node::{Map, Node, Value};
use crate::syntax;
use crate::timestamp;

/// How long names and versions may be, in UTF-16 units as in JavaScript.
const MAX_UNITS: usize = 255;
/// How long a service's name must be.
const MIN_NAME_UNITS: usize = 3;

/// `saasName`, trimmed as JavaScript trims.
pub(crate) fn saas_name(document: &Map) -> Result<String, Fault> {
    document.read("saasName", |node| {
        let name = trim(node.string()?);
        let units = name.encode_utf16().count();
        if !(MIN_NAME_UNITS..=MAX_UNITS).contains(&units) {
            let range = format!("{MIN_NAME_UNITS} to {MAX_UNITS} characters");
            return Err(node.refused(format!("{range} expected, found {units}")));
        }
        one_line(node, name)
    })
}

/// `version` as it is; made from the date where it is absent or null, and
/// always before syntax 2.1.
pub(crate) fn version(
    document: &Map,
    old_syntax: Option<&str>,
    created_at: DateTime<Utc>,
) -> Result<String, Fault> {
    let key = "version";
    if old_syntax.is_some() || document.present(key).is_none() {
        return Ok(timestamp::version_of(created_at));
    }
    document.read(key, |node| {
        let version = node.string()?;
        let units = version.encode_utf16().count();
        if trim(version).is_empty() {
            return Err(node.refused("a text expected, found only blanks"));
        }
        if units > MAX_UNITS {
            let most = format!("at most {MAX_UNITS} characters");
            return Err(node.refused(format!("{most} expected, found {units}")));
        }
        one_line(node, version)
    })
}

/// `createdAt`, or `year`, `month` and `day` in syntax 1.0; not after `now`.
pub(crate) fn created_at(
    document: &Map,
    old_syntax: Option<&str>,
    now: DateTime<Utc>,
) -> Result<DateTime<Utc>, Fault> {
    let past = |node: &Node, instant: DateTime<Utc>| {
        if instant > now {
            return Err(node.refused(format!("{} is in the future", timestamp::iso(instant))));
        }
        Ok(instant)
    };
    if old_syntax != Some(syntax::FIRST) {
        return document.read("createdAt", |node| past(node, instant(node)?));
    }
    // The day is read first, and is where a date that cannot be is told.
    let day = document.read("day", whole)?;
    let month = document.read("month", whole)?;
    let year = document.read("year", whole)?;
    document.read("day", |node| {
        let date = timestamp::from_ymd(year, month, day);
        past(node, date.map_err(|what| node.refused(what))?)
    })
}

fn instant(node: &Node) -> Result<DateTime<Utc>, Fault> {
    let date = match &node.value {
        Value::Time(instant) => Some(*instant),
        Value::Text => timestamp::parse_date(&node.text).map_err(|what| node.refused(what))?,
        _ => None,
    };
    date.ok_or_else(|| node.expected("a date as 2024-03-15"))
}

/// Beyond four digits nothing is a part of a date.
fn whole(node: &Node) -> Result<u16, Fault> {
    match node.value {
        // `as` is exact here.
        Value::Number(value) if value.fract() == 0.0 && (0.0..=9999.0).contains(&value) => {
            Ok(value as u16)
        }
        _ => Err(node.expected("a whole number")),
    }
}

/// Refuses control characters and line breaks: names and versions are shown in
/// lists, logs and events, each in one line.
fn one_line(node: &Node, text: &str) -> Result<String, Fault> {
    let breaks = |c: &char| c.is_control() || matches!(c, '\u{2028}' | '\u{2029}');
    let Some(found) = text.chars().find(breaks) else {
        return Ok(text.into());
    };
    let code = u32::from(found);
    let what = format!("the control character or line break U+{code:04X} is not allowed");
    Err(node.refused(what))
}

/// `String.prototype.trim`: Rust's `trim` keeps U+FEFF and removes U+0085.
fn trim(text: &str) -> &str {
    text.trim_matches(|c: char| c == '\u{FEFF}' || (c != '\u{85}' && c.is_whitespace()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::read;

    /// Name, version and date of a document of this head, or why it is refused.
    fn identity_of(head: &str) -> Result<(String, String, String), String> {
        let document = read(&format!("{head}\ncurrency: EUR\nfeatures: {{}}\n"))?;
        let date = timestamp::iso(document.created_at);
        Ok((document.saas_name, document.version, date))
    }

    fn version_of(rest: &str) -> Result<String, String> {
        let head = "saasName: Wire\nsyntaxVersion: \"3.0\"";
        identity_of(&format!("{head}\n{rest}")).map(|(_, version, _)| version)
    }

    fn name_of(name: &str) -> Result<String, String> {
        let rest = "syntaxVersion: \"3.0\"\ncreatedAt: 2024-03-05";
        identity_of(&format!("saasName: \"{name}\"\n{rest}")).map(|(name, _, _)| name)
    }

    #[test]
    fn names_are_trimmed_as_in_javascript() {
        for (name, expected) in table! {
            "WireMock" => "WireMock",
            "  Wire  Mock\\t\\n" => "Wire  Mock",
            "\\uFEFF\\xA0\\u2003abc\\u2028\\v" => "abc",
            "a😀" => "a😀",
        } {
            assert_eq!(name_of(name), Ok(expected.into()), "{name}");
        }
        assert!(name_of(&"x".repeat(255)).is_ok());
    }

    #[test]
    fn names_that_are_too_short_too_long_or_no_line_are_refused() {
        let too_long = ["x".repeat(256), "😀".repeat(128)];
        for (name, what) in table! {
            "\\Nabc" => "the control character or line break U+0085 is not allowed",
            "ab\\nc" => "the control character or line break U+000A is not allowed",
            "ab\\Pc" => "the control character or line break U+2029 is not allowed",
            "  ab  " => "3 to 255 characters expected, found 2",
            "" => "3 to 255 characters expected, found 0",
            &too_long[0] => "3 to 255 characters expected, found 256",
            &too_long[1] => "3 to 255 characters expected, found 256",
        } {
            let message = format!("line 1, column 11: saasName: {what}");
            assert_eq!(name_of(name), Err(message), "{name}");
        }
    }

    #[test]
    fn versions_are_taken_as_they_are() {
        for (version, expected) in table! {
            "\"2024\"" => "2024", "'1.0'" => "1.0", "1.0.0" => "1.0.0",
            "2024_beta" => "2024_beta", "\" V1 \"" => " V1 ", "!!str 2024" => "2024",
            "2024-3-5" => "2024-3-5", "yes" => "yes", "\"2.0\"" => "2.0",
        } {
            let head = format!("createdAt: 2024-03-05\nversion: {version}");
            assert_eq!(version_of(&head), Ok(expected.into()), "{version}");
        }
    }

    #[test]
    fn a_version_that_is_no_text_is_refused() {
        for (version, what) in table! {
            "2024" => "a text expected, found the number 2024: put it in quotes",
            "1.0" => "a text expected, found the number 1.0: put it in quotes",
            "true" => "a text expected, found the boolean true: put it in quotes",
            "2024-01-01" => "a text expected, found the date 2024-01-01: put it in quotes",
            "[a]" => "a text expected, found a list",
            "{a: b}" => "a text expected, found a map",
            "\"\"" => "a text expected, found only blanks",
            "\" \\t\\uFEFF\"" => "a text expected, found only blanks",
        } {
            let message = format!("line 4, column 10: version: {what}");
            let head = format!("createdAt: 2024-03-05\nversion: {version}");
            assert_eq!(version_of(&head), Err(message), "{version}");
        }
        let head = |length| format!("createdAt: 2024-03-05\nversion: {}", "v".repeat(length));
        let too_long = "line 4, column 10: version: at most 255 characters expected, found 256";
        assert!(version_of(&head(255)).is_ok());
        assert_eq!(version_of(&head(256)), Err(too_long.into()));
    }

    #[test]
    fn a_missing_version_is_made_from_the_date_in_utc() {
        for (head, expected) in table! {
            "createdAt: 2024-03-05" => "2024-3-5",
            "createdAt: '2024-03-05'\nversion:" => "2024-3-5",
            "createdAt: 2024-12-31T23:30:00-01:00\nversion: ~" => "2025-1-1",
        } {
            assert_eq!(version_of(head), Ok(expected.into()), "{head}");
        }
    }

    #[test]
    fn dates_are_refused_that_are_none_or_still_to_come() {
        let long = "a date as 2024-03-15 expected, found the text `2024-03-05T00:00:00Z`";
        for (date, what) in table! {
            "\"2024-03-05T00:00:00Z\"" => long,
            "2024-3-5" => "a date as 2024-03-15 expected, found the text `2024-3-5`",
            "20240305" => "a date as 2024-03-15 expected, found the number 20240305",
            "~" => "a date as 2024-03-15 expected, found nothing",
            "2024-02-30" => "impossible date 2024-02-30",
            "'2023-02-29'" => "impossible date 2023-02-29",
            "2025-06-02" => "2025-06-02T00:00:00.000Z is in the future",
        } {
            let message = format!("line 3, column 12: createdAt: {what}");
            let version = version_of(&format!("createdAt: {date}"));
            assert_eq!(version, Err(message), "{date}");
        }
        let missing = "line 1, column 1: createdAt: missing";
        assert_eq!(version_of(""), Err(missing.into()));
        assert!(version_of("createdAt: 2025-06-01T12:00:00Z").is_ok());
    }

    #[test]
    fn old_documents_have_the_version_of_their_date() {
        for head in [
            "version: '1.0'\nday: 5\nmonth: 3\nyear: 2024",
            "version: '1.1'\ncreatedAt: 2024-03-05",
            "version: '2.0'\nsyntaxVersion: ~\ncreatedAt: '2024-03-05'",
        ] {
            let identity = identity_of(&format!("saasName: Wire\n{head}"));
            let date = "2024-03-05T00:00:00.000Z";
            assert_eq!(
                identity,
                Ok(("Wire".into(), "2024-3-5".into(), date.into()))
            );
        }
    }

    #[test]
    fn day_month_and_year_make_a_real_day() {
        for (head, message) in table! {
            "day: 31\nmonth: 2\nyear: 2024" => "line 2, column 6: day: impossible date 2024-2-31",
            "day: '5'\nmonth: 2\nyear: 2024" =>
                "line 2, column 6: day: a whole number expected, found the text `5`",
            "day: 5\nmonth: 2.5\nyear: 2024" =>
                "line 3, column 8: month: a whole number expected, found the number 2.5",
            "day: 5\nmonth: 2" => "line 1, column 1: year: missing",
            "day: 5\nmonth: 2\nyear: 2026" =>
                "line 2, column 6: day: 2026-02-05T00:00:00.000Z is in the future",
        } {
            let identity = identity_of(&format!("version: '1.0'\n{head}\nsaasName: Wire"));
            assert_eq!(identity, Err(message.into()), "{head}");
        }
    }
}
