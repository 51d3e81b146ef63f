//! What else every document must have: a currency, features, sound prices.

use crate::fault::Fault;
use crate::node::{Map, Node, Value};

/// `currency`: a text.
pub(crate) fn check_currency(document: &Map) -> Result<(), Fault> {
    document.read("currency", |node| node.string().map(drop))
}

/// `features`: a map, or a list of maps that have a `name`. It may be empty.
pub(crate) fn check_features(document: &Map) -> Result<(), Fault> {
    document.read("features", |node| match &node.value {
        Value::Map(_) => Ok(()),
        Value::List(_) => node.check_each(check_named),
        _ => Err(node.expected("a map")),
    })
}

fn check_named(item: &Node) -> Result<(), Fault> {
    let Value::Map(map) = &item.value else {
        return Err(item.expected("a map with a `name`"));
    };
    if map.get("name").is_none() {
        return Err(item.refused("a map with a `name` expected"));
    }
    map.read("name", |name| name.string().map(drop))
}

/// The prices of plans and add-ons: where they are numbers, finite ones.
/// Elsewhere infinity means "unlimited"; nothing costs that.
pub(crate) fn check_prices(document: &Map) -> Result<(), Fault> {
    for section in ["plans", "addOns"] {
        if document.get(section).is_some() {
            document.read(section, |node| node.check_each(check_price))?;
        }
    }
    Ok(())
}

fn check_price(item: &Node) -> Result<(), Fault> {
    let Value::Map(map) = &item.value else {
        return Ok(());
    };
    for key in ["price", "monthlyPrice", "annualPrice"] {
        if let Some(node) = map.get(key)
            && let Value::Number(value) = &node.value
            && !value.is_finite()
        {
            return Err(node.expected("a finite number").under(key));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use crate::read;

    fn fault_of(rest: &str) -> Option<String> {
        let head = "saasName: Wire\nsyntaxVersion: '3.0'\ncreatedAt: 2024-03-05\n";
        read(&format!("{head}{rest}")).err()
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
            assert_eq!(fault_of(rest), None, "{rest}");
        }
    }

    #[test]
    fn unsound_documents_are_refused() {
        for (rest, message) in table! {
            "features: {}" => "line 1, column 1: currency: missing",
            "currency: EUR" => "line 1, column 1: features: missing",
            "currency: 1\nfeatures: {}" =>
                "line 4, column 11: currency: a text expected, found the number 1: put it in quotes",
            "currency: EUR\nfeatures: no" =>
                "line 5, column 11: features: a map expected, found the text `no`",
            "currency: EUR\nfeatures: [a]" =>
                "line 5, column 12: features[0]: a map with a `name` expected, found the text `a`",
            "currency: EUR\nfeatures: [{name: a}, {b: 1}]" =>
                "line 5, column 23: features[1]: a map with a `name` expected",
            "currency: EUR\nfeatures: [{name: 1}]" =>
                "line 5, column 19: features[0].name: a text expected, found the number 1: put it in quotes",
        } {
            assert_eq!(fault_of(rest).as_deref(), Some(message), "{rest}");
        }
    }

    #[test]
    fn prices_are_finite() {
        let head = "currency: EUR\nfeatures: {}\n";
        for (rest, message) in table! {
            "plans: {a: {price: .inf}}" =>
                "line 6, column 20: plans.a.price: a finite number expected, found the number .inf",
            "addOns: [{annualPrice: .nan}]" =>
                "line 6, column 24: addOns[0].annualPrice: a finite number expected, found the number .nan",
            "plans: {a: {monthlyPrice: 1e999}}" =>
                "line 6, column 27: plans.a.monthlyPrice: a finite number expected, found the number 1e999",
        } {
            let fault = fault_of(&format!("{head}{rest}"));
            assert_eq!(fault.as_deref(), Some(message), "{rest}");
        }
    }
}
