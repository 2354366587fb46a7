//! Where evidence comes from.

use super::discovery::DiscoveryConfig;
use super::prometheus;

/// Where evidence comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SourceConfig {
    /// The admin interfaces of these proxies.
    Admin(DiscoveryConfig),
    /// A Prometheus that scrapes them.
    Prometheus(prometheus::PrometheusSettings),
}
