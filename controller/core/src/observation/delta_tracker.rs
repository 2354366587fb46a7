//! Differences of one proxy's cumulative counters.

use std::time::Duration;

use serin_filter::names::VersionName;

use super::counters::Counters;
use super::fleet_delta::FleetDelta;
use super::snapshot::Snapshot;
use super::version_delta::VersionDelta;

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
}
