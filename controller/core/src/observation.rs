//! Evidence: what the filters report, read from the proxies themselves (`serin::sources::fleet`) or from a Prometheus that scrapes them, and made
//! into what happened since the last look ([`aggregator`]).

pub mod aggregator;
mod counters;
pub mod health;
pub mod inference;
mod slices;

use std::cmp::Ordering;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use serin_filter::histogram;
use serin_filter::names::{Generation, VersionName};
use serin_filter::outcome::Failure;
use serin_filter::select::Reason;
use serin_filter::stat::Stat;

pub use self::counters::Counters;
pub use self::slices::SliceCounts;
use crate::judge::Arm;
pub use crate::observation::health::FleetHealth;

/// The filter's statistics of one service, as a proxy shows them: counted since the proxy started.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Snapshot {
    /// The generation that the filter runs; `None` if no filter has reported yet.
    pub generation: Option<Generation>,
    /// When the filter was first configured in this process of the proxy, in seconds since 1970; 0 if it has not been.
    pub started: u64,
    /// Ticks of workers that run the newest generation.
    pub ticks: u64,
    /// Ticks of workers that still run an older one.
    pub ticks_behind: u64,
    /// Filter configurations that the proxy refused.
    pub rejections: u64,
    /// Versions that the filter's tripwire has cut off.
    pub tripped: BTreeSet<VersionName>,
    /// The counters of each version.
    pub versions: BTreeMap<VersionName, Counters>,
    /// The counters of future slices, if they are watched.
    pub slices: SliceCounts,
}

/// What a look at the proxy showed.
#[derive(Debug, Clone, PartialEq)]
pub enum Observation {
    /// Nothing: how the proxy does is unknown, which is neither good nor bad.
    Unreachable {
        /// What went wrong.
        reason: String,
    },
    /// The filter's statistics.
    Delta(FleetDelta),
}

impl Observation {
    /// The same with what went wrong beside it.
    #[must_use]
    pub fn with_warning(self, warning: Option<String>) -> Self {
        match (self, warning) {
            (Self::Delta(mut seen), warning) => {
                seen.health.warning = warning;
                Self::Delta(seen)
            }
            (Self::Unreachable { reason }, Some(warning)) => {
                Self::Unreachable { reason: format!("{reason}; {warning}") }
            }
            (look, None) => look,
        }
    }
}

/// What happened since the last look.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct FleetDelta {
    /// The generation that the filter runs; of several proxies, that of the one furthest behind.
    pub generation: Option<Generation>,
    /// The newest generation that any proxy runs.
    pub newest_generation: Option<Generation>,
    /// Whether any worker said that it runs the newest generation.
    pub workers_current: bool,
    /// Whether any worker said that it runs an older one.
    pub workers_behind: bool,
    /// Whether the proxy refused a filter configuration.
    pub rejected: bool,
    /// Who refuses one and why, as far as proxies tell whoever gives it to them.
    pub rejection_reasons: Option<String>,
    /// Whether the proxy was started anew.
    pub restarted: bool,
    /// Versions that the filter's tripwire has cut off.
    pub tripped: BTreeSet<VersionName>,
    /// What each version did.
    pub versions: BTreeMap<VersionName, VersionDelta>,
    /// What the users of future slices did, if they are watched.
    pub slices: SliceCounts,
    /// How old the oldest of this is: what is known of a proxy may be from before the last look.
    pub age: Duration,
    /// Who of several proxies is not as it should be.
    pub health: Box<FleetHealth>,
}

impl FleetDelta {
    /// Calls each generation by another number: what proxies run may carry several rollouts, each of which counts for itself.
    pub fn map_generations(&mut self, number: impl Fn(Generation) -> Generation) {
        let health = &mut self.health;
        let behind = health.outdated.iter_mut().map(|behind| &mut behind.generation);
        let lost = health.unreachable.iter_mut().map(|lost| &mut lost.generation);
        let own = [&mut self.generation, &mut self.newest_generation];
        for generation in own.into_iter().chain(behind).chain(lost) {
            *generation = generation.map(&number);
        }
    }

    /// Whether any proxy refuses a filter configuration, or has when it was last seen.
    #[must_use]
    pub fn is_rejected(&self) -> bool {
        self.rejected || self.health.outdated.iter().any(|proxy| proxy.rejected)
    }

    /// Adds what another proxy did. What a proxy has cut off under an older generation says nothing of the newest.
    pub fn add(&mut self, other: &Self) {
        self.generation = self.generation.min(other.generation);
        match other.newest_generation.cmp(&self.newest_generation) {
            Ordering::Less => {}
            Ordering::Equal => self.tripped.extend(other.tripped.iter().cloned()),
            Ordering::Greater => self.tripped.clone_from(&other.tripped),
        }
        self.newest_generation = self.newest_generation.max(other.newest_generation);
        self.age = self.age.max(other.age);
        self.workers_current |= other.workers_current;
        self.workers_behind |= other.workers_behind;
        self.rejected |= other.rejected;
        self.restarted |= other.restarted;
        self.slices.add(&other.slices);
        for (version, activity) in &other.versions {
            self.versions.entry(version.clone()).or_default().add(activity);
        }
    }
}

/// What one version did between two looks.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct VersionDelta {
    /// Requests for which it was chosen.
    pub chosen: u64,
    /// Of those: requests that another version's cluster served.
    pub misrouted: u64,
    /// Of those chosen: requests that a cluster served which is no version's.
    pub unmatched: u64,
    /// Requests that it served and that ended.
    pub requests: u64,
    /// Failures among those, by kind.
    pub failures: BTreeMap<Failure, u64>,
    /// Those that took longer than each boundary of the [`histogram`].
    pub slower: Vec<u64>,
    /// Requests that it served because somebody picked it; they are in none of the counts above but `chosen`.
    pub pinned: u64,
    /// Failures among those.
    pub pinned_failures: u64,
}

impl VersionDelta {
    /// What these counters stand for.
    #[must_use]
    pub fn new(counts: &Counters) -> Self {
        let count = |stat| counts.count(stat);
        let all = count(Stat::LatencyBucket(histogram::BOUNDARIES));
        let slower = |bucket| all.saturating_sub(count(Stat::LatencyBucket(bucket)));
        let failures = Failure::ALL.map(|failure| (failure, count(Stat::Failures(failure))));
        Self {
            chosen: Reason::ALL.iter().map(|reason| count(Stat::Chosen(*reason))).sum(),
            misrouted: count(Stat::Misrouted),
            unmatched: count(Stat::Unmatched),
            requests: all,
            failures: failures.into_iter().filter(|(_, count)| *count > 0).collect(),
            slower: (0..histogram::BOUNDARIES).map(slower).collect(),
            pinned: count(Stat::Pinned),
            pinned_failures: count(Stat::PinnedFailures),
        }
    }

    /// Adds what happened in another stretch.
    pub fn add(&mut self, other: &Self) {
        self.chosen += other.chosen;
        self.misrouted += other.misrouted;
        self.unmatched += other.unmatched;
        self.requests += other.requests;
        self.pinned += other.pinned;
        self.pinned_failures += other.pinned_failures;
        for (failure, count) in &other.failures {
            *self.failures.entry(*failure).or_default() += count;
        }
        self.slower.resize(histogram::BOUNDARIES, 0);
        for (mine, theirs) in self.slower.iter_mut().zip(&other.slower) {
            *mine += theirs;
        }
    }

    /// As the judge counts. The proxy is read while it counts, so a failure may show before its request.
    #[must_use]
    pub fn arm(&self) -> Arm {
        let failures = self.failures.values().sum::<u64>().min(self.requests);
        Arm { requests: self.requests, failures, slower: self.slower.clone() }
    }

    /// Without the requests that are in no bucket below the last boundary. How long they took is not known; one that the proxy had counted
    /// but not yet put into its bucket when it was read looks like them.
    #[must_use]
    pub fn within_boundaries(mut self) -> Self {
        let beyond = self.slower.last().copied().unwrap_or(0);
        self.requests = self.requests.saturating_sub(beyond);
        for slower in &mut self.slower {
            *slower = slower.saturating_sub(beyond);
        }
        self
    }

    /// The latency in milliseconds that a share `q` of the requests (0 to 1) did not exceed, interpolated within its bucket; `None` without
    /// requests.
    #[must_use]
    pub fn quantile_ms(&self, q: f64) -> Option<f64> {
        if self.requests == 0 {
            return None;
        }
        let rank = q * self.requests as f64;
        let (mut below, mut lower) = (0.0, 0.0);
        for (slower, boundary) in self.slower.iter().zip(histogram::BOUNDARIES_US) {
            let (upto, upper) = ((self.requests - slower) as f64, f64::from(boundary) / 1_000.0);
            if upto >= rank {
                let within = if upto > below { (rank - below) / (upto - below) } else { 1.0 };
                return Some(lower + (upper - lower) * within);
            }
            (below, lower) = (upto, upper);
        }
        Some(lower)
    }
}

/// Makes what happened between looks from counters that only ever rise.
#[derive(Debug, Default)]
pub struct DeltaTracker {
    last: Option<Snapshot>,
}

impl DeltaTracker {
    /// What happened since the last snapshot; nothing, at the first. Another start time, or a counter that went back, means that the proxy
    /// was started anew: then all that is counted happened since. The counters alone would not do: they may have overtaken
    /// their old values by the time of the next look.
    pub fn delta(&mut self, now: Snapshot) -> FleetDelta {
        let zero = Snapshot::default();
        let last = self.last.as_ref().unwrap_or(&now);
        let restarted = has_restarted(last, &now) || has_decreased(last, &now);
        let before = if restarted { &zero } else { last };
        let delta = FleetDelta {
            generation: now.generation,
            newest_generation: now.generation,
            age: Duration::ZERO,
            health: Box::default(),
            workers_current: now.ticks > before.ticks,
            workers_behind: now.ticks_behind > before.ticks_behind,
            rejected: now.rejections > before.rejections,
            rejection_reasons: None,
            restarted,
            tripped: now.tripped.clone(),
            slices: now.slices.since(&before.slices),
            versions: now
                .versions
                .iter()
                .map(|(version, counts)| {
                    let zero = Counters::default();
                    let before = before.versions.get(version).unwrap_or(&zero);
                    (version.clone(), VersionDelta::new(&counts.since(before)))
                })
                .collect(),
        };
        self.last = Some(now);
        delta
    }
}

fn has_restarted(last: &Snapshot, now: &Snapshot) -> bool {
    last.started != 0 && last.started != now.started
}

fn has_decreased(last: &Snapshot, now: &Snapshot) -> bool {
    let back = |(version, counts): (&VersionName, &Counters)| {
        now.versions.get(version).unwrap_or(&Counters::default()).any_below(counts)
    };
    now.ticks < last.ticks || now.rejections < last.rejections || last.versions.iter().any(back)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn snapshot(ticks: u64, requests: u64, failures: u64) -> Snapshot {
        let counts = [
            (Stat::Requests, requests),
            (Stat::Failures(Failure::Reset), failures),
            (Stat::LatencyBucket(histogram::bucket(1_000)), requests / 2),
            (Stat::LatencyBucket(histogram::BOUNDARIES), requests),
        ]
        .into_iter()
        .collect();
        Snapshot {
            generation: Some(Generation(3)),
            ticks,
            versions: [("v1".parse().unwrap(), counts)].into(),
            ..Snapshot::default()
        }
    }

    fn v1(delta: &FleetDelta) -> Arm {
        delta.versions.values().next().unwrap().arm()
    }

    #[test]
    fn every_generation_is_called_by_the_number_of_the_rollout() {
        let name: health::ProxyName = "edge-1".into();
        let (reason, generation) = (String::new(), Some(Generation(9)));
        let lost =
            health::Unreachable { name: name.clone(), reason, since: Duration::ZERO, generation };
        let behind = health::Outdated { name, generation: Some(Generation(8)), rejected: false };
        let roster = FleetHealth {
            unreachable: vec![lost],
            outdated: vec![behind],
            ..FleetHealth::default()
        };
        let (generation, newest_generation) = (Some(Generation(8)), Some(Generation(9)));
        let health = Box::new(roster);
        let mut seen =
            FleetDelta { generation, newest_generation, health, ..FleetDelta::default() };
        // What was carried from 8 on is the rollout's 2.
        seen.map_generations(|running| Generation(if running >= Generation(8) { 2 } else { 1 }));
        assert_eq!(
            (seen.generation, seen.newest_generation),
            (Some(Generation(2)), Some(Generation(2)))
        );
        assert!(seen.health.confirms(Generation(2)));
    }

    #[test]
    fn the_first_look_counts_nothing_and_the_next_the_difference() {
        let mut differ = DeltaTracker::default();
        let first = differ.delta(snapshot(10, 100, 5));
        assert_eq!(
            (v1(&first).requests, first.workers_current, first.restarted),
            (0, false, false)
        );
        let second = differ.delta(snapshot(15, 140, 6));
        assert_eq!((v1(&second).requests, v1(&second).failures), (40, 1));
        assert!(second.workers_current && !second.restarted);
    }

    #[test]
    fn after_a_restart_everything_counted_is_new() {
        for restarted in [snapshot(3, 200, 9), snapshot(20, 30, 2)] {
            let mut differ = DeltaTracker::default();
            differ.delta(snapshot(10, 100, 5));
            let requests = restarted.versions.values().next().unwrap().count(Stat::Requests);
            let after = differ.delta(restarted);
            assert!(after.restarted);
            assert_eq!(v1(&after).requests, requests);
        }
    }

    #[test]
    fn a_restart_shows_even_where_the_counters_have_overtaken_their_old_values() {
        let at = |started, snapshot| Snapshot { started, ..snapshot };
        let mut differ = DeltaTracker::default();
        assert!(!differ.delta(at(0, Snapshot::default())).restarted);
        assert!(!differ.delta(at(1_000, snapshot(10, 100, 5))).restarted);
        let after = differ.delta(at(1_009, snapshot(20, 150, 6)));
        assert!(after.restarted);
        assert_eq!(v1(&after).requests, 150);
        // It answers before its filter is there.
        assert!(differ.delta(at(0, Snapshot::default())).restarted);
        assert!(!differ.delta(at(1_020, snapshot(1, 1, 0))).restarted);
    }

    #[test]
    fn a_version_whose_counters_are_gone_means_a_restart() {
        let mut differ = DeltaTracker::default();
        differ.delta(snapshot(10, 100, 5));
        let gone = Snapshot { ticks: 11, ..Snapshot::default() };
        assert!(differ.delta(gone).restarted);
    }

    #[test]
    fn failures_never_exceed_requests() {
        let mut differ = DeltaTracker::default();
        differ.delta(snapshot(10, 100, 5));
        assert_eq!(v1(&differ.delta(snapshot(15, 101, 9))).failures, 1);
    }

    #[test]
    fn quantiles_are_interpolated() {
        let mut activity = VersionDelta { requests: 100, ..VersionDelta::default() };
        // 90 requests between 10 and 12.5 ms, 10 beyond the last boundary.
        let ten = histogram::bucket(10_000);
        activity.slower =
            (0..histogram::BOUNDARIES).map(|b| if b <= ten { 100 } else { 10 }).collect();
        assert_eq!(activity.quantile_ms(0.45), Some(11.25));
        assert_eq!(activity.quantile_ms(0.99), Some(100_000.0));
        assert_eq!(VersionDelta::default().quantile_ms(0.5), None);
        // Those without a bucket left out.
        let within = activity.within_boundaries();
        assert_eq!((within.requests, within.quantile_ms(0.5)), (90, Some(11.25)));
    }
}
