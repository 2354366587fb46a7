//! The unhealthy proxies of a fleet, by name.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use serin_filter::names::Generation;

/// The name of a proxy, as discovery or Prometheus reports it.
pub type ProxyName = Arc<str>;

/// The health of the proxies of one poll. A single proxy is not listed: the observation describes
/// it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct FleetHealth {
    /// The number of proxies.
    pub proxies: usize,
    /// Proxies that were not read.
    pub unreachable: Vec<Unreachable>,
    /// Proxies that run an older generation than others, or have rejected one.
    pub outdated: Vec<Outdated>,
    /// Proxies that run the newest generation, but not confirmed in every worker.
    pub unconfirmed: Vec<ProxyName>,
    /// Proxies without a recent worker report.
    pub silent: Vec<ProxyName>,
    /// Another problem for the user, such as a stale list of proxies.
    pub warning: Option<String>,
}

/// A proxy that was not read. Its state is unknown, neither good nor bad.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unreachable {
    /// The proxy.
    pub name: ProxyName,
    /// The error.
    pub reason: String,
    /// The time since it was last read.
    pub since: Duration,
    /// The generation at the last scrape; `None` if it was never read.
    pub generation: Option<Generation>,
}

/// A proxy that runs an older generation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outdated {
    /// The proxy.
    pub name: ProxyName,
    /// The generation that it runs; `None` if no filter has reported.
    pub generation: Option<Generation>,
    /// Whether it has rejected a configuration since it took this generation.
    pub rejected: bool,
}

impl FleetHealth {
    /// Whether every proxy runs this generation in every worker. For an unreachable proxy the last
    /// scrape counts: a proxy never reverts by itself.
    #[must_use]
    pub fn confirms(&self, generation: Generation) -> bool {
        self.unconfirmed.is_empty()
            && self.outdated.iter().all(|behind| behind.generation == Some(generation))
            && self.unreachable.iter().all(|lost| lost.generation == Some(generation))
    }
}

impl fmt::Display for Unreachable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", self.name, self.reason)
    }
}

impl fmt::Display for Outdated {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.generation {
            Some(generation) => write!(f, "{} (generation {generation})", self.name),
            None => write!(f, "{} (no serin filter)", self.name),
        }
    }
}
