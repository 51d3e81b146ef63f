//! `/services/{name}/pricings`: adding, archiving, activating and deleting them.

use axum::extract::{Request, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::{Extension, Json};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::event_position::EventPosition;
use super::openapi::{
    Conflict, Invalid, NotFound, Pricing2Yaml, PricingDocument, TooLarge, Unsupported, UploadForm,
    UploadUrl,
};
use super::pricing_list::PricingList;
use super::request::{Format, PathParams, QueryParams, ServicePath};
use super::service_body::ServiceBody;
use super::transactions::{Reach, read, write};
use super::upload::{self, Upload};
use super::{Api, Error, request};
use crate::http::pace::Pace;
use crate::organization::Organization;
use crate::store::pricings::{Found, PricingName};
use crate::store::services::{Availability, Service, ServiceRow};
use crate::store::{self, Transaction};

pub(super) fn routes() -> OpenApiRouter<Api> {
    OpenApiRouter::new()
        .routes(routes!(list, add))
        .routes(routes!(show, set_availability, delete))
}

/// Lists the pricing documents of a service, oldest first.
///
/// They are those of one moment. A long list breaks off if a pricing of it is changed
/// or deleted while it is sent: list again then.
#[utoipa::path(
    get, path = "/services/{serviceName}/pricings", operation_id = "listPricings", tag = "pricings",
    params(
        ("serviceName" = String, Path, example = "Zoom", description = "in any case"),
        ("pricingStatus" = Option<Availability>, Query, description = "`active` by default"),
    ),
    responses(
        (status = 200, description = "the documents", body = Vec<PricingDocument>, headers(("Event-Position" = EventPosition))),
        (status = 400, response = Invalid),
        (status = 404, response = NotFound),
    ),
)]
async fn list(
    State(api): State<Api>,
    Extension(organization): Extension<Organization>,
    PathParams(ServicePath { service_name }): PathParams<ServicePath>,
    query: QueryParams,
    pace: Option<Extension<Pace>>,
) -> Result<(EventPosition, Response), Error> {
    let availability = availability(&query, "pricingStatus", Availability::Active)?;
    let (position, list) = read(&api, async |mut tx| {
        PricingList::read(&mut tx, &organization, &service_name, availability).await
    })
    .await?;
    let list = list.ok_or_else(|| Error::no_service(&service_name))?;
    let pace = pace.map(|Extension(pace)| pace);
    Ok((position, list.answer(&api, pace)?))
}

/// Adds a pricing to a service, active.
///
/// Its `saasName` must be the service's name. Announced as `PRICING_CREATED`.
#[utoipa::path(
    post, path = "/services/{serviceName}/pricings", operation_id = "addPricing", tag = "pricings",
    params(("serviceName" = String, Path, example = "Zoom", description = "in any case")),
    request_body(
        description = "A pricing: a file `pricing` in a form, the YAML itself, or the URL to fetch it from; 2 MiB at most.",
        content(
            (UploadForm = "multipart/form-data"),
            (Pricing2Yaml = "application/yaml"),
            (UploadUrl = "application/json"),
            (UploadUrl = "application/x-www-form-urlencoded"),
        ),
    ),
    responses(
        (status = 201, description = "the service", body = ServiceBody),
        (status = 400, response = Invalid),
        (status = 404, response = NotFound),
        (status = 409, response = Conflict),
        (status = 413, response = TooLarge),
        (status = 415, response = Unsupported),
    ),
)]
async fn add(
    State(api): State<Api>,
    Extension(organization): Extension<Organization>,
    PathParams(ServicePath { service_name }): PathParams<ServicePath>,
    upload: Upload,
) -> Result<(StatusCode, Json<ServiceBody>), Error> {
    let service = write(&api.pool, Reach::FewRows, async |mut tx| {
        let service = locked(&mut tx, &organization, &service_name).await?;
        refuse_another_service(&mut tx, &service, &upload).await?;
        upload.insert(&mut tx, &service).await?;
        let service = store::services::reread(&mut tx, &service).await?;
        Ok((tx, service))
    })
    .await?;
    Ok((StatusCode::CREATED, Json(service.into())))
}

/// Refuses a pricing whose `saasName` is not that of the service.
async fn refuse_another_service(
    tx: &mut Transaction,
    service: &ServiceRow,
    upload: &Upload,
) -> Result<(), Error> {
    let saas_name = &upload.document.saas_name;
    if *saas_name == service.name
        || store::services::same_name(tx, saas_name, &service.name).await?
    {
        return Ok(());
    }
    Err(Error::Invalid(format!(
        "the pricing is one of `{saas_name}`, not of `{}`",
        service.name
    )))
}

/// Reads a pricing document.
///
/// With `format=yaml`, or else with `Accept: application/yaml`, it is the file as it was
/// uploaded.
#[utoipa::path(
    get, path = "/services/{serviceName}/pricings/{version}", operation_id = "readPricing", tag = "pricings",
    params(
        ("serviceName" = String, Path, example = "Zoom", description = "in any case"),
        ("version" = String, Path, example = "2024"),
        ("format" = Option<Format>, Query, description = "as the header `Accept` says by default"),
    ),
    responses(
        (status = 200, description = "the document", content((PricingDocument = "application/json"), (Pricing2Yaml = "application/yaml")), headers(("Event-Position" = EventPosition))),
        (status = 400, response = Invalid),
        (status = 404, response = NotFound),
    ),
)]
async fn show(
    State(api): State<Api>,
    Extension(organization): Extension<Organization>,
    PathParams(name): PathParams<PricingName>,
    query: QueryParams,
    headers: HeaderMap,
) -> Result<Response, Error> {
    let format = query.choice("format", [("json", Format::Json), ("yaml", Format::Yaml)])?;
    let wants_yaml = match format {
        None => request::prefers_yaml(&headers),
        Some(format) => format == Format::Yaml,
    };
    let vary = [(header::VARY, "accept")];
    if wants_yaml {
        let (position, file) = file(&api, &organization, &name).await?;
        let media_type = [(header::CONTENT_TYPE, "application/yaml")];
        return Ok((vary, position, media_type, file).into_response());
    }
    let (position, document) = read(&api, async |mut tx| {
        Ok(store::pricings::document(&mut tx, &organization, &name).await?)
    })
    .await?;
    let document = found(document, &name)?;
    Ok((vary, position, Json(document)).into_response())
}

/// The file of a pricing, as it was uploaded.
pub(super) async fn file(
    api: &Api,
    organization: &Organization,
    name: &PricingName,
) -> Result<(EventPosition, Vec<u8>), Error> {
    let (position, source) = read(api, async |mut tx| {
        Ok(store::pricings::source(&mut tx, organization, name).await?)
    })
    .await?;
    let file = found(source, name)?.ok_or_else(|| {
        Error::NotFound(format!(
            "file not found: pricing `{}` has none; ask for application/json",
            name.version
        ))
    })?;
    Ok((position, file))
}

fn found<T>(found: Found<T>, name: &PricingName) -> Result<T, Error> {
    match found {
        Found::NoService => Err(Error::no_service(&name.service_name)),
        Found::NoPricing => Err(Error::no_pricing(&name.version)),
        Found::Pricing(value) => Ok(value),
    }
}

/// Archives or activates a pricing.
///
/// Announced as `PRICING_ARCHIVED` or `PRICING_ACTIVED`; one that is so already
/// stays, and nothing is announced. A JSON body is what SPACE calls the fallback
/// subscription: accepted, and ignored.
#[utoipa::path(
    put, path = "/services/{serviceName}/pricings/{version}", operation_id = "changePricing", tag = "pricings",
    params(
        ("serviceName" = String, Path, example = "Zoom", description = "in any case"),
        ("version" = String, Path, example = "2024"),
        ("availability" = Option<Availability>, Query, description = "`archived` by default"),
    ),
    request_body(content = Option<serde_json::Value>, description = "ignored"),
    responses(
        (status = 200, description = "the service", body = ServiceBody),
        (status = 400, response = Invalid),
        (status = 404, response = NotFound),
        (status = 413, response = TooLarge),
    ),
)]
async fn set_availability(
    State(api): State<Api>,
    Extension(organization): Extension<Organization>,
    PathParams(name): PathParams<PricingName>,
    query: QueryParams,
    request: Request,
) -> Result<Json<ServiceBody>, Error> {
    let availability = availability(&query, "availability", Availability::Archived)?;
    let sends_json = request::sends_json(request.headers());
    let body = upload::read_body(request).await?;
    if sends_json && !body.is_empty() {
        request::parse_json(&body)?;
    }
    let service = write(&api.pool, Reach::OneStatement, async |mut tx| {
        let service = change_availability(&mut tx, &organization, &name, availability).await?;
        Ok((tx, service))
    })
    .await?;
    Ok(Json(ServiceBody::with_empty_lists(service)))
}

async fn change_availability(
    tx: &mut Transaction,
    organization: &Organization,
    name: &PricingName,
    availability: Availability,
) -> Result<Service, Error> {
    let changed = store::pricings::change_availability(tx, organization, name, availability)
        .await
        .map_err(|error| match store::is_lost_connection(&error) {
            // It may have been done already; then the second try changes nothing.
            true => Error::Overtaken,
            false => error.into(),
        })?;
    if let Some(service) = changed {
        return Ok(service);
    }
    let service = store::services::find_any(tx, organization, &name.service_name).await?;
    Err(match service {
        Some(service) if !service.disabled => Error::no_pricing(&name.version),
        _ => Error::no_service(&name.service_name),
    })
}

/// Deletes an archived pricing.
#[utoipa::path(
    delete, path = "/services/{serviceName}/pricings/{version}", operation_id = "deletePricing", tag = "pricings",
    params(
        ("serviceName" = String, Path, example = "Zoom", description = "in any case"),
        ("version" = String, Path, example = "2024"),
    ),
    responses(
        (status = 204, description = "it is deleted"),
        (status = 400, response = Invalid),
        (status = 404, response = NotFound),
        (status = 409, response = Conflict),
    ),
)]
async fn delete(
    State(api): State<Api>,
    Extension(organization): Extension<Organization>,
    PathParams(name): PathParams<PricingName>,
) -> Result<StatusCode, Error> {
    write(&api.pool, Reach::FewRows, async |mut tx| {
        let service = locked(&mut tx, &organization, &name.service_name).await?;
        delete_archived(&mut tx, &service, &name.version).await?;
        store::services::touch(&mut tx, &service).await?;
        Ok((tx, ()))
    })
    .await?;
    Ok(StatusCode::NO_CONTENT)
}

async fn delete_archived(
    tx: &mut Transaction,
    service: &ServiceRow,
    version: &str,
) -> Result<(), Error> {
    if store::pricings::delete_archived(tx, service, version).await? {
        return Ok(());
    }
    let availability = store::pricings::availability(tx, service, version).await?;
    Err(match availability {
        None => Error::no_pricing(version),
        Some(_) => Error::Conflict(format!("pricing `{version}` is active; archive it first")),
    })
}

async fn locked(
    tx: &mut Transaction,
    organization: &Organization,
    service_name: &str,
) -> Result<ServiceRow, Error> {
    store::services::lock_for_pricing_change(tx, organization, service_name)
        .await?
        .ok_or_else(|| Error::no_service(service_name))
}

fn availability(
    query: &QueryParams,
    name: &str,
    default: Availability,
) -> Result<Availability, Error> {
    let words = [Availability::Active, Availability::Archived];
    let chosen = query.choice(name, words.map(|word| (word.as_str(), word)))?;
    Ok(chosen.unwrap_or(default))
}
