//! Samples the metrics of a rollout from their providers.

pub mod web;

use futures_util::future::{OptionFuture, join, join_all};
use serin_core::ports::MetricProvider;
use serin_core::rollout::metric::{
    Metric, MetricError, MetricProviderConfig, MetricSample, TemplateVariables,
};
use serin_core::rollout::plan::Plan;
use serin_filter::names::{ServiceName, VersionName};

use self::web::{AddressPolicy, WebMetric};
use crate::sources::prometheus::PrometheusMetric;

/// Samples the metrics of one rollout.
#[derive(Debug)]
pub struct MetricSampler {
    rollout: String,
    service: ServiceName,
    baseline: VersionName,
    candidate: VersionName,
    metrics: Vec<SampledMetric>,
}

#[derive(Debug)]
struct SampledMetric {
    provider: AnyProvider,
    is_per_version: bool,
}

/// A provider of any kind.
#[derive(Debug)]
enum AnyProvider {
    Prometheus(PrometheusMetric),
    Web(WebMetric),
}

impl AnyProvider {
    fn new(config: MetricProviderConfig) -> Self {
        match config {
            MetricProviderConfig::Prometheus { connection, query } => {
                Self::Prometheus(PrometheusMetric::new(connection, query))
            }
            MetricProviderConfig::Web(query) => {
                Self::Web(WebMetric::new(query, AddressPolicy::of_process()))
            }
        }
    }
}

impl MetricProvider for AnyProvider {
    async fn value(
        &self,
        variables: TemplateVariables<'_>,
        version: &VersionName,
    ) -> Result<f64, MetricError> {
        match self {
            Self::Prometheus(metric) => metric.value(variables, version).await,
            Self::Web(metric) => metric.value(variables, version).await,
        }
    }
}

impl MetricSampler {
    /// The sampler of a plan; `None` if the plan has no metrics.
    #[must_use]
    pub fn new(plan: &Plan) -> Option<Self> {
        let metrics = plan.metrics.as_ref()?.all.iter().map(|Metric { provider, .. }| {
            let is_per_version = provider.is_per_version();
            SampledMetric { provider: AnyProvider::new(provider.clone()), is_per_version }
        });
        let metrics = metrics.collect();
        let Plan { name, service, baseline, candidate, .. } = plan.clone();
        Some(Self { rollout: name, service, baseline, candidate, metrics })
    }

    /// Samples all metrics at once. The samples have the order of the plan.
    pub async fn sample(&self) -> Vec<MetricSample> {
        join_all(self.metrics.iter().map(|metric| self.sample_metric(metric))).await
    }

    async fn sample_metric(&self, metric: &SampledMetric) -> MetricSample {
        let Self { rollout, service, baseline, candidate, .. } = self;
        let variables = TemplateVariables { rollout, service, baseline, candidate };
        let value = |version| metric.provider.value(variables, version);
        let baseline = metric.is_per_version.then(|| value(baseline));
        let (candidate, baseline) = join(value(candidate), OptionFuture::from(baseline)).await;
        let baseline = baseline.transpose();
        let error = candidate.as_ref().err().or(baseline.as_ref().err());
        let reason = error.map(ToString::to_string);
        MetricSample { candidate: candidate.ok(), baseline: baseline.ok().flatten(), reason }
    }
}
