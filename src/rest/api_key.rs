//! Which key may do what, and whose services it reaches.

use axum::extract::rejection::RawPathParamsRejection;
use axum::extract::{RawPathParams, Request, State};
use axum::http::Method;
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};

use super::{Api, Error};
use crate::api_key::{self, KnownKey, Scope};
use crate::organization::Organization;

/// The parameter of the paths that name an organisation.
pub(super) const ORGANIZATION: &str = "organization";

/// Refuses a request whose key may not do it, before its body is read, and tells the
/// handlers whose services the key is for. Without API_KEYS no key is needed, and
/// everything belongs to the default organisation.
pub(super) async fn authorize(
    State(api): State<Api>,
    params: Result<RawPathParams, RawPathParamsRejection>,
    mut request: Request,
    next: Next,
) -> Result<Response, Error> {
    let known = match api.keys.is_empty() {
        true => None,
        false => {
            let known = api_key::presented(request.headers()).and_then(|key| api.keys.find(key));
            Some(known.ok_or(Error::Unauthorized)?)
        }
    };
    let organization = known.map_or_else(Organization::default, |key| key.organization.clone());
    let checked = named_in(params.as_ref())
        .and_then(|named| check(known, &organization, named, request.method()));
    let mut response = match checked {
        Err(refusal) => refusal.into_response(),
        Ok(()) => {
            request.extensions_mut().insert(organization);
            next.run(request).await
        }
    };
    if let Some(known) = known {
        // For the log.
        response.extensions_mut().insert(known.clone());
    }
    Ok(response)
}

/// The organisation that the path names, if it names one.
fn named_in<'p>(
    params: Result<&'p RawPathParams, &RawPathParamsRejection>,
) -> Result<Option<&'p str>, Error> {
    match params {
        Ok(params) => Ok(params
            .iter()
            .find_map(|(name, value)| (name == ORGANIZATION).then_some(value))),
        Err(RawPathParamsRejection::InvalidUtf8InPathParam(_)) => Err(Error::bad_path()),
        // A path without parameters.
        Err(_) => Ok(None),
    }
}

/// `named` is the organisation that the path names.
fn check(
    known: Option<&KnownKey>,
    organization: &Organization,
    named: Option<&str>,
    method: &Method,
) -> Result<(), Error> {
    if let Some(named) = named {
        if organization.is_default() {
            let whose = match known {
                Some(_) => "this key reaches the default organisation",
                None => "without API_KEYS there is only the default organisation",
            };
            return Err(Error::Forbidden(format!(
                "{whose}, which has no id: leave `organizations/…` out of the path"
            )));
        }
        if named != organization.as_str() {
            let sentence = "this key is not one of the organisation in the path".to_owned();
            return Err(Error::Forbidden(sentence));
        }
    }
    let needed = needed_scope(method);
    match known {
        Some(KnownKey { scope, .. }) if *scope < needed => Err(Error::Forbidden(format!(
            "{method} needs a key of scope {needed}; this one has {scope}"
        ))),
        _ => Ok(()),
    }
}

/// Any key will do for a method that no path knows, and gets a 405.
pub(super) fn needed_scope(method: &Method) -> Scope {
    match *method {
        Method::DELETE => Scope::All,
        Method::POST | Method::PUT | Method::PATCH => Scope::Management,
        _ => Scope::Evaluation,
    }
}
