//! What else every document must have: a currency, features, sound prices.

use super::identity::{required, text};
use super::invalid::Refusal;
use super::node::{Map, Node, Value};

/// `currency`: a text.
pub(super) fn check_currency(document: &Map) -> Result<(), Refusal> {
    let key = "currency";
    let currency = text(required(document, key)?);
    currency.map(drop).map_err(|refusal| refusal.under(key))
}

/// `features`: a map, or a list of maps that have a `name`. It may be empty.
pub(super) fn check_features(document: &Map) -> Result<(), Refusal> {
    let key = "features";
    let node = required(document, key)?;
    let checked = match &node.value {
        Value::Map(_) => Ok(()),
        Value::List(items) => items
            .iter()
            .enumerate()
            .try_for_each(|(index, item)| check_named(item).map_err(|refusal| refusal.at(index))),
        other => Err(Refusal::new(
            node.place,
            format!("a map expected, found {}", other.described()),
        )),
    };
    checked.map_err(|refusal| refusal.under(key))
}

fn check_named(item: &Node) -> Result<(), Refusal> {
    let Value::Map(map) = &item.value else {
        let what = format!(
            "a map with a `name` expected, found {}",
            item.value.described()
        );
        return Err(Refusal::new(item.place, what));
    };
    match map.get("name") {
        Some(name) => text(name)
            .map(drop)
            .map_err(|refusal| refusal.under("name")),
        None => Err(Refusal::new(item.place, "a map with a `name` expected")),
    }
}

/// The prices of plans and add-ons: where they are numbers, finite ones.
/// Elsewhere infinity means "unlimited"; nothing costs that.
pub(super) fn check_prices(document: &Map) -> Result<(), Refusal> {
    for section in ["plans", "addOns"] {
        let checked = match document.get(section).map(|node| &node.value) {
            Some(Value::Map(map)) => map.entries.iter().try_for_each(|entry| {
                check_price(&entry.value).map_err(|refusal| refusal.under(&entry.key))
            }),
            Some(Value::List(items)) => items.iter().enumerate().try_for_each(|(index, item)| {
                check_price(item).map_err(|refusal| refusal.at(index))
            }),
            _ => Ok(()),
        };
        checked.map_err(|refusal| refusal.under(section))?;
    }
    Ok(())
}

fn check_price(item: &Node) -> Result<(), Refusal> {
    let Value::Map(map) = &item.value else {
        return Ok(());
    };
    for key in ["price", "monthlyPrice", "annualPrice"] {
        if let Some(node) = map.get(key)
            && let Value::Number { value, .. } = &node.value
            && !value.is_finite()
        {
            let what = format!("a finite number expected, found {}", node.value.described());
            return Err(Refusal::new(node.place, what).under(key));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::parse;

    fn refusal_of(rest: &str) -> Option<String> {
        let head = "saasName: Wire\nsyntaxVersion: '3.0'\ncreatedAt: 2024-03-05\n";
        let now = "2025-06-01T12:00:00Z".parse().expect("a time");
        let document = parse(format!("{head}{rest}").as_bytes(), now);
        document.err().map(|refusal| refusal.to_string())
    }

    #[test]
    fn sound_documents_pass() {
        for rest in [
            "currency: EUR\nfeatures: {}",
            "currency: EUR\nfeatures: []\nplans: ~\naddOns: {}",
            "currency: EUR\nfeatures: [{name: a}]\nplans: [{name: p, price: 1}]",
            "currency: EUR\nfeatures: {a: ~}\nplans: {p: {price: Contact sales}}\ncustom: 1",
            "currency: EUR\nfeatures: {}\nusageLimits: {l: {defaultValue: .inf}}",
        ] {
            assert_eq!(refusal_of(rest), None, "{rest}");
        }
    }

    #[test]
    fn unsound_documents_are_refused() {
        for (rest, message) in [
            ("features: {}", "line 1, column 1: currency: missing"),
            ("currency: EUR", "line 1, column 1: features: missing"),
            (
                "currency: 1\nfeatures: {}",
                "line 4, column 11: currency: a text expected, found the number 1: put it in quotes",
            ),
            (
                "currency: EUR\nfeatures: no",
                "line 5, column 11: features: a map expected, found the text `no`",
            ),
            (
                "currency: EUR\nfeatures: [a]",
                "line 5, column 12: features[0]: a map with a `name` expected, found the text `a`",
            ),
            (
                "currency: EUR\nfeatures: [{name: a}, {b: 1}]",
                "line 5, column 23: features[1]: a map with a `name` expected",
            ),
            (
                "currency: EUR\nfeatures: [{name: 1}]",
                "line 5, column 19: features[0].name: a text expected, found the number 1: put it in quotes",
            ),
        ] {
            assert_eq!(refusal_of(rest).as_deref(), Some(message), "{rest}");
        }
    }

    #[test]
    fn prices_are_finite() {
        let head = "currency: EUR\nfeatures: {}\n";
        for (rest, message) in [
            (
                "plans: {a: {price: .inf}}",
                "line 6, column 20: plans.a.price: a finite number expected, found the number .inf",
            ),
            (
                "addOns: [{annualPrice: .nan}]",
                "line 6, column 24: addOns[0].annualPrice: a finite number expected, found the number .nan",
            ),
            (
                "plans: {a: {monthlyPrice: 1e999}}",
                "line 6, column 27: plans.a.monthlyPrice: a finite number expected, found the number 1e999",
            ),
        ] {
            assert_eq!(
                refusal_of(&format!("{head}{rest}")).as_deref(),
                Some(message),
                "{rest}"
            );
        }
    }
}
