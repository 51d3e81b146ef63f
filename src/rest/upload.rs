//! The ways a pricing document arrives: a form with a file, a YAML body, or a URL,
//! as JSON or as an encoded form.

use std::time::Duration;

use axum::body::Bytes;
use axum::extract::multipart::MultipartError;
use axum::extract::{FromRequest, Multipart, Request};
use axum::http::{HeaderMap, StatusCode, header};
use chrono::Utc;
use pricing2yaml::PricingDocument;

use super::error::OrConflict;
use super::pricing_url::FetchError;
use super::request::QueryParams;
use super::{Api, Error, request};
use crate::store::pricings::NewPricing;
use crate::store::services::ServiceRow;
use crate::store::{self, Transaction};

/// The largest pricing, however it arrives.
pub const MAX_PRICING_BYTES: usize = 2 * 1024 * 1024;

/// The largest body that is read. It is larger than a pricing and its form, because a
/// client that sends too much gets its 413 only if it could send all of its body.
pub const MAX_BODY_BYTES: usize = 4 * MAX_PRICING_BYTES;

/// How long a body may take to arrive.
const BODY_LIMIT: Duration = Duration::from_secs(60);

/// The longest URL.
const MAX_URL_BYTES: usize = 2048;

/// A pricing that was sent: what it says, and what it was read from.
pub(super) struct Upload {
    pub(super) document: PricingDocument,
    pub(super) source: Bytes,
    pub(super) url: Option<String>,
}

impl Upload {
    /// Adds the pricing to a service that the transaction holds.
    pub(super) async fn insert(
        &self,
        tx: &mut Transaction,
        service: &ServiceRow,
    ) -> Result<(), Error> {
        let pricing = NewPricing {
            version: &self.document.version,
            url: self.url.as_deref(),
            document: &self.document.json,
            source: &self.source,
        };
        store::pricings::insert(tx, service, &pricing)
            .await
            .or_conflict("pricings_pkey", || {
                format!("pricing `{}` already exists", pricing.version)
            })
    }
}

impl FromRequest<Api> for Upload {
    type Rejection = Error;

    async fn from_request(request: Request, api: &Api) -> Result<Self, Error> {
        match in_time(Received::read(request)).await? {
            Received::File(source) => Ok(Self {
                document: parse(source.clone()).await?,
                source,
                url: None,
            }),
            Received::Url(url) => {
                let source = api.fetcher.fetch(&url).await.map_err(|error| match error {
                    FetchError::Busy => Error::Busy(error.to_string()),
                    error => Error::Invalid(error.to_string()),
                })?;
                let document = parse(source.clone()).await.map_err(|error| match error {
                    Error::Invalid(sentence) => {
                        Error::Invalid(format!("what `{url}` answers is no pricing: {sentence}"))
                    }
                    error => error,
                })?;
                Ok(Self {
                    document,
                    source,
                    url: Some(url),
                })
            }
        }
    }
}

enum Received {
    File(Bytes),
    Url(String),
}

impl Received {
    async fn read(request: Request) -> Result<Self, Error> {
        refuse_encodings(request.headers())?;
        match request::media_type(request.headers()).as_deref() {
            Some("multipart/form-data") => read_form(request).await.map(Self::File),
            Some(media_type) if request::is_yaml(media_type) => read_body(request).await.map(Self::File),
            Some("application/json") => {
                let body = request::json_object(&read_body(request).await?)?;
                url(request::text_field(&body, "pricing")?).map(Self::Url)
            }
            Some("application/x-www-form-urlencoded") => {
                let form = QueryParams::parse(&read_body(request).await?);
                url(form.get("pricing").map(str::to_owned)).map(Self::Url)
            }
            _ => Err(Error::UnsupportedMediaType(
                "a pricing is sent as multipart/form-data with the file `pricing`, as application/yaml, \
                 or as application/json or application/x-www-form-urlencoded with a URL in the field `pricing`"
                    .to_owned(),
            )),
        }
    }
}

/// Refuses what cannot be a URL: none, a long one, one of several lines.
fn url(given: Option<String>) -> Result<String, Error> {
    given
        .filter(|url| url.len() <= MAX_URL_BYTES && !url.chars().any(char::is_control))
        .ok_or_else(|| {
            Error::Invalid(format!(
                "the field `pricing` must be there, with a URL of at most {MAX_URL_BYTES} bytes"
            ))
        })
}

/// Parses on a thread of its own, since parsing takes long and other requests must not
/// wait for it.
async fn parse(source: Bytes) -> Result<PricingDocument, Error> {
    tokio::task::spawn_blocking(move || pricing2yaml::parse(&source, Utc::now()))
        .await
        .map_err(|error| Error::Fault(error.into()))?
        .map_err(|error| Error::Invalid(error.to_string()))
}

/// Cuts off a body that does not arrive.
async fn in_time<T>(reading: impl Future<Output = Result<T, Error>>) -> Result<T, Error> {
    match tokio::time::timeout(BODY_LIMIT, reading).await {
        Ok(read) => read,
        Err(_) => Err(Error::Invalid(format!(
            "the body did not arrive within {} seconds",
            BODY_LIMIT.as_secs()
        ))),
    }
}

/// Reads a whole body, of the size of a pricing at most.
pub(super) async fn read_body(request: Request) -> Result<Bytes, Error> {
    let body = in_time(async {
        Bytes::from_request(request, &())
            .await
            .map_err(|rejection| match rejection.status() {
                StatusCode::PAYLOAD_TOO_LARGE => too_large(),
                _ => Error::Invalid("the body broke off".to_owned()),
            })
    })
    .await?;
    if body.len() > MAX_PRICING_BYTES {
        return Err(too_large());
    }
    Ok(body)
}

/// Reads the field `pricing` of a form and passes over the others.
async fn read_form(request: Request) -> Result<Bytes, Error> {
    let broken = |error: MultipartError| match error.status() {
        StatusCode::PAYLOAD_TOO_LARGE => too_large(),
        _ => Error::Invalid("the body is no well-formed multipart/form-data".to_owned()),
    };
    let mut form = Multipart::from_request(request, &())
        .await
        .map_err(|_| Error::Invalid("the multipart/form-data has no boundary".to_owned()))?;
    let mut pricing = None;
    while let Some(mut field) = form.next_field().await.map_err(broken)? {
        if field.name() != Some("pricing") {
            continue;
        }
        if pricing.is_some() {
            return Err(Error::Invalid(
                "the form has two fields `pricing`".to_owned(),
            ));
        }
        let mut content = Vec::new();
        let mut length = 0;
        while let Some(chunk) = field.chunk().await.map_err(broken)? {
            length += chunk.len();
            if length <= MAX_PRICING_BYTES {
                content.extend_from_slice(&chunk);
            }
        }
        if length > MAX_PRICING_BYTES {
            return Err(too_large());
        }
        pricing = Some(Bytes::from(content));
    }
    pricing.ok_or_else(|| Error::Invalid("the form has no field `pricing`".to_owned()))
}

fn refuse_encodings(headers: &HeaderMap) -> Result<(), Error> {
    match headers.get(header::CONTENT_ENCODING) {
        Some(encoding) if !encoding.as_bytes().eq_ignore_ascii_case(b"identity") => Err(
            Error::UnsupportedMediaType("a body must not be compressed".to_owned()),
        ),
        _ => Ok(()),
    }
}

fn too_large() -> Error {
    Error::TooLarge(format!("a pricing has at most {MAX_PRICING_BYTES} bytes"))
}
