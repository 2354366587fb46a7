//! The pods that run the filter in a mesh.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::Deserialize;

use super::error::{SpecError, at};
use super::prometheus::PrometheusSpec;
use crate::config::prometheus::{PrometheusConnection, PrometheusSettings};

/// The port at which proxies of Istio serve their statistics.
const ISTIO_STATISTICS: u16 = 15_090;

/// The pods that run the filter, and the source of their statistics.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pods {
    /// Namespace is the namespace of the pods. Default: the rollout's.
    pub namespace: Option<String>,
    /// The labels of the pods; at least one.
    pub labels: BTreeMap<String, String>,
    /// The source of the proxies' statistics.
    pub statistics: StatisticsSource,
}

/// The source of the proxies' statistics.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StatisticsSource {
    /// Each proxy, at `/stats/prometheus` on this port.
    Port(u16),
    /// A Prometheus that scrapes the proxies.
    Prometheus(PrometheusSettings),
}

/// Pods.
#[derive(Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct PodsSpec {
    /// Namespace is the namespace of the pods. Default: the rollout's.
    namespace: Option<String>,
    /// MatchLabels selects the pods by their labels. At least one label.
    match_labels: BTreeMap<String, String>,
    /// Port is the port at which the proxies serve /stats/prometheus. Default: 15090, Istio's.
    port: Option<u16>,
    /// Prometheus is a server that scrapes the proxies, queried instead of the pods. Its instances
    /// must select only these proxies.
    prometheus: Option<PrometheusSpec>,
}

impl Pods {
    pub(super) fn prometheus(&self, path: &str) -> Option<(String, &PrometheusConnection)> {
        match &self.statistics {
            StatisticsSource::Port(_) => None,
            StatisticsSource::Prometheus(settings) => {
                Some((format!("{path}.prometheus"), &settings.connection))
            }
        }
    }
}

impl PodsSpec {
    pub(super) fn parse(self, path: &str) -> Result<Pods, SpecError> {
        if self.match_labels.is_empty() {
            return at(
                format!("{path}.matchLabels"),
                "empty; set at least one label that selects only the proxies' pods",
            );
        }
        let statistics = match (self.port, self.prometheus) {
            (port, None) => StatisticsSource::Port(port.unwrap_or(ISTIO_STATISTICS)),
            (None, Some(prometheus)) => {
                let path = format!("{path}.prometheus");
                let settings = prometheus.parse(&path)?;
                if settings.instances.is_empty() {
                    return at(
                        format!("{path}.instances"),
                        "empty; set at least one label that selects only these proxies",
                    );
                }
                StatisticsSource::Prometheus(settings)
            }
            (Some(_), Some(_)) => return at(path, "set only one of port and prometheus"),
        };
        Ok(Pods { namespace: self.namespace, labels: self.match_labels, statistics })
    }
}
