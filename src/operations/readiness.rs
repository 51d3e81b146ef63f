//! `GET /readyz`: whether what commits now will be announced.
//!
//! 200 or 503, and JSON with one line per check:
//! `{"status": "ready" | "unready", "checks": {"database", "listen", "triggers", "lag"}}`,
//! each `ok` or what is wrong. It does not wait for a database that is away: the watch of
//! [`Pool`] knows that already.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::extract::State;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::{Json, Router};
use serde::Serialize;
use tokio::time::timeout;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::journal::ReplayBuffer;
use crate::operations::capture;
use crate::store::Pool;

/// How long to wait for the database to say how its triggers are. After that its last
/// answer counts.
const TIME_LIMIT: Duration = Duration::from_millis(500);
/// How long ago the feed may have read all that there was. It reads once a second.
const GREATEST_LAG: Duration = Duration::from_secs(15);

/// What the checks look at.
#[derive(Clone, Debug)]
pub struct Checks {
    /// The database, for its triggers.
    pub pool: Pool,
    /// How far the feed is.
    pub replay_buffer: Arc<ReplayBuffer>,
    /// What was wrong with the triggers at the last look; empty: nothing.
    pub faults: Arc<Mutex<String>>,
}

impl Checks {
    /// Whether the triggers are as they should be: why not, if not.
    async fn look_at_triggers(&self) -> Result<(), String> {
        let faults = match timeout(TIME_LIMIT, capture::look(&self.pool)).await {
            Ok(Ok(faults)) => {
                let named = faults.iter().map(ToString::to_string);
                named.collect::<Vec<_>>().join("; ")
            }
            Ok(Err(error)) if error.as_database_error().is_some() => "cannot be checked".to_owned(),
            Ok(Err(_)) | Err(_) => return self.last_look(),
        };
        *self.faults.lock().unwrap_or_else(PoisonError::into_inner) = faults;
        self.last_look()
    }

    fn last_look(&self) -> Result<(), String> {
        let faults = self.faults.lock().unwrap_or_else(PoisonError::into_inner);
        match faults.as_str() {
            "" => Ok(()),
            faults => Err(faults.to_owned()),
        }
    }
}

/// The route.
pub fn router(checks: Checks) -> Router {
    routes().with_state(checks).into()
}

/// The route, and its description.
pub fn routes() -> OpenApiRouter<Checks> {
    OpenApiRouter::new().routes(routes!(ready))
}

/// Whether it is ready, and by which check it is not.
#[derive(Serialize, ToSchema)]
struct Readiness {
    status: ReadinessStatus,
    checks: CheckLines,
}

#[derive(Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
enum ReadinessStatus {
    Ready,
    Unready,
}

/// Each `ok` or what is wrong.
#[derive(Serialize, ToSchema)]
struct CheckLines {
    database: String,
    listen: String,
    triggers: String,
    lag: String,
}

/// Says whether what commits now will be announced.
#[utoipa::path(
    get, path = "/readyz", operation_id = "checkReadiness", tag = "state",
    responses(
        (status = 200, description = "it is ready", body = Readiness),
        (status = 503, description = "it is not", body = Readiness, headers(("Retry-After" = u32, description = "in seconds"))),
    ),
)]
async fn ready(State(checks): State<Checks>) -> Response {
    let database = checks.pool.reachable();
    let triggers = match database {
        Ok(()) => checks.look_at_triggers().await,
        // As they were when it was last there.
        Err(_) => checks.last_look(),
    };
    let replay_buffer = &checks.replay_buffer;
    let behind = replay_buffer.behind();
    let listen = replay_buffer.follows();
    let caught_up = behind < GREATEST_LAG;
    let ready = database.is_ok() && triggers.is_ok() && listen && caught_up;
    let ok = || "ok".to_owned();
    let checks = CheckLines {
        database: database.map_or_else(str::to_owned, |()| ok()),
        listen: if listen {
            ok()
        } else {
            "connecting again".to_owned()
        },
        triggers: triggers.map_or_else(|fault| fault, |()| ok()),
        lag: if caught_up {
            ok()
        } else {
            format!("the last read ended {} s ago", behind.as_secs())
        },
    };
    let (code, status) = if ready {
        (StatusCode::OK, ReadinessStatus::Ready)
    } else {
        (StatusCode::SERVICE_UNAVAILABLE, ReadinessStatus::Unready)
    };
    let mut response = (code, Json(Readiness { status, checks })).into_response();
    let headers = response.headers_mut();
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    if !ready {
        headers.insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
    }
    response
}
