//! serin in virtual time: what `serin run` runs, with a made fleet in place of Envoy.

use std::collections::VecDeque;
use std::time::Duration;

use serin_filter::names::Generation;

use super::Controller;
use super::fleet::Fleet;
use crate::judge::Ruling;
use crate::rollout::event::{Event, Verdict};
use crate::rollout::machine::{Input, Output, Rollout};
use crate::rollout::plan::Plan;
use crate::route::Split;
use crate::sli::{Differ, Look, Sighting};

/// A rollout with its view of each proxy.
#[derive(Debug)]
pub struct Pilot {
    rollout: Rollout,
    proxies: Vec<Seen>,
    looked: Duration,
    /// What the state machine wants and has not got yet.
    wanted: VecDeque<Output>,
    /// The last ruling.
    pub ruling: Option<Ruling>,
}

/// What is known of one proxy.
#[derive(Debug, Default)]
struct Seen {
    differ: Differ,
    /// Whether the last look at it failed.
    lost: bool,
}

impl Pilot {
    /// Begins the plan.
    #[must_use]
    pub fn new(plan: Plan) -> Self {
        let (rollout, outputs) = Rollout::start(plan, Split::baseline(Generation(0)));
        Self {
            rollout,
            proxies: Vec::new(),
            looked: Duration::ZERO,
            wanted: outputs.into(),
            ruling: None,
        }
    }

    fn sight(&mut self, now: Duration, fleet: &mut Fleet) -> Look {
        let snapshots = fleet.look(now);
        self.proxies.resize_with(snapshots.len(), Seen::default);
        let alone = snapshots.len() == 1;
        let mut all: Option<Sighting> = None;
        for (seen, snapshot) in self.proxies.iter_mut().zip(snapshots) {
            let was_lost = std::mem::replace(&mut seen.lost, snapshot.is_none());
            let Some(snapshot) = snapshot else { continue };
            let mut sighting = seen.differ.difference(snapshot);
            if was_lost && !alone {
                // It reaches further back than what the others show, perhaps into another split.
                sighting.versions.clear();
            }
            match &mut all {
                Some(all) => all.add(&sighting),
                None => all = Some(sighting),
            }
        }
        all.map_or_else(|| Look::Unreachable { why: "no proxy can be read".to_owned() }, Look::Seen)
    }

    fn carry_out(&mut self, now: Duration, fleet: &mut Fleet) -> Option<Verdict> {
        while let Some(output) = self.wanted.pop_front() {
            match output {
                Output::Apply(split) => fleet.apply(now, split),
                // Whoever is called says yes at once.
                Output::Call(call) => {
                    let input = Input::Called { id: call.message.id, answer: Ok(()) };
                    self.wanted.extend(self.rollout.step(now, input));
                }
                Output::Record(ruling) => self.ruling = Some(ruling),
                Output::Tell(event) => {
                    if let Event::Ended(summary) = *event {
                        return Some(summary.verdict);
                    }
                }
            }
        }
        None
    }
}

impl Controller for Pilot {
    fn next_look(&self) -> Duration {
        self.looked + self.rollout.next_look()
    }

    fn look(&mut self, now: Duration, fleet: &mut Fleet) -> Option<Verdict> {
        // What the state machine wanted from its start on.
        self.carry_out(self.looked, fleet);
        self.looked = now;
        let look = self.sight(now, fleet);
        self.wanted.extend(self.rollout.step(now, Input::Look(look)));
        self.carry_out(now, fleet)
    }
}
