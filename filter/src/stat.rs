//! The names of the statistics: written by the filter, read by the controller and by Prometheus.
//!
//! Envoy knows no labels on a filter's statistics, so they are part of the name, each as `label=.=value;.;` in front of the
//! statistic proper. Istio's proxies take them out by themselves; for a plain Envoy the rules are in `envoy/bootstrap.yaml`.

use std::collections::HashMap;
use std::sync::LazyLock;
use std::time::Duration;

use crate::histogram;
use crate::names::{ServiceName, VersionName};
use crate::outcome::Failure;
use crate::select::Reason;

/// What every statistic of the filter begins with; Envoy puts `wasmcustom.` before it.
pub const PREFIX: &str = "serin.";

/// How often the filter brings these statistics up to date.
pub const FLUSH_INTERVAL: Duration = Duration::from_millis(200);

/// Gauge: the generation of the configuration that the filter runs.
pub const GENERATION: &str = "serin.generation";

/// Gauge: when the filter was first configured in this process of the proxy, in seconds since 1970. Another value means that the proxy was
/// started anew and every counter began again from zero.
pub const START_TIME: &str = "serin.start_time_seconds";

/// Counter: ticks of the workers (and of the main thread) that run the newest configuration the proxy accepted.
pub const TICKS: &str = "serin.ticks";

/// Counter: ticks of those that still run an older one. While it rises, a generation is not live everywhere.
pub const TICKS_BEHIND: &str = "serin.ticks_behind";

/// Counter: configurations that the filter refused. The reason is in the proxy's log.
pub const CONFIG_REJECTED: &str = "serin.config_rejected";

/// Counter of a service: requests that a rule left alone.
pub const BYPASSED: &str = "bypassed";

/// Gauge of a version: 1 where the tripwire has cut it off.
pub const TRIPPED: &str = "tripped";

/// A counter that each version of a service has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Stat {
    /// Requests for which the filter chose this version, by reason.
    Chosen(Reason),
    /// Of those: requests that another version's cluster served.
    Misrouted,
    /// Of those: requests that a cluster served which is no version's.
    Elsewhere,
    /// Requests assigned by weight that this version served, however they ended.
    Requests,
    /// Of those: failures of this kind.
    Failures(Failure),
    /// Of those: requests whose caller went away first.
    Cancelled,
    /// Of those: answers of this class of statuses, from 1 (1xx) to 5 (5xx).
    Answers(usize),
    /// Of those: requests no slower than the upper limit of this bucket of the [`histogram`], cumulative as in Prometheus.
    LatencyBucket(usize),
    /// Of those: requests that were answered, with the time to the first byte in the same way.
    FirstByteBucket(usize),
    /// Requests that waited for an answer longer than the configured time, counted when that was up.
    Overdue,
    /// Requests that the proxy itself refused.
    Local,
    /// Requests for which somebody picked the version (override, rule). They are counted here only.
    Picked,
    /// Of those: failures.
    PickedFailures,
}

/// Classes of statuses.
pub const CLASSES: usize = 5;

impl Stat {
    /// Every statistic of a version, in an order that [`Stat::index`] knows.
    pub fn all() -> impl Iterator<Item = Self> {
        [
            Self::Misrouted,
            Self::Elsewhere,
            Self::Requests,
            Self::Cancelled,
            Self::Overdue,
            Self::Local,
            Self::Picked,
            Self::PickedFailures,
        ]
        .into_iter()
        .chain(Reason::ALL.map(Self::Chosen))
        .chain(Failure::ALL.map(Self::Failures))
        .chain((1..=CLASSES).map(Self::Answers))
        .chain((0..histogram::BUCKETS).map(Self::LatencyBucket))
        .chain((0..histogram::BUCKETS).map(Self::FirstByteBucket))
    }

    /// How many statistics a version has.
    pub const COUNT: usize =
        8 + Reason::ALL.len() + Failure::ALL.len() + CLASSES + 2 * histogram::BUCKETS;

    /// The place of this statistic in [`Stat::all`].
    #[must_use]
    pub fn index(self) -> usize {
        const REASONS: usize = 8;
        const FAILURES: usize = REASONS + Reason::ALL.len();
        const ANSWERS: usize = FAILURES + Failure::ALL.len();
        const LATENCY: usize = ANSWERS + CLASSES;
        match self {
            Self::Misrouted => 0,
            Self::Elsewhere => 1,
            Self::Requests => 2,
            Self::Cancelled => 3,
            Self::Overdue => 4,
            Self::Local => 5,
            Self::Picked => 6,
            Self::PickedFailures => 7,
            Self::Chosen(reason) => REASONS + reason as usize,
            Self::Failures(failure) => FAILURES + failure as usize,
            Self::Answers(class) => ANSWERS + class.saturating_sub(1),
            Self::LatencyBucket(bucket) => LATENCY + bucket,
            Self::FirstByteBucket(bucket) => LATENCY + histogram::BUCKETS + bucket,
        }
    }

    /// The statistic's own name, without labels.
    fn base(self) -> &'static str {
        match self {
            Self::Chosen(_) => "chosen",
            Self::Misrouted => "misrouted",
            Self::Elsewhere => "unmatched",
            Self::Requests => "requests",
            Self::Failures(_) => "failures",
            Self::Cancelled => "cancelled",
            Self::Answers(_) => "responses",
            Self::LatencyBucket(_) => "latency_ms_bucket",
            Self::FirstByteBucket(_) => "first_byte_ms_bucket",
            Self::Overdue => "overdue",
            Self::Local => "local_replies",
            Self::Picked => "pinned",
            Self::PickedFailures => "pinned_failures",
        }
    }

    /// The label it has besides service and version.
    fn label(self) -> Option<(&'static str, String)> {
        match self {
            Self::Chosen(reason) => Some(("reason", reason.label().to_owned())),
            Self::Failures(failure) => Some(("kind", failure.label().to_owned())),
            Self::Answers(class) => Some(("class", format!("{class}xx"))),
            Self::LatencyBucket(bucket) | Self::FirstByteBucket(bucket) => {
                Some(("le", histogram::label(bucket)))
            }
            _ => None,
        }
    }

    /// The name behind those of service and version.
    fn suffix(self) -> String {
        let base = self.base();
        self.label()
            .map_or_else(|| base.to_owned(), |(label, value)| format!("{label}=.={value};.;{base}"))
    }

    /// The full name, as the filter defines it.
    #[must_use]
    pub fn name(self, service: &ServiceName, version: &VersionName) -> String {
        of_version(service, version, &self.suffix())
    }

    /// The service, version and statistic that a full name stands for, if it is one of these.
    #[must_use]
    pub fn parse(name: &str) -> Option<(&str, &str, Self)> {
        static BY_SUFFIX: LazyLock<HashMap<String, Stat>> =
            LazyLock::new(|| Stat::all().map(|stat| (stat.suffix(), stat)).collect());
        let (service, version, suffix) = parse_labels(name)?;
        Some((service, version, *BY_SUFFIX.get(suffix)?))
    }
}

/// A counter of the users in one future slice of a service, by the number of the salt and the slice's buckets; see [`crate::watch`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Watched {
    /// Requests with an identity that some version served.
    Requests,
    /// The failures among them.
    Failures,
}

impl Watched {
    /// Both.
    pub const ALL: [Self; 2] = [Self::Requests, Self::Failures];

    fn base(self) -> &'static str {
        match self {
            Self::Requests => "slice_requests",
            Self::Failures => "slice_failures",
        }
    }

    /// The full name, as the filter defines it.
    #[must_use]
    pub fn name(self, service: &ServiceName, salt: u32, slice: u32) -> String {
        of_service(service, &format!("salt=.={salt};.;slice=.={slice};.;{}", self.base()))
    }

    /// The service, salt, slice and statistic that a full name stands for, if it is one of these.
    #[must_use]
    pub fn parse(name: &str) -> Option<(&str, u32, u32, Self)> {
        let (service, rest) = label(name.strip_prefix(PREFIX)?, "service")?;
        let (salt, rest) = label(rest, "salt")?;
        let (slice, base) = label(rest, "slice")?;
        let watched = Self::ALL.into_iter().find(|watched| watched.base() == base)?;
        Some((service, salt.parse().ok()?, slice.parse().ok()?, watched))
    }
}

/// The service and version in a full name, and what follows them.
#[must_use]
pub fn parse_labels(name: &str) -> Option<(&str, &str, &str)> {
    let (service, rest) = label(name.strip_prefix(PREFIX)?, "service")?;
    let (version, suffix) = label(rest, "version")?;
    Some((service, version, suffix))
}

/// The full name of a service's own statistic.
#[must_use]
pub fn of_service(service: &ServiceName, name: &str) -> String {
    format!("{PREFIX}service=.={service};.;{name}")
}

/// The full name of a version's statistic.
#[must_use]
pub fn of_version(service: &ServiceName, version: &VersionName, name: &str) -> String {
    format!("{PREFIX}service=.={service};.;version=.={version};.;{name}")
}

/// The value of the label that `text` begins with, and what follows it.
fn label<'t>(text: &'t str, label: &str) -> Option<(&'t str, &'t str)> {
    text.strip_prefix(label)?.strip_prefix("=.=")?.split_once(";.;")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_statistic_has_its_place() {
        let places: Vec<_> = Stat::all().map(Stat::index).collect();
        assert_eq!(places, (0..Stat::COUNT).collect::<Vec<_>>());
    }

    #[test]
    fn names_lead_back_to_what_they_stand_for() {
        let service: ServiceName = "checkout.prod".parse().unwrap();
        let version: VersionName = "v1.2".parse().unwrap();
        for stat in Stat::all() {
            let name = stat.name(&service, &version);
            assert_eq!(Stat::parse(&name), Some(("checkout.prod", "v1.2", stat)), "{name}");
        }
    }

    #[test]
    fn names_of_slices_lead_back_too() {
        let service: ServiceName = "checkout.prod".parse().unwrap();
        for watched in Watched::ALL {
            let name = watched.name(&service, 15, 10_000);
            assert_eq!(Watched::parse(&name), Some(("checkout.prod", 15, 10_000, watched)));
            assert_eq!(Stat::parse(&name), None);
        }
    }

    #[test]
    fn other_statistics_are_not_taken_for_ours() {
        for name in [
            GENERATION,
            "cluster.shop.upstream_rq_total",
            "serin.service=.=shop;.;requests",
            "serin.service=.=shop;.;version=.=v1;.;latency_ms_bucket",
            "serin.service=.=shop;.;version=.=v1;.;le=.=0.11;.;latency_ms_bucket",
            "serin.service=.=shop;.;version=.=v1;.;le=.=1;.;requests",
        ] {
            assert_eq!(Stat::parse(name), None, "{name}");
        }
    }
}
