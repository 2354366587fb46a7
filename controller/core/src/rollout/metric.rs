//! Metrics other than request counts, such as an instance's memory or a queue's length. This module
//! holds their queries and rules; a [`MetricProvider`](crate::ports::MetricProvider) reads the values.

mod error;
mod rule;
mod sample;
mod template;
mod web;

use std::collections::BTreeSet;
use std::path::Path;
use std::time::Duration;

use serde::{Deserialize, Serialize};

pub use self::error::{MetricError, MetricErrorReason};
pub use self::rule::MetricRule;
pub use self::sample::MetricSample;
pub use self::template::{QueryTemplate, QueryTemplateError, TemplateVariables};
pub use self::web::{HeaderSource, JsonPath, JsonPathError, WebHeader, WebMethod, WebQuery};
use crate::config::prometheus::PrometheusConnection;

/// The metrics of a rollout.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct MetricsPlan {
    /// The sampling interval.
    pub interval: Duration,
    /// The metrics; at least one.
    pub all: Vec<Metric>,
}

impl MetricsPlan {
    /// The secret files that the providers read.
    #[must_use]
    pub fn secret_files(&self) -> BTreeSet<&Path> {
        self.all.iter().flat_map(|metric| metric.provider.secret_files()).collect()
    }
}

/// A metric and its rule.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Metric {
    /// The name that the user gave it.
    pub name: String,
    /// The provider that reads its value.
    pub provider: MetricProviderConfig,
    /// The limits for its values.
    pub rule: MetricRule,
}

/// Where one metric is read, and by which query.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum MetricProviderConfig {
    /// An instant query of a Prometheus.
    Prometheus {
        /// The server.
        connection: PrometheusConnection,
        /// The PromQL query.
        query: QueryTemplate,
    },
    /// A number in the JSON answer of a URL.
    Web(WebQuery),
}

impl MetricProviderConfig {
    /// Returns true if the baseline and the candidate have a value each.
    #[must_use]
    pub fn is_per_version(&self) -> bool {
        match self {
            Self::Prometheus { query, .. } => query.is_per_version(),
            Self::Web(query) => query.is_per_version(),
        }
    }

    fn secret_files(&self) -> Vec<&Path> {
        match self {
            Self::Prometheus { connection, .. } => connection.auth.file().into_iter().collect(),
            Self::Web(query) => query.secret_files(),
        }
    }
}
