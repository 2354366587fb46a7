//! The ways out: back to the baseline, with the instances that were replaced, and to the end.

use std::time::Duration;

use serin_filter::table::Weight;

use super::super::call::Point;
use super::super::event::{Event, Reason};
use super::{Goal, Output, Phase, Rollout};

impl Rollout {
    /// Rolls back for a reason that could not be kept.
    pub fn roll_back_again(&mut self, now: Duration) -> Vec<Output> {
        let mut outputs: Vec<_> = self.unanswered().collect();
        match self.phase.clone() {
            Phase::Shifting { goal: goal @ Goal::Baseline(_), .. } => {
                self.shift(now, goal, &mut outputs);
            }
            Phase::Returning { reason } => {
                self.shift(now, Goal::Baseline(reason), &mut outputs);
            }
            _ => self.roll_back(now, Reason::NotKept, &mut outputs),
        }
        outputs
    }

    pub(super) fn roll_back(&mut self, now: Duration, reason: Reason, outputs: &mut Vec<Output>) {
        if self.goes_back() || matches!(self.phase, Phase::Closing { .. }) {
            return;
        }
        outputs.push(Output::tell(Event::RollingBack { reason: reason.clone() }));
        (self.paused, self.paused_until, self.promote) = (false, None, false);
        let unchanged = self.phase == Phase::Preparing && self.split.candidate == Weight::ZERO;
        self.leave_calls();
        self.notify(Point::Rollback, Some(&reason), outputs);
        if unchanged {
            self.end(now, Some(reason), outputs);
            return;
        }
        self.shift(now, Goal::Baseline(reason), outputs);
    }

    /// Goes on to the instances that were replaced before those that the baseline has got back now.
    pub(super) fn restored(&mut self, now: Duration, reason: Reason, outputs: &mut Vec<Output>) {
        let restored = self.replaced.unwrap_or(0);
        let mut before = self.plan.steps.iter().take(restored);
        self.replaced = before.rposition(|step| !step.instances.is_empty());
        match self.replaced {
            Some(_) => self.shift(now, Goal::Baseline(reason), outputs),
            None => self.end(now, Some(reason), outputs),
        }
    }

    /// Ends the rollout with the proxy's word on its split, once all have been told.
    pub(super) fn end(&mut self, now: Duration, reason: Option<Reason>, outputs: &mut Vec<Output>) {
        self.leave_calls();
        self.phase = Phase::Closing { reason, confirmed: true };
        self.close(now, outputs);
    }

    /// Ends the rollout without the proxy's word on its split.
    pub(super) fn give_up(&mut self, now: Duration, reason: Reason, outputs: &mut Vec<Output>) {
        self.phase = Phase::Closing { reason: Some(reason), confirmed: false };
        self.close(now, outputs);
    }

    /// Ends the rollout if it is only closing, and all have been told.
    pub(super) fn close(&mut self, now: Duration, outputs: &mut Vec<Output>) {
        if let Phase::Closing { reason, confirmed } = &self.phase
            && !self.has_notices()
            // An end that can't be stored would come again.
            && !self.held
        {
            let (reason, confirmed) = (reason.clone(), *confirmed);
            self.conclude(now, reason, confirmed, outputs);
        }
    }

    pub(super) fn conclude(
        &mut self,
        now: Duration,
        reason: Option<Reason>,
        confirmed: bool,
        outputs: &mut Vec<Output>,
    ) {
        self.phase = Phase::Ended;
        outputs.push(Output::tell(Event::Ended(self.summary(now, reason, confirmed))));
    }
}
