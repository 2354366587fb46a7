//! Limits of a rollout: time, failed requests, and failed previews.

use std::time::Duration;

use super::super::event::{Event, RollbackReason};
use super::super::plan::{Limit, Step, TimeoutAction};
use super::state::Pause;
use super::{Goal, MachinePhase, Output, Rollout};

impl Rollout {
    /// Rolls back if failed requests exceed a budget.
    pub(super) fn enforce_budgets(&mut self, outputs: &mut Vec<Output>, now: Duration) {
        let (requests, failures) = self.preview_counts();
        if self.is_previewing() && failures > 0 {
            let version = self.plan.candidate.clone();
            self.roll_back(now, RollbackReason::Preview { version, failures, requests }, outputs);
        }
        let failures = self
            .deltas
            .total
            .get(&self.plan.candidate)
            .map_or(0, |all| all.failures.values().sum());
        if let Some(budget) = self.plan.budget.filter(|budget| failures > *budget) {
            self.roll_back(now, RollbackReason::FailureBudget { failures, budget }, outputs);
        }
    }

    /// Applies the action of a step timeout. Unknown data opens no gate here either.
    pub(super) fn enforce_step_limit(&mut self, now: Duration, outputs: &mut Vec<Output>) {
        let (index, live) = match self.phase {
            MachinePhase::Shifting { goal: Goal::Step(index), .. } => (index, false),
            MachinePhase::Baking { step, .. } => (step, true),
            _ => return,
        };
        if self.pause.is_some() || self.freeze_end.is_some() {
            return;
        }
        let limit = self.plan.steps.get(index).and_then(|step| step.limit);
        let Some(Limit { at_most, then }) =
            limit.filter(|limit| now >= self.step_started + limit.at_most)
        else {
            return;
        };
        let (step, at_most) = (index + 1, at_most.as_secs_f64());
        let sound = live
            && self.blocker.is_none()
            && !self.judge.alarmed()
            && self.judge.missed().is_none()
            && self.metrics_pass()
            && !self.needs_approval();
        let overrun = Output::emit(Event::StepTimeout { step, at_most, then });
        match then {
            // A promotion does not wait at a gate.
            TimeoutAction::Pause if !self.store_down && !self.promote_requested => {
                self.pause = Some(Pause::UntilResumed);
                outputs.push(overrun);
            }
            TimeoutAction::RollBack => {
                self.roll_back(now, RollbackReason::StepTimeout { step, at_most }, outputs);
            }
            TimeoutAction::Advance if sound && !self.store_down && self.advance_hooks(outputs) => {
                outputs.push(overrun);
                self.open_gate(now, index, outputs);
            }
            TimeoutAction::Pause | TimeoutAction::Advance => {}
        }
    }

    /// Returns true if the candidate serves only requests that ask for it.
    pub(super) fn is_previewing(&self) -> bool {
        self.current_step().is_some_and(Step::is_preview)
    }

    /// Requests that asked for the candidate since the step went live, and their failures.
    pub(super) fn preview_counts(&self) -> (u64, u64) {
        let candidate = self.deltas.step.get(&self.plan.candidate);
        candidate.map_or((0, 0), |seen| (seen.pinned, seen.pinned_failures))
    }
}
