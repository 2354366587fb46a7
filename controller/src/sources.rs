//! Sources of evidence.

pub mod fleet;
pub mod metrics;
pub mod prometheus;
pub mod requested_split;
pub mod split_tracker;

use serin_core::config::source::SourceConfig;
use serin_core::observation::Observation;
use serin_core::ports::Source;
use serin_filter::names::ServiceName;

use crate::sources::fleet::{FleetSource, ProxyDiscovery, Scraper, StatsReader};
use crate::sources::prometheus::{PrometheusSource, Series};
use crate::sources::split_tracker::SplitTracker;

/// A source of any kind.
#[derive(Debug)]
pub enum AnySource {
    /// Proxies read by their admin interfaces.
    Fleet(Box<FleetSource>),
    /// Proxies that a Prometheus scrapes.
    Prometheus(Box<PrometheusSource>),
}

impl AnySource {
    /// A source that has not been polled, for the statistics of one service. `filter` is the name
    /// of the filter's configuration in the listeners' `config_discovery`.
    #[must_use]
    pub fn new(
        origin: SourceConfig,
        scraper: &Scraper,
        service: ServiceName,
        filter: String,
    ) -> Self {
        match origin {
            SourceConfig::Admin(whereabouts) => {
                let discovery = ProxyDiscovery::new(whereabouts);
                let reader = StatsReader::Admin { service, filter };
                Self::Fleet(Box::new(FleetSource::new(discovery, scraper.clone(), reader)))
            }
            SourceConfig::Prometheus(settings) => {
                let series = Series::labelled(service, &filter);
                Self::Prometheus(Box::new(PrometheusSource::new(settings, series)))
            }
        }
    }

    /// Waits until a proxy is known, for the pods of a cluster.
    pub async fn discovered(&mut self) {
        if let Self::Fleet(fleet) = self {
            fleet.discovered().await;
        }
    }

    /// Compares with this requested split, as the mesh splits.
    #[must_use]
    pub fn with_split_tracker(self, told: SplitTracker) -> Self {
        match self {
            Self::Fleet(fleet) => Self::Fleet(Box::new(fleet.with_split_tracker(told))),
            Self::Prometheus(prometheus) => {
                Self::Prometheus(Box::new(prometheus.with_split_tracker(told)))
            }
        }
    }
}

impl Source for AnySource {
    async fn observe(&mut self) -> Observation {
        match self {
            Self::Fleet(fleet) => fleet.observe().await,
            Self::Prometheus(prometheus) => prometheus.observe().await,
        }
    }
}
