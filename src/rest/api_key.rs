//! Which key may do what.

use axum::extract::{Request, State};
use axum::http::Method;
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};

use super::{Api, Error};
use crate::api_key::{self, KnownKey, Scope};

/// Refuses a request whose key does not reach, before anything of its body is
/// read. Where no keys are configured, none is asked for.
pub(super) async fn authorize(
    State(api): State<Api>,
    request: Request,
    next: Next,
) -> Result<Response, Error> {
    if !api.keys.is_empty() {
        let known = api_key::presented(request.headers())
            .and_then(|key| api.keys.find(key))
            .ok_or(Error::Unauthorized)?;
        let KnownKey { scope, .. } = known;
        let needed = needed_scope(request.method());
        let mut response = if *scope < needed {
            let sentence = format!(
                "{} needs a key of scope {needed}; this one has {scope}",
                request.method()
            );
            Error::Forbidden(sentence).into_response()
        } else {
            next.run(request).await
        };
        // For the log.
        response.extensions_mut().insert(known.clone());
        return Ok(response);
    }
    Ok(next.run(request).await)
}

/// Methods that no path knows are answered with 405 to any key.
pub(super) fn needed_scope(method: &Method) -> Scope {
    match *method {
        Method::DELETE => Scope::All,
        Method::POST | Method::PUT | Method::PATCH => Scope::Management,
        _ => Scope::Evaluation,
    }
}
