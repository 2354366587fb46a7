//! Flags of synthetic traffic.

use std::str::FromStr;
use std::time::Duration;

use clap::Args;
use serin_simulator::traffic::{Bursts, Fault, FaultKind, Incident, LatencyModel, Traffic};
use serin_simulator::users::UserPopulation;

use super::value_parsers::{at_least_zero, positive};

/// Properties of synthetic traffic.
#[derive(Debug, Args)]
#[command(next_help_heading = "Traffic")]
pub(super) struct TrafficArgs {
    /// Requests a second, on average
    #[arg(long, default_value_t = Traffic::default().rate, value_parser = positive)]
    rate: f64,

    /// Amplitude of the daily swing of the rate around its average
    #[arg(long, value_name = "SHARE", default_value = "0%")]
    daily: ShareArg,

    /// Median latency
    #[arg(long, value_name = "TIME", default_value = "50ms")]
    median: DurationArg,

    /// 99th percentile of the latency
    #[arg(long, value_name = "TIME", default_value = "250ms")]
    p99: DurationArg,

    /// Share of requests that fail at either version
    #[arg(long, value_name = "SHARE", default_value = "0.1%")]
    errors: ShareArg,

    /// Fault of the candidate: `errors:5%`, `slower:1.2`, `tail:2%:2s` (a share takes so much
    /// longer) or `timeouts:0.5%:10s`
    #[arg(long, value_name = "FAULT")]
    fault: Option<FaultArg>,

    /// Start of the fault, from the start of the rollout
    #[arg(long, value_name = "TIME", default_value = "0s")]
    fault_at: DurationArg,

    /// Incident of both versions: with `50%:10m:5m` half of all requests fail from the 10th minute
    /// on, for 5 minutes
    #[arg(long, value_name = "SHARE:FROM:FOR")]
    incident: Option<IncidentArg>,

    /// Bursts of errors at one version, drawn at random: with `20%:5m:2s` a fifth of its requests
    /// fail, every 5 minutes on average, for 2 seconds
    #[arg(long, value_name = "SHARE:EVERY:FOR")]
    bursts: Option<BurstsArg>,

    /// Factor by which the error rate of both versions grows each hour
    #[arg(long, value_name = "FACTOR", default_value_t = 1.0, value_parser = positive)]
    drift: f64,

    /// Number of proxies
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..))]
    proxies: u16,

    /// Mean time between restarts of a proxy, which reset its counters
    #[arg(long, value_name = "TIME")]
    restarts: Option<DurationArg>,

    /// Share of polls of a proxy that fail
    #[arg(long, value_name = "SHARE", default_value = "0%")]
    scrape_loss: ShareArg,

    /// Skew between the counts of the two versions
    #[arg(long, value_name = "TIME", default_value = "0s")]
    scrape_skew: DurationArg,

    /// Number of sticky users; without it, each request is assigned independently
    #[arg(long, value_name = "COUNT", value_parser = clap::value_parser!(u32).range(1..=10_000_000))]
    users: Option<u32>,

    /// Zipf exponent of requests per user: the n-th user sends requests in proportion to
    /// n^-EXPONENT
    #[arg(long, value_name = "EXPONENT", default_value_t = 1.0, value_parser = at_least_zero, requires = "users")]
    zipf: f64,

    /// Users that fail at either version: `1%:50%` is one in a hundred, with half of their
    /// requests
    #[arg(long, value_name = "USERS:REQUESTS", requires = "users")]
    failing_users: Option<FailingUsersArg>,

    /// Duration of the A/A test before the rollout, which picks the most balanced of 16 salts
    #[arg(long, value_name = "TIME", default_value = "0s", requires = "users")]
    watched: DurationArg,
}

/// Candidates of the A/A test.
const SALTS: usize = 16;

impl TrafficArgs {
    pub(super) fn traffic(&self) -> Result<Traffic, String> {
        let ms = |span: DurationArg| span.0.as_secs_f64() * 1_000.0;
        if self.median.0.is_zero() || self.p99.0 <= self.median.0 {
            return Err("--p99 must be above --median, and --median above 0".to_owned());
        }
        let (failing, failures) = self.failing_users.map_or((0.0, 0.0), |failing| failing.0);
        Ok(Traffic {
            rate: self.rate,
            daily: self.daily.0,
            latency: LatencyModel { median_ms: ms(self.median), p99_ms: ms(self.p99) },
            errors: self.errors.0,
            fault: self.fault.map(|FaultArg(kind)| Fault { from: self.fault_at.0, kind }),
            incident: self.incident.map(|incident| incident.0),
            drift: self.drift,
            bursts: self.bursts.map(|bursts| bursts.0),
            restarts: self.restarts.map(|mean| mean.0).filter(|mean| !mean.is_zero()),
            scrape_loss: self.scrape_loss.0,
            scrape_skew: self.scrape_skew.0,
            proxies: self.proxies.into(),
            users: self.users.map(|count| UserPopulation {
                count: count as usize,
                zipf: self.zipf,
                failing,
                failures,
                watched: self.watched.0,
                salts: SALTS,
            }),
        })
    }
}

/// A share such as `5%`, as 0 to 1.
#[derive(Debug, Clone, Copy)]
pub(super) struct ShareArg(pub(super) f64);

impl FromStr for ShareArg {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let percent = text.strip_suffix('%').and_then(|number| number.trim().parse::<f64>().ok());
        let share = percent.map(|percent| percent / 100.0);
        share
            .filter(|share| (0.0..=1.0).contains(share))
            .map(Self)
            .ok_or_else(|| "expected a share from 0% to 100%, such as 0.5%".to_owned())
    }
}

/// A span of time such as `90s`.
#[derive(Debug, Clone, Copy)]
pub(super) struct DurationArg(pub(super) Duration);

impl FromStr for DurationArg {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        humantime::parse_duration(text)
            .map(Self)
            .map_err(|_| "not a span of time with its unit, such as 500ms, 90s or 5m".to_owned())
    }
}

#[derive(Debug, Clone, Copy)]
struct FaultArg(FaultKind);

impl FromStr for FaultArg {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let parts: Vec<&str> = text.split(':').collect();
        let share = |text: &str| text.parse::<ShareArg>().map(|share| share.0);
        let span = |text: &str| text.parse::<DurationArg>().map(|span| span.0);
        let kind = match parts[..] {
            ["errors", errors] => FaultKind::Errors(share(errors)?),
            ["slower", factor] => FaultKind::Slower(positive(factor)?),
            ["tail", part, by] => FaultKind::Tail(share(part)?, span(by)?),
            ["timeouts", part, after] => FaultKind::Timeouts(share(part)?, span(after)?),
            _ => {
                return Err("not errors:<share>, slower:<factor>, tail:<share>:<time> or timeouts:<share>:<time>"
                    .to_owned());
            }
        };
        Ok(Self(kind))
    }
}

/// A share and two spans of time.
fn share_and_spans(text: &str, expected: &str) -> Result<(f64, Duration, Duration), String> {
    match text.split(':').collect::<Vec<_>>()[..] {
        [share, first, second] => Ok((
            share.parse::<ShareArg>()?.0,
            first.parse::<DurationArg>()?.0,
            second.parse::<DurationArg>()?.0,
        )),
        _ => Err(format!("not {expected}")),
    }
}

#[derive(Debug, Clone, Copy)]
struct IncidentArg(Incident);

impl FromStr for IncidentArg {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (errors, from, lasts) = share_and_spans(text, "<share>:<from>:<for>")?;
        Ok(Self(Incident { from, lasts, errors }))
    }
}

#[derive(Debug, Clone, Copy)]
struct BurstsArg(Bursts);

impl FromStr for BurstsArg {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (errors, every, lasts) = share_and_spans(text, "<share>:<every>:<for>")?;
        // Shorter ones would be no bursts, and take for ever to make.
        if every < Duration::from_secs(1) || lasts.is_zero() {
            return Err("bursts come every second at the most, and last".to_owned());
        }
        Ok(Self(Bursts { every, lasts, errors }))
    }
}

/// The share of users, and of their requests.
#[derive(Debug, Clone, Copy)]
struct FailingUsersArg((f64, f64));

impl FromStr for FailingUsersArg {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.split(':').collect::<Vec<_>>()[..] {
            [users, requests] => {
                Ok(Self((users.parse::<ShareArg>()?.0, requests.parse::<ShareArg>()?.0)))
            }
            _ => Err("not <share of users>:<share of requests>".to_owned()),
        }
    }
}
