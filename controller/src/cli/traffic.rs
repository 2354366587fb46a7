//! Flags of synthetic traffic.

use std::time::Duration;

use clap::Args;
use serin_simulator::traffic::{Bursts, Fault, FaultKind, Incident, LatencyModel, Traffic};
use serin_simulator::users::UserPopulation;

use super::value_parsers::{at_least_zero, duration, positive, share};

/// Properties of synthetic traffic.
#[derive(Debug, Args)]
#[command(next_help_heading = "Traffic")]
pub(super) struct TrafficArgs {
    /// Requests a second, on average
    #[arg(long, default_value_t = Traffic::default().rate, value_parser = positive)]
    rate: f64,

    /// Amplitude of the daily swing of the rate around its average
    #[arg(long, value_name = "SHARE", default_value = "0%", value_parser = share)]
    daily: f64,

    /// Median latency
    #[arg(long, value_name = "TIME", default_value = "50ms", value_parser = duration)]
    median: Duration,

    /// 99th percentile of the latency
    #[arg(long, value_name = "TIME", default_value = "250ms", value_parser = duration)]
    p99: Duration,

    /// Share of requests that fail at either version
    #[arg(long, value_name = "SHARE", default_value = "0.1%", value_parser = share)]
    errors: f64,

    /// Fault of the candidate: `errors:5%`, `slower:1.2`, `tail:2%:2s` (a share takes so much
    /// longer) or `timeouts:0.5%:10s`
    #[arg(long, value_name = "FAULT", value_parser = fault)]
    fault: Option<FaultKind>,

    /// Start of the fault, from the start of the rollout
    #[arg(long, value_name = "TIME", default_value = "0s", value_parser = duration)]
    fault_at: Duration,

    /// Incident of both versions: with `50%:10m:5m` half of all requests fail from the 10th minute
    /// on, for 5 minutes
    #[arg(long, value_name = "SHARE:FROM:FOR", value_parser = incident)]
    incident: Option<Incident>,

    /// Bursts of errors at one version, drawn at random: with `20%:5m:2s` a fifth of its requests
    /// fail, every 5 minutes on average, for 2 seconds
    #[arg(long, value_name = "SHARE:EVERY:FOR", value_parser = bursts)]
    bursts: Option<Bursts>,

    /// Factor by which the error rate of both versions grows each hour
    #[arg(long, value_name = "FACTOR", default_value_t = 1.0, value_parser = positive)]
    drift: f64,

    /// Number of proxies
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..))]
    proxies: u16,

    /// Mean time between restarts of a proxy, which reset its counters
    #[arg(long, value_name = "TIME", value_parser = duration)]
    restarts: Option<Duration>,

    /// Share of polls of a proxy that fail
    #[arg(long, value_name = "SHARE", default_value = "0%", value_parser = share)]
    scrape_loss: f64,

    /// Skew between the counts of the two versions
    #[arg(long, value_name = "TIME", default_value = "0s", value_parser = duration)]
    scrape_skew: Duration,

    /// Number of sticky users; without it, each request is assigned independently
    #[arg(long, value_name = "COUNT", value_parser = clap::value_parser!(u32).range(1..=10_000_000))]
    users: Option<u32>,

    /// Zipf exponent of requests per user: the n-th user sends requests in proportion to
    /// n^-EXPONENT
    #[arg(long, value_name = "EXPONENT", default_value_t = 1.0, value_parser = at_least_zero, requires = "users")]
    zipf: f64,

    /// Users that fail at either version: `1%:50%` is one in a hundred, with half of their
    /// requests
    #[arg(long, value_name = "USERS:REQUESTS", requires = "users", value_parser = failing_users)]
    failing_users: Option<(f64, f64)>,

    /// Duration of the A/A test before the rollout, which picks the most balanced of 16 salts
    #[arg(long, value_name = "TIME", default_value = "0s", requires = "users", value_parser = duration)]
    watched: Duration,
}

/// Candidates of the A/A test.
const SALTS: usize = 16;

impl TrafficArgs {
    pub(super) fn traffic(&self) -> Result<Traffic, String> {
        let (failing, failures) = self.failing_users.unwrap_or_default();
        Ok(Traffic {
            rate: self.rate,
            daily: self.daily,
            latency: latency(self.median, self.p99)?,
            errors: self.errors,
            fault: self.fault.map(|kind| Fault { from: self.fault_at, kind }),
            incident: self.incident,
            drift: self.drift,
            bursts: self.bursts,
            restarts: self.restarts.filter(|mean| !mean.is_zero()),
            scrape_loss: self.scrape_loss,
            scrape_skew: self.scrape_skew,
            proxies: self.proxies.into(),
            users: self.users.map(|count| UserPopulation {
                count: count as usize,
                zipf: self.zipf,
                failing,
                failures,
                watched: self.watched,
                salts: SALTS,
            }),
        })
    }
}

/// The latency model of these quantiles.
pub(super) fn latency(median: Duration, p99: Duration) -> Result<LatencyModel, String> {
    if median.is_zero() || p99 <= median {
        return Err("--p99 must be above --median, and --median above 0".to_owned());
    }
    let ms = |span: Duration| span.as_secs_f64() * 1_000.0;
    Ok(LatencyModel { median_ms: ms(median), p99_ms: ms(p99) })
}

fn fault(text: &str) -> Result<FaultKind, String> {
    Ok(match text.split(':').collect::<Vec<_>>()[..] {
        ["errors", errors] => FaultKind::Errors(share(errors)?),
        ["slower", factor] => FaultKind::Slower(positive(factor)?),
        ["tail", part, by] => FaultKind::Tail(share(part)?, duration(by)?),
        ["timeouts", part, after] => FaultKind::Timeouts(share(part)?, duration(after)?),
        _ => {
            return Err("not errors:<share>, slower:<factor>, tail:<share>:<time> or timeouts:<share>:<time>"
                .to_owned());
        }
    })
}

/// A share and two spans of time.
fn share_and_spans(text: &str, expected: &str) -> Result<(f64, Duration, Duration), String> {
    match text.split(':').collect::<Vec<_>>()[..] {
        [part, first, second] => Ok((share(part)?, duration(first)?, duration(second)?)),
        _ => Err(format!("not {expected}")),
    }
}

fn incident(text: &str) -> Result<Incident, String> {
    let (errors, from, lasts) = share_and_spans(text, "<share>:<from>:<for>")?;
    Ok(Incident { from, lasts, errors })
}

fn bursts(text: &str) -> Result<Bursts, String> {
    let (errors, every, lasts) = share_and_spans(text, "<share>:<every>:<for>")?;
    // The simulator draws shorter ones too slowly.
    if every < Duration::from_secs(1) || lasts.is_zero() {
        return Err("bursts need an interval of at least 1s and a duration above 0s".to_owned());
    }
    Ok(Bursts { every, lasts, errors })
}

/// The share of users, and of their requests.
fn failing_users(text: &str) -> Result<(f64, f64), String> {
    match text.split(':').collect::<Vec<_>>()[..] {
        [users, requests] => Ok((share(users)?, share(requests)?)),
        _ => Err("not <share of users>:<share of requests>".to_owned()),
    }
}
