//! Asks a Prometheus for the metrics of a rollout.

use std::time::SystemTime;

use futures_util::future::join_all;
use serin_core::rollout::metric::{Metric, MetricSample};
use serin_core::rollout::plan::Plan;
use serin_filter::names::VersionName;

use super::client::{PrometheusClient, QueryError};

/// Asks for the metrics of one rollout.
#[derive(Debug)]
pub struct MetricProvider {
    client: PrometheusClient,
    queries: Vec<MetricQuery>,
}

/// The queries of one metric.
#[derive(Debug)]
struct MetricQuery {
    /// Only asked where the metric tells versions apart.
    baseline: Option<String>,
    candidate: String,
}

impl MetricProvider {
    /// One for this plan; `None` if it has no metrics.
    #[must_use]
    pub fn new(plan: &Plan) -> Option<Self> {
        let metrics = plan.metrics.as_ref()?;
        let question = |Metric { query, .. }: &Metric| {
            let about = |version: &VersionName| query.render(plan.template_variables(), version);
            let baseline = query.is_per_version().then(|| about(&plan.baseline));
            MetricQuery { baseline, candidate: about(&plan.candidate) }
        };
        let queries = metrics.all.iter().map(question).collect();
        Some(Self { client: PrometheusClient::new(metrics.prometheus.clone()), queries })
    }

    /// What all metrics are now, in the order of the plan.
    pub async fn measure(&self) -> Vec<MetricSample> {
        let as_of = SystemTime::UNIX_EPOCH.elapsed().unwrap_or_default().as_secs_f64();
        join_all(self.queries.iter().map(|question| self.query_metric(question, as_of))).await
    }

    async fn query_metric(&self, question: &MetricQuery, as_of: f64) -> MetricSample {
        let candidate = self.value(&question.candidate, as_of).await;
        let baseline = match &question.baseline {
            Some(query) => Some(self.value(query, as_of).await),
            None => None,
        };
        let missing =
            [candidate.as_ref().err(), baseline.as_ref().and_then(|it| it.as_ref().err())];
        let reason = missing.into_iter().flatten().next().cloned();
        MetricSample { candidate: candidate.ok(), baseline: baseline.and_then(Result::ok), reason }
    }

    /// The one value that a query gives, or why there is none.
    async fn value(&self, query: &str, as_of: f64) -> Result<f64, String> {
        let samples = self.client.query(query, as_of).await;
        match &samples.map_err(|error: QueryError| error.to_string())?[..] {
            [] => Err(format!("{query} gives no value")),
            [sample] => sample
                .value()
                .ok_or_else(|| format!("{query} gives a value that is no finite number")),
            several => Err(format!("{query} gives {} values; one is needed", several.len())),
        }
    }
}
