//! The ways in which a request can fail.
//!
//! Every failure of a handler becomes a response here, and is logged here, once. What
//! the database says never reaches a client.

use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use tracing::{debug, error, warn};

use crate::api_key::KEY_NEEDED;
use crate::http::failure::{FAULT, UNAVAILABLE, failed};
use crate::journal::PositionRefused;

/// A failed request: its status, and in `{"error": …}` one sentence.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// 400: malformed or invalid input.
    #[error("{0}")]
    Invalid(String),
    /// 401: no key, or none of ours.
    #[error("{KEY_NEEDED}")]
    Unauthorized,
    /// 403: the scope of the key is too small, or the request comes from elsewhere.
    #[error("{0}")]
    Forbidden(String),
    /// 404.
    #[error("{0}")]
    NotFound(String),
    /// 405.
    #[error("this path does not know the method {0}")]
    MethodNotAllowed(String),
    /// 409: it exists already, or is still active. SPACE's clients look for the word
    /// `conflict`, as for `not found` in a 404.
    #[error("conflict: {0}")]
    Conflict(String),
    /// 413.
    #[error("{0}")]
    TooLarge(String),
    /// 415.
    #[error("{0}")]
    UnsupportedMediaType(String),
    /// What the database answered instead of doing it: a 400, 503 or 500.
    #[error(transparent)]
    Database(#[from] sqlx::Error),
    /// Another transaction came between two statements: the request is tried again.
    #[error("another transaction came between")]
    Overtaken,
    /// 503: too much is under way already.
    #[error("{0}")]
    Busy(String),
    /// 503: the database did not answer in time.
    #[error("the database did not answer in time")]
    DatabaseTimeout,
    /// 400, or 503 while it cannot be checked: a position that nothing can be read from.
    #[error(transparent)]
    Position(#[from] PositionRefused),
    /// 503: the journal cannot be read.
    #[error("{0:#}")]
    Journal(anyhow::Error),
    /// 500: a fault of ours.
    #[error(transparent)]
    Fault(anyhow::Error),
}

impl Error {
    /// No enabled service has this name.
    pub(super) fn no_service(service_name: &str) -> Self {
        Self::NotFound(format!("service `{}` not found", shortened(service_name)))
    }

    /// The service has no such version.
    pub(super) fn no_pricing(version: &str) -> Self {
        Self::NotFound(format!("pricing `{}` not found", shortened(version)))
    }

    /// A parameter of the path cannot be read.
    pub(super) fn bad_path() -> Self {
        Self::Invalid("the path is not percent-encoded UTF-8".to_owned())
    }

    /// Whether the same transaction may succeed at once if it is tried again.
    pub(super) fn asks_for_another_try(&self) -> bool {
        match self {
            Self::Overtaken => true,
            Self::Database(error) => matches!(code(error).as_deref(), Some("40001" | "40P01")),
            _ => false,
        }
    }

    fn answer(&self) -> (StatusCode, String) {
        let status = match self {
            Self::Invalid(_) => StatusCode::BAD_REQUEST,
            Self::Unauthorized => StatusCode::UNAUTHORIZED,
            Self::Forbidden(_) => StatusCode::FORBIDDEN,
            Self::NotFound(_) => StatusCode::NOT_FOUND,
            Self::MethodNotAllowed(_) => StatusCode::METHOD_NOT_ALLOWED,
            Self::Conflict(_) => StatusCode::CONFLICT,
            Self::TooLarge(_) => StatusCode::PAYLOAD_TOO_LARGE,
            Self::UnsupportedMediaType(_) => StatusCode::UNSUPPORTED_MEDIA_TYPE,
            Self::Position(
                PositionRefused::Invalid(_) | PositionRefused::WentBack | PositionRefused::Expired,
            ) => StatusCode::BAD_REQUEST,
            Self::Busy(_) => StatusCode::SERVICE_UNAVAILABLE,
            Self::Overtaken
            | Self::DatabaseTimeout
            | Self::Journal(_)
            | Self::Position(PositionRefused::Unavailable) => return unavailable(),
            Self::Fault(_) => return fault(),
            Self::Database(error) => {
                return match blame(error) {
                    Blame::Client(sentence) => (StatusCode::BAD_REQUEST, sentence.to_owned()),
                    Blame::Unavailable => unavailable(),
                    Blame::Setup => (
                        StatusCode::SERVICE_UNAVAILABLE,
                        "the database is not as this service made it; its operator must look"
                            .to_owned(),
                    ),
                    Blame::Internal => fault(),
                };
            }
        };
        (status, self.to_string())
    }
}

impl IntoResponse for Error {
    fn into_response(self) -> Response {
        let (status, sentence) = self.answer();
        match status {
            StatusCode::INTERNAL_SERVER_ERROR => error!(error = ?self, "request failed"),
            StatusCode::SERVICE_UNAVAILABLE => {
                let error = format!("{self:#}");
                match self {
                    Self::Busy(_) => warn!(error, "request refused: too much is under way"),
                    // Whoever looks after the connections has said so, once for all.
                    Self::Database(sqlx::Error::Io(_)) | Self::Journal(_) | Self::Position(_) => {
                        debug!(error, "request refused: the database is away");
                    }
                    _ => warn!(error, "request refused: the database is away"),
                }
            }
            _ => {}
        }
        failed(status, sentence)
    }
}

fn unavailable() -> (StatusCode, String) {
    (StatusCode::SERVICE_UNAVAILABLE, UNAVAILABLE.to_owned())
}

fn fault() -> (StatusCode, String) {
    (StatusCode::INTERNAL_SERVER_ERROR, FAULT.to_owned())
}

/// Makes a 409 of what a named constraint refused.
pub(super) trait OrConflict<T> {
    /// A violation of `constraint` is a 409 with this sentence.
    fn or_conflict(self, constraint: &str, sentence: impl FnOnce() -> String) -> Result<T, Error>;
}

impl<T, E: Into<Error>> OrConflict<T> for Result<T, E> {
    fn or_conflict(self, constraint: &str, sentence: impl FnOnce() -> String) -> Result<T, Error> {
        self.map_err(|error| match error.into() {
            Error::Database(error) if violates(&error, constraint) => Error::Conflict(sentence()),
            error => error,
        })
    }
}

/// Whether this is the refusal of one constraint.
pub(super) fn violates(error: &sqlx::Error, constraint: &str) -> bool {
    error
        .as_database_error()
        .and_then(|error| error.constraint())
        == Some(constraint)
}

enum Blame {
    /// The request holds what cannot be stored.
    Client(&'static str),
    /// The database is away, stopping, starting, full or locked.
    Unavailable,
    /// It is not as the migrations made it.
    Setup,
    /// A bug.
    Internal,
}

fn blame(error: &sqlx::Error) -> Blame {
    let Some(code) = code(error) else {
        return match error {
            sqlx::Error::Io(_)
            | sqlx::Error::Tls(_)
            | sqlx::Error::Protocol(_)
            | sqlx::Error::PoolTimedOut
            | sqlx::Error::PoolClosed
            | sqlx::Error::WorkerCrashed
            | sqlx::Error::BeginFailed => Blame::Unavailable,
            _ => Blame::Internal,
        };
    };
    match code.as_ref() {
        "23514" => Blame::Client(refused_by_check(error)),
        "22001" | "22021" | "22P02" | "22P05" => Blame::Client(
            "the request holds text that cannot be stored, such as the character U+0000",
        ),
        "54000" | "54001" => {
            Blame::Client("the pricing is too large or too deeply nested to be stored")
        }
        // A table, a column, a function or a schema that is not there, or no right to it.
        "42P01" | "42703" | "42883" | "3F000" | "42501" => Blame::Setup,
        // Lock and statement timeouts, and deadlocks that came back each time.
        "55P03" | "57014" | "40001" | "40P01" => Blame::Unavailable,
        // A primary that has become a replica; a login or a database that is not there for now.
        "25006" | "3D000" => Blame::Unavailable,
        code => match code.get(..2) {
            // Connection, authorization, resources, operator, system.
            Some("08" | "28" | "53" | "57" | "58") => Blame::Unavailable,
            _ => Blame::Internal,
        },
    }
}

fn refused_by_check(error: &sqlx::Error) -> &'static str {
    match error
        .as_database_error()
        .and_then(|error| error.constraint())
    {
        Some("services_name_not_blank") => "the name of a service must not be blank",
        Some("services_name_no_control") => {
            "the name of a service holds no control characters or line breaks"
        }
        Some("services_name_length") => "the name of a service has at most 255 characters",
        Some("pricings_version_not_blank") => "the version of a pricing must not be blank",
        Some("pricings_version_no_control") => {
            "the version of a pricing holds no control characters or line breaks"
        }
        Some("pricings_version_length") => "the version of a pricing has at most 255 characters",
        _ => "the request holds a value that cannot be stored",
    }
}

fn code(error: &sqlx::Error) -> Option<std::borrow::Cow<'_, str>> {
    error.as_database_error().and_then(|error| error.code())
}

/// The beginning of a text that a client sent, enough to recognise it.
fn shortened(text: &str) -> String {
    const MAX_CHARS: usize = 255;
    match text.char_indices().nth(MAX_CHARS) {
        Some((end, _)) => format!("{}…", text.get(..end).unwrap_or_default()),
        None => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::http::header;

    #[test]
    fn every_failure_has_its_status() {
        for (error, status) in [
            (Error::Invalid("x".into()), 400),
            (Error::Unauthorized, 401),
            (Error::Forbidden("x".into()), 403),
            (Error::no_service("x"), 404),
            (Error::no_pricing("x"), 404),
            (Error::MethodNotAllowed("PATCH".into()), 405),
            (Error::Conflict("x".into()), 409),
            (Error::TooLarge("x".into()), 413),
            (Error::UnsupportedMediaType("x".into()), 415),
            (Error::Fault(anyhow::anyhow!("x")), 500),
            (Error::Database(sqlx::Error::RowNotFound), 500),
            (Error::Database(sqlx::Error::PoolTimedOut), 503),
            (
                Error::Database(sqlx::Error::Io(
                    std::io::ErrorKind::ConnectionRefused.into(),
                )),
                503,
            ),
            (Error::DatabaseTimeout, 503),
            (Error::Overtaken, 503),
            (Error::Busy("x".into()), 503),
        ] {
            let name = format!("{error:?}");
            let response = error.into_response();
            assert_eq!(response.status().as_u16(), status, "{name}");
            assert_eq!(
                response.headers().contains_key(header::RETRY_AFTER),
                status == 503,
                "{name}"
            );
        }
    }

    #[test]
    fn a_long_name_is_cut_between_characters() {
        assert_eq!(shortened("Zoom"), "Zoom");
        assert_eq!(shortened(&"é".repeat(300)), format!("{}…", "é".repeat(255)));
    }
}
