//! Which key may do what.

use axum::extract::{Request, State};
use axum::http::Method;
use axum::middleware::Next;
use axum::response::Response;

use super::{Api, Error};
use crate::api_key::{self, Scope};

/// Refuses a request whose key does not reach, before anything of its body is
/// read. Where no keys are configured, none is asked for.
pub(super) async fn authorize(
    State(api): State<Api>,
    request: Request,
    next: Next,
) -> Result<Response, Error> {
    if !api.keys.is_empty() {
        let scope = api_key::presented(request.headers())
            .and_then(|key| api.keys.scope_of(key))
            .ok_or(Error::Unauthorized)?;
        let needed = needed_scope(request.method());
        if scope < needed {
            return Err(Error::Forbidden(format!(
                "{} needs a key of scope {needed}; this one has {scope}",
                request.method()
            )));
        }
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
