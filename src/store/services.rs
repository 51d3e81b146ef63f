//! The table `services`.
//!
//! A transaction that changes a service or its pricings locks the service's row
//! first and its pricings after: with [`lock_for_pricing_change`], or with
//! [`lock_for_update`] where the name or `disabled` will change.
//!
//! Every statement is about one organisation: it is given, or is that of a row that was
//! found by it.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use sqlx::FromRow;
use utoipa::ToSchema;

use super::Transaction;
use crate::organization::Organization;

/// Whether a pricing is offered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Availability {
    /// It can be subscribed to.
    Active,
    /// It is kept for those who have it.
    Archived,
}

impl Availability {
    /// As it is written in the database and in requests: `active` or `archived`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Active => "active",
            Self::Archived => "archived",
        }
    }

    /// The reverse of [`Availability::as_str`].
    pub fn parse(text: &str) -> Option<Self> {
        match text {
            "active" => Some(Self::Active),
            "archived" => Some(Self::Archived),
            _ => None,
        }
    }
}

/// A service with the list of its pricings, as one statement saw them.
#[derive(Debug, FromRow)]
pub struct Service {
    /// Never changes.
    pub id: i64,
    /// As it was given.
    pub name: String,
    /// Whether it is disabled, so that nothing of it is announced.
    pub disabled: bool,
    /// When the row was inserted.
    pub created_at: DateTime<Utc>,
    /// When the service or one of its pricings was last changed by a request: the
    /// latest of theirs.
    pub updated_at: DateTime<Utc>,
    /// Oldest first.
    #[sqlx(json)]
    pub pricings: Vec<ListedPricing>,
}

/// A pricing as its service lists it.
#[derive(Debug, Deserialize)]
pub struct ListedPricing {
    /// Never changes.
    pub id: i64,
    /// Unique within the service.
    pub version: String,
    /// Whether it is offered.
    pub availability: Availability,
    /// Where it was fetched from, if it was given by URL.
    pub url: Option<String>,
}

/// A service's row, as it was read or locked.
#[derive(Debug, FromRow)]
pub struct ServiceRow {
    /// Never changes.
    pub id: i64,
    /// Whose it is.
    pub organization: String,
    /// The stored spelling.
    pub name: String,
    /// Whether it is disabled, so that nothing of it is announced.
    pub disabled: bool,
}

/// In which order services are listed; case does not count.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ToSchema)]
pub enum NameOrder {
    /// From A to Z.
    #[schema(rename = "asc")]
    Ascending,
    /// From Z to A.
    #[schema(rename = "desc")]
    Descending,
}

/// Which services are listed.
#[derive(Debug, PartialEq, Eq)]
pub struct Selection {
    /// The disabled ones; else the enabled ones.
    pub disabled: bool,
    /// A part of the name, whatever its case; empty for all.
    pub name_part: String,
    /// How many are left out at the beginning.
    pub skipped: i64,
    /// How many are listed at most.
    pub limit: i64,
    /// By name.
    pub order: NameOrder,
}

/// The columns of [`Service`], for `public.services s`.
macro_rules! select_service {
    () => {
        "
        select s.id, s.name, s.disabled, s.created_at,
            greatest(s.updated_at, listed.updated_at) as updated_at,
            coalesce(listed.pricings, '[]') as pricings
        from public.services s
        cross join lateral (
            select max(p.updated_at) as updated_at,
                json_agg(json_build_object(
                    'id', p.id,
                    'version', p.version,
                    'availability', p.availability,
                    'url', p.url) order by p.id) as pricings
            from public.pricings p
            where p.organization = s.organization and p.service_name = s.name) listed
        "
    };
}

/// The services that are selected, ordered by name.
pub async fn list(
    tx: &mut Transaction,
    organization: &Organization,
    selection: &Selection,
) -> sqlx::Result<Vec<Service>> {
    macro_rules! select_in {
        ($order:literal) => {
            concat!(
                select_service!(),
                "
                where s.organization = $5
                and s.disabled = $4
                and position(space_events.case_folded($1) in space_events.case_folded(s.name)) > 0
                order by space_events.case_folded(s.name) ",
                $order,
                "
                offset $2
                limit $3
                "
            )
        };
    }
    let sql = match selection.order {
        NameOrder::Ascending => select_in!("asc"),
        NameOrder::Descending => select_in!("desc"),
    };
    sqlx::query_as(sql)
        .bind(&selection.name_part)
        .bind(selection.skipped)
        .bind(selection.limit)
        .bind(selection.disabled)
        .bind(organization.as_str())
        .fetch_all(tx)
        .await
}

/// The enabled service of this name, in any case.
pub async fn find(
    tx: &mut Transaction,
    organization: &Organization,
    name: &str,
) -> sqlx::Result<Option<Service>> {
    sqlx::query_as(concat!(
        select_service!(),
        "where s.organization = $2
        and space_events.case_folded(s.name) = space_events.case_folded($1)
        and not s.disabled"
    ))
    .bind(name)
    .bind(organization.as_str())
    .fetch_optional(tx)
    .await
}

/// A service that the transaction holds, with its pricings as they are now.
///
/// # Errors
///
/// [`sqlx::Error::RowNotFound`] if the row is gone after all.
pub async fn reread(tx: &mut Transaction, service: &ServiceRow) -> sqlx::Result<Service> {
    sqlx::query_as(concat!(select_service!(), "where s.id = $1"))
        .bind(service.id)
        .fetch_one(tx)
        .await
}

/// Adds a service, enabled; `None` if the name is taken.
///
/// # Errors
///
/// A database error on constraint `services_name_not_blank` or `services_name_length`.
pub async fn insert(
    tx: &mut Transaction,
    organization: &Organization,
    name: &str,
) -> sqlx::Result<Option<ServiceRow>> {
    sqlx::query_as(
        "
        insert into public.services (organization, name)
        values ($1, $2)
        on conflict do nothing
        returning id, organization, name, disabled
        ",
    )
    .bind(organization.as_str())
    .bind(name)
    .fetch_optional(tx)
    .await
}

/// The [`ServiceRow`] of a name in any case, `$2`, in the organisation `$1`.
macro_rules! select_row {
    () => {
        "
        select id, organization, name, disabled
        from public.services
        where organization = $1
        and space_events.case_folded(name) = space_events.case_folded($2)
        "
    };
}

/// The row of this name, in any case, disabled or not, without a lock.
pub async fn find_any(
    tx: &mut Transaction,
    organization: &Organization,
    name: &str,
) -> sqlx::Result<Option<ServiceRow>> {
    sqlx::query_as(select_row!())
        .bind(organization.as_str())
        .bind(name)
        .fetch_optional(tx)
        .await
}

/// Locks the enabled service of this name, in any case: it stays as it is, and
/// enabled. Other changes of its pricings are not held up.
///
/// # Errors
///
/// A database error with code 55P03 if another transaction keeps it.
pub async fn lock_for_pricing_change(
    tx: &mut Transaction,
    organization: &Organization,
    name: &str,
) -> sqlx::Result<Option<ServiceRow>> {
    sqlx::query_as(concat!(select_row!(), "and not disabled for key share"))
        .bind(organization.as_str())
        .bind(name)
        .fetch_optional(tx)
        .await
}

/// Locks the service of this name, in any case, disabled or not, against every
/// change of it and of its pricings.
///
/// # Errors
///
/// A database error with code 55P03 if another transaction keeps it.
pub async fn lock_for_update(
    tx: &mut Transaction,
    organization: &Organization,
    name: &str,
) -> sqlx::Result<Option<ServiceRow>> {
    sqlx::query_as(concat!(select_row!(), "for update"))
        .bind(organization.as_str())
        .bind(name)
        .fetch_optional(tx)
        .await
}

/// Whether two names are the same but for case.
pub async fn same_name(tx: &mut Transaction, one: &str, other: &str) -> sqlx::Result<bool> {
    sqlx::query_scalar("select space_events.case_folded($1) = space_events.case_folded($2)")
        .bind(one)
        .bind(other)
        .fetch_one(tx)
        .await
}

/// Notes that a pricing of the service was deleted.
pub async fn touch(tx: &mut Transaction, service: &ServiceRow) -> sqlx::Result<()> {
    sqlx::query("update public.services set updated_at = now() where id = $1")
        .bind(service.id)
        .execute(tx)
        .await?;
    Ok(())
}

/// Renames a service; its pricings follow by cascade.
///
/// # Errors
///
/// A database error on constraint `services_pkey` or `services_name_case_key`
/// (the name is taken), `services_name_not_blank` or `services_name_length`.
pub async fn rename(
    tx: &mut Transaction,
    service: &ServiceRow,
    new_name: &str,
) -> sqlx::Result<()> {
    sqlx::query("update public.services set name = $2, updated_at = now() where id = $1")
        .bind(service.id)
        .bind(new_name)
        .execute(tx)
        .await?;
    Ok(())
}

/// Disables a service.
pub async fn disable(tx: &mut Transaction, service: &ServiceRow) -> sqlx::Result<()> {
    sqlx::query("update public.services set disabled = true, updated_at = now() where id = $1")
        .bind(service.id)
        .execute(tx)
        .await?;
    Ok(())
}

/// Enables a service; its active pricings are announced.
pub async fn enable(tx: &mut Transaction, service: &ServiceRow) -> sqlx::Result<()> {
    sqlx::query("update public.services set disabled = false, updated_at = now() where id = $1")
        .bind(service.id)
        .execute(tx)
        .await?;
    Ok(())
}

/// Deletes all services of an organisation, disabled ones too, and by cascade their
/// pricings; gives back how many services there were.
pub async fn delete_all(tx: &mut Transaction, organization: &Organization) -> sqlx::Result<u64> {
    let done = sqlx::query("delete from public.services where organization = $1")
        .bind(organization.as_str())
        .execute(tx)
        .await?;
    Ok(done.rows_affected())
}
