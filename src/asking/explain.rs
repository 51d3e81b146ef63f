//! Prints what was recorded of a service, and why it was announced or not.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context as _, bail};
use clap::Args;
use reqwest::Client;
use rustls::{ClientConfig, RootCertStore};
use serde_json::Value;
use url::Url;

use super::{Access, first, print, shown};
use crate::store::tls::crypto_provider;

/// How long each answer may take.
const TIME_LIMIT: Duration = Duration::from_secs(30);
/// The changes that are asked for at a time.
const PAGE: usize = 1000;

/// What to explain.
#[derive(Args, Clone, Debug, PartialEq, Eq)]
pub struct Explain {
    /// The service, without regard to case.
    pub service: String,
    /// Only this version of its pricings [default: all, and the service itself].
    pub version: Option<String>,
    /// How many of the newest changes to print.
    #[arg(long, default_value_t = 50)]
    pub limit: usize,
    /// The key, if one is needed.
    #[command(flatten)]
    pub access: Access,
}

const BY_DESIGN: &str = "Never recorded: the same value once more, documents, renamed services, \
    services without a pricing, and whatever was rolled back.";

/// Prints the newest changes, the oldest of them first.
///
/// # Errors
///
/// The server does not answer, or refuses.
pub async fn explain(addresses: &[SocketAddr], explain: &Explain) -> anyhow::Result<()> {
    let address = first(addresses)?;
    let changes = changes(address, explain).await?;
    let name = shown(&explain.service);
    let what = match &explain.version {
        Some(version) => format!("{name} {}", shown(version)),
        None => name,
    };
    if changes.is_empty() {
        print(&format!(
            "No change of {what} is in the journal, as far back as it is kept."
        ))?;
    }
    for change in changes.iter().rev() {
        print(&line(change))?;
    }
    print(BY_DESIGN)?;
    Ok(())
}

/// The newest first, as many as are asked for.
async fn changes(address: SocketAddr, explain: &Explain) -> anyhow::Result<Vec<Value>> {
    // Plain HTTP; without this, reqwest would look for a TLS library of its own.
    let no_tls = ClientConfig::builder_with_provider(crypto_provider())
        .with_safe_default_protocol_versions()
        .context("prepare to ask")?
        .with_root_certificates(RootCertStore::empty())
        .with_no_client_auth();
    let http = Client::builder()
        .tls_backend_preconfigured(no_tls)
        .no_proxy()
        .timeout(TIME_LIMIT)
        .build()
        .context("prepare to ask")?;
    let mut found = Vec::new();
    let mut since = String::new();
    loop {
        let mut url = Url::parse(&format!("http://{address}/api/v1/changes"))?;
        url.query_pairs_mut()
            .append_pair("service", &explain.service)
            .append_pair("limit", &PAGE.to_string())
            .append_pair("since", &since);
        let mut request = http.get(url);
        if let Some(key) = &explain.access.api_key {
            request = request.header("x-api-key", key);
        }
        let answer = request.send().await;
        let answer = answer.with_context(|| format!("cannot reach space-events at {address}"))?;
        let status = answer.status();
        let body = answer.bytes().await.context("read the answer")?;
        let body: Value = serde_json::from_slice(&body).unwrap_or_default();
        if !status.is_success() {
            let sentence = body.get("error").and_then(Value::as_str);
            bail!(
                "{address} answered {status}: {}",
                sentence.unwrap_or("no reason")
            );
        }
        let page = body.get("changes").and_then(Value::as_array);
        let page = page.context("read the answer: it has no changes")?;
        let wanted = page.iter().filter(|change| is_of(change, explain));
        found.extend(wanted.take(explain.limit - found.len()).cloned());
        if page.len() < PAGE || found.len() == explain.limit {
            return Ok(found);
        }
        let position = body.get("position").and_then(Value::as_str);
        position.unwrap_or_default().clone_into(&mut since);
    }
}

fn is_of(change: &Value, explain: &Explain) -> bool {
    let Some(version) = &explain.version else {
        return true;
    };
    let of = |state: &str| {
        change
            .get(state)
            .and_then(|state| state.get("version")?.as_str())
    };
    // What happens to the service happens to all of its pricings.
    change.get("table").is_some_and(|table| table == "services")
        || [of("before"), of("after")].contains(&Some(version))
}

/// `2026-01-02T03:04:05.678Z  pricing 2024: active → archived  PRICING_ARCHIVED`
fn line(change: &Value) -> String {
    let text = |value: Option<&Value>| value.and_then(Value::as_str).unwrap_or_default().to_owned();
    let state = |name: &str| change.get(name).filter(|state| !state.is_null());
    let (before, after) = (state("before"), state("after"));
    let version =
        |state: Option<&Value>| shown(&text(state.and_then(|state| state.get("version"))));
    let availability =
        |state: Option<&Value>| text(state.and_then(|state| state.get("availability")));
    let disabled = |state: Option<&Value>| {
        state.and_then(|state| state.get("serviceDisabled")?.as_bool()) == Some(true)
    };
    let what = if change.get("table").is_some_and(|table| table == "services") {
        match (before.is_some(), after.is_some()) {
            (true, false) => "service deleted".to_owned(),
            _ if disabled(after) => "service disabled".to_owned(),
            _ => "service enabled".to_owned(),
        }
    } else {
        match (before, after) {
            (None, _) => format!("pricing {} added, {}", version(after), availability(after)),
            (_, None) => {
                format!(
                    "pricing {} deleted, {} before",
                    version(before),
                    availability(before)
                )
            }
            _ if version(before) != version(after) => {
                format!("pricing {} renamed to {}", version(before), version(after))
            }
            _ if availability(before) == availability(after) => {
                format!("pricing {} back with its service", version(after))
            }
            _ => format!("pricing {} {}", version(after), availability(after)),
        }
    };
    let outcome = match change.get("event").filter(|event| !event.is_null()) {
        Some(event) => text(event.get("code")),
        None => format!("no event. {}", text(change.get("explanation"))),
    };
    format!("{}  {what}: {outcome}", text(change.get("occurredAt")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_change_is_one_line() {
        let pricing = |version: &str, availability: &str| json!({"version": version, "availability": availability, "serviceDisabled": false});
        let service = |disabled: bool| json!({ "serviceDisabled": disabled });
        let event = json!({"code": "CODE"});
        for (table, before, after, outcome, expected) in [
            (
                "pricings",
                Value::Null,
                pricing("1", "active"),
                Some(&event),
                "pricing 1 added, active: CODE",
            ),
            (
                "pricings",
                pricing("1", "active"),
                pricing("1", "archived"),
                Some(&event),
                "pricing 1 archived: CODE",
            ),
            (
                "pricings",
                pricing("1", "active"),
                pricing("1", "active"),
                Some(&event),
                "pricing 1 back with its service: CODE",
            ),
            (
                "pricings",
                pricing("1", "active"),
                pricing("2 b", "active"),
                Some(&event),
                "pricing 1 renamed to \"2 b\": CODE",
            ),
            (
                "pricings",
                pricing("1", "archived"),
                Value::Null,
                None,
                "pricing 1 deleted, archived before: no event. Why.",
            ),
            (
                "services",
                service(false),
                service(true),
                Some(&event),
                "service disabled: CODE",
            ),
            (
                "services",
                service(true),
                service(false),
                None,
                "service enabled: no event. Why.",
            ),
            (
                "services",
                service(false),
                Value::Null,
                Some(&event),
                "service deleted: CODE",
            ),
        ] {
            let change = json!({
                "occurredAt": "T", "table": table, "before": before, "after": after,
                "event": outcome, "explanation": "Why.",
            });
            assert_eq!(line(&change), format!("T  {expected}"));
        }
    }
}
