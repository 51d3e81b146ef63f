//! The table `pricings`.
//!
//! Changes take a [`ServiceRow`]: the service's row is locked before its pricings.

use futures_util::StreamExt as _;
use futures_util::stream::BoxStream;
use serde::Deserialize;
use serde_json::value::RawValue;
use sqlx::{FromRow, Row as _};

use super::Transaction;
use super::services::{Availability, Service, ServiceRow};
use crate::organization::Organization;

/// The longest version, in characters: constraint `pricings_version_length`.
pub const MAX_VERSION_CHARS: usize = 255;

/// How a request names a pricing: the service in any case, and the version.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PricingName {
    /// In any case.
    pub service_name: String,
    /// Unique within the service.
    pub version: String,
}

/// A pricing to be added.
#[derive(Debug)]
pub struct NewPricing<'a> {
    /// Unique within the service.
    pub version: &'a str,
    /// Where it was fetched from, if it was given by URL.
    pub url: Option<&'a str>,
    /// As JSON.
    pub document: &'a serde_json::Value,
    /// The file, byte for byte.
    pub source: &'a [u8],
}

/// The document as it is answered: the stored one, its version as the row has it
/// and, where the document has none of its own, the time the row was inserted. Most
/// documents are so already: to put a large one together again takes 20 times longer
/// than to read it.
macro_rules! document {
    () => {
        "
        case when p.document ->> 'version' = p.version
                and jsonb_typeof(p.document -> 'version') = 'string'
                and p.document ? 'createdAt'
            then p.document
            else jsonb_build_object(
                'createdAt', to_char(p.created_at at time zone 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS.MS\"Z\"'))
            || case when jsonb_typeof(p.document) = 'object' then p.document else '{}' end
            || jsonb_build_object('version', p.version)
        end
        "
    };
}

/// A pricing of a list.
#[derive(Debug, FromRow)]
pub struct PricingRow {
    /// Never changes.
    pub id: i64,
    /// Another one after each change of the row.
    pub row_version: String,
    /// About how large the document is: as it is stored, perhaps compressed.
    pub stored_bytes: i64,
    /// The document, where it was asked for.
    pub document: Option<Box<RawValue>>,
}

/// A service's active or archived pricings, oldest first, one at a time; one row
/// without a pricing stands for a service without such pricings, and there is none if
/// there is no such enabled service. The documents come with them if they are stored
/// in `most_bytes` together, else only those in the first `first_bytes`.
pub fn list<'e>(
    tx: &'e mut Transaction,
    organization: &'e Organization,
    service_name: &'e str,
    availability: Availability,
    most_bytes: i64,
    first_bytes: i64,
) -> BoxStream<'e, sqlx::Result<Option<PricingRow>>> {
    sqlx::query(concat!(
        "
        select p.id, p.row_version, p.stored_bytes,
            case when p.all_bytes <= $3 or p.bytes_so_far <= $4 then ",
        document!(),
        " end as document
        from (
            select listed.*,
                (sum(listed.stored_bytes) over (order by listed.id))::bigint as bytes_so_far,
                (sum(listed.stored_bytes) over ())::bigint as all_bytes
            from (
                select p.id, p.version, p.created_at, p.document,
                    p.xmin::text as row_version,
                    coalesce(pg_column_size(p.document), 0)::bigint as stored_bytes
                from public.services s
                left join public.pricings p
                    on p.organization = s.organization
                    and p.service_name = s.name
                    and p.availability = $2
                where s.organization = $5
                and space_events.case_folded(s.name) = space_events.case_folded($1)
                and not s.disabled
            ) listed
        ) p
        order by p.id
        "
    ))
    .bind(service_name)
    .bind(availability.as_str())
    .bind(most_bytes)
    .bind(first_bytes)
    .bind(organization.as_str())
    .fetch(tx)
    .map(|row| {
        let row = row?;
        match row.try_get::<Option<i64>, _>("id")? {
            Some(_) => PricingRow::from_row(&row).map(Some),
            None => Ok(None),
        }
    })
    .boxed()
}

/// These pricings, oldest first, with their documents.
pub async fn read(tx: &mut Transaction, ids: &[i64]) -> sqlx::Result<Vec<PricingRow>> {
    sqlx::query_as(concat!(
        "
        select p.id, p.xmin::text as row_version,
            coalesce(pg_column_size(p.document), 0)::bigint as stored_bytes, ",
        document!(),
        " as document
        from public.pricings p
        where p.id = any ($1)
        order by p.id
        "
    ))
    .bind(ids)
    .fetch_all(tx)
    .await
}

/// What was found of a pricing.
#[derive(Debug)]
pub enum Found<T> {
    /// There is no such enabled service.
    NoService,
    /// The service has no such version.
    NoPricing,
    /// It is there.
    Pricing(T),
}

impl<T> Found<T> {
    fn from_row(row: Option<(Option<i64>, Option<T>)>) -> Found<Option<T>> {
        match row {
            None => Found::NoService,
            Some((None, _)) => Found::NoPricing,
            Some((Some(_), value)) => Found::Pricing(value),
        }
    }
}

/// One row for the enabled service of a name in any case, `$1`, in the organisation
/// `$3`, with its pricing `p` of the version `$2` if there is one.
macro_rules! of_pricing {
    () => {
        "
        from public.services s
        left join public.pricings p
            on p.organization = s.organization
            and p.service_name = s.name
            and p.version = $2
        where s.organization = $3
        and space_events.case_folded(s.name) = space_events.case_folded($1)
        and not s.disabled
        "
    };
}

/// The document of one pricing.
pub async fn document(
    tx: &mut Transaction,
    organization: &Organization,
    name: &PricingName,
) -> sqlx::Result<Found<Option<Box<RawValue>>>> {
    let row = sqlx::query_as(concat!("select p.id, ", document!(), of_pricing!()))
        .bind(&name.service_name)
        .bind(&name.version)
        .bind(organization.as_str())
        .fetch_optional(tx)
        .await?;
    Ok(Found::from_row(row))
}

/// The file of one pricing; `Pricing(None)` if it was inserted without one.
pub async fn source(
    tx: &mut Transaction,
    organization: &Organization,
    name: &PricingName,
) -> sqlx::Result<Found<Option<Vec<u8>>>> {
    let row = sqlx::query_as(concat!("select p.id, p.source ", of_pricing!()))
        .bind(&name.service_name)
        .bind(&name.version)
        .bind(organization.as_str())
        .fetch_optional(tx)
        .await?;
    Ok(Found::from_row(row))
}

/// Adds a pricing, active.
///
/// # Errors
///
/// A database error on constraint `pricings_pkey` (the version exists),
/// `pricings_version_not_blank` or `pricings_version_length`, or with code 22P05
/// (the document holds U+0000).
pub async fn insert(
    tx: &mut Transaction,
    service: &ServiceRow,
    pricing: &NewPricing<'_>,
) -> sqlx::Result<()> {
    sqlx::query(
        "
        insert into public.pricings (organization, service_name, version, url, document, source)
        values ($1, $2, $3, $4, $5, $6)
        ",
    )
    .bind(&service.organization)
    .bind(&service.name)
    .bind(pricing.version)
    .bind(pricing.url)
    .bind(pricing.document)
    .bind(pricing.source)
    .execute(tx)
    .await?;
    Ok(())
}

/// Whether a version is offered; `None` if the service has no such version.
pub async fn availability(
    tx: &mut Transaction,
    service: &ServiceRow,
    version: &str,
) -> sqlx::Result<Option<Availability>> {
    let text: Option<String> = sqlx::query_scalar(
        "
        select availability
        from public.pricings
        where organization = $1 and service_name = $2 and version = $3
        ",
    )
    .bind(&service.organization)
    .bind(&service.name)
    .bind(version)
    .fetch_optional(tx)
    .await?;
    Ok(text.as_deref().and_then(Availability::parse))
}

/// Archives or activates a version, unless it is so already; its service. `None`,
/// and nothing written, if there is no such enabled service or no such version.
///
/// # Errors
///
/// A database error with code 55P03 if another transaction keeps the service.
pub async fn change_availability(
    tx: &mut Transaction,
    organization: &Organization,
    name: &PricingName,
    availability: Availability,
) -> sqlx::Result<Option<Service>> {
    sqlx::query_as("select * from space_events.change_availability($1, $2, $3, $4)")
        .bind(organization.as_str())
        .bind(&name.service_name)
        .bind(&name.version)
        .bind(availability.as_str())
        .fetch_optional(tx)
        .await
}

/// Archives every active pricing of a service.
pub async fn archive_all(tx: &mut Transaction, service: &ServiceRow) -> sqlx::Result<()> {
    sqlx::query(
        "
        update public.pricings
        set availability = 'archived', updated_at = now()
        where organization = $1 and service_name = $2 and availability = 'active'
        ",
    )
    .bind(&service.organization)
    .bind(&service.name)
    .execute(tx)
    .await?;
    Ok(())
}

/// Makes room for a version: a pricing that has it is called `new_version` from
/// now on.
///
/// # Errors
///
/// A database error on constraint `pricings_pkey` (there is a `new_version` already).
pub async fn set_aside(
    tx: &mut Transaction,
    service: &ServiceRow,
    version: &str,
    new_version: &str,
) -> sqlx::Result<()> {
    sqlx::query(
        "
        update public.pricings
        set version = $4, updated_at = now()
        where organization = $1 and service_name = $2 and version = $3
        ",
    )
    .bind(&service.organization)
    .bind(&service.name)
    .bind(version)
    .bind(new_version)
    .execute(tx)
    .await?;
    Ok(())
}

/// Deletes an archived version. `false`, and nothing deleted, if it is active or
/// not there.
pub async fn delete_archived(
    tx: &mut Transaction,
    service: &ServiceRow,
    version: &str,
) -> sqlx::Result<bool> {
    let done = sqlx::query(
        "
        delete from public.pricings
        where organization = $1 and service_name = $2 and version = $3
        and availability = 'archived'
        ",
    )
    .bind(&service.organization)
    .bind(&service.name)
    .bind(version)
    .execute(tx)
    .await?;
    Ok(done.rows_affected() > 0)
}
