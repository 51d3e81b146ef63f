//! `/services`: listing, creating, changing, disabling and pruning them.

use axum::extract::{Request, State};
use axum::http::StatusCode;
use axum::{Extension, Json};
use chrono::{DateTime, Utc};
use pricing2yaml::PricingDocument;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::error::{OrConflict, violates};
use super::event_position::EventPosition;
use super::openapi::{
    Conflict, Invalid, NotFound, Pricing2Yaml, ServiceChange, TooLarge, Unsupported, UploadForm,
    UploadUrl,
};
use super::request::{PathParams, QueryParams, ServicePath};
use super::service_body::ServiceBody;
use super::transactions::{Reach, read, write};
use super::upload::{self, Upload};
use super::{Api, Error, Message, request};
use crate::organization::Organization;
use crate::store::services::{NameOrder, Selection, Service, ServiceRow};
use crate::store::{self, Transaction};

const DEFAULT_LIMIT: i64 = 20;
const MAX_LIMIT: i64 = 1000;

pub(super) fn routes() -> OpenApiRouter<Api> {
    OpenApiRouter::new()
        .routes(routes!(list, create, prune))
        .routes(routes!(show, change, disable))
}

/// Lists the enabled services, or the disabled ones, by name.
#[utoipa::path(
    get, path = "/services", operation_id = "listServices", tag = "services",
    params(
        ("name" = Option<String>, Query, description = "a part of the name, in any case"),
        ("page" = Option<i64>, Query, minimum = 1, description = "from 1; 1 by default"),
        ("offset" = Option<i64>, Query, minimum = 0, description = "how many services to pass over; above zero it counts instead of `page`"),
        ("limit" = Option<i64>, Query, minimum = 1, maximum = 1000, description = "20 by default"),
        ("order" = Option<NameOrder>, Query, description = "`asc` by default"),
        ("disabled" = Option<bool>, Query, description = "`true`: the disabled ones; `false` by default"),
    ),
    responses(
        (status = 200, description = "the services", body = Vec<ServiceBody>, headers(("Event-Position" = EventPosition))),
        (status = 400, response = Invalid),
    ),
)]
async fn list(
    State(api): State<Api>,
    Extension(organization): Extension<Organization>,
    query: QueryParams,
) -> Result<(EventPosition, Json<Vec<ServiceBody>>), Error> {
    let selection = selection(&query)?;
    let (position, services) = read(&api, async |mut tx| {
        Ok(store::services::list(&mut tx, &organization, &selection).await?)
    })
    .await?;
    let services = services.into_iter().map(ServiceBody::from).collect();
    Ok((position, Json(services)))
}

/// Reads `name`, `page` (from 1), `offset` (in services), `limit`, `order` and `disabled`.
/// An offset above zero counts instead of the page, as in SPACE.
fn selection(query: &QueryParams) -> Result<Selection, Error> {
    let number = |name: &str, least: i64, default: i64| match query.get(name) {
        None => Ok(default),
        Some(text) => match text.parse() {
            Ok(number) if number >= least => Ok(number),
            _ => Err(Error::Invalid(format!(
                "the parameter `{name}` must be a whole number of at least {least}"
            ))),
        },
    };
    let limit = number("limit", 1, DEFAULT_LIMIT)?;
    if limit > MAX_LIMIT {
        return Err(Error::Invalid(format!(
            "the parameter `limit` must be at most {MAX_LIMIT}"
        )));
    }
    let page = number("page", 1, 1)?;
    let skipped = match number("offset", 0, 0)? {
        0 => (page - 1).saturating_mul(limit),
        offset => offset,
    };
    let order = [
        ("asc", NameOrder::Ascending),
        ("desc", NameOrder::Descending),
    ];
    let order = query.choice("order", order)?;
    let disabled = query.choice("disabled", [("true", true), ("false", false)])?;
    let name_part = query.storable("name")?;
    Ok(Selection {
        disabled: disabled.unwrap_or(false),
        name_part: name_part.unwrap_or_default().to_owned(),
        skipped,
        limit,
        order: order.unwrap_or(NameOrder::Ascending),
    })
}

/// Reads a service.
///
/// A disabled service is not found, as in SPACE.
#[utoipa::path(
    get, path = "/services/{serviceName}", operation_id = "readService", tag = "services",
    params(("serviceName" = String, Path, example = "Zoom", description = "in any case")),
    responses(
        (status = 200, description = "the service", body = ServiceBody, headers(("Event-Position" = EventPosition))),
        (status = 400, response = Invalid),
        (status = 404, response = NotFound),
    ),
)]
async fn show(
    State(api): State<Api>,
    Extension(organization): Extension<Organization>,
    PathParams(ServicePath { service_name }): PathParams<ServicePath>,
) -> Result<(EventPosition, Json<ServiceBody>), Error> {
    let (position, service) = read(&api, async |mut tx| {
        Ok(store::services::find(&mut tx, &organization, &service_name).await?)
    })
    .await?;
    let service = service.ok_or_else(|| Error::no_service(&service_name))?;
    Ok((position, Json(service.into())))
}

/// Adds a service with its first pricing, or enables a disabled one with it.
///
/// Announced as `PRICING_CREATED`.
#[utoipa::path(
    post, path = "/services", operation_id = "createService", tag = "services",
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
        (status = 409, response = Conflict),
        (status = 413, response = TooLarge),
        (status = 415, response = Unsupported),
    ),
)]
async fn create(
    State(api): State<Api>,
    Extension(organization): Extension<Organization>,
    upload: Upload,
) -> Result<(StatusCode, Json<ServiceBody>), Error> {
    let name = &upload.document.saas_name;
    let service = write(&api.pool, Reach::ManyRows, async |mut tx| {
        let service = match store::services::insert(&mut tx, &organization, name).await? {
            Some(service) => service,
            None => enable_again(&mut tx, &organization, &upload.document).await?,
        };
        upload.insert(&mut tx, &service).await?;
        let service = store::services::reread(&mut tx, &service).await?;
        Ok((tx, service))
    })
    .await?;
    Ok((StatusCode::CREATED, Json(service.into())))
}

/// Enables a disabled service, after its pricings were archived and the one that has the
/// new version was renamed. What happens before it is enabled is not announced.
async fn enable_again(
    tx: &mut Transaction,
    organization: &Organization,
    pricing: &PricingDocument,
) -> Result<ServiceRow, Error> {
    let (name, version) = (&pricing.saas_name, &pricing.version);
    // Only a disabled one is locked: an enabled one is refused.
    let known = store::services::find_any(tx, organization, name)
        .await?
        .ok_or(Error::Overtaken)?;
    let service = match known.disabled {
        true => store::services::lock_for_update(tx, organization, name)
            .await?
            .ok_or(Error::Overtaken)?,
        false => known,
    };
    if !service.disabled {
        return Err(Error::Conflict(format!(
            "service `{}` already exists",
            service.name
        )));
    }
    store::pricings::archive_all(tx, &service).await?;
    let aside = set_aside_as(version, Utc::now());
    store::pricings::set_aside(tx, &service, version, &aside)
        .await
        .map_err(|error| {
            // Renamed twice within a millisecond: a moment later the new name is free.
            match violates(&error, "pricings_pkey") {
                true => Error::Overtaken,
                false => error.into(),
            }
        })?;
    store::services::enable(tx, &service).await?;
    Ok(service)
}

/// `<version>_<unix milliseconds>`, the version cut where that would be too long.
fn set_aside_as(version: &str, now: DateTime<Utc>) -> String {
    let suffix = format!("_{}", now.timestamp_millis());
    let kept_chars = store::pricings::MAX_VERSION_CHARS.saturating_sub(suffix.len());
    version
        .chars()
        .take(kept_chars)
        .chain(suffix.chars())
        .collect()
}

/// Renames, disables or enables a service.
///
/// Announced as `SERVICE_DISABLED`, or as `PRICING_ACTIVED` for each of its active
/// pricings. Other fields are ignored; without these two nothing changes.
#[utoipa::path(
    put, path = "/services/{serviceName}", operation_id = "changeService", tag = "services",
    params(("serviceName" = String, Path, example = "Zoom", description = "in any case")),
    request_body = ServiceChange,
    responses(
        (status = 200, description = "the service", body = ServiceBody),
        (status = 400, response = Invalid),
        (status = 404, response = NotFound),
        (status = 409, response = Conflict),
        (status = 413, response = TooLarge),
        (status = 415, response = Unsupported),
    ),
)]
async fn change(
    State(api): State<Api>,
    Extension(organization): Extension<Organization>,
    PathParams(ServicePath { service_name }): PathParams<ServicePath>,
    request: Request,
) -> Result<Json<ServiceBody>, Error> {
    if !request::sends_json(request.headers()) {
        return Err(Error::UnsupportedMediaType(
            "a service is changed with application/json".to_owned(),
        ));
    }
    let body = request::json_object(&upload::read_body(request).await?)?;
    let change = ServiceChange {
        name: request::text_field(&body, "name")?,
        disabled: request::bool_field(&body, "disabled")?,
    };
    let service = write(&api.pool, Reach::ManyRows, async |mut tx| {
        let service = apply(&mut tx, &organization, &service_name, &change).await?;
        Ok((tx, service))
    })
    .await?;
    Ok(Json(service.into()))
}

/// A disabled service is not found, unless it is to be enabled.
async fn apply(
    tx: &mut Transaction,
    organization: &Organization,
    service_name: &str,
    change: &ServiceChange,
) -> Result<Service, Error> {
    let service = store::services::lock_for_update(tx, organization, service_name)
        .await?
        .filter(|service| !service.disabled || change.disabled == Some(false))
        .ok_or_else(|| Error::no_service(service_name))?;
    if let Some(new_name) = change.name.as_ref().filter(|name| **name != service.name) {
        let taken = || format!("service `{new_name}` already exists");
        store::services::rename(tx, &service, new_name)
            .await
            .or_conflict("services_name_case_key", taken)
            .or_conflict("services_pkey", taken)?;
    }
    match change.disabled {
        Some(true) => store::services::disable(tx, &service).await?,
        Some(false) if service.disabled => store::services::enable(tx, &service).await?,
        Some(false) | None => {}
    }
    Ok(store::services::reread(tx, &service).await?)
}

/// Disables a service and archives its pricings.
///
/// Announced as `SERVICE_DISABLED`.
#[utoipa::path(
    delete, path = "/services/{serviceName}", operation_id = "disableService", tag = "services",
    params(("serviceName" = String, Path, example = "Zoom", description = "in any case")),
    responses(
        (status = 204, description = "it is disabled"),
        (status = 400, response = Invalid),
        (status = 404, response = NotFound),
    ),
)]
async fn disable(
    State(api): State<Api>,
    Extension(organization): Extension<Organization>,
    PathParams(ServicePath { service_name }): PathParams<ServicePath>,
) -> Result<StatusCode, Error> {
    write(&api.pool, Reach::ManyRows, async |mut tx| {
        let service = store::services::lock_for_update(&mut tx, &organization, &service_name)
            .await?
            .filter(|service| !service.disabled)
            .ok_or_else(|| Error::no_service(&service_name))?;
        // First: pricings that are archived in a disabled service are not announced.
        store::services::disable(&mut tx, &service).await?;
        store::pricings::archive_all(&mut tx, &service).await?;
        Ok((tx, ()))
    })
    .await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Deletes all services and pricings.
///
/// Announced as `SERVICE_DISABLED` for each service that was enabled.
#[utoipa::path(
    delete, path = "/services", operation_id = "pruneServices", tag = "services",
    responses((status = 200, description = "how many there were", body = Message)),
)]
async fn prune(
    State(api): State<Api>,
    Extension(organization): Extension<Organization>,
) -> Result<Json<Message>, Error> {
    let deleted = write(&api.pool, Reach::ManyRows, async |mut tx| {
        let deleted = store::services::delete_all(&mut tx, &organization).await?;
        Ok((tx, deleted))
    })
    .await?;
    Ok(Json(Message {
        message: format!("Pruned {deleted} services"),
    }))
}
