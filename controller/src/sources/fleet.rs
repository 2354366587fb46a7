//! Many Envoys as a source of evidence: serin reads their admin interfaces concurrently.

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

/// A page may be older than the poll by this part of the polling interval: rollouts share pages,
/// and each loses little.
const PAGE_AGE_DIVISOR: u32 = 4;

/// The greatest age of a page.
const MAX_PAGE_AGE: Duration = Duration::from_millis(250);

/// Some Envoys, for the statistics of one service.
#[derive(Debug)]
pub struct FleetSource {
    discovery: ProxyDiscovery,
    scraper: Scraper,
    reader: StatsReader,
    /// The requested split, if the mesh splits.
    split_tracker: Option<SplitTracker>,
    /// The list of proxies from which the targets were made.
    endpoints: ProxyEndpoints,
    targets: Vec<(ProxyName, Arc<ScrapeTarget>)>,
    aggregator: FleetAggregator,
    began: Instant,
    last_poll: Instant,
}

/// How to find the statistics of one service in a page.
#[derive(Debug)]
pub enum StatsReader {
    /// In the page of the admin interface.
    Admin {
        /// The service.
        service: ServiceName,
        /// Name of the filter's configuration in the listeners' `config_discovery`.
        filter: String,
    },
    /// In the page for Prometheus.
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
            // A target answers in the format that was requested.
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

    /// Compares with this requested split, as the mesh splits.
    #[must_use]
    pub fn with_split_tracker(self, tracker: SplitTracker) -> Self {
        Self { split_tracker: Some(tracker), ..self }
    }

    /// Waits until a proxy is known, if another task discovers them.
    pub async fn discovered(&mut self) {
        self.discovery.discovered().await;
    }

    /// Adopts the present list of proxies.
    async fn discover(&mut self) -> Option<String> {
        let warning = self.discovery.refresh().await;
        let listed = self.discovery.proxies();
        if !Arc::ptr_eq(listed, &self.endpoints) {
            self.endpoints = listed.clone();
            let format = self.reader.format();
            let target = |proxy: &ProxyEndpoint| {
                (proxy.name.clone(), self.scraper.target(&proxy.address, format))
            };
            self.targets = listed.iter().map(target).collect();
            if let Some(tracker) = &mut self.split_tracker {
                tracker.retain(|name| listed.iter().any(|proxy| proxy.name == *name));
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
        // All requests start before the first is awaited.
        let read =
            |(name, target): &(ProxyName, Arc<ScrapeTarget>)| (name.clone(), target.read(fresh));
        let pending: Vec<_> = self.targets.iter().map(read).collect();
        let alone = pending.len() == 1;
        let mut scrapes = Vec::with_capacity(pending.len());
        let at = now.duration_since(self.began);
        let note = self.split_tracker.as_ref().map(SplitTracker::record);
        for (name, pending) in pending {
            let scrape = match pending.page().await {
                Ok(page) => {
                    let mut snapshot = self.reader.snapshot(&page);
                    if let (Some(tracker), Some(note)) = (&mut self.split_tracker, &note) {
                        tracker.infer(note, (self.began, at), &name, &mut snapshot);
                    }
                    Ok(Scrape { at, snapshot })
                }
                Err(error) if alone => Err(error.of(&name)),
                Err(error) => Err(error.to_string()),
            };
            scrapes.push((name, scrape));
        }
        self.last_poll = now;
        let observation = self.aggregator.aggregate(at, scrapes);
        observation.with_warning(note.and_then(|note| note.warning()).or(warning))
    }
}

#[cfg(test)]
mod tests;
