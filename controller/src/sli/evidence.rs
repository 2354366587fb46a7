//! The source of evidence that a rollout asks for.

use serin_filter::names::ServiceName;

use super::fleet::discovery::Whereabouts;
use super::fleet::{Discovery, Fleet, Reader, Scraper};
use super::prometheus::{self, Prometheus, Series};
use super::told::Told;
use super::{Look, Source};

/// Where evidence comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    /// The admin interfaces of these proxies.
    Admin(Whereabouts),
    /// A Prometheus that scrapes them.
    Prometheus(prometheus::Settings),
}

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
