//! serin in virtual time: what `serin run` runs, with a made fleet in place of Envoy.

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

/// A rollout with its view of the proxies.
#[derive(Debug)]
pub struct SerinController {
    rollout: Rollout,
    aggregator: FleetAggregator,
    last_poll: Duration,
    /// What the state machine wants and has not got yet.
    pending_outputs: VecDeque<Output>,
    /// The last ruling.
    pub ruling: Option<Ruling>,
}

impl SerinController {
    /// Begins the plan.
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
            (name, scrape.ok_or_else(|| "made to be out of reach".to_owned()))
        });
        self.aggregator.aggregate(now, readings)
    }

    fn execute(&mut self, now: Duration, fleet: &mut SimulatedFleet) -> Option<RolloutVerdict> {
        while let Some(output) = self.pending_outputs.pop_front() {
            match output {
                Output::Apply(split) => fleet.apply(now, split),
                // Whoever is called says yes at once.
                Output::CallHook(call) => {
                    let input = Input::HookAnswered { id: call.message.id, answer: Ok(()) };
                    self.pending_outputs.extend(self.rollout.step(now, input));
                }
                // Without metrics nothing is measured: nobody knows what their queries would give.
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
        // What the state machine wanted from its start on.
        self.execute(self.last_poll, fleet);
        self.last_poll = now;
        let observation = self.observe(now, fleet);
        self.pending_outputs.extend(self.rollout.step(now, Input::Observation(observation)));
        self.execute(now, fleet)
    }
}
