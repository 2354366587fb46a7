//! The decision rules of Flagger, Argo Rollouts, and a significance test at every second, for
//! comparison.
//!
//! Flagger and Argo Rollouts observe only the candidate, over a window of scrapes: its success rate
//! (default: at least 99 %) and its p99 latency (at most 500 ms). The rules are those in the
//! sources of Flagger 1.44 and Argo Rollouts of 2026.

mod argo;
mod flagger;
mod window;
mod z_test;

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use serin_core::rollout::plan::Plan;

use self::argo::Argo;
use self::flagger::Flagger;
use self::z_test::ZTest;
use super::controller::SimulatedController;

/// The rule that decides.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum DecisionRule {
    /// serin's judge.
    Serin,
    /// A peer's rule.
    Peer(Peer),
}

/// A peer's rule.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Peer {
    /// Flagger: `interval` between checks, `threshold` failed checks.
    Flagger {
        /// The time between checks.
        interval: Duration,
        /// Failed checks that cause a rollback; 0 counts as 1.
        threshold: u32,
    },
    /// Argo Rollouts with an analysis in the background: `interval` between measurements, more than
    /// `limit` failed ones.
    Argo {
        /// The time between measurements.
        interval: Duration,
        /// The tolerated failed measurements.
        limit: u32,
    },
    /// The one-sided two-proportion z-test on all errors so far, at every second.
    ZTest {
        /// The significance level of each look.
        level: f64,
    },
}

impl Peer {
    /// Starts the plan.
    #[must_use]
    pub fn controller(&self, plan: &Plan) -> Box<dyn SimulatedController> {
        match *self {
            Self::Flagger { interval, threshold } => {
                Box::new(Flagger::new(plan, interval, threshold))
            }
            Self::Argo { interval, limit } => Box::new(Argo::new(plan, interval, limit)),
            Self::ZTest { level } => Box::new(ZTest::new(plan, level)),
        }
    }
}

impl fmt::Display for DecisionRule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let time = humantime::format_duration;
        match self {
            Self::Serin => f.write_str("serin"),
            Self::Peer(Peer::Flagger { interval, threshold }) => {
                write!(f, "flagger:{}:{threshold}", time(*interval))
            }
            Self::Peer(Peer::Argo { interval, limit }) => {
                write!(f, "argo:{}:{limit}", time(*interval))
            }
            Self::Peer(Peer::ZTest { level }) => write!(f, "z:{level}"),
        }
    }
}

impl FromStr for DecisionRule {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let parts: Vec<&str> = text.split(':').collect();
        let rule = match parts[..] {
            ["serin"] => Some(Self::Serin),
            ["flagger", interval, threshold] => checks(interval, threshold)
                .filter(|(interval, _)| *interval >= flagger::MIN_INTERVAL)
                .map(|(interval, threshold)| Self::Peer(Peer::Flagger { interval, threshold })),
            ["argo", interval, limit] => checks(interval, limit)
                .map(|(interval, limit)| Self::Peer(Peer::Argo { interval, limit })),
            ["z", level] => {
                let level = level.parse().ok().filter(|level| *level > 0.0 && *level < 0.5);
                level.map(|level| Self::Peer(Peer::ZTest { level }))
            }
            _ => None,
        };
        rule.ok_or_else(|| {
            "not serin, flagger:<interval from 10s>:<threshold>, argo:<interval>:<limit> or z:<level below 0.5>"
                .to_owned()
        })
    }
}

fn checks(interval: &str, count: &str) -> Option<(Duration, u32)> {
    let interval =
        humantime::parse_duration(interval).ok().filter(|i| *i >= Duration::from_secs(1))?;
    Some((interval, count.parse().ok()?))
}

#[cfg(test)]
mod tests;
