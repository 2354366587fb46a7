//! What keeps some of several proxies from being like the others. A step counts only where every proxy runs it; what can't be read is
//! neither good nor bad, but not for ever.

use std::time::Duration;

use super::super::event::Event;
use super::{Output, Phase, Rollout};
use crate::observation::Sighting;
use crate::observation::aggregator::named;
use crate::observation::health::Lost;
use crate::rollout::blocker::Obstacle;

/// A proxy may be out of reach for this long, to be replaced for example, before a step waits for it that was live there.
pub(super) const LOST_GRACE: Duration = Duration::from_secs(30);

impl Rollout {
    /// What is not as it should be with some of the proxies.
    pub(super) fn obstacle_of_some(&self, now: Duration, seen: &Sighting) -> Option<Obstacle> {
        let (roster, wanted) = (&seen.roster, self.split.generation);
        let of = roster.proxies;
        let old: Vec<_> =
            roster.behind.iter().filter(|behind| behind.generation != Some(wanted)).collect();
        let rejecting: Vec<_> = old.iter().filter(|behind| behind.rejected).collect();
        if !rejecting.is_empty() {
            let proxies = named(rejecting.iter().map(|behind| &behind.name));
            let said = seen.refusals.clone();
            return Some(Obstacle::RejectedBy { generation: wanted, proxies, all: of, said });
        }
        if self.on_its_way(now, seen) {
            return None;
        }
        let shifting = matches!(self.phase, Phase::Shifting { .. });
        let waits =
            |lost: &&Lost| lost.since >= LOST_GRACE || shifting && lost.generation != Some(wanted);
        let lost: Vec<_> = roster.lost.iter().filter(waits).collect();
        if !lost.is_empty() {
            return Some(Obstacle::Lost { lost: lost.len(), proxies: named(lost), all: of });
        }
        if !old.is_empty() {
            return Some(Obstacle::Lagging { generation: wanted, proxies: named(old), all: of });
        }
        if !roster.silent.is_empty() {
            return Some(Obstacle::SilentAt { proxies: named(&roster.silent), all: of });
        }
        // A proxy that was started anew has not said yet what its workers run; one that says they do not has.
        if seen.generation == Some(wanted) && seen.workers_behind && !roster.unconfirmed.is_empty()
        {
            let proxies = named(&roster.unconfirmed);
            return Some(Obstacle::WorkersBehindAt { generation: wanted, proxies, all: of });
        }
        None
    }

    /// Tells what else there is to know of the proxies, once.
    pub(super) fn warn(&mut self, seen: &Sighting, outputs: &mut Vec<Output>) {
        let warning = &seen.roster.warning;
        if self.warned != *warning {
            self.warned.clone_from(warning);
            outputs.extend(warning.clone().map(|message| Output::tell(Event::Warned { message })));
        }
    }
}
