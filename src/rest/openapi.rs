//! What the OpenAPI document says besides what stands at the handlers: the whole,
//! the bodies that are read by hand, the refusals, and what keys change.

use std::collections::BTreeMap;

use axum::http::Method;
use utoipa::openapi::header::{Header, HeaderBuilder};
use utoipa::openapi::path::{Operation, Parameter, ParameterBuilder, ParameterIn};
use utoipa::openapi::response::ResponseBuilder;
use utoipa::openapi::security::{ApiKey, ApiKeyValue, SecurityRequirement, SecurityScheme};
use utoipa::openapi::{
    ContentBuilder, ObjectBuilder, OpenApi, Ref, RefOr, Required, Response, Type,
};
use utoipa::{OpenApi as _, ToResponse, ToSchema};
use utoipa_axum::router::OpenApiRouter;

use super::Api;
use super::api_key::needed_scope;
use super::event_position::EventPosition;
use super::request::{Format, Order};
use crate::api_key::Scope;
use crate::http::failure::ErrorBody;
use crate::http::requests::REQUEST_ID;
use crate::store::services::{Availability, NameOrder};

/// The name of the scheme in which keys are sent.
const KEY: &str = "apiKey";

/// A pricing as it is uploaded, in syntax 2.1 or later.
#[derive(ToSchema)]
#[schema(rename_all = "camelCase", example = json!({
    "saasName": "Zoom", "syntaxVersion": "3.0", "version": "2024", "createdAt": "2024-03-05",
    "currency": "EUR", "features": {}, "plans": {},
}))]
#[expect(dead_code, reason = "pricing2yaml reads it")]
pub(super) struct Pricing2Yaml {
    /// The name of the service.
    saas_name: String,
    syntax_version: Option<String>,
    /// The date where there is none.
    version: Option<String>,
    /// A date.
    created_at: serde_json::Value,
    currency: String,
    features: serde_json::Value,
    /// Plans, add-ons, usage limits and what else there is.
    #[serde(flatten)]
    rest: BTreeMap<String, serde_json::Value>,
}

/// A form with a file.
#[derive(ToSchema)]
#[expect(dead_code, reason = "the form is read by hand")]
pub(super) struct UploadForm {
    /// A Pricing2Yaml file.
    #[schema(value_type = String, format = Binary)]
    pricing: Vec<u8>,
}

/// Where a pricing is.
#[derive(ToSchema)]
#[expect(dead_code, reason = "the body is read by hand")]
pub(super) struct UploadUrl {
    /// An http or https URL. It is fetched within five seconds, and not from private
    /// networks.
    #[schema(format = "uri", max_length = 2048)]
    pricing: String,
}

/// What to change in a service.
#[derive(ToSchema)]
pub(super) struct ServiceChange {
    /// Unique without regard to case.
    #[schema(value_type = String, required = false, example = "Zoom", min_length = 1, max_length = 255)]
    pub(super) name: Option<String>,
    /// Whether it is disabled: then nothing of it is announced, and its pricings stay as
    /// they are.
    #[schema(value_type = bool, required = false)]
    pub(super) disabled: Option<bool>,
}

/// A pricing document: what the file says, as JSON. One that was added by SQL has what
/// SQL gave it, and these two.
#[derive(ToSchema)]
#[schema(as = Pricing, rename_all = "camelCase")]
#[expect(dead_code, reason = "the database makes it")]
pub(super) struct PricingDocument {
    /// From the row.
    version: String,
    /// From the document, or the time when the row was inserted.
    created_at: serde_json::Value,
    /// The rest of the document.
    #[serde(flatten)]
    rest: BTreeMap<String, serde_json::Value>,
}

/// Refusals that any number of operations may answer with.
macro_rules! refusals {
    ($($(#[$doc:meta])* $name:ident = $description:literal $(, $header:literal: $type:ident, $meaning:literal)?;)*) => {
        $(
            $(#[$doc])*
            pub(super) struct $name;

            impl<'r> ToResponse<'r> for $name {
                fn response() -> (&'r str, RefOr<Response>) {
                    let response = refusal($description)$(.header($header, header(Type::$type, $meaning)))?;
                    (stringify!($name), response.build().into())
                }
            }
        )*
    };
}

refusals! {
    /// 400.
    Invalid = "malformed or invalid input";
    /// 401.
    Unauthorized = "no API key, or an unknown one";
    /// 403.
    Forbidden = "the scope of the key is too small; or, if the server needs no keys, the request comes from another machine";
    /// 404.
    NotFound = "it is not there";
    /// 405, of every path.
    MethodNotAllowed = "the path does not know the method", "Allow": String, "the methods that it knows";
    /// 409.
    Conflict = "it exists already, or is still active";
    /// 413.
    TooLarge = "more than 2 MiB";
    /// 415.
    Unsupported = "a body of a type that this path does not read";
    /// 503.
    Unavailable = "the database is away, or too much is under way", "Retry-After": Integer, "in seconds";
}

fn refusal(description: &str) -> ResponseBuilder {
    let body = ContentBuilder::new().schema(Some(Ref::from_schema_name("Error")));
    ResponseBuilder::new()
        .description(description)
        .content("application/json", body.build())
}

fn header(schema_type: Type, meaning: &str) -> Header {
    let schema = ObjectBuilder::new().schema_type(schema_type);
    HeaderBuilder::new()
        .schema(Some(schema))
        .description(Some(meaning))
        .build()
}

const ABOUT: &str = "\
Services and their pricings. Every Socket.IO client hears of each change, whether it is made \
here or in SQL: see `asyncapi.json`.

The paths of services and pricings are also at the root, without `/api/v1`: `POST /services` is \
`POST /api/v1/services`. They are also under the id of the key's organisation, \
`/api/v1/organizations/{organization}/services`, and answer 403 under any other id. Every failed \
request is answered with `{\"error\": …}`, one sentence. An unknown path is answered with 404, a \
method that a path does not know with 405. HEAD is answered like GET, without a body.";

/// What all of the document's parts are merged into; `others` is there already.
pub(super) fn outline(others: OpenApi) -> OpenApi {
    #[derive(utoipa::OpenApi)]
    #[openapi(
        info(title = "space-events", description = ABOUT),
        servers((url = "/")),
        tags(
            (name = "services"),
            (name = "pricings"),
            (name = "events"),
            (name = "state", description = "Whether it runs and is ready."),
            (name = "interface", description = "These documents."),
        ),
        components(
            schemas(Availability, ErrorBody, EventPosition, Format, NameOrder, Order),
            responses(Invalid, Unauthorized, Forbidden, NotFound, MethodNotAllowed, Conflict, TooLarge, Unsupported, Unavailable),
        ),
    )]
    struct Outline;

    Outline::openapi().merge_from(others)
}

/// Routes that ask for a key and for the database.
pub(super) fn guarded(mut routes: OpenApiRouter<Api>) -> OpenApiRouter<Api> {
    for (method, operation) in operations(routes.get_openapi_mut()) {
        if method != Method::GET {
            let parameters = operation.parameters.get_or_insert_default();
            parameters.push(request_id().into());
        }
        operation.security = Some(vec![SecurityRequirement::new(KEY, [""; 0])]);
        refuse::<Unavailable>(operation, 503);
    }
    routes
}

/// Reads may have one too, but at the usual level the log does not show them.
/// Without an optional parameter, openapi-python-client makes no working call of a
/// request that has bodies of several types.
fn request_id() -> Parameter {
    ParameterBuilder::new()
        .name(REQUEST_ID.as_str())
        .parameter_in(ParameterIn::Header)
        .required(Required::False)
        .description(Some(
            "an id for the request, which the log and the answer repeat",
        ))
        .schema(Some(ObjectBuilder::new().schema_type(Type::String)))
        .build()
}

/// The document of a server that asks for keys, or of one that does not: then
/// every route refuses what comes from elsewhere.
pub(super) fn finished(mut document: OpenApi, asks_for_keys: bool) -> OpenApi {
    for (method, operation) in operations(&mut document) {
        if !asks_for_keys {
            operation.security = None;
            refuse::<Forbidden>(operation, 403);
        } else if operation.security.is_some() {
            refuse::<Unauthorized>(operation, 401);
            if needed_scope(&method) > Scope::Evaluation {
                refuse::<Forbidden>(operation, 403);
            }
        }
    }
    if asks_for_keys {
        let key = ApiKeyValue::with_description(
            "x-api-key",
            "EVALUATION reads, MANAGEMENT also creates and changes, ALL also deletes.",
        );
        let components = document.components.get_or_insert_default();
        components.add_security_scheme(KEY, SecurityScheme::ApiKey(ApiKey::Header(key)));
    }
    document
}

fn refuse<R: for<'r> ToResponse<'r>>(operation: &mut Operation, status: u16) {
    let (name, _) = R::response();
    let response = Ref::from_response_name(name).into();
    operation
        .responses
        .responses
        .insert(status.to_string(), response);
}

fn operations(document: &mut OpenApi) -> impl Iterator<Item = (Method, &mut Operation)> {
    document.paths.paths.values_mut().flat_map(|item| {
        [
            (Method::GET, &mut item.get),
            (Method::PUT, &mut item.put),
            (Method::POST, &mut item.post),
            (Method::DELETE, &mut item.delete),
        ]
        .into_iter()
        .filter_map(|(method, operation)| Some((method, operation.as_mut()?)))
    })
}
