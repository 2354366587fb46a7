//! Blockers of single proxies of a fleet. A step counts only while every proxy runs it. An
//! unreachable proxy is neither good nor bad, for a limited time.

use std::time::Duration;

use super::super::event::Event;
use super::{MachinePhase, Output, Rollout};
use crate::observation::FleetDelta;
use crate::observation::aggregator::join_names;
use crate::observation::health::Unreachable;
use crate::rollout::blocker::Blocker;

/// A proxy may be unreachable for this long, during a replacement for example, before it blocks a
/// live step.
pub(super) const UNREACHABLE_GRACE: Duration = Duration::from_secs(30);

impl Rollout {
    /// The condition of single proxies that blocks the rollout.
    pub(super) fn proxy_blocker(&self, now: Duration, seen: &FleetDelta) -> Option<Blocker> {
        let (roster, expected) = (&seen.health, self.split.generation);
        let of = roster.proxies;
        let old: Vec<_> =
            roster.outdated.iter().filter(|behind| behind.generation != Some(expected)).collect();
        let rejecting: Vec<_> = old.iter().filter(|behind| behind.rejected).collect();
        if !rejecting.is_empty() {
            let proxies = join_names(rejecting.iter().map(|behind| &behind.name));
            let detail = seen.rejection_reasons.clone();
            return Some(Blocker::RejectedByProxies {
                generation: expected,
                proxies,
                total: of,
                detail,
            });
        }
        if self.is_propagating(now, seen) {
            return None;
        }
        let shifting = matches!(self.phase, MachinePhase::Shifting { .. });
        let waits = |lost: &&Unreachable| {
            lost.since >= UNREACHABLE_GRACE || shifting && lost.generation != Some(expected)
        };
        let lost: Vec<_> = roster.unreachable.iter().filter(waits).collect();
        if !lost.is_empty() {
            return Some(Blocker::ProxiesUnreachable {
                unreachable: lost.len(),
                proxies: join_names(lost),
                total: of,
            });
        }
        if !old.is_empty() {
            return Some(Blocker::Lagging {
                generation: expected,
                proxies: join_names(old),
                total: of,
            });
        }
        if !roster.silent.is_empty() {
            return Some(Blocker::WorkersSilentOnProxies {
                proxies: join_names(&roster.silent),
                total: of,
            });
        }
        // A restarted proxy has not reported the generation of its workers; a proxy that reports
        // an old one has.
        if seen.generation == Some(expected)
            && seen.workers_behind
            && !roster.unconfirmed.is_empty()
        {
            let proxies = join_names(&roster.unconfirmed);
            return Some(Blocker::WorkersBehindOnProxies {
                generation: expected,
                proxies,
                total: of,
            });
        }
        None
    }

    /// Emits a new warning about the fleet once.
    pub(super) fn warn(&mut self, seen: &FleetDelta, outputs: &mut Vec<Output>) {
        let warning = &seen.health.warning;
        if self.last_warning != *warning {
            self.last_warning.clone_from(warning);
            outputs.extend(warning.clone().map(|message| Output::emit(Event::Warning { message })));
        }
    }
}
