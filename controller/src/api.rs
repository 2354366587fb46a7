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
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use serin_filter::trust::Trust;
use tower_http::timeout::TimeoutLayer;

use self::openapi::Route;
pub use self::problem::Problem;
use crate::rollout::event::Status;
use crate::rollout::order::{Order, Verb};
use crate::rollout::spec::MAX_BYTES;
use crate::runner::{Failure, Runner};
use crate::store::{Entry, Phase};

pub mod openapi;
mod problem;
mod server;

pub use self::server::serve;

/// No request takes longer, from its head to the head of its answer; a stream of events may take as long as it likes.
const PATIENCE: Duration = Duration::from_secs(30);

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
struct Shared {
    runner: Arc<Runner>,
    tokens: Arc<Tokens>,
}

/// A rollout as it is shown.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct Shown {
    /// What is kept of it.
    #[serde(flatten)]
    pub entry: Entry,
    /// Where it stands, while it is under way.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status: Option<Status>,
}

/// What comes with an order: the rest of an [`Order`].
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Reasons {
    /// Who wants it.
    pub by: String,
    /// Why.
    pub why: Option<String>,
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
struct Failed(StatusCode, String);

impl IntoResponse for Failed {
    fn into_response(self) -> Response {
        (self.0, Json(Problem { error: self.1 })).into_response()
    }
}

impl From<Failure> for Failed {
    fn from(failure: Failure) -> Self {
        let status = match &failure {
            Failure::Spec(_) | Failure::Commands(_) => StatusCode::UNPROCESSABLE_ENTITY,
            Failure::Start { .. } | Failure::Refused(_) => StatusCode::CONFLICT,
            Failure::Unknown(_) => StatusCode::NOT_FOUND,
            Failure::Store(_) => StatusCode::INTERNAL_SERVER_ERROR,
        };
        Self(status, failure.to_string())
    }
}

impl From<QueryRejection> for Failed {
    fn from(rejection: QueryRejection) -> Self {
        Self(rejection.status(), rejection.body_text())
    }
}

/// The routes.
pub fn router(runner: Arc<Runner>, tokens: Tokens) -> Router {
    #[allow(clippy::cast_possible_truncation)] // a megabyte
    let most = DefaultBodyLimit::max(MAX_BYTES as usize);
    let shared = Shared { runner, tokens: Arc::new(tokens) };
    let (open, guarded): (Vec<_>, Vec<_>) =
        openapi::routes().into_iter().partition(|route| route.open);
    let add = |router: Router<Shared>, route: Route| router.route(route.path, route.serve);
    let guarded = guarded.into_iter().fold(Router::new(), add);
    let guarded = guarded.layer(from_fn_with_state(shared.clone(), authorize));
    open.into_iter()
        .fold(guarded, add)
        .fallback(async || {
            Failed(StatusCode::NOT_FOUND, "there is nothing here; see /openapi.json".to_owned())
        })
        .layer(most)
        .layer(TimeoutLayer::with_status_code(StatusCode::REQUEST_TIMEOUT, PATIENCE))
        .layer(map_response(problem::in_json))
        .with_state(shared)
}

/// Lets through who has the token that it takes: any to look, the operator's to change anything.
async fn authorize(State(shared): State<Shared>, request: Request, next: Next) -> Response {
    let tokens = &shared.tokens;
    let offered = bearer(request.headers());
    let is = |token: &Option<String>| {
        Trust { token: token.clone(), ..Trust::default() }.accepts_token(offered.as_bytes())
    };
    let looks = request.method().is_safe();
    let refusal = match offered {
        // A page in somebody's browser must not order anything in their name.
        _ if !looks && request.headers().contains_key(header::ORIGIN) => {
            Failed(StatusCode::FORBIDDEN, "orders are not taken from web pages".to_owned())
        }
        _ if !tokens.any() || is(&tokens.operate) || looks && is(&tokens.read) => {
            return next.run(request).await;
        }
        "" => Failed(
            StatusCode::UNAUTHORIZED,
            "a token is needed: Authorization: Bearer ...".to_owned(),
        ),
        _ if is(&tokens.read) => {
            Failed(StatusCode::FORBIDDEN, "this token may look, but not order".to_owned())
        }
        _ => Failed(StatusCode::UNAUTHORIZED, "this token is not known".to_owned()),
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
pub struct Listed {
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
pub struct TakenOn {
    /// Whether those of the same service are aborted for it.
    #[serde(default)]
    pub replace: bool,
}

async fn list(
    State(shared): State<Shared>,
    listed: Result<Query<Listed>, QueryRejection>,
) -> Result<Json<Vec<Shown>>, Failed> {
    let Query(Listed { service, promoted }) = listed?;
    let entries = shared.runner.entries()?.into_iter();
    let entries = entries.filter(|entry| {
        service.as_ref().is_none_or(|service| entry.service == *service)
            && (!promoted || entry.promoted.is_some())
    });
    Ok(Json(entries.map(|entry| shared.shown(entry)).collect()))
}

async fn ready(State(shared): State<Shared>) -> Result<&'static str, Failed> {
    let ready = shared.runner.ready();
    ready.map_err(|why| Failed(StatusCode::SERVICE_UNAVAILABLE, why))?;
    Ok("ready\n")
}

async fn openapi() -> Json<Value> {
    Json(openapi::document())
}

/// For Prometheus.
async fn metrics(
    State(shared): State<Shared>,
) -> Result<([(HeaderName, &'static str); 1], String), Failed> {
    let shown: Vec<_> =
        shared.runner.entries()?.into_iter().map(|entry| shared.shown(entry)).collect();
    let page = crate::metrics::page(&shown, shared.runner.looks());
    Ok(([(header::CONTENT_TYPE, "text/plain; version=0.0.4")], page))
}

async fn show(State(shared): State<Shared>, Path(id): Path<i64>) -> Result<Json<Shown>, Failed> {
    Ok(Json(shared.shown(shared.runner.entry(id)?)))
}

async fn apply(
    State(shared): State<Shared>,
    taken_on: Result<Query<TakenOn>, QueryRejection>,
    spec: String,
) -> Result<(StatusCode, Json<Shown>), Failed> {
    let Query(TakenOn { replace }) = taken_on?;
    let entry = shared.runner.apply(&spec, replace).await?;
    Ok((StatusCode::CREATED, Json(shared.shown(entry))))
}

async fn order(
    State(shared): State<Shared>,
    Path((id, verb)): Path<(i64, String)>,
    reasons: Result<Json<Reasons>, JsonRejection>,
) -> Result<Json<Shown>, Failed> {
    let unknown = || {
        let known = Verb::ALL.map(|verb| format!("{verb:?}").to_lowercase()).join(", ");
        Failed(StatusCode::NOT_FOUND, format!("{verb:?} is no order; there are {known}"))
    };
    let verb: Verb = serde_json::from_value(json!(verb)).map_err(|_| unknown())?;
    let Json(Reasons { by, why, step, seconds, force }) =
        reasons.map_err(|error| Failed(error.status(), error.body_text()))?;
    let entry = shared.runner.order(id, Order { verb, by, why, step, seconds, force }).await?;
    Ok(Json(shared.shown(entry)))
}

/// Everything that was told of a rollout and will be, as server-sent events whose id is the sequence number. Ends with the rollout.
async fn events(
    State(shared): State<Shared>,
    Path(id): Path<i64>,
    headers: HeaderMap,
) -> Result<Sse<impl Stream<Item = Result<sse::Event, Infallible>>>, Failed> {
    shared.runner.entry(id)?;
    let last = headers.get("last-event-id").and_then(|id| id.to_str().ok()?.parse().ok());
    let begin = (shared.runner.clone(), shared.runner.more_events(), last.unwrap_or(0));
    let batches = stream::unfold(begin, move |(runner, mut more, after)| async move {
        loop {
            more.borrow_and_update();
            let over =
                runner.entry(id).is_ok_and(|e| matches!(e.phase, Phase::Ended | Phase::Failed));
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

impl Shared {
    fn shown(&self, entry: Entry) -> Shown {
        let status = self.runner.status(entry.id);
        Shown { entry, status }
    }
}
