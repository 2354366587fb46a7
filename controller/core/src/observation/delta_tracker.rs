//! Differences of one proxy's cumulative counters.

use std::time::Duration;

use serin_filter::names::VersionName;

use super::counters::Counters;
use super::fleet_delta::FleetDelta;
use super::snapshot::Snapshot;
use super::version_delta::VersionDelta;

/// Computes the differences of counters that only rise.
#[derive(Debug, Default)]
pub struct DeltaTracker {
    last: Option<Snapshot>,
}

impl DeltaTracker {
    /// Returns the difference to the last snapshot; nothing for the first. A different start time
    /// or a lower counter means that the proxy restarted: then all counts are new. The start time
    /// is needed because counters may exceed their old values by the next poll.
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
    let decreased = |(version, counts): (&VersionName, &Counters)| {
        now.versions.get(version).unwrap_or(&Counters::default()).any_below(counts)
    };
    now.ticks < last.ticks
        || now.rejections < last.rejections
        || last.versions.iter().any(decreased)
}

#[cfg(test)]
mod tests {
    use serin_filter::histogram;
    use serin_filter::names::Generation;
    use serin_filter::outcome::Failure;
    use serin_filter::stat::Stat;

    use super::*;
    use crate::judge::Arm;

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
    fn the_first_snapshot_counts_nothing_and_the_next_the_difference() {
        let mut tracker = DeltaTracker::default();
        let first = tracker.delta(snapshot(10, 100, 5));
        assert_eq!(
            (v1(&first).requests, first.workers_current, first.restarted),
            (0, false, false)
        );
        let second = tracker.delta(snapshot(15, 140, 6));
        assert_eq!((v1(&second).requests, v1(&second).failures), (40, 1));
        assert!(second.workers_current && !second.restarted);
    }

    #[test]
    fn after_a_restart_all_counts_are_new() {
        for restarted in [snapshot(3, 200, 9), snapshot(20, 30, 2)] {
            let mut tracker = DeltaTracker::default();
            tracker.delta(snapshot(10, 100, 5));
            let requests = restarted.versions.values().next().unwrap().count(Stat::Requests);
            let after = tracker.delta(restarted);
            assert!(after.restarted);
            assert_eq!(v1(&after).requests, requests);
        }
    }

    #[test]
    fn a_restart_is_detected_despite_higher_counters() {
        let at = |started, snapshot| Snapshot { started, ..snapshot };
        let mut tracker = DeltaTracker::default();
        assert!(!tracker.delta(at(0, Snapshot::default())).restarted);
        assert!(!tracker.delta(at(1_000, snapshot(10, 100, 5))).restarted);
        let after = tracker.delta(at(1_009, snapshot(20, 150, 6)));
        assert!(after.restarted);
        assert_eq!(v1(&after).requests, 150);
        // The proxy answers before its filter is configured.
        assert!(tracker.delta(at(0, Snapshot::default())).restarted);
        assert!(!tracker.delta(at(1_020, snapshot(1, 1, 0))).restarted);
    }

    #[test]
    fn missing_counters_mean_a_restart() {
        let mut tracker = DeltaTracker::default();
        tracker.delta(snapshot(10, 100, 5));
        let gone = Snapshot { ticks: 11, ..Snapshot::default() };
        assert!(tracker.delta(gone).restarted);
    }

    #[test]
    fn failures_never_exceed_requests() {
        let mut tracker = DeltaTracker::default();
        tracker.delta(snapshot(10, 100, 5));
        let arm = v1(&tracker.delta(snapshot(15, 101, 9)));
        assert_eq!((arm.requests, arm.failures), (4, 4));
    }
}
