//! What the made traffic is like.

use std::time::Duration;

use statrs::distribution::{ContinuousCDF, LogNormal, Normal};

use super::sampling::either;
use super::users::UserPopulation;

/// The traffic of a service, and what befalls it. Shares are 0 to 1.
#[derive(Debug, Clone, PartialEq)]
pub struct Traffic {
    /// Requests a second over all proxies, on average over a day.
    pub rate: f64,
    /// By how much the rate rises above its average and falls below it in the course of a day, as a share of the average.
    pub daily: f64,
    /// How long healthy requests take.
    pub latency: LatencyModel,
    /// The share of requests that fails at either version.
    pub errors: f64,
    /// What is wrong with the candidate, if anything.
    pub fault: Option<Fault>,
    /// What befalls both versions at once.
    pub incident: Option<Incident>,
    /// By what factor the errors of both versions grow each hour.
    pub drift: f64,
    /// What befalls one version at a time.
    pub bursts: Option<Bursts>,
    /// Mean time between restarts of a proxy, which loses its counters; `None` for never.
    pub restarts: Option<Duration>,
    /// The share of looks at a proxy that fail.
    pub scrape_loss: f64,
    /// The counts of the two versions are up to so much apart in time.
    pub scrape_skew: Duration,
    /// How many proxies there are, at least 1.
    pub proxies: usize,
    /// Who calls. `None`: each request is assigned by itself.
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
    /// Half of the requests take longer.
    pub median_ms: f64,
    /// One in a hundred takes longer; above the median.
    pub p99_ms: f64,
}

/// What is wrong with the candidate.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Fault {
    /// Since when, since the rollout began.
    pub from: Duration,
    /// What.
    pub kind: FaultKind,
}

/// The ways in which a candidate can be bad.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum FaultKind {
    /// This share fails, at once, instead of the usual share.
    Errors(f64),
    /// Every request takes so many times as long.
    Slower(f64),
    /// This share takes so much longer.
    Tail(f64, Duration),
    /// This share is never answered, and fails after so long.
    Timeouts(f64, Duration),
}

/// A share of all requests that fails at both versions, for some time.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Incident {
    /// When it begins, since the rollout began.
    pub from: Duration,
    /// How long it lasts.
    pub lasts: Duration,
    /// The share of requests that fails.
    pub errors: f64,
}

/// Times at which one version fails, whichever: a node of its own, a bad connection.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Bursts {
    /// The mean time from one to the next, for each version.
    pub every: Duration,
    /// How long one lasts.
    pub lasts: Duration,
    /// The share of requests that fails meanwhile.
    pub errors: f64,
}

impl LatencyModel {
    /// The share of requests that take at most so many milliseconds.
    #[must_use]
    pub fn at_most(&self, ms: f64) -> f64 {
        let z = Normal::standard().inverse_cdf(0.99);
        let deviation = ((self.p99_ms / self.median_ms).ln() / z).max(1e-3);
        let distribution = LogNormal::new(self.median_ms.ln(), deviation);
        distribution.map_or(1.0, |distribution| distribution.cdf(ms))
    }
}

impl Traffic {
    /// Requests a second at a time since the rollout began.
    #[must_use]
    pub fn rate_at(&self, seconds: f64) -> f64 {
        const DAY: f64 = 86_400.0;
        self.rate * (1.0 + self.daily * (std::f64::consts::TAU * seconds / DAY).sin())
    }

    /// The share of requests that fails whatever the version, at a time since the rollout began.
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
