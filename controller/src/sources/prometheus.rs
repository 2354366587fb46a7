//! Prometheus as a source of evidence: the counters of every proxy that it scrapes, as of one time.
//!
//! All counters come from one query at one timestamp, a little in the past: by then what was scraped has been stored. A scrape is stored as a
//! whole, so each proxy's counters belong together, and [`FleetAggregator`] takes differences per proxy just as it does from admin pages. There is
//! nothing new before the next scrape: a look waits for it, at most for as long as scrapes usually take to come. What is missing or too
//! old is unknown, never zero.

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

/// By then a scrape has been stored that began before.
const INGESTION_DELAY: Duration = Duration::from_secs(1);

/// The proxies that a Prometheus scrapes, for the statistics of one service.
#[derive(Debug)]
pub struct PrometheusSource {
    client: PrometheusClient,
    series: Series,
    query: String,
    /// Where the mesh splits.
    split_tracker: Option<SplitTracker>,
    aggregator: FleetAggregator,
    cadence: ScrapeCadence,
    began: Instant,
    last_poll: Instant,
}

/// When a question was asked.
#[derive(Debug, Clone, Copy)]
struct QueryTime {
    /// In seconds since 1970.
    unix: f64,
    /// Since the first look could have been.
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

    /// The same where the mesh splits.
    #[must_use]
    pub fn with_split_tracker(self, told: SplitTracker) -> Self {
        Self { split_tracker: Some(told), ..self }
    }

    /// Asks until there is something new, or has been nothing for too long.
    async fn poll(&self) -> Result<(ScrapedInstances, QueryTime), QueryError> {
        loop {
            let asked = QueryTime { unix: unix_now(), at: self.began.elapsed() };
            let as_of = asked.unix - INGESTION_DELAY.as_secs_f64();
            let samples = self.client.query(&self.query, as_of).await?;
            let instances =
                self.series.collect(&samples).map_err(|what| self.client.invalid_response(what))?;
            let waited = self.last_poll.elapsed();
            if self.cadence.is_ready(&instances, waited) {
                return Ok((instances, asked));
            }
            sleep(self.cadence.poll_delay(as_of)).await;
        }
    }

    fn to_scrape(&self, instance: &ScrapedInstance, asked: QueryTime) -> Result<Scrape, String> {
        let Some(scraped) = instance.scraped else {
            return Err(match instance.up {
                Some(false) => "Prometheus can't scrape it".to_owned(),
                _ => "Prometheus has none of serin's statistics of it".to_owned(),
            });
        };
        let age = Duration::try_from_secs_f64(asked.unix - scraped).unwrap_or_default();
        if age > self.cadence.stale_after() {
            let seconds = age.as_secs();
            return Err(format!("Prometheus scraped it {seconds} s ago for the last time"));
        }
        Ok(Scrape { at: asked.at.saturating_sub(age), snapshot: instance.snapshot.clone() })
    }
}

impl Source for PrometheusSource {
    async fn observe(&mut self) -> Observation {
        let (instances, asked) = match self.poll().await {
            Ok(answer) => answer,
            Err(error) => return Observation::Unreachable { reason: error.to_string() },
        };
        // Nothing is waited for from here on.
        self.last_poll = Instant::now();
        let now = self.last_poll.duration_since(self.began);
        if instances.is_empty() {
            let url = self.client.url();
            let reason = format!(
                "Prometheus at {url} has no statistics of a serin filter: does it scrape the proxies' /stats/prometheus, and do their \
                 bootstraps have the tag rules of envoy/bootstrap.yaml?"
            );
            return Observation::Unreachable { reason };
        }
        let is_new = self.cadence.record(&instances);
        if !is_new {
            let url = self.client.url();
            return Observation::Unreachable {
                reason: format!("Prometheus at {url} has scraped no proxy since the last look"),
            };
        }
        let note = self.split_tracker.as_ref().map(SplitTracker::record);
        let alone = instances.len() == 1;
        let mut readings = Vec::with_capacity(instances.len());
        for (name, instance) in &instances {
            let mut reading = self.to_scrape(instance, asked);
            if let (Some(told), Some(note), Ok(read)) =
                (&mut self.split_tracker, &note, &mut reading)
            {
                told.infer(note, (self.began, read.at), name, &mut read.snapshot);
            }
            let named = |why| if alone { format!("{name}: {why}") } else { why };
            readings.push((ProxyName::clone(name), reading.map_err(named)));
        }
        if let Some(told) = &mut self.split_tracker {
            told.retain(|name| instances.contains_key(name));
        }
        self.aggregator.aggregate(now, readings).with_warning(note.and_then(|note| note.warning()))
    }
}

/// Seconds since 1970.
fn unix_now() -> f64 {
    SystemTime::UNIX_EPOCH.elapsed().unwrap_or_default().as_secs_f64()
}

#[cfg(test)]
mod tests;
