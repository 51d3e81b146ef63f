//! The API keys and their scopes.
//!
//! A presented key is compared with every configured key, all padded to one length. So
//! the time of an answer does not tell how much of a key was right, nor which key it
//! was. Keys are never logged or shown.

use std::fmt;
use std::sync::Arc;

use axum::http::{HeaderMap, HeaderName, header};
use subtle::{Choice, ConditionallySelectable, ConstantTimeEq};
use thiserror::Error;

use crate::organization::Organization;

/// The header that carries a key.
pub const API_KEY: HeaderName = HeaderName::from_static("x-api-key");
/// The answer to a request that needs a key and has none, or an unknown one.
pub const KEY_NEEDED: &str = "an API key is needed, in the header x-api-key";

/// The key in the header `x-api-key`, read in the same way everywhere: none if there are
/// two, or if it is not UTF-8.
pub fn presented(headers: &HeaderMap) -> Option<&str> {
    let mut values = headers.get_all(API_KEY).iter();
    let value = values.next()?;
    if values.next().is_some() {
        return None;
    }
    std::str::from_utf8(value.as_bytes()).ok()
}

/// The key in `Authorization: Bearer …`, which is how Prometheus can send one.
pub fn presented_as_bearer(headers: &HeaderMap) -> Option<&str> {
    let value = headers.get(header::AUTHORIZATION)?;
    let (scheme, key) = std::str::from_utf8(value.as_bytes())
        .ok()?
        .split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then_some(key.trim())
}

/// What a key may do; each scope includes the ones before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Scope {
    /// Reads: GET and HEAD.
    Evaluation,
    /// Also creates and changes: POST and PUT.
    Management,
    /// Also deletes: DELETE.
    All,
}

impl Scope {
    fn parse(name: &str) -> Option<Self> {
        match name {
            "EVALUATION" => Some(Self::Evaluation),
            "MANAGEMENT" => Some(Self::Management),
            "ALL" => Some(Self::All),
            _ => None,
        }
    }
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Evaluation => "EVALUATION",
            Self::Management => "MANAGEMENT",
            Self::All => "ALL",
        })
    }
}

/// The longest key that is accepted.
pub const MAX_KEY_BYTES: usize = 256;

/// Why a list of keys is refused. Entries are numbered from 1; the keys
/// themselves are never named.
#[derive(Debug, Error, PartialEq, Eq)]
pub enum InvalidApiKeys {
    /// Two commas with nothing between them, or one at an end.
    #[error("entry {0} is empty")]
    Empty(usize),
    /// The part after the last colon is no scope, or there is no colon.
    #[error(
        "entry {0} does not end in :ALL, :MANAGEMENT or :EVALUATION, or in one of them and \
         @organization; an organisation with a colon cannot be named here"
    )]
    NoScope(usize),
    /// The part after the scope is no organisation.
    #[error(
        "entry {0} has an @ behind its scope, but no organisation of up to 255 characters \
         without control characters"
    )]
    NoOrganization(usize),
    /// Nothing before the last colon.
    #[error("entry {0} has a scope but no key")]
    NoKey(usize),
    /// Over [`MAX_KEY_BYTES`].
    #[error("the key of entry {0} is longer than {MAX_KEY_BYTES} bytes")]
    TooLong(usize),
    /// A header could not carry it.
    #[error("the key of entry {0} has white space at an end or a control character")]
    Unprintable(usize),
    /// It would not be clear which of the two scopes applies.
    #[error("entry {0} has the same key as an earlier entry")]
    Repeated(usize),
    /// Nobody could tell from the log which key it was.
    #[error("entry {0} has the same name as an earlier entry")]
    NameRepeated(usize),
}

/// The configured keys, each with its scope and its name.
#[derive(Default)]
pub struct ApiKeys(Vec<(PaddedKey, KnownKey)>);

/// What is known of a key, and may be shown.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KnownKey {
    /// What it may do.
    pub scope: Scope,
    /// Its name in the settings, or its number among the keys: `#1`.
    pub name: Arc<str>,
    /// Whose services it reaches.
    pub organization: Organization,
}

impl ApiKeys {
    /// Reads `key:SCOPE,name=key:SCOPE@organization`. A key may hold colons and `@`; its
    /// scope follows the last colon, and without `@organization` behind the scope it is
    /// the default organisation's. A name has letters, digits and `-_.`; the signs that
    /// base64 puts at its end make no name. Blank text means no keys.
    ///
    /// # Errors
    ///
    /// The first entry that is not a key and a scope.
    pub fn parse(list: &str) -> Result<Self, InvalidApiKeys> {
        let mut keys: Vec<(PaddedKey, KnownKey)> = Vec::new();
        if list.trim().is_empty() {
            return Ok(Self(keys));
        }
        for (entry, number) in list.split(',').zip(1..) {
            let entry = entry.trim();
            if entry.is_empty() {
                return Err(InvalidApiKeys::Empty(number));
            }
            let (key, reach) = entry
                .rsplit_once(':')
                .ok_or(InvalidApiKeys::NoScope(number))?;
            let (scope, organization) = match reach.split_once('@') {
                None => (reach, None),
                Some((scope, organization)) => (scope, Some(organization)),
            };
            let scope = Scope::parse(scope).ok_or(InvalidApiKeys::NoScope(number))?;
            let organization = match organization {
                None => Organization::default(),
                Some(id) => {
                    Organization::parse(id).ok_or(InvalidApiKeys::NoOrganization(number))?
                }
            };
            let (name, key) = match named(key) {
                Some((name, key)) => (name.into(), key),
                None => (format!("#{number}").into(), key),
            };
            if key.is_empty() {
                return Err(InvalidApiKeys::NoKey(number));
            }
            if key.trim() != key || key.chars().any(char::is_control) {
                return Err(InvalidApiKeys::Unprintable(number));
            }
            let key = PaddedKey::new(key.as_bytes()).ok_or(InvalidApiKeys::TooLong(number))?;
            if keys.iter().any(|(known, _)| bool::from(known.ct_eq(&key))) {
                return Err(InvalidApiKeys::Repeated(number));
            }
            let known = KnownKey {
                scope,
                name,
                organization,
            };
            if keys.iter().any(|(_, other)| other.name == known.name) {
                return Err(InvalidApiKeys::NameRepeated(number));
            }
            keys.push((key, known));
        }
        Ok(Self(keys))
    }

    /// Whether no key is configured, so that none is asked for.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// A presented key, if it is one of ours. Takes the same time for every key of up
    /// to [`MAX_KEY_BYTES`].
    pub fn find(&self, presented: &str) -> Option<&KnownKey> {
        let presented = PaddedKey::new(presented.as_bytes())?;
        let mut found = u64::MAX;
        for ((key, _), number) in self.0.iter().zip(0..) {
            found.conditional_assign(&number, key.ct_eq(&presented));
        }
        let (_, known) = self.0.get(usize::try_from(found).ok()?)?;
        Some(known)
    }
}

/// A name and a key, where an entry has both.
fn named(text: &str) -> Option<(&str, &str)> {
    let (name, key) = text.split_once('=')?;
    let is_name = |char: char| char.is_ascii_alphanumeric() || "-_.".contains(char);
    let is_named = !name.is_empty() && name.chars().all(is_name) && key.chars().any(|c| c != '=');
    is_named.then_some((name, key))
}

impl fmt::Debug for ApiKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ApiKeys({} keys)", self.0.len())
    }
}

/// A key filled up with zeros, beside its length: all are equally long to compare.
struct PaddedKey {
    bytes: [u8; MAX_KEY_BYTES],
    length: u64,
}

impl PaddedKey {
    fn new(key: &[u8]) -> Option<Self> {
        let mut bytes = [0; MAX_KEY_BYTES];
        bytes.get_mut(..key.len())?.copy_from_slice(key);
        let length = u64::try_from(key.len()).ok()?;
        Some(Self { bytes, length })
    }
}

impl ConstantTimeEq for PaddedKey {
    fn ct_eq(&self, other: &Self) -> Choice {
        self.bytes.ct_eq(&other.bytes) & self.length.ct_eq(&other.length)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::http::HeaderValue;

    #[test]
    fn a_key_has_the_scope_after_its_last_colon() {
        let keys = ApiKeys::parse("reader:EVALUATION, a:b:MANAGEMENT ,schlüssel:ALL")
            .expect("a list of keys");
        for (presented, scope) in [
            ("reader", Some(Scope::Evaluation)),
            ("a:b", Some(Scope::Management)),
            ("schlüssel", Some(Scope::All)),
            ("", None),
            ("reade", None),
            ("reader\0", None),
            ("readers", None),
            ("READER", None),
            ("reader:EVALUATION", None),
        ] {
            assert_eq!(
                keys.find(presented).map(|known| known.scope),
                scope,
                "{presented:?}"
            );
        }
        assert_eq!(keys.find(&"x".repeat(MAX_KEY_BYTES + 1)), None);
    }

    #[test]
    fn a_key_is_one_header_of_utf_8() {
        let values = |values: &[&[u8]]| {
            let mut headers = HeaderMap::new();
            for value in values {
                headers.append(API_KEY, HeaderValue::from_bytes(value).expect("a value"));
            }
            presented(&headers).map(str::to_owned)
        };
        assert_eq!(values(&[b"reader"]).as_deref(), Some("reader"));
        assert_eq!(
            values(&["schlüssel".as_bytes()]).as_deref(),
            Some("schlüssel")
        );
        assert_eq!(values(&[b"\xff"]), None);
        assert_eq!(values(&[b"reader", b"reader"]), None);
        assert_eq!(values(&[]), None);
    }

    #[test]
    fn a_bearer_token_is_a_key_too() {
        for (value, key) in [
            ("Bearer reader", Some("reader")),
            ("bearer  schlüssel", Some("schlüssel")),
            ("Basic reader", None),
            ("Bearer", None),
        ] {
            let mut headers = HeaderMap::new();
            let header_value = HeaderValue::from_bytes(value.as_bytes()).expect("a value");
            headers.insert(header::AUTHORIZATION, header_value);
            assert_eq!(presented_as_bearer(&headers), key, "{value}");
        }
    }

    #[test]
    fn a_key_has_a_name_or_its_place_among_them() {
        let keys = "reader:EVALUATION,billing=b:a=r:ALL,c2VjcmV0==:ALL,=x:ALL,my key=y:ALL";
        let keys = ApiKeys::parse(keys).expect("a list of keys");
        for (presented, name) in [
            ("reader", "#1"),
            ("b:a=r", "billing"),
            ("c2VjcmV0==", "#3"),
            ("=x", "#4"),
            ("my key=y", "#5"),
        ] {
            let known = keys.find(presented).expect("one of them");
            assert_eq!(&*known.name, name);
        }
        assert_eq!(keys.find("billing"), None);
        assert_eq!(keys.find("billing=b:a=r"), None);
    }

    #[test]
    fn a_key_is_of_the_organization_behind_its_scope() {
        let keys = "a:ALL,b:ALL@acme,name=c:EVALUATION@Acme & Co. =2,d@x:ALL,e:MANAGEMENT@x@y";
        let keys = ApiKeys::parse(keys).expect("a list of keys");
        for (presented, scope, organization) in [
            ("a", Scope::All, ""),
            ("b", Scope::All, "acme"),
            ("c", Scope::Evaluation, "Acme & Co. =2"),
            ("d@x", Scope::All, ""),
            ("e", Scope::Management, "x@y"),
        ] {
            let known = keys.find(presented).expect("one of them");
            assert_eq!(known.scope, scope, "{presented}");
            assert_eq!(known.organization.as_str(), organization, "{presented}");
        }
        assert_eq!(keys.find("b:ALL@acme"), None);
    }

    #[test]
    fn the_longest_key_counts_to_its_last_byte() {
        let longest = "k".repeat(MAX_KEY_BYTES);
        let keys = ApiKeys::parse(&format!("{longest}:ALL")).expect("a list of keys");
        assert!(keys.find(&longest).is_some());
        assert_eq!(keys.find(&"k".repeat(MAX_KEY_BYTES - 1)), None);
    }

    #[test]
    fn no_text_means_no_keys() {
        for list in ["", " ", "\n"] {
            let keys = ApiKeys::parse(list).expect("no keys");
            assert!(keys.is_empty(), "{list:?}");
            assert_eq!(keys.find(""), None);
        }
    }

    #[test]
    fn a_bad_entry_is_named_by_its_number_alone() {
        let too_long = format!("ok:ALL,{}:ALL", "s".repeat(MAX_KEY_BYTES + 1));
        for (list, error) in [
            ("secret", InvalidApiKeys::NoScope(1)),
            ("secret:all", InvalidApiKeys::NoScope(1)),
            ("secret:", InvalidApiKeys::NoScope(1)),
            ("ok:ALL,secret:ROOT", InvalidApiKeys::NoScope(2)),
            (":ALL", InvalidApiKeys::NoKey(1)),
            (":ALL@acme", InvalidApiKeys::NoKey(1)),
            ("secret:ALL@a:b", InvalidApiKeys::NoScope(1)),
            ("secret:@acme", InvalidApiKeys::NoScope(1)),
            ("secret:ALL@", InvalidApiKeys::NoOrganization(1)),
            ("ok:ALL,secret:ALL@a\nb", InvalidApiKeys::NoOrganization(2)),
            ("secret:ALL@acme,secret:ALL@b", InvalidApiKeys::Repeated(2)),
            ("secret:ALL,", InvalidApiKeys::Empty(2)),
            (",", InvalidApiKeys::Empty(1)),
            ("se\ncret:ALL", InvalidApiKeys::Unprintable(1)),
            ("secret :ALL", InvalidApiKeys::Unprintable(1)),
            ("secret:ALL,secret:EVALUATION", InvalidApiKeys::Repeated(2)),
            (too_long.as_str(), InvalidApiKeys::TooLong(2)),
            (
                "a=secret:ALL,a=secret2:ALL",
                InvalidApiKeys::NameRepeated(2),
            ),
            ("a=secret:ALL,b=secret:ALL", InvalidApiKeys::Repeated(2)),
        ] {
            let refused = ApiKeys::parse(list).expect_err("a bad list");
            assert_eq!(refused, error, "{list:?}");
            let sentence = refused.to_string();
            assert!(
                !sentence.contains("secret") && !sentence.contains('\n'),
                "{sentence}"
            );
        }
    }
}
