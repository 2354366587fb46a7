//! Traffic as it is described on the command line.

use std::str::FromStr;
use std::time::Duration;

use clap::Args;
use serin_simulator::traffic::{Bursts, Fault, FaultKind, Incident, LatencyModel, Traffic};
use serin_simulator::users::UserPopulation;

use super::value_parsers::{at_least_zero, positive};

/// What the made traffic is like.
#[derive(Debug, Args)]
#[command(next_help_heading = "Traffic")]
pub(super) struct TrafficArgs {
    /// Requests a second, on average
    #[arg(long, default_value_t = Traffic::default().rate, value_parser = positive)]
    rate: f64,

    /// How far the rate swings around its average in the course of a day
    #[arg(long, value_name = "SHARE", default_value = "0%")]
    daily: ShareArg,

    /// Half of the requests take longer than this
    #[arg(long, value_name = "TIME", default_value = "50ms")]
    median: DurationArg,

    /// One in a hundred takes longer than this
    #[arg(long, value_name = "TIME", default_value = "250ms")]
    p99: DurationArg,

    /// The share of requests that fails at either version
    #[arg(long, value_name = "SHARE", default_value = "0.1%")]
    errors: ShareArg,

    /// What is wrong with the candidate: `errors:5%`, `slower:1.2`, `tail:2%:2s` (a share takes so much longer) or
    /// `timeouts:0.5%:10s`
    #[arg(long, value_name = "FAULT")]
    fault: Option<FaultArg>,

    /// Since when, from the beginning of the rollout
    #[arg(long, value_name = "TIME", default_value = "0s")]
    fault_at: DurationArg,

    /// A time at which a share of all requests fails at both versions: `50%:10m:5m` is half of them from the 10th minute on, for 5
    #[arg(long, value_name = "SHARE:FROM:FOR")]
    incident: Option<IncidentArg>,

    /// Times at which one version fails, whichever: `20%:5m:2s` is a fifth of its requests, every 5 minutes on average, for 2 seconds
    #[arg(long, value_name = "SHARE:EVERY:FOR")]
    bursts: Option<BurstsArg>,

    /// The factor by which errors of both versions grow each hour
    #[arg(long, value_name = "FACTOR", default_value_t = 1.0, value_parser = positive)]
    drift: f64,

    /// How many proxies there are
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..))]
    proxies: u16,

    /// Mean time between restarts of a proxy, which loses its counters
    #[arg(long, value_name = "TIME")]
    restarts: Option<DurationArg>,

    /// The share of looks at a proxy that fail
    #[arg(long, value_name = "SHARE", default_value = "0%")]
    scrape_loss: ShareArg,

    /// How far apart in time the counts of the two versions may be
    #[arg(long, value_name = "TIME", default_value = "0s")]
    scrape_skew: DurationArg,

    /// How many users there are, who stay with their version; without, each request is assigned by itself
    #[arg(long, value_name = "COUNT", value_parser = clap::value_parser!(u32).range(1..=10_000_000))]
    users: Option<u32>,

    /// How unequal users are: the n-th sends requests in proportion to n to the power of minus this
    #[arg(long, value_name = "EXPONENT", default_value_t = 1.0, value_parser = at_least_zero, requires = "users")]
    zipf: f64,

    /// Users who often fail at either version: `1%:50%` is one in a hundred, with half of their requests
    #[arg(long, value_name = "USERS:REQUESTS", requires = "users")]
    failing_users: Option<FailingUsersArg>,

    /// For how long the future slices of 16 salts are watched before the rollout, to take the most balanced
    #[arg(long, value_name = "TIME", default_value = "0s", requires = "users")]
    watched: DurationArg,
}

/// How many salts there are to choose from.
const SALTS: usize = 16;

impl TrafficArgs {
    pub(super) fn traffic(&self) -> Result<Traffic, String> {
        let ms = |span: DurationArg| span.0.as_secs_f64() * 1_000.0;
        if self.median.0.is_zero() || self.p99.0 <= self.median.0 {
            return Err("--p99 has to be above --median, and that above 0".to_owned());
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
            .ok_or_else(|| "not a share from 0% to 100%, such as 0.5%".to_owned())
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
