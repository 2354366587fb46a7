//! `/metrics` of `serin serve`: the rollouts at the time of the scrape, and requests to the API.

use std::sync::Arc;
use std::time::Instant;

use axum::extract::{MatchedPath, Request, State};
use axum::middleware::Next;
use axum::response::Response;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeLabelSet};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;

use crate::server::supervisor::Supervisor;
use crate::storage::sqlite::QueueState;
use crate::telemetry::{duration_histogram, encode_gauges, encode_statuses};

/// All metrics of the server.
pub(super) fn registry(supervisor: &Arc<Supervisor>, requests: &RequestMetrics) -> Registry {
    let mut registry = Registry::default();
    registry.register_collector(Box::new(RolloutCollector(supervisor.clone())));
    supervisor.metrics().register(&mut registry);
    registry.register("serin_http_requests", "Requests to the API", requests.total.clone());
    registry.register(
        "serin_http_request_duration_seconds",
        "Time from the head of a request to the head of its response",
        requests.duration.clone(),
    );
    registry
}

/// Reads the rollouts at each scrape: the series of a rollout end with it.
#[derive(Debug)]
struct RolloutCollector(Arc<Supervisor>);

#[derive(Debug, EncodeLabelSet)]
struct PhaseLabels {
    phase: &'static str,
}

#[derive(Debug, EncodeLabelSet)]
struct RolloutLabels {
    rollout: String,
    service: String,
}

impl Collector for RolloutCollector {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), std::fmt::Error> {
        let entries = self.0.entries().map_err(|error| {
            tracing::error!(%error, "metrics not collected");
            std::fmt::Error
        })?;
        let phases = [
            ("queued", QueueState::Queued),
            ("running", QueueState::Running),
            ("ended", QueueState::Ended),
            ("failed", QueueState::Failed),
        ];
        let counts = phases.map(|(phase, state)| {
            let count = entries.iter().filter(|entry| entry.phase == state).count();
            (PhaseLabels { phase }, count)
        });
        encode_gauges(
            &mut encoder,
            "serin_rollouts",
            "Rollouts in the store",
            counts.iter().map(|(labels, count)| (labels, *count)),
        )?;
        let running: Vec<_> = entries
            .into_iter()
            .filter_map(|entry| {
                let status = self.0.status(entry.id)?;
                Some((RolloutLabels { rollout: entry.name, service: entry.service }, status))
            })
            .collect();
        encode_statuses(&mut encoder, &running)
    }
}

/// Measurements of requests to the API.
#[derive(Debug, Clone)]
pub(super) struct RequestMetrics {
    total: Family<RequestLabels, Counter>,
    duration: Family<RequestLabels, Histogram, fn() -> Histogram>,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RequestLabels {
    route: String,
    code: u16,
}

impl Default for RequestMetrics {
    fn default() -> Self {
        let duration = Family::new_with_constructor(duration_histogram as fn() -> Histogram);
        Self { total: Family::default(), duration }
    }
}

/// Measures a request. Requests to unknown paths share the route `other`.
pub(super) async fn measure(
    State(metrics): State<RequestMetrics>,
    request: Request,
    next: Next,
) -> Response {
    let began = Instant::now();
    let route = request.extensions().get::<MatchedPath>();
    let route = route.map_or("other", MatchedPath::as_str).to_owned();
    let response = next.run(request).await;
    let labels = RequestLabels { route, code: response.status().as_u16() };
    metrics.total.get_or_create(&labels).inc();
    metrics.duration.get_or_create(&labels).observe(began.elapsed().as_secs_f64());
    response
}
