//! What keeps a rollout from going on: found at each look, told when it changes.

use std::time::Duration;

use serin_filter::names::VersionName;
use serin_filter::table::Weight;

use super::super::event::Event;
use super::{Output, Phase, Rollout, SHIFTING_GRACE};
use crate::judge;
pub(super) use crate::observation::aggregator::SILENCE;
use crate::observation::{Activity, Sighting};
use crate::rollout::blocker::Obstacle;

/// A step that has had no request for this long blocks until one comes.
pub(super) const QUIET: Duration = Duration::from_secs(10);

impl Rollout {
    /// Takes note of what is not as it should be, and tells if that is news.
    pub(super) fn find(&mut self, obstacle: Option<Obstacle>, outputs: &mut Vec<Output>) {
        let kind = |obstacle: &Option<Obstacle>| obstacle.as_ref().map(std::mem::discriminant);
        if kind(&obstacle) != kind(&self.obstacle) {
            outputs.push(Output::tell(match &obstacle {
                Some(obstacle) => {
                    Event::Blocked { message: obstacle.to_string(), obstacle: obstacle.clone() }
                }
                None => Event::Unblocked,
            }));
        }
        self.obstacle = obstacle;
    }

    /// What is not as it should be in what was seen.
    pub(super) fn obstacle_in(&self, now: Duration, seen: &Sighting) -> Option<Obstacle> {
        let wanted = self.split.generation;
        if self.phase == Phase::Preparing {
            return None;
        }
        if let Some(known @ Obstacle::NotWritten { .. }) = &self.obstacle
            && seen.newest != Some(wanted)
        {
            // What has not been written no proxy can follow: that it does not is nothing else to be told.
            return Some(known.clone());
        }
        if let Some(obstacle) = self.obstacle_of_some(now, seen) {
            return Some(obstacle);
        }
        if seen.generation != Some(wanted) {
            return match (&self.obstacle, seen.generation) {
                _ if seen.rejected => {
                    Some(Obstacle::Rejected { generation: wanted, said: seen.refusals.clone() })
                }
                // Until the proxy follows, this is still the reason.
                (Some(Obstacle::Rejected { said, .. }), _) => {
                    let said = seen.refusals.as_ref().or(said.as_ref()).cloned();
                    Some(Obstacle::Rejected { generation: wanted, said })
                }
                (Some(known @ Obstacle::NotWritten { .. }), _) => Some(known.clone()),
                _ if self.on_its_way(now, seen) => None,
                (_, None) => Some(Obstacle::NoFilter),
                (_, Some(running)) => Some(Obstacle::NotRunning { wanted, running }),
            };
        }
        if seen.workers_behind && !self.on_its_way(now, seen) {
            return Some(Obstacle::WorkersBehind { generation: wanted });
        }
        if now > self.heard + SILENCE {
            return Some(Obstacle::WorkersSilent);
        }
        self.misrouted(seen)
            .or_else(|| self.no_requests(seen))
            .or_else(|| self.nobody_watched())
            .or_else(|| self.ruled())
            .or_else(|| self.unmeasured())
            .or_else(|| self.refused())
    }

    /// What the judge has found that is no reason to roll back, but none to go on either.
    fn ruled(&self) -> Option<Obstacle> {
        let Phase::Baking { .. } = self.phase else { return None };
        let seen = || self.block_of(&self.step);
        if let Some(objective) = self.judge.missed() {
            let verdict = judge::Verdict::Unhealthy(objective);
            let why = verdict.explain(&self.plan.judge, self.names(), &seen());
            return Some(Obstacle::Unhealthy { why });
        }
        self.judge.share_contradicts().then(|| Obstacle::ShareContradicts {
            version: self.plan.candidate.clone(),
            requests: seen().candidate.requests,
            all: seen().candidate.requests + seen().baseline.requests,
        })
    }

    /// A step that nobody has called for a while: its time would pass without showing anything.
    fn no_requests(&self, seen: &Sighting) -> Option<Obstacle> {
        let Phase::Baking { baked, .. } = self.phase else { return None };
        // Where the mesh splits, the filter chooses nothing.
        let called = |activity: &Activity| activity.chosen + activity.requests > 0;
        let quiet = !self.step.values().any(called) && !seen.versions.values().any(called);
        let service = self.plan.service.clone();
        (quiet && baked >= QUIET).then_some(Obstacle::NoRequests { service })
    }

    /// Whether the split may still be expected to go live without anything being wrong.
    pub(super) fn on_its_way(&self, now: Duration, seen: &Sighting) -> bool {
        matches!(self.phase, Phase::Shifting { since, .. } if now < since + SHIFTING_GRACE + seen.age)
    }

    /// A version that was chosen but did not serve. Stays until it has served, or has no more users to serve.
    fn misrouted(&self, seen: &Sighting) -> Option<Obstacle> {
        let now = seen.versions.iter().find(|(version, activity)| {
            self.is_met(version)
                && (activity.misrouted > 0 || self.leads_elsewhere(version, activity))
        });
        if let Some((version, Activity { misrouted, elsewhere, chosen, .. })) = now {
            // A request counts as chosen when it begins and as misrouted when it ends.
            let misrouted = misrouted + elsewhere;
            let chosen = misrouted.max(*chosen);
            return Some(Obstacle::Misrouted { version: version.clone(), misrouted, chosen });
        }
        match &self.obstacle {
            Some(known @ Obstacle::Misrouted { version, .. }) => {
                let served = seen.versions.get(version).is_some_and(|a| a.requests + a.picked > 0);
                (!served && self.is_met(version)).then(|| known.clone())
            }
            _ => None,
        }
    }

    /// Whether clusters that are no version's serve all that the version is chosen for. That they serve some is nothing strange: a
    /// service may have routes that take no part in the rollout.
    fn leads_elsewhere(&self, version: &VersionName, now: &Activity) -> bool {
        let before = self.step.get(version);
        let sum = |count: fn(&Activity) -> u64| before.map_or(0, count) + count(now);
        now.elsewhere > 0
            && sum(|activity| activity.requests + activity.picked) == 0
            && sum(|activity| activity.elsewhere) >= 10
    }

    /// Whether anybody can meet this version.
    fn is_met(&self, version: &VersionName) -> bool {
        if *version == self.plan.candidate {
            self.split.candidate > Weight::ZERO || self.previews()
        } else {
            self.split.candidate < Weight::ALL
        }
    }
}
