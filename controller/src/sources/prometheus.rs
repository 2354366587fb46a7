//! Prometheus as a source of evidence: the counters of every proxy that it scrapes, at one
//! timestamp.
//!
//! All counters come from one query at one timestamp, a little in the past, when scrapes have been
//! stored. Prometheus stores a scrape as a whole, so the counters of a proxy are consistent, and
//! [`FleetAggregator`] takes differences per proxy as it does for admin pages. A poll waits for
//! the next scrape, at most for the usual interval. Missing or stale data is unknown, never zero.

pub mod cadence;
mod client;
mod metrics;
mod series;

use std::time::{Duration, SystemTime};

use serin_core::config::prometheus::PrometheusSettings;
use serin_core::observation::Observation;
use serin_core::observation::aggregator::{FleetAggregator, Scrape};
use serin_core::observation::health::ProxyName;
use serin_core::ports::Source;
use tokio::time::{Instant, sleep};

pub use self::client::{PrometheusClient, QueryError, Sample};
pub use self::metrics::PrometheusMetric;
pub use self::series::Series;
use self::series::{ScrapedInstance, ScrapedInstances};
use crate::sources::prometheus::cadence::ScrapeCadence;
use crate::sources::split_tracker::SplitTracker;

/// A scrape that began before this delay has been stored.
const INGESTION_DELAY: Duration = Duration::from_secs(1);

/// The proxies that a Prometheus scrapes, for the statistics of one service.
#[derive(Debug)]
pub struct PrometheusSource {
    client: PrometheusClient,
    series: Series,
    query: String,
    /// The requested split, if the mesh splits.
    split_tracker: Option<SplitTracker>,
    aggregator: FleetAggregator,
    cadence: ScrapeCadence,
    began: Instant,
    last_poll: Instant,
}

/// The time of a query.
#[derive(Debug, Clone, Copy)]
struct QueryTime {
    /// In seconds since 1970.
    unix: f64,
    /// Since this source was created.
    at: Duration,
}

impl PrometheusSource {
    /// A Prometheus that has not been queried.
    #[must_use]
    pub fn new(settings: PrometheusSettings, series: Series) -> Self {
        let query = series.query(&settings.instances);
        let (aggregator, cadence, began) =
            (FleetAggregator::default(), ScrapeCadence::default(), Instant::now());
        let client = PrometheusClient::new(settings.connection);
        Self {
            client,
            series,
            query,
            split_tracker: None,
            aggregator,
            cadence,
            began,
            last_poll: began,
        }
    }

    /// Compares with this requested split, as the mesh splits.
    #[must_use]
    pub fn with_split_tracker(self, tracker: SplitTracker) -> Self {
        Self { split_tracker: Some(tracker), ..self }
    }

    /// Queries until there is new data, or none for too long.
    async fn poll(&self) -> Result<(ScrapedInstances, QueryTime), QueryError> {
        loop {
            let query_time = QueryTime { unix: unix_now(), at: self.began.elapsed() };
            let as_of = query_time.unix - INGESTION_DELAY.as_secs_f64();
            let samples = self.client.query(&self.query, as_of).await?;
            let instances =
                self.series.collect(&samples).map_err(|what| self.client.invalid_response(what))?;
            let waited = self.last_poll.elapsed();
            if self.cadence.is_ready(&instances, waited) {
                return Ok((instances, query_time));
            }
            sleep(self.cadence.poll_delay(as_of)).await;
        }
    }

    fn to_scrape(
        &self,
        instance: &ScrapedInstance,
        query_time: QueryTime,
    ) -> Result<Scrape, String> {
        let Some(scraped) = instance.scraped else {
            return Err(match instance.up {
                Some(false) => "Prometheus can't scrape it".to_owned(),
                _ => "Prometheus has no statistics of serin for it".to_owned(),
            });
        };
        let age = Duration::try_from_secs_f64(query_time.unix - scraped).unwrap_or_default();
        if age > self.cadence.stale_after() {
            let seconds = age.as_secs();
            return Err(format!("Prometheus scraped it {seconds} s ago"));
        }
        Ok(Scrape { at: query_time.at.saturating_sub(age), snapshot: instance.snapshot.clone() })
    }
}

impl Source for PrometheusSource {
    async fn observe(&mut self) -> Observation {
        let (instances, query_time) = match self.poll().await {
            Ok(answer) => answer,
            Err(error) => return Observation::Unreachable { reason: error.to_string() },
        };
        // The poll waits for nothing from here on.
        self.last_poll = Instant::now();
        let now = self.last_poll.duration_since(self.began);
        if instances.is_empty() {
            let url = self.client.url();
            let reason = format!(
                "Prometheus at {url} has no statistics of a serin filter: check that it scrapes the proxies' /stats/prometheus and that their \
                 bootstraps have the tag rules of envoy/bootstrap.yaml"
            );
            return Observation::Unreachable { reason };
        }
        let is_new = self.cadence.record(&instances);
        if !is_new {
            let url = self.client.url();
            return Observation::Unreachable {
                reason: format!("Prometheus at {url} has scraped no proxy since the last poll"),
            };
        }
        let note = self.split_tracker.as_ref().map(SplitTracker::record);
        let alone = instances.len() == 1;
        let mut scrapes = Vec::with_capacity(instances.len());
        for (name, instance) in &instances {
            let mut scrape = self.to_scrape(instance, query_time);
            if let (Some(tracker), Some(note), Ok(read)) =
                (&mut self.split_tracker, &note, &mut scrape)
            {
                tracker.infer(note, (self.began, read.at), name, &mut read.snapshot);
            }
            let named = |reason| if alone { format!("{name}: {reason}") } else { reason };
            scrapes.push((ProxyName::clone(name), scrape.map_err(named)));
        }
        if let Some(tracker) = &mut self.split_tracker {
            tracker.retain(|name| instances.contains_key(name));
        }
        self.aggregator.aggregate(now, scrapes).with_warning(note.and_then(|note| note.warning()))
    }
}

/// Seconds since 1970.
fn unix_now() -> f64 {
    SystemTime::UNIX_EPOCH.elapsed().unwrap_or_default().as_secs_f64()
}

#[cfg(test)]
mod tests;
