//! The HTTP API of `serin serve`, under `/v1`: apply, show and control rollouts.
//!
//! Responses are JSON. An error is `{"error": "..."}` with a status: 400 and 422 for an invalid
//! request, 401 and 403 for a missing or insufficient token, 404, 409 for a command that the
//! rollout's state rejects, 500 for a failure of the server.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::rejection::{JsonRejection, QueryRejection};
use axum::extract::{DefaultBodyLimit, Path, Query, Request, State};
use axum::http::{HeaderMap, HeaderName, StatusCode, header};
use axum::middleware::{Next, from_fn_with_state, map_response};
use axum::response::sse::{self, Sse};
use axum::response::{IntoResponse, Response};
use axum::{Json, Router};
use futures_util::{Stream, StreamExt, stream};
use prometheus_client::encoding::prometheus_text;
use prometheus_client::registry::Registry;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use serin_core::rollout::command::{Action, Command, UnknownAction};
use serin_core::rollout::event::RolloutStatus;
use serin_core::spec::MAX_BYTES;
use serin_filter::trust::Trust;
use tower_http::timeout::TimeoutLayer;

use self::metrics::RequestMetrics;
use self::openapi::ApiRoute;
pub use self::problem::Problem;
use crate::server::supervisor::{Supervisor, SupervisorError};
use crate::storage::sqlite::{QueueState, RolloutEntry};

mod host;
mod metrics;
pub mod openapi;
mod problem;
mod server;

pub use self::server::serve;

/// Time from the head of a request to the head of its response. An event stream has no limit.
const TIMEOUT: Duration = Duration::from_secs(30);

/// The tokens of the API. Without any, every request is allowed: for a server that listens on
/// loopback only.
#[derive(Debug, Clone, Default)]
pub struct Tokens {
    /// Allows reads.
    pub read: Option<String>,
    /// Allows reads and commands.
    pub operate: Option<String>,
}

impl Tokens {
    /// Whether requests need a token.
    #[must_use]
    pub fn any(&self) -> bool {
        self.read.is_some() || self.operate.is_some()
    }
}

/// State of the handlers.
#[derive(Clone)]
struct ApiState {
    supervisor: Arc<Supervisor>,
    tokens: Arc<Tokens>,
    registry: Arc<Registry>,
}

/// A rollout of the API.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct RolloutView {
    /// Its entry in the store.
    #[serde(flatten)]
    pub entry: RolloutEntry,
    /// Its status while it runs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status: Option<RolloutStatus>,
}

/// The body of a command.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CommandBody {
    /// Author.
    pub by: String,
    /// Reason.
    pub reason: Option<String>,
    /// Step that the command is for, from 1; at another step it is rejected.
    pub step: Option<usize>,
    /// Seconds of a timed pause.
    #[serde(default, rename = "for", skip_serializing_if = "Option::is_none")]
    pub seconds: Option<u64>,
    /// Whether to end without confirmation by the proxies.
    #[serde(default)]
    pub force: bool,
}

/// An error response.
struct ApiError(StatusCode, String);

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        (self.0, Json(Problem { error: self.1 })).into_response()
    }
}

impl From<SupervisorError> for ApiError {
    fn from(failure: SupervisorError) -> Self {
        if let SupervisorError::Store(error) = &failure {
            tracing::error!(%error, "request failed");
        }
        let status = match &failure {
            SupervisorError::Spec(_) | SupervisorError::Commands(_) => {
                StatusCode::UNPROCESSABLE_ENTITY
            }
            SupervisorError::Start { .. } | SupervisorError::Rejected(_) => StatusCode::CONFLICT,
            SupervisorError::Unknown(_) => StatusCode::NOT_FOUND,
            SupervisorError::Store(_) => StatusCode::INTERNAL_SERVER_ERROR,
        };
        Self(status, failure.to_string())
    }
}

impl From<QueryRejection> for ApiError {
    fn from(rejection: QueryRejection) -> Self {
        Self(rejection.status(), rejection.body_text())
    }
}

/// The routes. `hosts` are the names by which clients may address the server, apart from IP
/// addresses and `localhost`.
pub fn router(supervisor: Arc<Supervisor>, tokens: Tokens, hosts: Vec<String>) -> Router {
    #[allow(clippy::cast_possible_truncation)] // a megabyte
    let body_limit = DefaultBodyLimit::max(MAX_BYTES as usize);
    let requests = RequestMetrics::default();
    let registry = Arc::new(metrics::registry(&supervisor, &requests));
    let shared = ApiState { supervisor, tokens: Arc::new(tokens), registry };
    let (open, guarded): (Vec<_>, Vec<_>) =
        openapi::routes().into_iter().partition(|route| route.open);
    let add = |router: Router<ApiState>, route: ApiRoute| router.route(route.path, route.serve);
    let guarded = guarded.into_iter().fold(Router::new(), add);
    let guarded = guarded.layer(from_fn_with_state(shared.clone(), authorize));
    open.into_iter()
        .fold(guarded, add)
        .fallback(async || {
            ApiError(StatusCode::NOT_FOUND, "no such path; see /openapi.json".to_owned())
        })
        .layer(body_limit)
        .layer(TimeoutLayer::with_status_code(StatusCode::REQUEST_TIMEOUT, TIMEOUT))
        .layer(from_fn_with_state(hosts.into(), host::check))
        .layer(map_response(problem::in_json))
        .layer(from_fn_with_state(requests, metrics::measure))
        .with_state(shared)
}

/// Requires a token: either one for reads, the operate token for commands.
async fn authorize(State(shared): State<ApiState>, request: Request, next: Next) -> Response {
    let tokens = &shared.tokens;
    let offered = bearer(request.headers());
    let is = |token: &Option<String>| {
        Trust { token: token.clone(), ..Trust::default() }.accepts_token(offered.as_bytes())
    };
    let is_read = request.method().is_safe();
    let error = match offered {
        // A web page must not send commands in the name of its visitor.
        _ if !is_read && request.headers().contains_key(header::ORIGIN) => {
            ApiError(StatusCode::FORBIDDEN, "commands from web pages are rejected".to_owned())
        }
        _ if !tokens.any() || is(&tokens.operate) || is_read && is(&tokens.read) => {
            return next.run(request).await;
        }
        "" => ApiError(
            StatusCode::UNAUTHORIZED,
            "token required: Authorization: Bearer ...".to_owned(),
        ),
        _ if is(&tokens.read) => {
            ApiError(StatusCode::FORBIDDEN, "this token allows reads only".to_owned())
        }
        _ => ApiError(StatusCode::UNAUTHORIZED, "unknown token".to_owned()),
    };
    error.into_response()
}

fn bearer(headers: &HeaderMap) -> &str {
    let value = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
    value.and_then(|value| value.strip_prefix("Bearer ")).unwrap_or_default().trim()
}

/// Filter of the list.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ListQuery {
    /// Rollouts of this service only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub service: Option<String>,
    /// Promoted rollouts only.
    #[serde(default)]
    pub promoted: bool,
}

/// Options of apply.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ApplyQuery {
    /// Whether to abort other rollouts of the service first.
    #[serde(default)]
    pub replace: bool,
}

async fn list(
    State(shared): State<ApiState>,
    query: Result<Query<ListQuery>, QueryRejection>,
) -> Result<Json<Vec<RolloutView>>, ApiError> {
    let Query(ListQuery { service, promoted }) = query?;
    let entries = shared.supervisor.entries()?.into_iter();
    let entries = entries.filter(|entry| {
        service.as_ref().is_none_or(|service| entry.service == *service)
            && (!promoted || entry.promoted.is_some())
    });
    Ok(Json(entries.map(|entry| shared.view(entry)).collect()))
}

async fn ready(State(shared): State<ApiState>) -> Result<&'static str, ApiError> {
    let ready = shared.supervisor.ready();
    ready.map_err(|reason| ApiError(StatusCode::SERVICE_UNAVAILABLE, reason))?;
    Ok("ready\n")
}

async fn openapi() -> Json<Value> {
    Json(openapi::document())
}

async fn metrics_page(
    State(shared): State<ApiState>,
) -> Result<([(HeaderName, &'static str); 1], String), ApiError> {
    let mut page = String::new();
    prometheus_text::encode(&mut page, &shared.registry).map_err(|_| {
        ApiError(StatusCode::INTERNAL_SERVER_ERROR, "the store can't be read".to_owned())
    })?;
    Ok(([(header::CONTENT_TYPE, prometheus_text::CONTENT_TYPE)], page))
}

async fn show(
    State(shared): State<ApiState>,
    Path(id): Path<i64>,
) -> Result<Json<RolloutView>, ApiError> {
    Ok(Json(shared.view(shared.supervisor.entry(id)?)))
}

async fn apply(
    State(shared): State<ApiState>,
    query: Result<Query<ApplyQuery>, QueryRejection>,
    spec: String,
) -> Result<(StatusCode, Json<RolloutView>), ApiError> {
    let Query(ApplyQuery { replace }) = query?;
    let entry = shared.supervisor.apply(&spec, replace).await?;
    Ok((StatusCode::CREATED, Json(shared.view(entry))))
}

async fn execute(
    State(shared): State<ApiState>,
    Path((id, verb)): Path<(i64, String)>,
    body: Result<Json<CommandBody>, JsonRejection>,
) -> Result<Json<RolloutView>, ApiError> {
    let action: Action = verb
        .parse()
        .map_err(|error: UnknownAction| ApiError(StatusCode::NOT_FOUND, error.to_string()))?;
    let Json(CommandBody { by, reason, step, seconds, force }) =
        body.map_err(|error| ApiError(error.status(), error.body_text()))?;
    let entry =
        shared.supervisor.execute(id, Command { action, by, reason, step, seconds, force }).await?;
    Ok(Json(shared.view(entry)))
}

/// Past and future events of a rollout, as server-sent events with their sequence number as id.
/// Ends with the rollout.
async fn events(
    State(shared): State<ApiState>,
    Path(id): Path<i64>,
    headers: HeaderMap,
) -> Result<Sse<impl Stream<Item = Result<sse::Event, Infallible>>>, ApiError> {
    shared.supervisor.entry(id)?;
    let last = headers.get("last-event-id").and_then(|id| id.to_str().ok()?.parse().ok());
    let begin =
        (shared.supervisor.clone(), shared.supervisor.subscribe_events(), last.unwrap_or(0));
    let batches = stream::unfold(begin, move |(supervisor, mut more, after)| async move {
        loop {
            more.borrow_and_update();
            let over = supervisor
                .entry(id)
                .is_ok_and(|e| matches!(e.phase, QueueState::Ended | QueueState::Failed));
            let events = match supervisor.events(id, after) {
                Ok(events) => events,
                Err(error) => {
                    tracing::error!(rollout = id, %error, "event stream ended");
                    return None;
                }
            };
            if let Some((last, _)) = events.last() {
                let last = *last;
                return Some((events, (supervisor, more, last)));
            }
            if over {
                return None;
            }
            more.changed().await.ok()?;
        }
    });
    let event = |(sequence, event): (i64, String)| {
        Ok(sse::Event::default().id(sequence.to_string()).data(event))
    };
    let events = batches.flat_map(move |batch| stream::iter(batch.into_iter().map(event)));
    Ok(Sse::new(events).keep_alive(sse::KeepAlive::default()))
}

impl ApiState {
    fn view(&self, entry: RolloutEntry) -> RolloutView {
        let status = self.supervisor.status(entry.id);
        RolloutView { entry, status }
    }
}
