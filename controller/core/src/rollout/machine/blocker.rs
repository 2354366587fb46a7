//! Blockers: each poll finds them, and a change emits an event.

use std::time::Duration;

use serin_filter::names::VersionName;
use serin_filter::table::Weight;

use super::super::event::Event;
use super::{MachinePhase, Output, Rollout, SHIFTING_GRACE};
use crate::judge;
pub(super) use crate::observation::aggregator::SILENT_AFTER;
use crate::observation::{FleetDelta, VersionDelta};
use crate::rollout::blocker::Blocker;

/// A step without requests for this long blocks until a request arrives.
pub(super) const NO_TRAFFIC_AFTER: Duration = Duration::from_secs(10);

impl Rollout {
    /// Sets the blocker and emits an event if its kind changes.
    pub(super) fn set_blocker(&mut self, blocker: Option<Blocker>, outputs: &mut Vec<Output>) {
        let kind = |obstacle: &Option<Blocker>| obstacle.as_ref().map(std::mem::discriminant);
        if kind(&blocker) != kind(&self.blocker) {
            outputs.push(Output::emit(match &blocker {
                Some(obstacle) => {
                    Event::Blocked { message: obstacle.to_string(), blocker: obstacle.clone() }
                }
                None => Event::Unblocked,
            }));
        }
        self.blocker = blocker;
    }

    /// The blocker that a poll of the fleet shows.
    pub(super) fn fleet_blocker(&self, now: Duration, seen: &FleetDelta) -> Option<Blocker> {
        let expected = self.split.generation;
        if self.phase == MachinePhase::Preparing {
            return None;
        }
        if let Some(known @ Blocker::WriteFailed { .. }) = &self.blocker
            && seen.newest_generation != Some(expected)
        {
            // No proxy can follow a split that was not written, so the write is the cause to
            // report.
            return Some(known.clone());
        }
        if let Some(blocker) = self.proxy_blocker(now, seen) {
            return Some(blocker);
        }
        if seen.generation != Some(expected) {
            return match (&self.blocker, seen.generation) {
                _ if seen.rejected => Some(Blocker::Rejected {
                    generation: expected,
                    detail: seen.rejection_reasons.clone(),
                }),
                // The rejection remains the cause until the proxy follows.
                (Some(Blocker::Rejected { detail, .. }), _) => {
                    let said = seen.rejection_reasons.as_ref().or(detail.as_ref()).cloned();
                    Some(Blocker::Rejected { generation: expected, detail: said })
                }
                (Some(known @ Blocker::WriteFailed { .. }), _) => Some(known.clone()),
                _ if self.is_propagating(now, seen) => None,
                (_, None) => Some(Blocker::NoFilter),
                (_, Some(running)) => Some(Blocker::NotRunning { expected, running }),
            };
        }
        if seen.workers_behind && !self.is_propagating(now, seen) {
            return Some(Blocker::WorkersBehind { generation: expected });
        }
        if now > self.polls.last_worker_report + SILENT_AFTER {
            return Some(Blocker::WorkersSilent);
        }
        self.misrouting_blocker(seen)
            .or_else(|| self.traffic_blocker(seen))
            .or_else(|| self.aa_test_blocker())
            .or_else(|| self.judge_blocker())
            .or_else(|| self.metric_blocker())
            .or_else(|| self.hook_blocker())
    }

    /// A finding of the judge that blocks the gate without a rollback.
    fn judge_blocker(&self) -> Option<Blocker> {
        let MachinePhase::Baking { .. } = self.phase else { return None };
        let seen = || self.block_of(&self.deltas.step);
        if let Some(objective) = self.judge.missed() {
            let verdict = judge::Verdict::Unhealthy(objective);
            let reason = verdict.explain(&self.plan.judge, self.names(), &seen());
            return Some(Blocker::Unhealthy { reason });
        }
        self.judge.share_mismatch().then(|| Blocker::TrafficShareMismatch {
            version: self.plan.candidate.clone(),
            requests: seen().candidate.requests,
            total: seen().candidate.requests + seen().baseline.requests,
        })
    }

    /// Blocks a step that gets no requests: it would pass without evidence.
    fn traffic_blocker(&self, seen: &FleetDelta) -> Option<Blocker> {
        let MachinePhase::Baking { baked, .. } = self.phase else { return None };
        // If the mesh splits the traffic, the filter chooses no version.
        let called = |activity: &VersionDelta| activity.chosen + activity.requests > 0;
        let quiet = !self.deltas.step.values().any(called) && !seen.versions.values().any(called);
        let service = self.plan.service.clone();
        (quiet && baked >= NO_TRAFFIC_AFTER).then_some(Blocker::NoRequests { service })
    }

    /// Returns true while the split may still go live without a fault.
    pub(super) fn is_propagating(&self, now: Duration, seen: &FleetDelta) -> bool {
        matches!(self.phase, MachinePhase::Shifting { since, .. } if now < since + SHIFTING_GRACE + seen.age)
    }

    /// Blocks while a chosen version does not serve. Clears once it serves or has no more users.
    fn misrouting_blocker(&self, seen: &FleetDelta) -> Option<Blocker> {
        let now = seen.versions.iter().find(|(version, activity)| {
            self.receives_traffic(version)
                && (activity.misrouted > 0 || self.routes_to_unmatched(version, activity))
        });
        if let Some((version, VersionDelta { misrouted, unmatched, chosen, .. })) = now {
            // A request counts as chosen when it begins and as misrouted when it ends.
            let misrouted = misrouted + unmatched;
            let chosen = misrouted.max(*chosen);
            return Some(Blocker::Misrouted { version: version.clone(), misrouted, chosen });
        }
        match &self.blocker {
            Some(known @ Blocker::Misrouted { version, .. }) => {
                let served = seen.versions.get(version).is_some_and(|a| a.requests + a.pinned > 0);
                (!served && self.receives_traffic(version)).then(|| known.clone())
            }
            _ => None,
        }
    }

    /// Returns true if unmatched clusters serve all requests for which the version is chosen.
    /// Serving only some is normal: a service may have routes outside the rollout.
    fn routes_to_unmatched(&self, version: &VersionName, now: &VersionDelta) -> bool {
        let before = self.deltas.step.get(version);
        let sum = |count: fn(&VersionDelta) -> u64| before.map_or(0, count) + count(now);
        now.unmatched > 0
            && sum(|activity| activity.requests + activity.pinned) == 0
            && sum(|activity| activity.unmatched) >= 10
    }

    /// Returns true if requests can reach this version.
    fn receives_traffic(&self, version: &VersionName) -> bool {
        if *version == self.plan.candidate {
            self.split.candidate > Weight::ZERO || self.is_previewing()
        } else {
            self.split.candidate < Weight::ALL
        }
    }
}
