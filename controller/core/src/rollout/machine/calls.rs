//! What is called outside of serin, and what comes of the answers.
//!
//! A call is part of the state from when it is wanted until it is answered, so that it is made again, the same to the letter, by a
//! controller that was started anew.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::super::call::{Call, Hook, Message, Point};
use super::super::event::{Event, Reason};
use super::{Goal, Output, Phase, Rollout};
use crate::rollout::blocker::Obstacle;

/// Who has said no is asked again after this time.
pub(super) const AGAIN: Duration = Duration::from_secs(5);

/// A call without a yes.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Pending {
    call: Call,
    /// Since the last no: why, and when to ask again.
    refused: Option<(Duration, String)>,
    /// Whether it has been made and has had no answer since. Nothing else is done to its instances meanwhile.
    on_its_way: bool,
    /// Whether the rollout has gone elsewhere.
    late: bool,
}

impl Pending {
    fn point(&self) -> Point {
        self.call.message.point
    }
}

impl Rollout {
    /// The calls whose answer is not known: each is made again.
    pub(super) fn unanswered(&self) -> impl Iterator<Item = Output> {
        let made = self.calls.iter().filter(|pending| pending.on_its_way);
        made.map(|pending| Output::Call(pending.call.clone()))
    }

    /// Leaves the gates' hooks out: whoever promotes does not wait for them.
    pub(super) fn overrule_gates(&mut self) {
        self.calls.retain(|pending| pending.point() != Point::Gate);
        if let Some(Obstacle::Refused { point: Point::Gate, .. }) = self.obstacle {
            self.obstacle = None;
        }
    }

    /// Whether everything that is to be called here has said yes; calls the next if not.
    pub(super) fn all_called(&mut self, outputs: &mut Vec<Output>) -> bool {
        if self.calls.iter().any(|pending| !pending.point().is_notice()) {
            return false;
        }
        let Some((point, hook)) = self.wanted().get(self.answered).cloned() else { return true };
        if let (Phase::Baking { step, .. }, true) = (&self.phase, point.is_work()) {
            self.replaced = Some(*step);
        }
        self.call(point, hook, self.answered, None, outputs);
        false
    }

    /// What is to be called where the rollout stands, in order.
    fn wanted(&self) -> Vec<(Point, Hook)> {
        let replacement = || {
            let calls = self.plan.replacement.iter().flat_map(|replacement| replacement.calls());
            calls.map(|(point, hook)| (point, hook.clone())).collect()
        };
        let all = |point, hooks: &[Hook]| {
            hooks.iter().map(|hook| (point, hook.clone())).collect::<Vec<_>>()
        };
        match &self.phase {
            Phase::Preparing => all(Point::Before, &self.plan.hooks.before),
            Phase::Baking { .. } if !self.instances().is_empty() => replacement(),
            // Whoever promotes opens all gates.
            Phase::Baking { .. } if !self.promote => all(Point::Gate, &self.plan.hooks.gate),
            Phase::Returning { .. } => replacement(),
            _ => Vec::new(),
        }
    }

    /// The instances that are being replaced.
    fn instances(&self) -> &[String] {
        let step = match &self.phase {
            Phase::Baking { step, .. } => Some(*step),
            Phase::Returning { .. } => self.replaced,
            _ => None,
        };
        let step = step.and_then(|step| self.plan.steps.get(step));
        step.map_or(&[], |step| &step.instances)
    }

    /// Whether instances are being replaced where the rollout stands.
    pub(super) fn replaces(&self) -> bool {
        !self.instances().is_empty()
    }

    /// Calls all of these hooks, without waiting for a yes.
    pub(super) fn notify(
        &mut self,
        point: Point,
        reason: Option<&Reason>,
        outputs: &mut Vec<Output>,
    ) {
        let hooks = match point {
            Point::After => self.plan.hooks.after.clone(),
            _ => self.plan.hooks.rollback.clone(),
        };
        for (number, hook) in hooks.into_iter().enumerate() {
            self.call(point, hook, number, reason.map(ToString::to_string), outputs);
        }
    }

    fn call(
        &mut self,
        point: Point,
        hook: Hook,
        number: usize,
        reason: Option<String>,
        outputs: &mut Vec<Output>,
    ) {
        let step = match &self.phase {
            Phase::Baking { step, .. } | Phase::Shifting { goal: Goal::Step(step), .. } => {
                Some(*step)
            }
            Phase::Returning { .. } => self.replaced,
            _ => None,
        };
        let returning = matches!(self.phase, Phase::Returning { .. });
        let place = match step {
            _ if point.is_notice() => String::new(),
            Some(step) if returning => format!("back-{}/", step + 1),
            Some(step) => format!("step-{}/", step + 1),
            None => String::new(),
        };
        let instances = if point.is_work() { self.instances().to_vec() } else { Vec::new() };
        let plan = &self.plan;
        let version = if returning { &plan.baseline } else { &plan.candidate };
        let message = Message {
            id: format!("{}/{}/{place}{point}/{number}", plan.name, self.run),
            point,
            rollout: plan.name.clone(),
            service: plan.service.clone(),
            baseline: plan.baseline.clone(),
            candidate: plan.candidate.clone(),
            step: step.map(|step| step + 1),
            weight: self.split.candidate,
            generation: self.split.generation,
            instances,
            version: point.is_work().then(|| version.clone()),
            reason,
        };
        outputs.push(Output::tell(Event::Calling {
            id: message.id.clone(),
            point,
            hook: hook.target.to_string(),
            instances: message.instances.clone(),
        }));
        let call = Call { hook, message };
        self.calls.push(Pending {
            call: call.clone(),
            refused: None,
            on_its_way: true,
            late: false,
        });
        outputs.push(Output::Call(call));
    }

    /// Takes the answer to a call into account.
    pub(super) fn called(
        &mut self,
        now: Duration,
        id: &str,
        answer: Result<(), String>,
        outputs: &mut Vec<Output>,
    ) {
        let position = self.calls.iter().position(|pending| pending.call.message.id == id);
        let Some(pending) = position.map(|position| self.calls.remove(position)) else { return };
        let (point, hook) = (pending.point(), pending.call.hook.target.to_string());
        let id = id.to_owned();
        match answer {
            Ok(()) => {
                outputs.push(Output::tell(Event::Called { id, point, hook }));
                self.answered += usize::from(!point.is_notice() && !pending.late);
            }
            Err(why) => {
                let asked_again = !point.is_notice() && point != Point::Before && !pending.late;
                let news = pending.refused.as_ref().is_none_or(|(_, before)| *before != why);
                if news {
                    outputs.push(Output::tell(Event::CallFailed {
                        id,
                        point,
                        hook: hook.clone(),
                        why: why.clone(),
                    }));
                }
                if asked_again {
                    let refused = Some((now + AGAIN, why));
                    self.calls.push(Pending { refused, on_its_way: false, ..pending });
                } else if point == Point::Before {
                    self.roll_back(now, Reason::Refused { point, hook, why }, outputs);
                }
            }
        }
        self.close(now, outputs);
    }

    /// Asks those again who have said no a while ago.
    pub(super) fn call_again(&mut self, now: Duration, outputs: &mut Vec<Output>) {
        for pending in &mut self.calls {
            if let Some((again, _)) = &pending.refused
                && now >= *again
                && !std::mem::replace(&mut pending.on_its_way, true)
            {
                outputs.push(Output::Call(pending.call.clone()));
            }
        }
    }

    /// Who has said no.
    pub(super) fn refused(&self) -> Option<Obstacle> {
        self.calls.iter().find_map(|pending| {
            let (_, why) = pending.refused.as_ref()?;
            let (point, hook) = (pending.point(), pending.call.hook.target.to_string());
            Some(Obstacle::Refused { point, hook, why: why.clone() })
        })
    }

    /// Leaves the calls behind that the rollout no longer waits for.
    pub(super) fn leave_calls(&mut self) {
        self.answered = 0;
        self.calls.retain(|pending| {
            pending.point().is_notice() || pending.point().is_work() && pending.on_its_way
        });
        for pending in &mut self.calls {
            pending.late = !pending.point().is_notice();
        }
    }

    /// Whether anybody still has to be told how it ended.
    pub(super) fn has_notices(&self) -> bool {
        self.calls.iter().any(|pending| pending.point().is_notice())
    }
}
