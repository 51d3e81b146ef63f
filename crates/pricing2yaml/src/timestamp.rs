//! Dates and timestamps: `yyyy-mm-dd`, and RFC 3339 with or without a zone.

use chrono::format::ParseErrorKind;
use chrono::{DateTime, Datelike, NaiveDate, NaiveTime, SecondsFormat, Utc};

use crate::fault::Shown;

/// Reads a date, at midnight in UTC, or a timestamp, cut to milliseconds and in
/// UTC where it names no zone. Gives nothing for a text that is neither.
///
/// # Errors
///
/// A day or a time that does not exist. JavaScript rolls these over
/// (2024-02-30 is its 1 March); here they are refused.
pub(crate) fn parse(text: &str) -> Result<Option<DateTime<Utc>>, String> {
    if !text.get(..10).is_some_and(has_form_of_date) || text.len() == 10 {
        return parse_date(text);
    }
    let readings = [text, &format!("{text}Z")].map(DateTime::parse_from_rfc3339);
    let out_of_range = |error: chrono::ParseError| error.kind() == ParseErrorKind::OutOfRange;
    match readings {
        [Ok(instant), _] | [_, Ok(instant)] => {
            Ok(DateTime::from_timestamp_millis(instant.timestamp_millis()))
        }
        [Err(a), Err(b)] if out_of_range(a) || out_of_range(b) => Err(impossible(text)),
        _ => Ok(None),
    }
}

/// Reads `yyyy-mm-dd` only.
///
/// # Errors
///
/// As for [`parse`].
pub(crate) fn parse_date(text: &str) -> Result<Option<DateTime<Utc>>, String> {
    if !has_form_of_date(text) {
        return Ok(None);
    }
    let date = text.parse().map_err(|_| impossible(text))?;
    Ok(Some(midnight(date)))
}

fn has_form_of_date(text: &str) -> bool {
    text.len() == 10
        && text.bytes().enumerate().all(|(at, b)| match at {
            4 | 7 => b == b'-',
            _ => b.is_ascii_digit(),
        })
}

/// A plain date as JavaScript's `new Date(year, month - 1, day)` reads it, at
/// midnight in UTC. The years 0 to 99 are 1900 to 1999.
///
/// # Errors
///
/// As for [`parse`].
pub(crate) fn from_ymd(year: u16, month: u16, day: u16) -> Result<DateTime<Utc>, String> {
    let full = if year < 100 { 1900 + year } else { year };
    NaiveDate::from_ymd_opt(full.into(), month.into(), day.into())
        .map(midnight)
        .ok_or_else(|| impossible(&format!("{year}-{month}-{day}")))
}

/// `2024-03-15T00:00:00.000Z`, as `toISOString` writes it.
pub(crate) fn iso(instant: DateTime<Utc>) -> String {
    instant.to_rfc3339_opts(SecondsFormat::Millis, true)
}

/// `2024-3-5`: the version of a document that names none, in UTC.
pub(crate) fn version_of(instant: DateTime<Utc>) -> String {
    format!("{}-{}-{}", instant.year(), instant.month(), instant.day())
}

fn midnight(date: NaiveDate) -> DateTime<Utc> {
    date.and_time(NaiveTime::MIN).and_utc()
}

fn impossible(text: &str) -> String {
    format!("impossible date {}", Shown(text))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_and_timestamps_are_read() {
        for (text, expected) in [
            ("2024-03-15", "2024-03-15T00:00:00.000Z"),
            ("2024-03-15T10:20:30Z", "2024-03-15T10:20:30.000Z"),
            ("2024-03-15 10:20:30", "2024-03-15T10:20:30.000Z"),
            ("2024-03-15 10:20:30.1239Z", "2024-03-15T10:20:30.123Z"),
            ("2024-03-15T22:20:30.5-05:30", "2024-03-16T03:50:30.500Z"),
            ("0100-03-15", "0100-03-15T00:00:00.000Z"),
        ] {
            let read = parse(text).ok().flatten().map(iso);
            assert_eq!(read.as_deref(), Some(expected), "{text}");
        }
    }

    #[test]
    fn what_only_resembles_a_timestamp_is_none() {
        for text in "2024|2024-3-5|2024-03-15T|2024-03-15 10:20|24-03-15|2024-03-15T1:2:03Z|\
            2024-03-15T10:20:30Z |2024-03-15T10:20:30+|2024-03-15T10:20:30+05:3|2024-03-15x|\
            ２０２４-03-15|2024-003-15|-2024-03-15|+024-03-15|"
            .split('|')
        {
            assert_eq!(parse(text), Ok(None), "{text}");
        }
    }

    #[test]
    fn impossible_dates_are_refused() {
        for text in "2024-02-30|2023-02-29|2024-13-01|2024-00-10|2024-01-00|2024-02-30T00:00:00Z|\
            2024-01-01T24:00:00Z|2024-01-01 24:00:00|2024-01-01T00:60:00Z|2024-01-01T00:00:61Z|\
            2024-01-01T00:00:00+24:00|2024-01-01T00:00:00+01:60"
            .split('|')
        {
            assert_eq!(parse(text), Err(impossible(text)));
        }
    }

    #[test]
    fn a_date_alone_takes_no_time() {
        assert_eq!(parse_date("2024-03-15T00:00:00Z"), Ok(None));
        assert_eq!(parse_date("2024-3-5"), Ok(None));
        assert!(parse_date("2024-02-30").is_err());
    }

    #[test]
    fn a_version_made_from_a_date_has_no_leading_zeros() {
        let instant = parse("2024-03-05T23:30:00-02:00").ok().flatten();
        assert_eq!(instant.map(version_of).as_deref(), Some("2024-3-6"));
    }
}
