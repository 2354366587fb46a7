//! The gate of a step: its conditions, and the transition after it.

use std::time::Duration;

use super::super::call::HookPoint;
use super::super::event::Event;
use super::super::plan::Gate;
use super::{Goal, MachinePhase, Output, Rollout};

impl Rollout {
    /// Returns true if time and requests suffice and no harm is suspected, or, for a gate of
    /// evidence, if non-inferiority is shown.
    pub(super) fn gate_is_open(&self, step: usize, baked: Duration) -> bool {
        let Some(step) = self.plan.steps.get(step) else { return false };
        if step.is_preview() {
            return baked >= step.bake && self.preview_counts().0 >= step.requests;
        }
        let answered = |version| self.deltas.step.get(version).map_or(0, |seen| seen.requests);
        if baked < step.bake
            || answered(&self.plan.candidate) < step.requests
            || self.judge.alarmed()
            || self.judge.missed().is_some()
            || self.judge.share_mismatch()
            || !self.metrics_pass()
        {
            return false;
        }
        !step.has_baseline()
            || answered(&self.plan.baseline) > 0
                && !self.judge.shows(&self.block_of(&self.deltas.step))
                && (step.gate == Gate::Bake || self.judge.safe())
    }

    /// Starts the next step, or promotes the candidate.
    pub(super) fn open_gate(&mut self, now: Duration, step: usize, outputs: &mut Vec<Output>) {
        outputs.push(Output::emit(Event::GateOpened { step: step + 1, status: self.status() }));
        if step + 1 < self.plan.steps.len() {
            self.shift(now, Goal::Step(step + 1), outputs);
            return;
        }
        self.notify(HookPoint::After, None, outputs);
        if self.plan.window.is_zero() {
            self.end(now, None, outputs);
        } else {
            self.abandon_calls();
            self.pause = None;
            self.phase = MachinePhase::Promoted { since: now };
            outputs.push(Output::emit(Event::Promoted { window: self.plan.window.as_secs_f64() }));
        }
    }
}
