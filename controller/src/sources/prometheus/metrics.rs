//! Prometheus as a provider of metrics.

use std::time::SystemTime;

use serin_core::config::prometheus::PrometheusConnection;
use serin_core::ports::MetricProvider;
use serin_core::rollout::metric::{
    MetricError, MetricErrorReason, QueryTemplate, TemplateVariables,
};
use serin_filter::names::VersionName;

use super::client::{PrometheusClient, QueryError};

/// One metric that is an instant query of a Prometheus.
#[derive(Debug)]
pub struct PrometheusMetric {
    client: PrometheusClient,
    query: QueryTemplate,
}

impl PrometheusMetric {
    /// A metric that has not been sampled.
    #[must_use]
    pub fn new(connection: PrometheusConnection, query: QueryTemplate) -> Self {
        Self { client: PrometheusClient::new(connection), query }
    }
}

impl MetricProvider for PrometheusMetric {
    async fn value(
        &self,
        variables: TemplateVariables<'_>,
        version: &VersionName,
    ) -> Result<f64, MetricError> {
        let query = self.query.render(variables, version);
        let now = SystemTime::UNIX_EPOCH.elapsed().unwrap_or_default().as_secs_f64();
        match &self.client.query(&query, now).await?[..] {
            [] => {
                Err(MetricError::new(MetricErrorReason::NoValue, format!("{query} gives no value")))
            }
            [sample] => sample.value().ok_or_else(|| {
                let message = format!("{query} gives a value that is not a finite number");
                MetricError::new(MetricErrorReason::NotANumber, message)
            }),
            several => Err(MetricError::new(
                MetricErrorReason::SeveralValues,
                format!("{query} gives {} values; one is needed", several.len()),
            )),
        }
    }
}

impl From<QueryError> for MetricError {
    fn from(error: QueryError) -> Self {
        let reason = match &error {
            QueryError::Unreachable { .. } => MetricErrorReason::Unreachable,
            QueryError::Timeout { .. } => MetricErrorReason::Timeout,
            QueryError::Rejected { .. } => MetricErrorReason::Rejected,
            QueryError::InvalidResponse { .. } => MetricErrorReason::InvalidResponse,
            QueryError::Secret { .. } => MetricErrorReason::Secret,
        };
        Self::new(reason, error.to_string())
    }
}
