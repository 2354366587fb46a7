//! What a rollout may cost at most: time, failed requests, and failed previews.

use std::time::Duration;

use super::super::event::{Event, Reason};
use super::super::plan::{Limit, Overrun, Step};
use super::{Goal, Output, Phase, Rollout};

impl Rollout {
    /// Rolls back if more requests have failed than may.
    pub(super) fn keep_limits(&mut self, outputs: &mut Vec<Output>, now: Duration) {
        let (requests, failures) = self.tried();
        if self.previews() && failures > 0 {
            let version = self.plan.candidate.clone();
            self.roll_back(now, Reason::Preview { version, failures, requests }, outputs);
        }
        let failures =
            self.total.get(&self.plan.candidate).map_or(0, |all| all.failures.values().sum());
        if let Some(budget) = self.plan.budget.filter(|budget| failures > *budget) {
            self.roll_back(now, Reason::Budget { failures, budget }, outputs);
        }
    }

    /// Does what is to be done once a step has taken too long. What is not known opens no gate here either.
    pub(super) fn keep_time(&mut self, now: Duration, outputs: &mut Vec<Output>) {
        let (index, live) = match self.phase {
            Phase::Shifting { goal: Goal::Step(index), .. } => (index, false),
            Phase::Baking { step, .. } => (step, true),
            _ => return,
        };
        if self.paused || self.frozen.is_some() {
            return;
        }
        let limit = self.plan.steps.get(index).and_then(|step| step.limit);
        let Some(Limit { at_most, then }) =
            limit.filter(|limit| now >= self.entered + limit.at_most)
        else {
            return;
        };
        let (step, at_most) = (index + 1, at_most.as_secs_f64());
        let sound = live
            && self.obstacle.is_none()
            && !self.judge.alarmed()
            && self.judge.missed().is_none()
            && self.metrics_are_kept()
            && !self.needs_approval();
        let overrun = Output::tell(Event::Overrun { step, at_most, then });
        match then {
            // Whoever has promoted it does not want it to wait at a gate.
            Overrun::Pause if !self.held && !self.promote => {
                self.paused = true;
                outputs.push(overrun);
            }
            Overrun::RollBack => {
                self.roll_back(now, Reason::Overrun { step, at_most }, outputs);
            }
            Overrun::Advance if sound && !self.held && self.all_called(outputs) => {
                outputs.push(overrun);
                self.open_gate(now, index, outputs);
            }
            Overrun::Pause | Overrun::Advance => {}
        }
    }

    /// Whether only those meet the candidate who ask for it.
    pub(super) fn previews(&self) -> bool {
        self.present_step().is_some_and(Step::is_preview)
    }

    /// Requests that asked for the candidate since the step went live, and failures among them.
    pub(super) fn tried(&self) -> (u64, u64) {
        let candidate = self.step.get(&self.plan.candidate);
        candidate.map_or((0, 0), |seen| (seen.picked, seen.picked_failures))
    }
}
