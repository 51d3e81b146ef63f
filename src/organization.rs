//! Whose a service is: nobody else reads it, changes it or hears about it.
//!
//! Each row of the journal belongs to one organisation. The triggers join by organisation
//! and name; REST gives each statement the organisation of the key, without which no
//! handler runs; a client's filter has its organisation. A service that moves to another
//! organisation is two rows of the journal, gone from one and new in the other, since a row
//! means at most one event.

use std::sync::Arc;

/// An organisation, by its id. Services that belong to none in particular belong to the
/// default one, whose id is empty.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Organization(Option<Arc<str>>);

/// The longest id, in characters: constraint `services_organization_length`.
pub const MAX_ORGANIZATION_CHARS: usize = 255;

impl Organization {
    /// Reads an id, as it stands behind the `@` of an API key. None if no service could
    /// have it, if it is empty, or if it has white space at an end.
    pub fn parse(id: &str) -> Option<Self> {
        let is_control = |char: char| char.is_control() || matches!(char, '\u{2028}' | '\u{2029}');
        let is_id = !id.is_empty()
            && id.trim() == id
            && id.chars().count() <= MAX_ORGANIZATION_CHARS
            && !id.chars().any(is_control);
        is_id.then(|| Self(Some(id.into())))
    }

    /// As rows have it: empty for the default one.
    pub fn as_str(&self) -> &str {
        self.0.as_deref().unwrap_or_default()
    }

    /// Whether a row with this id belongs to it.
    ///
    /// Two empty texts are not compared byte by byte: a processor may take a hundred
    /// times longer for no bytes than for a few, and each client is asked for each event.
    pub fn has(&self, id: &str) -> bool {
        match &self.0 {
            None => id.is_empty(),
            Some(own) => **own == *id,
        }
    }

    /// Whether it is the one of rows that name none.
    pub fn is_default(&self) -> bool {
        self.0.is_none()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_one_that_a_service_may_have() {
        for id in [
            "acme",
            "Größe 12",
            "a@b",
            &"x".repeat(MAX_ORGANIZATION_CHARS),
        ] {
            let organization = Organization::parse(id).expect(id);
            assert_eq!(organization.as_str(), id);
            assert!(!organization.is_default());
        }
        for id in [
            "",
            " ",
            " acme",
            "acme ",
            "a\nb",
            "a\u{2028}b",
            &"x".repeat(256),
        ] {
            assert_eq!(Organization::parse(id), None, "{id:?}");
        }
        assert!(Organization::default().is_default());
        assert_eq!(Organization::default().as_str(), "");
    }
}
