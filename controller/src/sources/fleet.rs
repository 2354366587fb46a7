//! Many Envoys as a source of evidence, read by their admin interfaces at the same time.

pub(crate) mod admin;
pub mod discovery;
mod exposition;
mod page;
mod scraper;

use std::sync::Arc;
use std::time::Duration;

pub use serin_core::config::prometheus::prometheus_name;
use serin_core::observation::aggregator::{FleetAggregator, Scrape};
use serin_core::observation::health::ProxyName;
use serin_core::observation::{Observation, Snapshot};
use serin_core::ports::Source;
use serin_filter::names::ServiceName;
use tokio::time::Instant;

pub use self::admin::ScrapeError;
pub use self::discovery::ProxyDiscovery;
use self::discovery::{ProxyEndpoint, ProxyEndpoints};
pub use self::exposition::{MetricIndex, MetricValues};
pub use self::page::AdminPage;
pub use self::scraper::{
    RECOVERY_TIMEOUT, SCRAPE_TIMEOUT, ScrapeTarget, Scraper, StatsFormat, StatsPage,
};
use crate::sources::split_tracker::SplitTracker;

/// A page may be older than the look by this part of the time since the look before: so rollouts share it, and each loses little.
const PAGE_AGE_DIVISOR: u32 = 4;

/// No page is older than this.
const MAX_PAGE_AGE: Duration = Duration::from_millis(250);

/// Some Envoys, for the statistics of one service.
#[derive(Debug)]
pub struct FleetSource {
    discovery: ProxyDiscovery,
    scraper: Scraper,
    reader: StatsReader,
    /// Where the mesh splits.
    split_tracker: Option<SplitTracker>,
    /// The list of proxies that the targets are made from.
    endpoints: ProxyEndpoints,
    targets: Vec<(ProxyName, Arc<ScrapeTarget>)>,
    aggregator: FleetAggregator,
    began: Instant,
    last_poll: Instant,
}

/// How the statistics of one service are found in what a proxy shows.
#[derive(Debug)]
pub enum StatsReader {
    /// At its admin interface.
    Admin {
        /// The service.
        service: ServiceName,
        /// Name of the filter's configuration, as the listeners' `config_discovery` has it.
        filter: String,
    },
    /// At its page for Prometheus.
    Exposition(MetricIndex),
}

impl StatsReader {
    fn format(&self) -> StatsFormat {
        match self {
            Self::Admin { .. } => StatsFormat::Admin,
            Self::Exposition(_) => StatsFormat::Exposition,
        }
    }

    fn snapshot(&self, view: &StatsPage) -> Snapshot {
        match (self, view) {
            (Self::Admin { service, filter }, StatsPage::Admin(page)) => {
                page.snapshot(service, filter)
            }
            (Self::Exposition(names), StatsPage::Exposition(values)) => names.snapshot(values),
            // No target shows another form than it is asked for.
            _ => Snapshot::default(),
        }
    }
}

impl FleetSource {
    /// Proxies that have not been polled.
    #[must_use]
    pub fn new(discovery: ProxyDiscovery, scraper: Scraper, reader: StatsReader) -> Self {
        let now = Instant::now();
        Self {
            discovery,
            scraper,
            reader,
            split_tracker: None,
            endpoints: ProxyEndpoints::from([]),
            targets: Vec::new(),
            aggregator: FleetAggregator::default(),
            began: now,
            last_poll: now,
        }
    }

    /// The same where the mesh splits.
    #[must_use]
    pub fn with_split_tracker(self, told: SplitTracker) -> Self {
        Self { split_tracker: Some(told), ..self }
    }

    /// Waits until a proxy is known, if another task discovers them.
    pub async fn discovered(&mut self) {
        self.discovery.discovered().await;
    }

    /// Follows the list of proxies.
    async fn discover(&mut self) -> Option<String> {
        let warning = self.discovery.refresh().await;
        let listed = self.discovery.proxies();
        if !Arc::ptr_eq(listed, &self.endpoints) {
            self.endpoints = listed.clone();
            let form = self.reader.format();
            let target = |proxy: &ProxyEndpoint| {
                (proxy.name.clone(), self.scraper.target(&proxy.address, form))
            };
            self.targets = listed.iter().map(target).collect();
            if let Some(told) = &mut self.split_tracker {
                told.retain(|name| listed.iter().any(|proxy| proxy.name == *name));
            }
        }
        warning
    }
}

impl Source for FleetSource {
    async fn observe(&mut self) -> Observation {
        let warning = self.discover().await;
        let now = Instant::now();
        let fresh = now - (now.duration_since(self.last_poll) / PAGE_AGE_DIVISOR).min(MAX_PAGE_AGE);
        // All are under way before any is waited for.
        let read =
            |(name, target): &(ProxyName, Arc<ScrapeTarget>)| (name.clone(), target.read(fresh));
        let pending: Vec<_> = self.targets.iter().map(read).collect();
        let alone = pending.len() == 1;
        let mut readings = Vec::with_capacity(pending.len());
        let at = now.duration_since(self.began);
        let note = self.split_tracker.as_ref().map(SplitTracker::record);
        for (name, pending) in pending {
            let scrape = match pending.page().await {
                Ok(shown) => {
                    let mut snapshot = self.reader.snapshot(&shown);
                    if let (Some(told), Some(note)) = (&mut self.split_tracker, &note) {
                        told.infer(note, (self.began, at), &name, &mut snapshot);
                    }
                    Ok(Scrape { at, snapshot })
                }
                Err(error) if alone => Err(error.of(&name)),
                Err(error) => Err(error.to_string()),
            };
            readings.push((name, scrape));
        }
        self.last_poll = now;
        let observation = self.aggregator.aggregate(at, readings);
        observation.with_warning(note.and_then(|note| note.warning()).or(warning))
    }
}

#[cfg(test)]
mod tests;
