//! Where evidence comes from.

use super::discovery::Whereabouts;
use super::prometheus;

/// Where evidence comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    /// The admin interfaces of these proxies.
    Admin(Whereabouts),
    /// A Prometheus that scrapes them.
    Prometheus(prometheus::Settings),
}
