//! What is made of people's orders.

use std::time::Duration;

use super::super::event::{Event, Reason};
use super::{Goal, Output, Phase, Rollout};
use crate::rollout::command::{Order, Refused, Verb};

impl Rollout {
    /// Carries an order out. To order what is so already gives nothing to do.
    ///
    /// # Errors
    /// It makes no sense where the rollout stands, and why.
    pub fn order(&mut self, now: Duration, order: Order) -> Result<Vec<Output>, Refused> {
        let mut outputs = Vec::new();
        if self.is_so(&order)? {
            return Ok(outputs);
        }
        outputs.push(Output::tell(Event::Ordered(order.clone())));
        match order.verb {
            Verb::Pause => (self.paused, self.paused_until) = (true, None),
            Verb::Hold => {
                let seconds = Duration::from_secs(order.seconds.unwrap_or(0));
                (self.paused, self.paused_until) = (true, Some(now.saturating_add(seconds)));
            }
            Verb::Resume => {
                (self.paused, self.paused_until) = (false, None);
                // Whoever lets it go on gives it time, too.
                self.entered = now;
            }
            Verb::Approve => {
                if let Phase::Baking { approved, .. } = &mut self.phase {
                    *approved = true;
                }
            }
            Verb::Advance => match self.phase {
                Phase::Baking { step, .. } => self.open_gate(now, step, &mut outputs),
                _ => self.shift(now, Goal::Step(0), &mut outputs),
            },
            Verb::Promote => self.rush(now, &mut outputs),
            // Refused before: there is nothing to begin once more.
            Verb::Retry => {}
            Verb::Abort | Verb::Undo => {
                let force = order.force;
                self.roll_back(now, Reason::Ordered(order), &mut outputs);
                if let Phase::Shifting { goal: Goal::Baseline(reason), .. }
                | Phase::Returning { reason } = &self.phase
                    && force
                {
                    self.give_up(now, reason.clone(), &mut outputs);
                }
                if let Phase::Closing { reason, confirmed } = self.phase.clone()
                    && force
                {
                    self.conclude(now, reason, confirmed, &mut outputs);
                }
            }
        }
        Ok(outputs)
    }

    /// Whether what is ordered is so already.
    fn is_so(&self, order: &Order) -> Result<bool, Refused> {
        let refuse = |why: String| Err(Refused(why));
        let candidate = &self.plan.candidate;
        if (order.verb == Verb::Hold) != order.seconds.is_some() {
            return refuse("a hold, and nothing else, is for a number of seconds".to_owned());
        }
        match &self.phase {
            // Whoever is to be told of the end may not answer for long.
            Phase::Closing { .. } if order.verb == Verb::Abort && order.force => return Ok(false),
            Phase::Ended | Phase::Closing { .. } => {
                return refuse(format!("the rollout of {} is over", self.plan.service));
            }
            _ if self.goes_back() => {
                return match order.verb {
                    Verb::Abort | Verb::Undo => Ok(!order.force),
                    _ => refuse(format!("all traffic goes back to {} already", self.plan.baseline)),
                };
            }
            Phase::Promoted { .. } => {
                return match order.verb {
                    Verb::Undo => Ok(false),
                    Verb::Promote => Ok(true),
                    Verb::Abort => refuse(format!("{candidate} is promoted; undo takes it back")),
                    _ => refuse(format!("{candidate} is promoted: no step is left")),
                };
            }
            _ => {}
        }
        match order.verb {
            Verb::Retry => {
                refuse("it is under way; retry begins once more what has ended".to_owned())
            }
            Verb::Pause => Ok(self.paused && self.paused_until.is_none()),
            Verb::Hold => Ok(false),
            Verb::Resume => Ok(!self.paused),
            Verb::Approve | Verb::Advance => self.is_past(order),
            Verb::Promote => Ok(self.promote && !self.paused),
            Verb::Abort => Ok(false),
            Verb::Undo => refuse(format!("{candidate} is not promoted yet; abort takes it back")),
        }
    }

    /// Whether the gate of the step that is meant is open, or approved of.
    fn is_past(&self, order: &Order) -> Result<bool, Refused> {
        let refuse = |why: String| Err(Refused(why));
        let (present, approved) = match &self.phase {
            Phase::Baking { step, approved, .. } => (step + 1, *approved),
            Phase::Shifting { goal: Goal::Step(step), .. } => (step + 1, false),
            _ => (0, false),
        };
        match order.step {
            Some(step) if step < present => return Ok(true),
            Some(step) if step > present => {
                return refuse(format!("step {step} has not begun; it is at step {present}"));
            }
            _ => {}
        }
        match (&self.phase, order.verb) {
            (Phase::Baking { .. }, Verb::Approve) => Ok(approved),
            (Phase::Preparing, _) => refuse("the hooks before it have not said yes".to_owned()),
            (_, Verb::Advance) if self.replaces() => {
                refuse("instances are being replaced; after that it goes on by itself".to_owned())
            }
            (Phase::Watching { .. }, Verb::Approve) => {
                refuse("users are watched; that needs no approval".to_owned())
            }
            (Phase::Baking { .. } | Phase::Watching { .. }, _) => Ok(false),
            _ => refuse(format!("{} is not live in every worker yet", self.split.candidate)),
        }
    }

    /// Goes to the last step, and through its gate as soon as it is live. Where instances have to be replaced, through all the others too.
    fn rush(&mut self, now: Duration, outputs: &mut Vec<Output>) {
        (self.promote, self.paused, self.paused_until) = (true, false, None);
        self.overrule_gates();
        let last = self.plan.steps.len().saturating_sub(1);
        match self.phase {
            Phase::Preparing => {}
            Phase::Watching { .. } | Phase::Shifting { goal: Goal::Watch, .. }
                if self.plan.replacement.is_some() =>
            {
                self.shift(now, Goal::Step(0), outputs);
            }
            Phase::Baking { .. } | Phase::Shifting { .. } if self.plan.replacement.is_some() => {}
            Phase::Baking { step, .. } | Phase::Shifting { goal: Goal::Step(step), .. }
                if step == last => {}
            _ => self.shift(now, Goal::Step(last), outputs),
        }
    }

    /// Whether the step needs nobody's approval any more; asks for it once.
    pub(super) fn approved(&mut self, outputs: &mut Vec<Output>) -> bool {
        let needed = self.needs_approval();
        if let Phase::Baking { step, asked, .. } = &mut self.phase
            && needed
            && !std::mem::replace(asked, true)
        {
            outputs.push(Output::tell(Event::ApprovalNeeded { step: *step + 1 }));
        }
        !needed
    }

    /// Whether somebody has to approve of the step that is live, and nobody has.
    pub(super) fn needs_approval(&self) -> bool {
        let Phase::Baking { step, approved, .. } = self.phase else { return false };
        !approved && self.plan.steps.get(step).is_some_and(|step| step.approval)
    }
}
