//! serin in virtual time: the driver, the state machine and the judge of `serin run`, on a
//! simulated fleet.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::ops::ControlFlow;
use std::time::Duration;

use futures_util::FutureExt;
use serin_core::driver::{self, Environment};
use serin_core::judge::Ruling;
use serin_core::observation::Observation;
use serin_core::observation::aggregator::{FleetAggregator, Scrape};
use serin_core::observation::health::ProxyName;
use serin_core::ports::{Journal, Router};
use serin_core::rollout::call::HookCall;
use serin_core::rollout::event::{Event, RolloutVerdict, Summary};
use serin_core::rollout::freeze::FreezeSchedule;
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
    /// The outputs of the start, until the first poll.
    first_outputs: Vec<Output>,
    /// The last ruling.
    pub ruling: Option<Ruling>,
}

impl SerinController {
    /// Starts the plan.
    #[must_use]
    pub fn new(mut plan: Plan) -> Self {
        // The values of metrics are unknown.
        plan.metrics = None;
        let (rollout, first_outputs) =
            Rollout::start(plan, Split::baseline(Generation(0)), String::new());
        Self {
            rollout,
            aggregator: FleetAggregator::default(),
            last_poll: Duration::ZERO,
            first_outputs,
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

    /// Executes the outputs of the start.
    fn start(&mut self, fleet: &mut SimulatedFleet) {
        let outputs = std::mem::take(&mut self.first_outputs);
        let mut environment = SimulatedEnvironment::new(self.last_poll, fleet, &mut self.ruling);
        let executed = driver::execute(&mut self.rollout, &mut environment, outputs);
        let _ = executed.now_or_never();
        let answers = environment.answers;
        self.handle(self.last_poll, fleet, answers);
    }

    /// Handles these inputs and the answers that they cause.
    fn handle(
        &mut self,
        now: Duration,
        fleet: &mut SimulatedFleet,
        mut inputs: VecDeque<Input>,
    ) -> Option<Summary> {
        let mut environment = SimulatedEnvironment::new(now, fleet, &mut self.ruling);
        while let Some(input) = inputs.pop_front() {
            let handled = driver::handle(&mut self.rollout, &mut environment, input);
            if let Some(ControlFlow::Break(summary)) = handled.now_or_never() {
                return Some(summary);
            }
            inputs.append(&mut environment.answers);
        }
        None
    }
}

impl SimulatedController for SerinController {
    fn next_poll(&self) -> Duration {
        self.last_poll + self.rollout.next_poll()
    }

    fn poll(&mut self, now: Duration, fleet: &mut SimulatedFleet) -> Option<RolloutVerdict> {
        self.start(fleet);
        self.last_poll = now;
        let observation = self.observe(now, fleet);
        let inputs = VecDeque::from([Input::Observation(observation)]);
        self.handle(now, fleet, inputs).map(|summary| summary.verdict)
    }
}

/// A simulated fleet, a journal that keeps only the last ruling, and hooks that succeed.
struct SimulatedEnvironment<'f> {
    now: Duration,
    fleet: &'f mut SimulatedFleet,
    ruling: &'f mut Option<Ruling>,
    answers: VecDeque<Input>,
}

impl<'f> SimulatedEnvironment<'f> {
    fn new(now: Duration, fleet: &'f mut SimulatedFleet, ruling: &'f mut Option<Ruling>) -> Self {
        Self { now, fleet, ruling, answers: VecDeque::new() }
    }
}

impl Router for SimulatedEnvironment<'_> {
    type Error = Infallible;

    async fn apply(&mut self, split: Split) -> Result<(), Infallible> {
        self.fleet.apply(self.now, split);
        Ok(())
    }

    fn generation_at(&self, running: Generation) -> Generation {
        running
    }
}

impl Journal for SimulatedEnvironment<'_> {
    type Error = Infallible;

    async fn commit(&mut self, _: Duration, _: &Rollout, _: &[Output]) -> Result<(), Infallible> {
        Ok(())
    }

    fn event(&mut self, _: Duration, _: &Event) {}

    fn ruling(&mut self, ruling: &Ruling) {
        *self.ruling = Some(ruling.clone());
    }
}

impl Environment for SimulatedEnvironment<'_> {
    fn now(&self) -> Duration {
        self.now
    }

    /// Nothing freezes virtual time.
    fn freeze_end(&self, _: &FreezeSchedule) -> Option<String> {
        None
    }

    fn call_hook(&mut self, call: HookCall) {
        self.answers.push_back(Input::HookAnswered { id: call.message.id, answer: Ok(()) });
    }

    /// The plan has no metrics.
    fn sample_metrics(&mut self, _: Generation) {}
}
