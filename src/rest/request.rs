//! What a request says: its path, query, media types and JSON; each refusal is one
//! sentence of ours.

use axum::body::Bytes;
use axum::extract::{FromRequestParts, Path};
use axum::http::request::Parts;
use axum::http::{HeaderMap, header};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use utoipa::ToSchema;

use super::Error;

/// The parameters of the path, percent-decoded. They hold no U+0000, which no text in
/// Postgres may hold.
pub(super) struct PathParams<T>(pub(super) T);

impl<T: DeserializeOwned + Send, S: Send + Sync> FromRequestParts<S> for PathParams<T> {
    type Rejection = Error;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Error> {
        if parts.uri.path().contains("%00") {
            return Err(Error::Invalid(
                "the path holds the character U+0000".to_owned(),
            ));
        }
        match Path::from_request_parts(parts, state).await {
            Ok(Path(params)) => Ok(Self(params)),
            Err(_) => Err(Error::bad_path()),
        }
    }
}

/// `/services/{serviceName}…`
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct ServicePath {
    pub(super) service_name: String,
}

/// The parameters of the query. Of a repeated one the last counts, and unknown
/// ones are as if they were not there.
pub(super) struct QueryParams(Vec<(String, String)>);

impl QueryParams {
    /// Reads a query, or a form that is encoded like one.
    pub(super) fn parse(query: &[u8]) -> Self {
        Self(url::form_urlencoded::parse(query).into_owned().collect())
    }

    pub(super) fn get(&self, name: &str) -> Option<&str> {
        self.0
            .iter()
            .rev()
            .find(|(known, _)| known == name)
            .map(|(_, value)| value.as_str())
    }

    /// A parameter that is one of two words.
    pub(super) fn choice<T>(&self, name: &str, words: [(&str, T); 2]) -> Result<Option<T>, Error> {
        let Some(text) = self.get(name) else {
            return Ok(None);
        };
        let [(one, _), (other, _)] = &words;
        let sentence = format!("the parameter `{name}` must be {one} or {other}");
        let chosen = words.into_iter().find(|(word, _)| *word == text);
        chosen.map_or(Err(Error::Invalid(sentence)), |(_, choice)| {
            Ok(Some(choice))
        })
    }

    /// A text without U+0000, which no text in Postgres may hold.
    pub(super) fn storable(&self, name: &str) -> Result<Option<&str>, Error> {
        match self.get(name) {
            Some(text) if text.contains('\0') => Err(Error::Invalid(format!(
                "the parameter `{name}` holds the character U+0000"
            ))),
            text => Ok(text),
        }
    }
}

impl<S: Send + Sync> FromRequestParts<S> for QueryParams {
    type Rejection = Error;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Error> {
        Ok(Self::parse(
            parts.uri.query().unwrap_or_default().as_bytes(),
        ))
    }
}

/// The oldest first, or the newest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ToSchema)]
#[schema(rename_all = "lowercase")]
pub(super) enum Order {
    Asc,
    Desc,
}

/// How a pricing is answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ToSchema)]
#[schema(rename_all = "lowercase")]
pub(super) enum Format {
    Json,
    Yaml,
}

/// The media type of the body: lower case, without parameters.
pub(super) fn media_type(headers: &HeaderMap) -> Option<String> {
    let value = headers.get(header::CONTENT_TYPE)?.to_str().ok()?;
    let essence = value.split(';').next().unwrap_or_default().trim();
    Some(essence.to_ascii_lowercase())
}

pub(super) fn sends_json(headers: &HeaderMap) -> bool {
    media_type(headers).as_deref() == Some("application/json")
}

pub(super) fn is_yaml(media_type: &str) -> bool {
    matches!(
        media_type,
        "application/yaml" | "application/x-yaml" | "text/yaml" | "text/x-yaml"
    )
}

/// Reads a body that is a JSON object; its fields may be anything.
pub(super) fn json_object(body: &Bytes) -> Result<serde_json::Map<String, Value>, Error> {
    match parse_json(body)? {
        Value::Object(object) => Ok(object),
        _ => Err(Error::Invalid("the body must be a JSON object".to_owned())),
    }
}

/// A text of a JSON object, if it is there.
pub(super) fn text_field(
    object: &serde_json::Map<String, Value>,
    name: &str,
) -> Result<Option<String>, Error> {
    let text = |value: &Value| value.as_str().map(str::to_owned);
    field(object, name, "a text", text)
}

/// `true` or `false` of a JSON object, if it is there.
pub(super) fn bool_field(
    object: &serde_json::Map<String, Value>,
    name: &str,
) -> Result<Option<bool>, Error> {
    field(object, name, "true or false", Value::as_bool)
}

fn field<T>(
    object: &serde_json::Map<String, Value>,
    name: &str,
    kind: &str,
    read: impl Fn(&Value) -> Option<T>,
) -> Result<Option<T>, Error> {
    let Some(value) = object.get(name) else {
        return Ok(None);
    };
    let refused = || Error::Invalid(format!("the field `{name}` must be {kind}"));
    read(value).ok_or_else(refused).map(Some)
}

/// Reads a JSON body.
pub(super) fn parse_json(body: &Bytes) -> Result<Value, Error> {
    serde_json::from_slice(body)
        .map_err(|error| Error::Invalid(format!("the body is not JSON: {error}")))
}

/// Whether `Accept` prefers YAML to JSON: YAML must be named, and its quality must be no
/// lower than that of JSON. If both are named with the same quality, it is JSON.
pub(super) fn prefers_yaml(headers: &HeaderMap) -> bool {
    let mut yaml: f32 = 0.0;
    let mut json: Option<f32> = None;
    let mut any_application: Option<f32> = None;
    let mut any: Option<f32> = None;
    let ranges = headers
        .get_all(header::ACCEPT)
        .iter()
        .filter_map(|value| value.to_str().ok());
    for range in ranges.flat_map(|value| value.split(',')) {
        let mut parts = range.split(';').map(str::trim);
        let media_range = parts.next().unwrap_or_default().to_ascii_lowercase();
        let quality = parts
            .filter_map(|param| param.split_once('='))
            .find(|(name, _)| name.trim().eq_ignore_ascii_case("q"))
            .map_or(1.0, |(_, value)| value.trim().parse().unwrap_or(0.0));
        match media_range.as_str() {
            "application/json" => json = Some(quality),
            "application/*" => any_application = Some(quality),
            "*/*" => any = Some(quality),
            yaml_type if is_yaml(yaml_type) => yaml = yaml.max(quality),
            _ => {}
        }
    }
    let json_quality = json.or(any_application).or(any).unwrap_or(0.0);
    yaml > 0.0 && (yaml > json_quality || (yaml >= json_quality && json.is_none()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::http::HeaderValue;

    #[test]
    fn yaml_is_answered_to_those_who_ask_for_it() {
        for (accept, yaml) in [
            ("application/yaml", true),
            ("Application/YAML", true),
            ("text/yaml", true),
            ("application/x-yaml, */*", true),
            ("application/yaml;q=0.9, application/json;q=0.5", true),
            ("application/json;q=0.1, text/x-yaml; q=0.2", true),
            ("application/yaml; charset=utf-8; q=1", true),
            ("application/yaml, application/json", false),
            ("application/yaml;q=0.5, application/json", false),
            ("application/yaml;q=0.5, */*", false),
            ("application/yaml;q=0", false),
            ("application/yaml;q=nonsense", false),
            ("*/*", false),
            ("application/*", false),
            ("application/json", false),
            ("text/html", false),
            (",;q=,=", false),
            ("", false),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert(header::ACCEPT, HeaderValue::from_static(accept));
            assert_eq!(prefers_yaml(&headers), yaml, "{accept:?}");
        }
        assert!(!prefers_yaml(&HeaderMap::new()));
    }

    #[test]
    fn the_last_of_a_repeated_parameter_counts() {
        let query = QueryParams::parse(b"name=a&limit=1&name=b%20c&&=&x");
        assert_eq!(query.get("name"), Some("b c"));
        assert_eq!(query.get("limit"), Some("1"));
        assert_eq!(query.get("x"), Some(""));
        assert_eq!(query.get("page"), None);
    }
}
