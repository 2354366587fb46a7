//! The source of observations.

use super::discovery::DiscoveryConfig;
use super::prometheus;

/// The source of observations.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SourceConfig {
    /// The admin interfaces of these proxies.
    Admin(DiscoveryConfig),
    /// A Prometheus that scrapes them.
    Prometheus(prometheus::PrometheusSettings),
}
