//! Statistic names: written by the filter, read by the controller and Prometheus.
//!
//! The ABI has no statistic labels, so the name contains them, each as `label=.=value;.;` before
//! the base name. Istio's proxies extract them; for plain Envoy, `envoy/bootstrap.yaml` has the
//! `stats_tags`.

use std::collections::HashMap;
use std::sync::LazyLock;
use std::time::Duration;

use crate::histogram;
use crate::names::{ServiceName, VersionName};
use crate::outcome::Failure;
use crate::select::Reason;

/// Prefix of all statistics of the filter. Envoy prepends `wasmcustom.`.
pub const PREFIX: &str = "serin.";

/// Interval at which each worker flushes its counts.
pub const FLUSH_INTERVAL: Duration = Duration::from_millis(200);

/// Gauge: generation of the active configuration.
pub const GENERATION: &str = "serin.generation";

/// Gauge: Unix time in seconds at which the proxy process first configured the filter. A changed
/// value means that the proxy restarted and all counters were reset.
pub const START_TIME: &str = "serin.start_time_seconds";

/// Counter: ticks of workers and main thread on the newest configuration that the proxy accepted.
pub const TICKS: &str = "serin.ticks";

/// Counter: ticks on an older configuration. While it rises, some worker lags.
pub const TICKS_BEHIND: &str = "serin.ticks_behind";

/// Counter: configurations that the filter rejected. The proxy's log has the reason.
pub const CONFIG_REJECTED: &str = "serin.config_rejected";

/// Counter of a service: requests that a rule bypassed.
pub const BYPASSED: &str = "bypassed";

/// Gauge of a version: 1 while the tripwire is tripped.
pub const TRIPPED: &str = "tripped";

/// A counter of a version.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Stat {
    /// Requests for which the filter chose this version, by reason.
    Chosen(Reason),
    /// Of those: requests served by another version's cluster.
    Misrouted,
    /// Of those: requests served by a cluster that matches no version.
    Unmatched,
    /// Completed requests served by this version, and streams from the start of the response, without
    /// pinned ones.
    Requests,
    /// Of those: failures, by kind.
    Failures(Failure),
    /// Of those: requests that the caller cancelled.
    Cancelled,
    /// Of those: responses by status class, from 1 (1xx) to 5 (5xx).
    Responses(usize),
    /// Of those: latency up to the bound of this bucket of the [`histogram`], cumulative.
    LatencyBucket(usize),
    /// Of those with a response: time to first byte, as for latency.
    FirstByteBucket(usize),
    /// Requests without a response within the configured time, counted at its end.
    Overdue,
    /// Of the requests without a failure: RPCs whose status the filter cannot read.
    Unreadable,
    /// Requests that the proxy rejected with a local reply.
    LocalReplies,
    /// Requests pinned to this version by an override or a rule, in no other count of outcomes.
    Pinned,
    /// Of those: failures.
    PinnedFailures,
}

/// Number of status classes.
pub const CLASSES: usize = 5;

impl Stat {
    /// All statistics of a version, in the order of [`Stat::index`].
    pub fn all() -> impl Iterator<Item = Self> {
        [
            Self::Misrouted,
            Self::Unmatched,
            Self::Requests,
            Self::Cancelled,
            Self::Overdue,
            Self::Unreadable,
            Self::LocalReplies,
            Self::Pinned,
            Self::PinnedFailures,
        ]
        .into_iter()
        .chain(Reason::ALL.map(Self::Chosen))
        .chain(Failure::ALL.map(Self::Failures))
        .chain((1..=CLASSES).map(Self::Responses))
        .chain((0..histogram::BUCKETS).map(Self::LatencyBucket))
        .chain((0..histogram::BUCKETS).map(Self::FirstByteBucket))
    }

    /// Number of statistics of a version.
    pub const COUNT: usize =
        9 + Reason::ALL.len() + Failure::ALL.len() + CLASSES + 2 * histogram::BUCKETS;

    /// The index of this statistic in [`Stat::all`].
    #[must_use]
    pub fn index(self) -> usize {
        const REASONS: usize = 9;
        const FAILURES: usize = REASONS + Reason::ALL.len();
        const RESPONSES: usize = FAILURES + Failure::ALL.len();
        const LATENCY: usize = RESPONSES + CLASSES;
        match self {
            Self::Misrouted => 0,
            Self::Unmatched => 1,
            Self::Requests => 2,
            Self::Cancelled => 3,
            Self::Overdue => 4,
            Self::Unreadable => 5,
            Self::LocalReplies => 6,
            Self::Pinned => 7,
            Self::PinnedFailures => 8,
            Self::Chosen(reason) => REASONS + reason as usize,
            Self::Failures(failure) => FAILURES + failure as usize,
            Self::Responses(class) => RESPONSES + class.saturating_sub(1),
            Self::LatencyBucket(bucket) => LATENCY + bucket,
            Self::FirstByteBucket(bucket) => LATENCY + histogram::BUCKETS + bucket,
        }
    }

    /// The name without labels.
    fn base(self) -> &'static str {
        match self {
            Self::Chosen(_) => "chosen",
            Self::Misrouted => "misrouted",
            Self::Unmatched => "unmatched",
            Self::Requests => "requests",
            Self::Failures(_) => "failures",
            Self::Cancelled => "cancelled",
            Self::Responses(_) => "responses",
            Self::LatencyBucket(_) => "latency_ms_bucket",
            Self::FirstByteBucket(_) => "first_byte_ms_bucket",
            Self::Overdue => "overdue",
            Self::Unreadable => "unreadable",
            Self::LocalReplies => "local_replies",
            Self::Pinned => "pinned",
            Self::PinnedFailures => "pinned_failures",
        }
    }

    /// The label besides service and version.
    fn label(self) -> Option<(&'static str, String)> {
        match self {
            Self::Chosen(reason) => Some(("reason", reason.label().to_owned())),
            Self::Failures(failure) => Some(("kind", failure.label().to_owned())),
            Self::Responses(class) => Some(("class", format!("{class}xx"))),
            Self::LatencyBucket(bucket) | Self::FirstByteBucket(bucket) => {
                Some(("le", histogram::label(bucket)))
            }
            _ => None,
        }
    }

    /// The part of the name after the labels service and version.
    fn suffix(self) -> String {
        let base = self.base();
        self.label()
            .map_or_else(|| base.to_owned(), |(label, value)| format!("{label}=.={value};.;{base}"))
    }

    /// The full name.
    #[must_use]
    pub fn name(self, service: &ServiceName, version: &VersionName) -> String {
        of_version(service, version, &self.suffix())
    }

    /// Parses a full name into service, version and statistic.
    #[must_use]
    pub fn parse(name: &str) -> Option<(&str, &str, Self)> {
        static BY_SUFFIX: LazyLock<HashMap<String, Stat>> =
            LazyLock::new(|| Stat::all().map(|stat| (stat.suffix(), stat)).collect());
        let (service, version, suffix) = parse_labels(name)?;
        Some((service, version, *BY_SUFFIX.get(suffix)?))
    }
}

/// A counter of an A/A test, by the index of the salt and the size of the slice in buckets; see
/// [`crate::aa_test`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SliceStat {
    /// Requests of users in the slice, served by any version.
    Requests,
    /// Of those: failures.
    Failures,
}

impl SliceStat {
    /// All statistics of a slice.
    pub const ALL: [Self; 2] = [Self::Requests, Self::Failures];

    fn base(self) -> &'static str {
        match self {
            Self::Requests => "slice_requests",
            Self::Failures => "slice_failures",
        }
    }

    /// The full name.
    #[must_use]
    pub fn name(self, service: &ServiceName, salt: u32, slice: u32) -> String {
        of_service(service, &format!("salt=.={salt};.;slice=.={slice};.;{}", self.base()))
    }

    /// Parses a full name into service, salt, slice and statistic.
    #[must_use]
    pub fn parse(name: &str) -> Option<(&str, u32, u32, Self)> {
        let (service, rest) = label(name.strip_prefix(PREFIX)?, "service")?;
        let (salt, rest) = label(rest, "salt")?;
        let (slice, base) = label(rest, "slice")?;
        let stat = Self::ALL.into_iter().find(|stat| stat.base() == base)?;
        Some((service, salt.parse().ok()?, slice.parse().ok()?, stat))
    }
}

/// Splits a full name into service, version and the rest.
#[must_use]
pub fn parse_labels(name: &str) -> Option<(&str, &str, &str)> {
    let (service, rest) = label(name.strip_prefix(PREFIX)?, "service")?;
    let (version, suffix) = label(rest, "version")?;
    Some((service, version, suffix))
}

/// The full name of a statistic of a service.
#[must_use]
pub fn of_service(service: &ServiceName, name: &str) -> String {
    format!("{PREFIX}service=.={service};.;{name}")
}

/// The full name of a statistic of a version.
#[must_use]
pub fn of_version(service: &ServiceName, version: &VersionName, name: &str) -> String {
    format!("{PREFIX}service=.={service};.;version=.={version};.;{name}")
}

/// The value of the label at the start of `text`, and the rest.
fn label<'t>(text: &'t str, label: &str) -> Option<(&'t str, &'t str)> {
    text.strip_prefix(label)?.strip_prefix("=.=")?.split_once(";.;")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn indices_are_contiguous() {
        let indices: Vec<_> = Stat::all().map(Stat::index).collect();
        assert_eq!(indices, (0..Stat::COUNT).collect::<Vec<_>>());
    }

    #[test]
    fn version_statistic_names_round_trip() {
        let service: ServiceName = "checkout.prod".parse().unwrap();
        let version: VersionName = "v1.2".parse().unwrap();
        for stat in Stat::all() {
            let name = stat.name(&service, &version);
            assert_eq!(Stat::parse(&name), Some(("checkout.prod", "v1.2", stat)), "{name}");
        }
    }

    #[test]
    fn slice_statistic_names_round_trip() {
        let service: ServiceName = "checkout.prod".parse().unwrap();
        for stat in SliceStat::ALL {
            let name = stat.name(&service, 15, 10_000);
            assert_eq!(SliceStat::parse(&name), Some(("checkout.prod", 15, 10_000, stat)));
            assert_eq!(Stat::parse(&name), None);
        }
    }

    #[test]
    fn other_names_do_not_parse() {
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
