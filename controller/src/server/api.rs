//! The HTTP interface of `serin serve`, under `/v1`: rollouts are taken on, looked at, and ordered about.
//!
//! Answers are JSON. What goes wrong is `{"error": "..."}` with a status that says whose fault it is: 400 and 422 the request's, 401 and 403 for
//! want of a token, 404, 409 for what makes no sense now, 500 the server's own.

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
use serde_json::{Value, json};
use serin_core::rollout::command::{Action, Command};
use serin_core::rollout::event::RolloutStatus;
use serin_core::spec::MAX_BYTES;
use serin_filter::trust::Trust;
use tower_http::timeout::TimeoutLayer;

use self::metrics::RequestMetrics;
use self::openapi::ApiRoute;
pub use self::problem::Problem;
use crate::server::supervisor::{Supervisor, SupervisorError};
use crate::storage::sqlite::{QueueState, RolloutEntry};

mod metrics;
pub mod openapi;
mod problem;
mod server;

pub use self::server::serve;

/// No request takes longer, from its head to the head of its answer; a stream of events may take as long as it likes.
const TIMEOUT: Duration = Duration::from_secs(30);

/// Who may do what. Without any token everybody may do everything: for a server that only this machine can reach.
#[derive(Debug, Clone, Default)]
pub struct Tokens {
    /// May look.
    pub read: Option<String>,
    /// May look and order.
    pub operate: Option<String>,
}

impl Tokens {
    /// Whether anybody needs one.
    #[must_use]
    pub fn any(&self) -> bool {
        self.read.is_some() || self.operate.is_some()
    }
}

/// What the handlers share.
#[derive(Clone)]
struct ApiState {
    supervisor: Arc<Supervisor>,
    tokens: Arc<Tokens>,
    registry: Arc<Registry>,
}

/// A rollout as it is shown.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct RolloutView {
    /// What is kept of it.
    #[serde(flatten)]
    pub entry: RolloutEntry,
    /// Where it stands, while it is under way.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status: Option<RolloutStatus>,
}

/// What comes with an order: the rest of an [`Order`].
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CommandBody {
    /// Who wants it.
    pub by: String,
    /// Why.
    pub reason: Option<String>,
    /// At which step, from 1.
    pub step: Option<usize>,
    /// Of a hold: for how many seconds.
    #[serde(default, rename = "for", skip_serializing_if = "Option::is_none")]
    pub seconds: Option<u64>,
    /// Whether to end without the proxy's word.
    #[serde(default)]
    pub force: bool,
}

/// What is answered instead.
struct ApiError(StatusCode, String);

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        (self.0, Json(Problem { error: self.1 })).into_response()
    }
}

impl From<SupervisorError> for ApiError {
    fn from(failure: SupervisorError) -> Self {
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

/// The routes.
pub fn router(supervisor: Arc<Supervisor>, tokens: Tokens) -> Router {
    #[allow(clippy::cast_possible_truncation)] // a megabyte
    let most = DefaultBodyLimit::max(MAX_BYTES as usize);
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
            ApiError(StatusCode::NOT_FOUND, "there is nothing here; see /openapi.json".to_owned())
        })
        .layer(most)
        .layer(TimeoutLayer::with_status_code(StatusCode::REQUEST_TIMEOUT, TIMEOUT))
        .layer(map_response(problem::in_json))
        .layer(from_fn_with_state(requests, metrics::measure))
        .with_state(shared)
}

/// Lets through who has the token that it takes: any to look, the operator's to change anything.
async fn authorize(State(shared): State<ApiState>, request: Request, next: Next) -> Response {
    let tokens = &shared.tokens;
    let offered = bearer(request.headers());
    let is = |token: &Option<String>| {
        Trust { token: token.clone(), ..Trust::default() }.token(offered.as_bytes())
    };
    let looks = request.method().is_safe();
    let refusal = match offered {
        // A page in somebody's browser must not order anything in their name.
        _ if !looks && request.headers().contains_key(header::ORIGIN) => {
            ApiError(StatusCode::FORBIDDEN, "orders are not taken from web pages".to_owned())
        }
        _ if !tokens.any() || is(&tokens.operate) || looks && is(&tokens.read) => {
            return next.run(request).await;
        }
        "" => ApiError(
            StatusCode::UNAUTHORIZED,
            "a token is needed: Authorization: Bearer ...".to_owned(),
        ),
        _ if is(&tokens.read) => {
            ApiError(StatusCode::FORBIDDEN, "this token may look, but not order".to_owned())
        }
        _ => ApiError(StatusCode::UNAUTHORIZED, "this token is not known".to_owned()),
    };
    refusal.into_response()
}

fn bearer(headers: &HeaderMap) -> &str {
    let value = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
    value.and_then(|value| value.strip_prefix("Bearer ")).unwrap_or_default().trim()
}

/// Which rollouts are listed.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ListQuery {
    /// Those of this service.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub service: Option<String>,
    /// Whether only those that were promoted.
    #[serde(default)]
    pub promoted: bool,
}

/// How a rollout is taken on.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ApplyQuery {
    /// Whether those of the same service are aborted for it.
    #[serde(default)]
    pub replace: bool,
}

async fn list(
    State(shared): State<ApiState>,
    listed: Result<Query<ListQuery>, QueryRejection>,
) -> Result<Json<Vec<RolloutView>>, ApiError> {
    let Query(ListQuery { service, promoted }) = listed?;
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
    taken_on: Result<Query<ApplyQuery>, QueryRejection>,
    spec: String,
) -> Result<(StatusCode, Json<RolloutView>), ApiError> {
    let Query(ApplyQuery { replace }) = taken_on?;
    let entry = shared.supervisor.apply(&spec, replace).await?;
    Ok((StatusCode::CREATED, Json(shared.view(entry))))
}

async fn execute(
    State(shared): State<ApiState>,
    Path((id, verb)): Path<(i64, String)>,
    reasons: Result<Json<CommandBody>, JsonRejection>,
) -> Result<Json<RolloutView>, ApiError> {
    let unknown = || {
        let known = Action::ALL
            .map(|action| json!(action).as_str().unwrap_or_default().to_owned())
            .join(", ");
        ApiError(StatusCode::NOT_FOUND, format!("{verb:?} is no order; there are {known}"))
    };
    let action: Action = serde_json::from_value(json!(verb)).map_err(|_| unknown())?;
    let Json(CommandBody { by, reason, step, seconds, force }) =
        reasons.map_err(|error| ApiError(error.status(), error.body_text()))?;
    let entry =
        shared.supervisor.execute(id, Command { action, by, reason, step, seconds, force }).await?;
    Ok(Json(shared.view(entry)))
}

/// Everything that was told of a rollout and will be, as server-sent events whose id is the sequence number. Ends with the rollout.
async fn events(
    State(shared): State<ApiState>,
    Path(id): Path<i64>,
    headers: HeaderMap,
) -> Result<Sse<impl Stream<Item = Result<sse::Event, Infallible>>>, ApiError> {
    shared.supervisor.entry(id)?;
    let last = headers.get("last-event-id").and_then(|id| id.to_str().ok()?.parse().ok());
    let begin =
        (shared.supervisor.clone(), shared.supervisor.subscribe_events(), last.unwrap_or(0));
    let batches = stream::unfold(begin, move |(runner, mut more, after)| async move {
        loop {
            more.borrow_and_update();
            let over = runner
                .entry(id)
                .is_ok_and(|e| matches!(e.phase, QueueState::Ended | QueueState::Failed));
            let events = runner.events(id, after).ok()?;
            if let Some((last, _)) = events.last() {
                let last = *last;
                return Some((events, (runner, more, last)));
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
