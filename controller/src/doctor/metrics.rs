//! Checks the metrics of a rollout: each must have a value.

use serin_core::rollout::metric::{Metric, MetricSample};
use serin_core::rollout::plan::Plan;

use super::finding::{Check, Finding};
use super::local;
use crate::sources::metrics::MetricSampler;

/// Checks the providers' secrets, and samples each metric once.
pub(super) async fn check(plan: &Plan) -> Vec<Finding> {
    let (Some(metrics), Some(sampler)) = (&plan.metrics, MetricSampler::new(plan)) else {
        return Vec::new();
    };
    let secrets = metrics.secret_files().into_iter().map(local::secret);
    let samples = sampler.sample().await;
    let values = metrics.all.iter().zip(&samples).map(value);
    secrets.chain(values).collect()
}

fn value((metric, sample): (&Metric, &MetricSample)) -> Finding {
    let name = &metric.name;
    match &sample.reason {
        None => Finding::ok(Check::Metrics, format!("the metric {name} has a value")),
        Some(reason) => Finding::warn(
            Check::Metrics,
            format!("the metric {name} has no value: {reason}"),
            "run its query by hand; a candidate without instances may have no value yet",
        ),
    }
}
