//! The source of evidence that a rollout asks for.

pub mod fleet;
pub mod prometheus;
pub mod requested_split;
pub mod split_tracker;

use serin_core::config::source::Origin;
use serin_core::observation::Look;
use serin_core::ports::Source;
use serin_filter::names::ServiceName;

use crate::sources::fleet::{Discovery, Fleet, Reader, Scraper};
use crate::sources::prometheus::{Prometheus, Series};
use crate::sources::split_tracker::Told;

/// A source of either kind.
#[derive(Debug)]
pub enum Evidence {
    /// Proxies read by their admin interfaces.
    Fleet(Box<Fleet>),
    /// Proxies that a Prometheus scrapes.
    Prometheus(Box<Prometheus>),
}

impl Evidence {
    /// A source that nobody has looked at yet, for the statistics of one service. `filter` is the name of the filter's configuration, as the
    /// listeners' `config_discovery` has it.
    #[must_use]
    pub fn new(origin: Origin, scraper: &Scraper, service: ServiceName, filter: String) -> Self {
        match origin {
            Origin::Admin(whereabouts) => {
                let discovery = Discovery::new(whereabouts);
                let reader = Reader::Admin { service, filter };
                Self::Fleet(Box::new(Fleet::new(discovery, scraper.clone(), reader)))
            }
            Origin::Prometheus(settings) => {
                let series = Series::labelled(service, &filter);
                Self::Prometheus(Box::new(Prometheus::new(settings, series)))
            }
        }
    }

    /// The same where the mesh splits.
    #[must_use]
    pub fn told(self, told: Told) -> Self {
        match self {
            Self::Fleet(fleet) => Self::Fleet(Box::new(fleet.told(told))),
            Self::Prometheus(prometheus) => Self::Prometheus(Box::new(prometheus.told(told))),
        }
    }
}

impl Source for Evidence {
    async fn look(&mut self) -> Look {
        match self {
            Self::Fleet(fleet) => fleet.look().await,
            Self::Prometheus(prometheus) => prometheus.look().await,
        }
    }
}
