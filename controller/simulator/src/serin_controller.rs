//! serin in virtual time: what `serin run` runs, with a made fleet in place of Envoy.

use std::collections::VecDeque;
use std::time::Duration;

use serin_core::judge::Ruling;
use serin_core::observation::Look;
use serin_core::observation::aggregator::{Merge, Reading};
use serin_core::observation::health::Name;
use serin_core::rollout::event::{Event, Verdict};
use serin_core::rollout::machine::{Input, Output, Rollout};
use serin_core::rollout::plan::Plan;
use serin_core::split::Split;
use serin_filter::names::Generation;

use super::Controller;
use super::fleet::Fleet;

/// A rollout with its view of the proxies.
#[derive(Debug)]
pub struct Pilot {
    rollout: Rollout,
    merge: Merge,
    looked: Duration,
    /// What the state machine wants and has not got yet.
    wanted: VecDeque<Output>,
    /// The last ruling.
    pub ruling: Option<Ruling>,
}

impl Pilot {
    /// Begins the plan.
    #[must_use]
    pub fn new(mut plan: Plan) -> Self {
        plan.metrics = None;
        let (rollout, outputs) =
            Rollout::start(plan, Split::baseline(Generation(0)), String::new());
        Self {
            rollout,
            merge: Merge::default(),
            looked: Duration::ZERO,
            wanted: outputs.into(),
            ruling: None,
        }
    }

    fn sight(&mut self, now: Duration, fleet: &mut Fleet) -> Look {
        let readings = fleet.look(now).into_iter().enumerate().map(|(index, snapshot)| {
            let name = Name::from(format!("proxy-{index}"));
            let reading = snapshot.map(|snapshot| Reading { at: now, snapshot });
            (name, reading.ok_or_else(|| "made to be out of reach".to_owned()))
        });
        self.merge.look(now, readings)
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
                // Without metrics nothing is measured: nobody knows what their queries would give.
                Output::Measure { .. } => {}
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
