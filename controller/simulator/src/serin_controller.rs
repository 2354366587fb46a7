//! serin in virtual time: the state machine and the judge of `serin run`, on a simulated fleet.

use std::collections::VecDeque;
use std::time::Duration;

use serin_core::judge::Ruling;
use serin_core::observation::Observation;
use serin_core::observation::aggregator::{FleetAggregator, Scrape};
use serin_core::observation::health::ProxyName;
use serin_core::rollout::event::{Event, RolloutVerdict};
use serin_core::rollout::machine::{Input, Output, Rollout};
use serin_core::rollout::plan::Plan;
use serin_core::split::Split;
use serin_filter::names::Generation;

use super::controller::SimulatedController;
use super::fleet::SimulatedFleet;

/// A rollout and its observations.
#[derive(Debug)]
pub struct SerinController {
    rollout: Rollout,
    aggregator: FleetAggregator,
    last_poll: Duration,
    /// The outputs of the state machine that are not executed yet.
    pending_outputs: VecDeque<Output>,
    /// The last ruling.
    pub ruling: Option<Ruling>,
}

impl SerinController {
    /// Starts the plan.
    #[must_use]
    pub fn new(mut plan: Plan) -> Self {
        plan.metrics = None;
        let (rollout, outputs) =
            Rollout::start(plan, Split::baseline(Generation(0)), String::new());
        Self {
            rollout,
            aggregator: FleetAggregator::default(),
            last_poll: Duration::ZERO,
            pending_outputs: outputs.into(),
            ruling: None,
        }
    }

    fn observe(&mut self, now: Duration, fleet: &mut SimulatedFleet) -> Observation {
        let readings = fleet.scrape(now).into_iter().enumerate().map(|(index, snapshot)| {
            let name = ProxyName::from(format!("proxy-{index}"));
            let scrape = snapshot.map(|snapshot| Scrape { at: now, snapshot });
            (name, scrape.ok_or_else(|| "simulated failure".to_owned()))
        });
        self.aggregator.aggregate(now, readings)
    }

    fn execute(&mut self, now: Duration, fleet: &mut SimulatedFleet) -> Option<RolloutVerdict> {
        while let Some(output) = self.pending_outputs.pop_front() {
            match output {
                Output::Apply(split) => fleet.apply(now, split),
                // Hooks succeed immediately.
                Output::CallHook(call) => {
                    let input = Input::HookAnswered { id: call.message.id, answer: Ok(()) };
                    self.pending_outputs.extend(self.rollout.step(now, input));
                }
                // The plan has no metrics: their values are unknown.
                Output::SampleMetrics { .. } => {}
                Output::RecordRuling(ruling) => self.ruling = Some(ruling),
                Output::Emit(event) => {
                    if let Event::Ended(summary) = *event {
                        return Some(summary.verdict);
                    }
                }
            }
        }
        None
    }
}

impl SimulatedController for SerinController {
    fn next_poll(&self) -> Duration {
        self.last_poll + self.rollout.next_poll()
    }

    fn poll(&mut self, now: Duration, fleet: &mut SimulatedFleet) -> Option<RolloutVerdict> {
        // The outputs of the start.
        self.execute(self.last_poll, fleet);
        self.last_poll = now;
        let observation = self.observe(now, fleet);
        self.pending_outputs.extend(self.rollout.step(now, Input::Observation(observation)));
        self.execute(now, fleet)
    }
}
