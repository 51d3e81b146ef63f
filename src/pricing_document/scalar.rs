//! What an unquoted scalar means: js-yaml's default schema.
//!
//! Numbers are JavaScript's doubles, whatever their notation.

use super::node::Value;
use super::timestamp::{self, Impossible};

/// Resolves a scalar that is neither quoted nor tagged.
///
/// # Errors
///
/// A timestamp that names no day or time.
pub(super) fn resolve(text: &str) -> Result<Value, Impossible> {
    Ok(if is_null(text) {
        Value::Null
    } else if let Some(value) = boolean(text) {
        Value::Bool(value)
    } else if let Some(value) = integer(text).or_else(|| float(text)) {
        Value::number(value, text)
    } else if let Some(instant) = timestamp::parse(text)? {
        Value::time(instant, text)
    } else {
        Value::Text(text.into())
    })
}

pub(super) fn is_null(text: &str) -> bool {
    matches!(text, "~" | "null" | "Null" | "NULL")
}

pub(super) fn boolean(text: &str) -> Option<bool> {
    match text {
        "true" | "True" | "TRUE" => Some(true),
        "false" | "False" | "FALSE" => Some(false),
        _ => None,
    }
}

/// Decimal (also with leading zeros), `0x`, `0o`, `0b`; signs and inner `_`.
pub(super) fn integer(text: &str) -> Option<f64> {
    let (sign, digits) = signed(text);
    let prefixed = [("0b", 2), ("0x", 16), ("0o", 8)]
        .into_iter()
        .find_map(|(prefix, radix)| Some((digits.strip_prefix(prefix)?, radix)));
    let (digits, radix) = match prefixed {
        Some(found) => found,
        // js-yaml looks for a leading `_` behind one leading zero, too.
        None if digits.strip_prefix('0').unwrap_or(digits).starts_with('_') => return None,
        None => (digits, 10),
    };
    if digits.ends_with('_') || !digits.chars().all(|c| c == '_' || c.is_digit(radix)) {
        return None;
    }
    let digits = digits.replace('_', "");
    if digits.is_empty() {
        return None;
    }
    let value = if radix == 10 {
        digits.parse().ok()?
    } else {
        u128::from_str_radix(&digits, radix)
            .map_or_else(|_| huge(&digits, radix), |value| value as f64)
    };
    Some(sign * value)
}

/// A value beyond 128 bits; its last bits may be rounded otherwise than in JavaScript.
fn huge(digits: &str, radix: u32) -> f64 {
    digits
        .chars()
        .filter_map(|c| c.to_digit(radix))
        .fold(0.0, |value, digit| {
            value * f64::from(radix) + f64::from(digit)
        })
}

/// `1.5`, `1.`, `.5`, `1e3`, `.inf`, `.nan`; no sign before a leading point.
pub(super) fn float(text: &str) -> Option<f64> {
    match text {
        ".nan" | ".NaN" | ".NAN" => return Some(f64::NAN),
        _ if text.ends_with('_') => return None,
        _ => {}
    }
    let (sign, number) = signed(text);
    if matches!(number, ".inf" | ".Inf" | ".INF") {
        return Some(sign * f64::INFINITY);
    }
    let (mantissa, exponent) = match number.split_once(['e', 'E']) {
        Some((mantissa, exponent)) => (mantissa, Some(exponent)),
        None => (number, None),
    };
    if !exponent.is_none_or(is_exponent) || !is_mantissa(mantissa, text) {
        return None;
    }
    let plain = number.replace('_', "");
    // `._e5` passes for a float in js-yaml, and its value is NaN.
    Some(sign * plain.parse().unwrap_or(f64::NAN))
}

fn is_exponent(exponent: &str) -> bool {
    let digits = exponent.strip_prefix(['-', '+']).unwrap_or(exponent);
    !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit())
}

fn is_mantissa(mantissa: &str, text: &str) -> bool {
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let digits = |part: &str| part.bytes().all(|b| b == b'_' || b.is_ascii_digit());
    if whole.is_empty() {
        text.starts_with('.') && !fraction.is_empty() && digits(fraction)
    } else {
        whole.starts_with(|c: char| c.is_ascii_digit()) && digits(whole) && digits(fraction)
    }
}

fn signed(text: &str) -> (f64, &str) {
    match text.strip_prefix('-') {
        Some(rest) => (-1.0, rest),
        None => (1.0, text.strip_prefix('+').unwrap_or(text)),
    }
}

/// A number as JavaScript's `String(value)` writes it.
pub(super) fn javascript_string(value: f64) -> String {
    if value == 0.0 {
        "0".into()
    } else if value.is_infinite() {
        if value > 0.0 { "Infinity" } else { "-Infinity" }.into()
    } else if value.is_nan() || (1e-6..1e21).contains(&value.abs()) {
        value.to_string()
    } else {
        let text = format!("{value:e}");
        if text.contains("e-") {
            text
        } else {
            text.replace('e', "e+")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_scalars_resolve_as_in_js_yaml() {
        for (text, expected) in [
            ("0", 0.0),
            ("-0", 0.0),
            ("+12", 12.0),
            ("-12", -12.0),
            ("0123", 123.0),
            ("1_000", 1000.0),
            ("0_1", 1.0),
            ("0x1F", 31.0),
            ("-0x_1f", -31.0),
            ("0o17", 15.0),
            ("0b1_01", 5.0),
            ("9007199254740993", 9007199254740992.0),
            ("1e3", 1000.0),
            ("12e03", 12000.0),
            ("1.", 1.0),
            ("1.5", 1.5),
            ("-1.5", -1.5),
            (".5", 0.5),
            ("._5", 0.5),
            ("1_0.2_5", 10.25),
            ("1.e2", 100.0),
            ("1E-2", 0.01),
            (".5e1", 5.0),
            (".inf", f64::INFINITY),
            ("+.Inf", f64::INFINITY),
            ("-.INF", f64::NEG_INFINITY),
            ("1e400", f64::INFINITY),
        ] {
            assert_eq!(resolve(text), Ok(Value::number(expected, text)), "{text}");
        }
        for (text, expected) in [
            ("~", Value::Null),
            ("null", Value::Null),
            ("Null", Value::Null),
            ("NULL", Value::Null),
            ("true", Value::Bool(true)),
            ("True", Value::Bool(true)),
            ("TRUE", Value::Bool(true)),
            ("false", Value::Bool(false)),
            ("False", Value::Bool(false)),
            ("FALSE", Value::Bool(false)),
        ] {
            assert_eq!(resolve(text), Ok(expected), "{text}");
        }
        assert!(matches!(resolve("2024-01-01"), Ok(Value::Time { .. })));
    }

    #[test]
    fn everything_else_is_text() {
        for text in [
            "yes",
            "no",
            "on",
            "off",
            "y",
            "n",
            "nUll",
            "tRUE",
            "_1",
            "1_",
            "0x",
            "0x_",
            "0b2",
            "0o8",
            "0xG",
            "1__",
            "+",
            "-",
            ".",
            "..",
            "-.5",
            "+.5",
            "._",
            "1e",
            "1e+",
            "1e1_0",
            "e5",
            ".e5",
            "1.2.3",
            "190:20:30",
            "+.nan",
            ".iNf",
            "inf",
            "NaN",
            "0b",
            "-0b_",
            "１",
            "1 000",
            "+-1",
            "0_",
            "--1",
        ] {
            assert_eq!(resolve(text), Ok(Value::Text(text.into())), "{text}");
        }
    }

    #[test]
    fn not_a_number_has_three_spellings_and_an_odd_one() {
        for text in [".nan", ".NaN", ".NAN", "._e5"] {
            assert!(float(text).is_some_and(f64::is_nan), "{text}");
        }
    }

    #[test]
    fn a_long_hexadecimal_number_does_not_overflow() {
        let digits = "f".repeat(40);
        assert_eq!(integer(&format!("0x{digits}")), Some(2f64.powi(160)));
        assert_eq!(
            integer(&format!("0x{}", "f".repeat(9999))),
            Some(f64::INFINITY)
        );
    }

    #[test]
    fn numbers_as_keys_read_as_in_javascript() {
        for (value, expected) in [
            (1.0, "1"),
            (-0.0, "0"),
            (12.5, "12.5"),
            (1e20, "100000000000000000000"),
            (1e21, "1e+21"),
            (-1.5e300, "-1.5e+300"),
            (1e-6, "0.000001"),
            (1.5e-7, "1.5e-7"),
            (f64::NAN, "NaN"),
            (f64::INFINITY, "Infinity"),
            (f64::NEG_INFINITY, "-Infinity"),
            (123456789012345678901.0, "123456789012345680000"),
        ] {
            assert_eq!(javascript_string(value), expected);
        }
    }
}
