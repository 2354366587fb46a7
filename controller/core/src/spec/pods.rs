//! The pods that run the filter in a mesh.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::Deserialize;

use super::error::{SpecError, at};
use super::prometheus::PrometheusSpec;
use crate::config::prometheus::{PrometheusConnection, PrometheusSettings};

/// The port at which proxies of Istio serve their statistics.
const ISTIO_STATISTICS: u16 = 15_090;

/// Which pods run the filter, and where the statistics of their proxies are read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pods {
    /// Their namespace; the rollout's if absent.
    pub namespace: Option<String>,
    /// Labels that all of them have; at least one.
    pub labels: BTreeMap<String, String>,
    /// Where statistics are read.
    pub statistics: StatisticsSource,
}

/// Where the statistics of proxies are read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StatisticsSource {
    /// From each of them, at `/stats/prometheus` on this port.
    Port(u16),
    /// From a Prometheus that scrapes them.
    Prometheus(PrometheusSettings),
}

/// Pods.
#[derive(Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct PodsSpec {
    /// Their namespace; the rollout's if absent.
    namespace: Option<String>,
    /// Labels that all of them have.
    match_labels: BTreeMap<String, String>,
    /// The port at which their proxies serve /stats/prometheus. Default: 15090, Istio's.
    port: Option<u16>,
    /// A Prometheus that scrapes the proxies, to be asked in their place. Its instances have to tell them from its other targets.
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
                "empty; at least one label is needed that tells the proxies' pods from all others",
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
                        "empty; at least one label is needed that tells these proxies from its other targets",
                    );
                }
                StatisticsSource::Prometheus(settings)
            }
            (Some(_), Some(_)) => return at(path, "more than one of: port, prometheus"),
        };
        Ok(Pods { namespace: self.namespace, labels: self.match_labels, statistics })
    }
}
