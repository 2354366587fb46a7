//! Metrics that are not counts of requests: values of a query, such as the memory of an instance or the length of a queue. What is asked
//! and what it is held to is decided here; [`serin::sources::prometheus::MetricProvider`] asks.

mod rule;
mod sample;
mod template;

use std::time::Duration;

use serde::{Deserialize, Serialize};

pub use self::rule::MetricRule;
pub use self::sample::MetricSample;
pub use self::template::{QueryTemplate, QueryTemplateError, TemplateVariables};
use crate::config::prometheus::PrometheusConnection;

/// The metrics of a rollout, and where they are asked for.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct MetricsPlan {
    /// Who is asked.
    pub prometheus: PrometheusConnection,
    /// How often.
    pub interval: Duration,
    /// What; at least one.
    pub all: Vec<Metric>,
}

/// A metric and what it has to keep to.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Metric {
    /// What people call it.
    pub name: String,
    /// Gives one value; about each version if it has the variable `{{version}}`, else about the candidate.
    pub query: QueryTemplate,
    /// The values that are good.
    pub rule: MetricRule,
}
