//! The model of the synthetic traffic.

use std::time::Duration;

use statrs::distribution::{ContinuousCDF, LogNormal, Normal};

use super::sampling::either;
use super::users::UserPopulation;

/// The traffic of a service and its disturbances. Shares are 0 to 1.
#[derive(Debug, Clone, PartialEq)]
pub struct Traffic {
    /// Requests a second over all proxies, on average over a day.
    pub rate: f64,
    /// The daily amplitude of the rate, as a share of the average.
    pub daily: f64,
    /// The latency of healthy requests.
    pub latency: LatencyModel,
    /// The failure rate of both versions.
    pub errors: f64,
    /// The candidate's fault.
    pub fault: Option<Fault>,
    /// A disturbance of both versions at once.
    pub incident: Option<Incident>,
    /// The hourly growth factor of the failure rate of both versions.
    pub drift: f64,
    /// Disturbances of one version at a time.
    pub bursts: Option<Bursts>,
    /// The mean time between restarts of a proxy, which reset its counters; `None` for never.
    pub restarts: Option<Duration>,
    /// The share of failed scrapes.
    pub scrape_loss: f64,
    /// The largest time between the counts of the two versions in one scrape.
    pub scrape_skew: Duration,
    /// The number of proxies, at least 1.
    pub proxies: usize,
    /// The users; `None` assigns each request independently.
    pub users: Option<UserPopulation>,
}

impl Default for Traffic {
    fn default() -> Self {
        Self {
            rate: 100.0,
            daily: 0.0,
            latency: LatencyModel { median_ms: 50.0, p99_ms: 250.0 },
            errors: 0.001,
            fault: None,
            incident: None,
            drift: 1.0,
            bursts: None,
            restarts: None,
            scrape_loss: 0.0,
            scrape_skew: Duration::ZERO,
            proxies: 1,
            users: None,
        }
    }
}

/// Log-normal latency.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct LatencyModel {
    /// The median.
    pub median_ms: f64,
    /// The 99th percentile; above the median.
    pub p99_ms: f64,
}

/// A fault of the candidate.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Fault {
    /// The start, since the rollout began.
    pub from: Duration,
    /// The kind.
    pub kind: FaultKind,
}

/// The kinds of faults.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum FaultKind {
    /// This share fails immediately, instead of the usual share.
    Errors(f64),
    /// Every request takes this many times as long.
    Slower(f64),
    /// This share takes this much longer.
    Tail(f64, Duration),
    /// This share is never answered and fails after this time.
    Timeouts(f64, Duration),
}

/// A temporary failure rate of both versions.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Incident {
    /// The start, since the rollout began.
    pub from: Duration,
    /// The duration.
    pub lasts: Duration,
    /// The share of requests that fails.
    pub errors: f64,
}

/// Times at which a single version fails, as by a bad node or connection.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Bursts {
    /// The mean time between bursts of each version.
    pub every: Duration,
    /// The duration of a burst.
    pub lasts: Duration,
    /// The share of requests that fails during a burst.
    pub errors: f64,
}

impl LatencyModel {
    /// The share of requests up to `ms` milliseconds.
    #[must_use]
    pub fn at_most(&self, ms: f64) -> f64 {
        let z = Normal::standard().inverse_cdf(0.99);
        let deviation = ((self.p99_ms / self.median_ms).ln() / z).max(1e-3);
        let distribution = LogNormal::new(self.median_ms.ln(), deviation);
        distribution.map_or(1.0, |distribution| distribution.cdf(ms))
    }
}

impl Traffic {
    /// Requests per second at a time since the rollout began.
    #[must_use]
    pub fn rate_at(&self, seconds: f64) -> f64 {
        const DAY: f64 = 86_400.0;
        self.rate * (1.0 + self.daily * (std::f64::consts::TAU * seconds / DAY).sin())
    }

    /// The failure rate of both versions at a time since the rollout began.
    #[must_use]
    pub fn errors_at(&self, seconds: f64) -> f64 {
        let usual = (self.errors * self.drift.powf(seconds / 3_600.0)).min(1.0);
        match self.incident {
            Some(Incident { from, lasts, errors })
                if (from.as_secs_f64()..(from + lasts).as_secs_f64()).contains(&seconds) =>
            {
                either(usual, errors)
            }
            _ => usual,
        }
    }
}
