//! How a failed request is answered, whoever answers it: its status, and one sentence
//! in `{"error": …}`.

use axum::Json;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use serde::Serialize;
use utoipa::ToSchema;

/// The sentence of a 500: a fault of ours.
pub const FAULT: &str = "the request failed through no fault of yours";
/// The sentence of a 503 while the database is away.
pub const UNAVAILABLE: &str = "the database does not answer; try again in a moment";

/// What every failed request is answered with.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Error)]
pub struct ErrorBody {
    /// One sentence.
    error: String,
}

/// The answer. A client that gets a 503 may try again in a second.
pub fn failed(status: StatusCode, sentence: impl Into<String>) -> Response {
    let body = ErrorBody {
        error: sentence.into(),
    };
    let mut response = (status, Json(body)).into_response();
    if status == StatusCode::SERVICE_UNAVAILABLE {
        let seconds = HeaderValue::from_static("1");
        response.headers_mut().insert(header::RETRY_AFTER, seconds);
    }
    response
}
