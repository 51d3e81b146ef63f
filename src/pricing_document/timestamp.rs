//! YAML timestamps, read and written as js-yaml and JavaScript do.

use chrono::{DateTime, Datelike, NaiveDate, NaiveTime, TimeDelta, Utc};

/// A text that has the form of a date but names no day or time.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Impossible;

/// Reads `yyyy-mm-dd`, or `y-m-d` with a time; a time without a zone is in UTC.
///
/// Gives nothing for a text that is no timestamp. The years 0000 to 0099 are
/// 1900 to 1999, as in JavaScript's `Date.UTC`.
///
/// # Errors
///
/// A day or a time that does not exist. JavaScript rolls these over
/// (2024-02-30 is its 1 March); here they are refused.
pub(super) fn parse(text: &str) -> Result<Option<DateTime<Utc>>, Impossible> {
    match read_date(text).or_else(|| read_timestamp(text)) {
        None => Ok(None),
        Some(fields) => fields.instant().map(Some).ok_or(Impossible),
    }
}

/// Reads `yyyy-mm-dd` only, as `new Date(text)` does: the year is what it says.
///
/// # Errors
///
/// As for [`parse`].
pub(super) fn parse_date(text: &str) -> Result<Option<DateTime<Utc>>, Impossible> {
    let Some(fields) = read_date(text) else {
        return Ok(None);
    };
    let date = NaiveDate::from_ymd_opt(fields.year, fields.month, fields.day).ok_or(Impossible)?;
    Ok(Some(midnight(date)))
}

/// A plain date as JavaScript's `new Date(year, month - 1, day)` reads it, at
/// midnight in UTC; nothing for a day that does not exist.
pub(super) fn from_ymd(year: i32, month: u32, day: u32) -> Option<DateTime<Utc>> {
    let year = if (0..100).contains(&year) {
        1900 + year
    } else {
        year
    };
    NaiveDate::from_ymd_opt(year, month, day).map(midnight)
}

/// `2024-03-15T00:00:00.000Z`, as `toISOString` writes it.
pub(super) fn iso(instant: DateTime<Utc>) -> String {
    let rest = instant.format("-%m-%dT%H:%M:%S%.3fZ");
    match instant.year() {
        year @ 0..=9999 => format!("{year:04}{rest}"),
        year => format!("{year:+07}{rest}"),
    }
}

/// `Fri Mar 15 2024 00:00:00 GMT+0000 (Coordinated Universal Time)`, as
/// `String(date)` writes it on a server in UTC.
pub(super) fn javascript_string(instant: DateTime<Utc>) -> String {
    instant
        .format("%a %b %d %Y %H:%M:%S GMT+0000 (Coordinated Universal Time)")
        .to_string()
}

/// `2024-3-5`: the version of a document that names none, in UTC.
pub(super) fn version_of(instant: DateTime<Utc>) -> String {
    format!("{}-{}-{}", instant.year(), instant.month(), instant.day())
}

fn midnight(date: NaiveDate) -> DateTime<Utc> {
    date.and_time(NaiveTime::MIN).and_utc()
}

/// The numbers of a timestamp, not yet known to be a time.
#[derive(Default)]
struct Fields {
    year: i32,
    month: u32,
    day: u32,
    hour: u32,
    minute: u32,
    second: u32,
    milli: u32,
    zone_hours: u32,
    zone_minutes: u32,
    west: bool,
}

impl Fields {
    fn instant(&self) -> Option<DateTime<Utc>> {
        if self.zone_hours > 23 || self.zone_minutes > 59 {
            return None;
        }
        let zone = TimeDelta::minutes(i64::from(self.zone_hours * 60 + self.zone_minutes));
        let local = from_ymd(self.year, self.month, self.day)?
            .date_naive()
            .and_hms_milli_opt(self.hour, self.minute, self.second, self.milli)?
            .and_utc();
        if self.west {
            local.checked_add_signed(zone)
        } else {
            local.checked_sub_signed(zone)
        }
    }
}

fn read_date(text: &str) -> Option<Fields> {
    let mut rest = Rest(text);
    let fields = Fields {
        year: i32::try_from(rest.number(4, 4)?).ok()?,
        month: rest.after('-')?.number(2, 2)?,
        day: rest.after('-')?.number(2, 2)?,
        ..Fields::default()
    };
    rest.0.is_empty().then_some(fields)
}

fn read_timestamp(text: &str) -> Option<Fields> {
    let mut rest = Rest(text);
    let mut fields = Fields {
        year: i32::try_from(rest.number(4, 4)?).ok()?,
        month: rest.after('-')?.number(1, 2)?,
        day: rest.after('-')?.number(1, 2)?,
        ..Fields::default()
    };
    if rest.after('T').is_none() && rest.after('t').is_none() && !rest.blanks() {
        return None;
    }
    fields.hour = rest.number(1, 2)?;
    fields.minute = rest.after(':')?.number(2, 2)?;
    fields.second = rest.after(':')?.number(2, 2)?;
    if rest.after('.').is_some() {
        fields.milli = rest.millis();
    }
    rest.blanks_before_zone();
    if rest.0.is_empty() || rest.0 == "Z" {
        return Some(fields);
    }
    fields.west = rest.after('-').is_some();
    if !fields.west {
        rest.after('+')?;
    }
    fields.zone_hours = rest.number(1, 2)?;
    if !rest.0.is_empty() {
        fields.zone_minutes = rest.after(':')?.number(2, 2)?;
    }
    rest.0.is_empty().then_some(fields)
}

/// What is still to be read of a timestamp.
struct Rest<'a>(&'a str);

impl Rest<'_> {
    /// A number of `least` to `most` digits.
    fn number(&mut self, least: usize, most: usize) -> Option<u32> {
        let digits = self.0.bytes().take(most).take_while(u8::is_ascii_digit);
        let (number, rest) = self.0.split_at(digits.count());
        self.0 = rest;
        if number.len() < least {
            return None;
        }
        number.parse().ok()
    }

    fn after(&mut self, c: char) -> Option<&mut Self> {
        self.0 = self.0.strip_prefix(c)?;
        Some(self)
    }

    /// Steps over blanks and tabs, and tells whether there were any.
    fn blanks(&mut self) -> bool {
        let rest = self.0.trim_start_matches([' ', '\t']);
        let found = rest.len() < self.0.len();
        self.0 = rest;
        found
    }

    /// Blanks may stand before a zone, not at the end.
    fn blanks_before_zone(&mut self) {
        let rest = self.0.trim_start_matches([' ', '\t']);
        if !rest.is_empty() {
            self.0 = rest;
        }
    }

    /// The fraction of a second, of any length, cut to milliseconds.
    fn millis(&mut self) -> u32 {
        let rest = self.0.trim_start_matches(|c: char| c.is_ascii_digit());
        let digits = self.0.strip_suffix(rest).unwrap_or_default();
        self.0 = rest;
        let three = digits.bytes().chain(std::iter::repeat(b'0')).take(3);
        three.fold(0, |millis, digit| millis * 10 + u32::from(digit - b'0'))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn iso_of(text: &str) -> Option<String> {
        parse(text).ok().flatten().map(iso)
    }

    #[test]
    fn timestamps_are_read_as_js_yaml_reads_them() {
        for (text, expected) in [
            ("2024-03-15", "2024-03-15T00:00:00.000Z"),
            ("2024-03-15T10:20:30Z", "2024-03-15T10:20:30.000Z"),
            ("2024-3-5t1:02:03", "2024-03-05T01:02:03.000Z"),
            ("2024-3-5 \t 1:02:03.5 Z", "2024-03-05T01:02:03.500Z"),
            ("2024-03-15 10:20:30.", "2024-03-15T10:20:30.000Z"),
            ("2024-03-15 10:20:30.1239", "2024-03-15T10:20:30.123Z"),
            ("2024-03-15T10:20:30+5", "2024-03-15T05:20:30.000Z"),
            ("2024-03-15T22:20:30 -05:30", "2024-03-16T03:50:30.000Z"),
            ("9999-12-31T23:00:00-05", "+010000-01-01T04:00:00.000Z"),
            ("0024-03-15", "1924-03-15T00:00:00.000Z"),
            ("0100-03-15", "0100-03-15T00:00:00.000Z"),
        ] {
            assert_eq!(iso_of(text).as_deref(), Some(expected), "{text}");
        }
    }

    #[test]
    fn what_only_resembles_a_timestamp_is_none() {
        for text in [
            "",
            "2024",
            "2024-3-5",
            "2024-03-15T",
            "2024-03-15 10:20",
            "24-03-15",
            "2024-03-15T1:2:03",
            "2024-03-15T10:20:30z",
            "2024-03-15T10:20:30 ",
            "2024-03-15T10:20:30+",
            "2024-03-15T10:20:30+05:3",
            "2024-03-15T10:20:30+0530",
            "2024-03-15x",
            "２０２４-03-15",
            "2024-003-15",
            "-2024-03-15",
        ] {
            assert_eq!(parse(text), Ok(None), "{text}");
        }
    }

    #[test]
    fn impossible_dates_are_refused() {
        for text in [
            "2024-02-30",
            "2023-02-29",
            "2024-13-01",
            "2024-00-10",
            "2024-01-00",
            "2024-01-01T24:00:00Z",
            "2024-01-01T00:60:00Z",
            "2024-01-01T00:00:60Z",
            "2024-01-01T00:00:00+24",
            "2024-01-01T00:00:00+01:60",
        ] {
            assert_eq!(parse(text), Err(Impossible), "{text}");
        }
        assert_eq!(parse_date("2024-02-30"), Err(Impossible));
    }

    #[test]
    fn a_date_alone_takes_no_time() {
        assert_eq!(parse_date("2024-03-15T00:00:00Z"), Ok(None));
        assert_eq!(parse_date("2024-3-5"), Ok(None));
        let written = parse_date("0024-03-05").map(|instant| instant.map(iso));
        assert_eq!(written, Ok(Some("0024-03-05T00:00:00.000Z".into())));
    }

    #[test]
    fn a_version_made_from_a_date_has_no_leading_zeros() {
        let instant = parse("2024-03-05T23:30:00-02:00").ok().flatten();
        assert_eq!(instant.map(version_of).as_deref(), Some("2024-3-6"));
    }

    #[test]
    fn a_date_as_a_key_reads_as_in_javascript() {
        let instant = parse("2024-03-05").ok().flatten();
        assert_eq!(
            instant.map(javascript_string).as_deref(),
            Some("Tue Mar 05 2024 00:00:00 GMT+0000 (Coordinated Universal Time)")
        );
    }
}
