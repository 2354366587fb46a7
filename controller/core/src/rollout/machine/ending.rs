//! The ends of a rollout: rollback to the baseline, restored instances, closing.

use std::time::Duration;

use serin_filter::table::Weight;

use super::super::call::HookPoint;
use super::super::event::{Event, RollbackReason};
use super::{Goal, MachinePhase, Output, Rollout};

impl Rollout {
    /// Rolls back after a restart that lost the reason.
    pub fn resume_rollback(&mut self, now: Duration) -> Vec<Output> {
        let mut outputs: Vec<_> = self.unanswered_calls().collect();
        match self.phase.clone() {
            MachinePhase::Shifting { goal: goal @ Goal::Rollback(_), .. } => {
                self.shift(now, goal, &mut outputs);
            }
            MachinePhase::Reverting { reason } => {
                self.shift(now, Goal::Rollback(reason), &mut outputs);
            }
            _ => self.roll_back(now, RollbackReason::ReasonNotPersisted, &mut outputs),
        }
        outputs
    }

    pub(super) fn roll_back(
        &mut self,
        now: Duration,
        reason: RollbackReason,
        outputs: &mut Vec<Output>,
    ) {
        if self.is_rolling_back() || matches!(self.phase, MachinePhase::Closing { .. }) {
            return;
        }
        outputs.push(Output::emit(Event::RollingBack { reason: reason.clone() }));
        (self.pause, self.promote_requested) = (None, false);
        let unchanged =
            self.phase == MachinePhase::Preparing && self.split.candidate == Weight::ZERO;
        self.abandon_calls();
        self.notify(HookPoint::Rollback, Some(&reason), outputs);
        if unchanged {
            self.end(now, Some(reason), outputs);
            return;
        }
        self.shift(now, Goal::Rollback(reason), outputs);
    }

    /// Continues with the instances that were replaced before the restored ones.
    pub(super) fn continue_restore(
        &mut self,
        now: Duration,
        reason: RollbackReason,
        outputs: &mut Vec<Output>,
    ) {
        let restored = self.hooks.replaced_step.unwrap_or(0);
        let mut before = self.plan.steps.iter().take(restored);
        self.hooks.replaced_step = before.rposition(|step| !step.instances().is_empty());
        match self.hooks.replaced_step {
            Some(_) => self.shift(now, Goal::Rollback(reason), outputs),
            None => self.end(now, Some(reason), outputs),
        }
    }

    /// Closes the rollout after the proxies confirmed its split.
    pub(super) fn end(
        &mut self,
        now: Duration,
        reason: Option<RollbackReason>,
        outputs: &mut Vec<Output>,
    ) {
        self.abandon_calls();
        self.phase = MachinePhase::Closing { reason, confirmed: true };
        self.close(now, outputs);
    }

    /// Closes the rollout without confirmation of its split.
    pub(super) fn end_unconfirmed(
        &mut self,
        now: Duration,
        reason: RollbackReason,
        outputs: &mut Vec<Output>,
    ) {
        self.phase = MachinePhase::Closing { reason: Some(reason), confirmed: false };
        self.close(now, outputs);
    }

    /// Ends a closing rollout once all notifications are answered.
    pub(super) fn close(&mut self, now: Duration, outputs: &mut Vec<Output>) {
        if let MachinePhase::Closing { reason, confirmed } = &self.phase
            && !self.has_pending_notifications()
            // An end that is not persisted would repeat after a restart.
            && !self.store_down
        {
            let (reason, confirmed) = (reason.clone(), *confirmed);
            self.conclude(now, reason, confirmed, outputs);
        }
    }

    pub(super) fn conclude(
        &mut self,
        now: Duration,
        reason: Option<RollbackReason>,
        confirmed: bool,
        outputs: &mut Vec<Output>,
    ) {
        self.phase = MachinePhase::Ended;
        outputs.push(Output::emit(Event::Ended(self.summary(now, reason, confirmed))));
    }
}
