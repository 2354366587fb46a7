//! Prometheus as a source of evidence: the counters of every proxy that it scrapes, as of one time.
//!
//! All counters come from one query at one timestamp, a little in the past: by then what was scraped has been stored. A scrape is stored as a
//! whole, so each proxy's counters belong together, and [`Merge`] takes differences per proxy just as it does from admin pages. There is
//! nothing new before the next scrape: a look waits for it, at most for as long as scrapes usually take to come. What is missing or too
//! old is unknown, never zero.

pub mod cadence;
mod client;
pub mod metrics;
mod series;

use std::time::{Duration, SystemTime};

use serin_core::config::prometheus::Settings;
use serin_core::observation::Look;
use serin_core::observation::aggregator::{Merge, Reading};
use serin_core::observation::health::Name;
use serin_core::ports::Source;
use tokio::time::{Instant, sleep};

pub use self::client::{Client, QueryError, Sample};
pub use self::series::Series;
use self::series::{Instance, Instances};
use crate::sources::prometheus::cadence::Pace;
pub use crate::sources::prometheus::metrics::Surveyor;
use crate::sources::split_tracker::Told;

/// By then a scrape has been stored that began before.
const LAG: Duration = Duration::from_secs(1);

/// The proxies that a Prometheus scrapes, for the statistics of one service.
#[derive(Debug)]
pub struct Prometheus {
    client: Client,
    series: Series,
    query: String,
    /// Where the mesh splits.
    told: Option<Told>,
    merge: Merge,
    pace: Pace,
    began: Instant,
    looked: Instant,
}

/// When a question was asked.
#[derive(Debug, Clone, Copy)]
struct Asked {
    /// In seconds since 1970.
    unix: f64,
    /// Since the first look could have been.
    at: Duration,
}

impl Prometheus {
    /// A Prometheus that nobody has asked yet.
    #[must_use]
    pub fn new(settings: Settings, series: Series) -> Self {
        let query = series.query(&settings.instances);
        let (merge, pace, began) = (Merge::default(), Pace::default(), Instant::now());
        let client = Client::new(settings.connection);
        Self { client, series, query, told: None, merge, pace, began, looked: began }
    }

    /// The same where the mesh splits.
    #[must_use]
    pub fn told(self, told: Told) -> Self {
        Self { told: Some(told), ..self }
    }

    /// Asks until there is something new, or has been nothing for too long.
    async fn ask(&self) -> Result<(Instances, Asked), QueryError> {
        loop {
            let asked = Asked { unix: unix_now(), at: self.began.elapsed() };
            let as_of = asked.unix - LAG.as_secs_f64();
            let samples = self.client.query(&self.query, as_of).await?;
            let instances =
                self.series.collect(&samples).map_err(|what| self.client.garbage(what))?;
            let waited = self.looked.elapsed();
            if self.pace.is_ready(&instances, waited) {
                return Ok((instances, asked));
            }
            sleep(self.pace.pause(as_of)).await;
        }
    }

    fn reading(&self, instance: &Instance, asked: Asked) -> Result<Reading, String> {
        let Some(scraped) = instance.scraped else {
            return Err(match instance.up {
                Some(false) => "Prometheus can't scrape it".to_owned(),
                _ => "Prometheus has none of serin's statistics of it".to_owned(),
            });
        };
        let age = Duration::try_from_secs_f64(asked.unix - scraped).unwrap_or_default();
        if age > self.pace.stale_after() {
            let seconds = age.as_secs();
            return Err(format!("Prometheus scraped it {seconds} s ago for the last time"));
        }
        Ok(Reading { at: asked.at.saturating_sub(age), snapshot: instance.snapshot.clone() })
    }
}

impl Source for Prometheus {
    async fn look(&mut self) -> Look {
        let (instances, asked) = match self.ask().await {
            Ok(answer) => answer,
            Err(error) => return Look::Unreachable { why: error.to_string() },
        };
        // Nothing is waited for from here on.
        self.looked = Instant::now();
        let now = self.looked.duration_since(self.began);
        if instances.is_empty() {
            let url = self.client.url();
            let why = format!(
                "Prometheus at {url} has no statistics of a serin filter: does it scrape the proxies' /stats/prometheus, and do their \
                 bootstraps have the tag rules of envoy/bootstrap.yaml?"
            );
            return Look::Unreachable { why };
        }
        let is_new = self.pace.take(&instances);
        if !is_new {
            let url = self.client.url();
            return Look::Unreachable {
                why: format!("Prometheus at {url} has scraped no proxy since the last look"),
            };
        }
        let note = self.told.as_ref().map(Told::note);
        let alone = instances.len() == 1;
        let mut readings = Vec::with_capacity(instances.len());
        for (name, instance) in &instances {
            let mut reading = self.reading(instance, asked);
            if let (Some(told), Some(note), Ok(read)) = (&mut self.told, &note, &mut reading) {
                told.infer(note, (self.began, read.at), name, &mut read.snapshot);
            }
            let named = |why| if alone { format!("{name}: {why}") } else { why };
            readings.push((Name::clone(name), reading.map_err(named)));
        }
        if let Some(told) = &mut self.told {
            told.retain(|name| instances.contains_key(name));
        }
        self.merge.look(now, readings).warned(note.and_then(|note| note.warning()))
    }
}

/// Seconds since 1970.
fn unix_now() -> f64 {
    SystemTime::UNIX_EPOCH.elapsed().unwrap_or_default().as_secs_f64()
}

#[cfg(test)]
mod tests;
