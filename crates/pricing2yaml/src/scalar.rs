//! What an unquoted scalar means: the core schema of YAML 1.2, with `0b` and
//! with `_` inside of numbers, as js-yaml reads it; and plain dates and timestamps.
//!
//! Numbers are JavaScript's doubles, whatever their notation.

use std::rc::Rc;

use crate::node::{Node, Value};
use crate::timestamp;

/// Resolves a scalar that is neither quoted nor tagged.
///
/// # Errors
///
/// A date or a time that does not exist.
pub(crate) fn resolve(text: &str) -> Result<Value, String> {
    Ok(match text {
        "~" | "null" | "Null" | "NULL" => Value::Null,
        "true" | "True" | "TRUE" => Value::Bool(true),
        "false" | "False" | "FALSE" => Value::Bool(false),
        _ => {
            if let Some(value) = number(text) {
                Value::Number(value)
            } else {
                timestamp::parse(text)?.map_or(Value::Text, Value::Time)
            }
        }
    })
}

/// A scalar as a key: a number by its value, so that `1000` and `0x3E8` are the
/// same key; a date as it is written. Nothing for a list or a map.
pub(crate) fn key(node: &Node) -> Option<Rc<str>> {
    Some(match &node.value {
        Value::Null => "null".into(),
        Value::Bool(value) => value.to_string().into(),
        Value::Number(value) => value.to_string().into(),
        Value::Time(_) | Value::Text => node.text.as_ref().into(),
        Value::List(_) | Value::Map(_) => return None,
    })
}

fn number(text: &str) -> Option<f64> {
    let (sign, unsigned) = match text.strip_prefix('-') {
        Some(rest) => (-1.0, rest),
        None => (1.0, text.strip_prefix('+').unwrap_or(text)),
    };
    match unsigned {
        ".inf" | ".Inf" | ".INF" => return Some(sign * f64::INFINITY),
        ".nan" | ".NaN" | ".NAN" if unsigned == text => return Some(f64::NAN),
        _ if unsigned.ends_with('_') => return None,
        _ => {}
    }
    for (prefix, radix) in [("0b", 2), ("0o", 8), ("0x", 16)] {
        if let Some(digits) = unsigned.strip_prefix(prefix) {
            return whole(digits, radix).map(|value| sign * value);
        }
    }
    decimal(unsigned, unsigned == text).map(|value| sign * value)
}

/// Beyond 2^53 the last bits may be rounded otherwise than in JavaScript.
fn whole(digits: &str, radix: u32) -> Option<f64> {
    let mut digits = digits.chars().filter(|c| *c != '_').peekable();
    digits.peek()?;
    digits.try_fold(0.0, |value, digit| {
        Some(value * f64::from(radix) + f64::from(digit.to_digit(radix)?))
    })
}

/// `12`, `012`, `1_000`, `1.5`, `1.`, `1e3`; `.5` only without a sign.
fn decimal(text: &str, unsigned: bool) -> Option<f64> {
    let (mantissa, exponent) = text.split_once(['e', 'E']).unwrap_or((text, "0"));
    let starts = mantissa.starts_with(|c: char| c.is_ascii_digit())
        || (unsigned && mantissa.starts_with('.'));
    if !starts || exponent.contains('_') {
        return None;
    }
    // Rust's own words for numbers, `inf` and `nan`, begin otherwise.
    text.replace('_', "").parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::yaml;

    #[test]
    fn plain_scalars_resolve_as_in_js_yaml() {
        for (text, expected) in table! {
            "0" => 0.0, "-0" => 0.0, "+12" => 12.0, "-12" => -12.0, "0123" => 123.0,
            "10_000" => 10_000.0, "0_1" => 1.0, "0x1F" => 31.0, "-0x_1f" => -31.0,
            "0o17" => 15.0, "0b1_01" => 5.0, "9007199254740993" => 9007199254740992.0,
            "1e3" => 1000.0, "12e03" => 12000.0, "1." => 1.0, "1.5" => 1.5, "-1.5" => -1.5,
            ".5" => 0.5, "1_0.2_5" => 10.25, "1.e2" => 100.0, "1E-2" => 0.01, ".5e1" => 5.0,
            ".inf" => f64::INFINITY, "+.Inf" => f64::INFINITY, "-.INF" => f64::NEG_INFINITY,
            "1e400" => f64::INFINITY,
        } {
            assert_eq!(resolve(text), Ok(Value::Number(expected)), "{text}");
        }
        for (texts, expected) in [
            (["~", "null", "Null", "NULL"].as_slice(), Value::Null),
            (&["true", "True", "TRUE"], Value::Bool(true)),
            (&["false", "False", "FALSE"], Value::Bool(false)),
        ] {
            for text in texts {
                assert_eq!(resolve(text).as_ref(), Ok(&expected), "{text}");
            }
        }
        assert!(matches!(resolve("2024-01-01"), Ok(Value::Time(_))));
        for text in [".nan", ".NaN", ".NAN"] {
            assert!(number(text).is_some_and(f64::is_nan), "{text}");
        }
    }

    #[test]
    fn everything_else_is_text() {
        let texts = "yes no on off y n nUll tRUE _1 1_ 0x 0x_ 0b2 0o8 0xG 1__ + - . .. -.5 +.5 \
            ._ 1e 1e+ 1e1_0 e5 .e5 1.2.3 190:20:30 +.nan .iNf inf NaN infinity 0b -0b_ １ +-1 0_ \
            --1 -+1 0x-1 0x+1 1e5e5 1f 0X1F";
        for text in texts.split(' ').chain(["", "1 000"]) {
            assert_eq!(resolve(text), Ok(Value::Text), "{text}");
        }
    }

    #[test]
    fn a_long_hexadecimal_number_does_not_overflow() {
        let digits = "f".repeat(40);
        assert_eq!(number(&format!("0x{digits}")), Some(2f64.powi(160)));
        let digits = "f".repeat(9999);
        assert_eq!(number(&format!("0x{digits}")), Some(f64::INFINITY));
    }

    #[test]
    fn keys_are_texts() {
        for (text, expected) in table! {
            "True" => "true", "~" => "null", "a" => "a", "2024-03-05" => "2024-03-05",
            "1.0" => "1", "0x3E8" => "1000", "12.5" => "12.5",
            "1e20" => "100000000000000000000",
        } {
            let key = yaml::load(text).ok().and_then(|node| key(&node));
            assert_eq!(key.as_deref(), Some(expected), "{text}");
        }
    }
}
