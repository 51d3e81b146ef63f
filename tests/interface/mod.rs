//! The interface is as it is written down: answers against the OpenAPI document,
//! frames against the AsyncAPI one, both documents against their own rules.

mod events;
mod generated;
mod judges;
pub mod requests;

use jsonschema::Draft;
use reqwest::Method;
use serde_json::{Value, json};

use crate::support::TestApp;

/// A document of the running program, in which nothing may be that it does not
/// name: a property too many is one that nobody wrote down.
async fn document(app: &TestApp, path: &str) -> Value {
    let (status, mut document) = app.get(path).await;
    assert_eq!(status, 200, "{path}");
    close(&mut document["components"]["schemas"]);
    document
}

/// Forbids the properties that a schema does not name, unless it speaks of them.
fn close(schema: &mut Value) {
    match schema {
        Value::Object(object) => {
            if object.contains_key("properties") && !object.contains_key("additionalProperties") {
                object.insert("additionalProperties".to_owned(), json!(false));
            }
            for (name, part) in object {
                // Generators of clients leave out what is put together from parts.
                assert_ne!(name, "allOf");
                close(part);
            }
        }
        Value::Array(parts) => parts.iter_mut().for_each(close),
        _ => {}
    }
}

/// Whether a value is as a schema of the document says; else why not.
fn conforms(document: &Value, draft: Draft, schema: &Value, value: &Value) -> Result<(), String> {
    let mut schema = schema.clone();
    schema["components"] = document["components"].clone();
    let validator = jsonschema::options()
        .with_draft(draft)
        .should_validate_formats(true)
        .build(&schema)
        .expect("a schema");
    validator
        .validate(value)
        .map_err(|error| format!("{error} in {value:.300}"))
}

/// Follows `$ref` within a document.
fn resolved<'a>(document: &'a Value, value: &'a Value) -> &'a Value {
    match value["$ref"].as_str() {
        Some(reference) => document
            .pointer(reference.strip_prefix('#').expect("a place within"))
            .unwrap_or_else(|| panic!("{reference} leads nowhere")),
        None => value,
    }
}

/// The operations of an OpenAPI document: path, method, description.
fn operations(document: &Value) -> Vec<(String, Method, &Value)> {
    let paths = document["paths"].as_object().expect("paths");
    let operations = paths.iter().flat_map(|(path, item)| {
        let item = item.as_object().expect("operations");
        item.iter().map(|(method, operation)| {
            let method = Method::from_bytes(method.to_uppercase().as_bytes());
            (path.clone(), method.expect("a method"), operation)
        })
    });
    operations.collect()
}
