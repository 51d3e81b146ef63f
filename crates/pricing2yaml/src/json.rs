//! A loaded document as JSON that Postgres can keep.

use serde_json::Number;

use crate::fault::Fault;
use crate::node::{Node, Value};
use crate::timestamp;

/// What SPACE keeps for "unlimited": `.inf` in a document.
const UNLIMITED: i64 = 100_000_000;

/// The value as JSON. Timestamps become `2024-03-15T00:00:00.000Z`, whole
/// numbers integers (`1.0` is 1), infinity 100000000.
///
/// # Errors
///
/// NaN and minus infinity, which JSON cannot keep.
pub(crate) fn of(node: &Node) -> Result<serde_json::Value, Fault> {
    Ok(match &node.value {
        Value::Null => serde_json::Value::Null,
        Value::Bool(value) => (*value).into(),
        Value::Number(value) => match number(*value) {
            Some(number) => number.into(),
            None => {
                let what = format!("{} cannot be kept", node.described());
                return Err(Fault::new(node.place, what));
            }
        },
        Value::Time(instant) => timestamp::iso(*instant).into(),
        Value::Text => node.text.to_string().into(),
        Value::List(items) => {
            let items = items.iter().enumerate();
            let items = items.map(|(index, item)| of(item).map_err(|fault| fault.at(index)));
            serde_json::Value::Array(items.collect::<Result<_, _>>()?)
        }
        Value::Map(map) => {
            let entries = map.0.iter().map(|(key, value)| {
                let value = of(value).map_err(|fault| fault.under(key))?;
                Ok((key.to_string(), value))
            });
            serde_json::Value::Object(entries.collect::<Result<_, _>>()?)
        }
    })
}

fn number(value: f64) -> Option<Number> {
    // 2^63: below it, a whole double is an `i64` without loss.
    const WHOLE_BELOW: f64 = 9_223_372_036_854_775_808.0;
    if value == f64::INFINITY {
        Some(UNLIMITED.into())
    } else if value.fract() == 0.0 && value.abs() < WHOLE_BELOW {
        Some((value as i64).into())
    } else {
        Number::from_f64(value)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use crate::{assert_refused, json_of};

    #[test]
    fn numbers_and_dates_become_javascripts_and_infinity_is_unlimited() {
        for (yaml, expected) in table! {
            "10" => json!(10), "1.0" => json!(1), "-0.0" => json!(0), "12.5" => json!(12.5),
            "1e3" => json!(1000), "0x1F" => json!(31), "10000000000000000000" => json!(1e19),
            "9007199254740993" => json!(9_007_199_254_740_992_i64),
            "-9223372036854775808" => json!(-9_223_372_036_854_775_808.0),
            "[.inf, 1e999]" => json!([100_000_000, 100_000_000]),
            "2024-03-15" => json!("2024-03-15T00:00:00.000Z"),
            "2024-03-15 01:02:03+01:00" => json!("2024-03-15T00:02:03.000Z"),
        } {
            assert_eq!(json_of(yaml), Ok(expected), "{yaml}");
        }
    }

    #[test]
    fn what_json_cannot_keep_is_refused_with_its_path() {
        assert_refused(table! {
            "a:\n  - b: .nan" => "line 2, column 8: a[0].b: the number .nan cannot be kept",
            "- -.inf" => "line 1, column 3: [0]: the number -.inf cannot be kept",
        });
    }
}
