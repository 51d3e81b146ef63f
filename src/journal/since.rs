//! What a client says as `since`: the place from which it wants to hear or to list.
//!
//! One reading for REST and for handshakes. Whether the journal still has what came
//! after a position is asked of [`CatchUp`](super::CatchUp).

use serde_json::Value;

use super::bounds::Gap;
use super::key::JournalKey;
use super::position::Position;

/// From where a client goes on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Since {
    /// It said nothing.
    Unsaid,
    /// It said an empty text: from now on.
    Now,
    /// From a position that was given out. Whether all is kept that came after it has
    /// not been checked.
    Position(Position),
}

/// Why a client cannot go on from a position; SPACE's clients see the text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PositionRefused {
    /// It was never given out by this journal.
    #[error("POSITION_INVALID: {0}")]
    Invalid(&'static str),
    /// What was seen there is not in the journal any more.
    #[error(
        "POSITION_INVALID: the journal went back since, as after a failover or a restored backup; list again"
    )]
    WentBack,
    /// What came after it is kept no more.
    #[error("POSITION_EXPIRED: the journal is not kept back to it any more; list again")]
    Expired,
    /// The database is away: the client may try again.
    #[error("UNAVAILABLE: the database is away; try again")]
    Unavailable,
}

impl From<Gap> for PositionRefused {
    fn from(gap: Gap) -> Self {
        match gap {
            Gap::Pruned => Self::Expired,
            Gap::WentBack => Self::WentBack,
        }
    }
}

impl Since {
    /// Reads a text. `key` is the journal's.
    ///
    /// # Errors
    ///
    /// [`PositionRefused::Invalid`].
    pub fn parse(text: Option<&str>, key: &JournalKey) -> Result<Self, PositionRefused> {
        match text {
            None => Ok(Self::Unsaid),
            Some("") => Ok(Self::Now),
            Some(text) => {
                Position::decode(text, key)
                    .map(Self::Position)
                    .ok_or(PositionRefused::Invalid(
                        "it was not given out by this database; list again",
                    ))
            }
        }
    }

    /// Reads `since` in the `auth` of a handshake; null says nothing.
    ///
    /// # Errors
    ///
    /// [`PositionRefused::Invalid`].
    pub fn from_auth(auth: Option<&Value>, key: &JournalKey) -> Result<Self, PositionRefused> {
        match auth.and_then(|auth| auth.get("since")) {
            None | Some(Value::Null) => Ok(Self::Unsaid),
            Some(Value::String(text)) => Self::parse(Some(text), key),
            Some(_) => Err(PositionRefused::Invalid("`since` must be a text")),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::journal::Watermark;
    use serde_json::json;

    #[test]
    fn rest_and_handshakes_read_the_same() {
        let key = JournalKey::new(vec![1; 32]);
        let position = Position::after(Arc::new(Watermark::nothing()));
        let text = position.encode(&key);
        for (text, since) in [
            (None, Some(Since::Unsaid)),
            (Some(""), Some(Since::Now)),
            (Some(text.as_str()), Some(Since::Position(position))),
            (Some(" "), None),
            (Some("bm90aGluZw"), None),
        ] {
            let refused = "it was not given out by this database; list again";
            let since = since.ok_or(PositionRefused::Invalid(refused));
            assert_eq!(Since::parse(text, &key), since, "{text:?}");
            let auth = json!({ "since": text });
            assert_eq!(Since::from_auth(Some(&auth), &key), since, "{auth}");
        }
        for (auth, since) in [
            (None, Ok(Since::Unsaid)),
            (Some(json!({})), Ok(Since::Unsaid)),
            (
                Some(json!({ "since": 7 })),
                Err(PositionRefused::Invalid("`since` must be a text")),
            ),
        ] {
            assert_eq!(Since::from_auth(auth.as_ref(), &key), since, "{auth:?}");
        }
    }
}
