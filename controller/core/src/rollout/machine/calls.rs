//! Calls of hooks, and the effects of their answers.
//!
//! The state contains each call from its request to its answer, so a restarted controller repeats
//! the identical call.

use std::time::Duration;

use super::super::call::{Hook, HookCall, HookMessage, HookPoint};
use super::super::event::{Event, RollbackReason};
use super::super::plan::Step;
use super::state::PendingCall;
use super::{Goal, MachinePhase, Output, Rollout};
use crate::rollout::blocker::Blocker;

/// The interval after which a failed hook is called again.
pub(super) const RETRY_INTERVAL: Duration = Duration::from_secs(5);

impl Rollout {
    /// Repeats the calls whose answer is unknown.
    pub(super) fn unanswered_calls(&self) -> impl Iterator<Item = Output> {
        let made = self.hooks.pending.iter().filter(|pending| pending.in_flight);
        made.map(|pending| Output::CallHook(pending.call.clone()))
    }

    /// Drops the hooks of gates: a promotion does not wait for them.
    pub(super) fn skip_gate_hooks(&mut self) {
        self.hooks.pending.retain(|pending| pending.point() != HookPoint::Gate);
        if let Some(Blocker::HookRejected { point: HookPoint::Gate, .. }) = self.blocker {
            self.blocker = None;
        }
    }

    /// Returns true if all hooks of the phase succeeded; otherwise calls the next one.
    pub(super) fn advance_hooks(&mut self, outputs: &mut Vec<Output>) -> bool {
        if self.hooks.pending.iter().any(|pending| !pending.point().is_notification()) {
            return false;
        }
        let Some((point, hook)) = self.due_hooks().get(self.hooks.passed).cloned() else {
            return true;
        };
        if let (MachinePhase::Baking { step, .. }, true) = (&self.phase, point.replaces_instances())
        {
            self.hooks.replaced_step = Some(*step);
        }
        self.call(point, hook, self.hooks.passed, None, outputs);
        false
    }

    /// The hooks of the present phase, in order.
    fn due_hooks(&self) -> Vec<(HookPoint, Hook)> {
        let replacement = || {
            let calls = self.plan.replacement.iter().flat_map(|replacement| replacement.calls());
            calls.map(|(point, hook)| (point, hook.clone())).collect()
        };
        let all = |point, hooks: &[Hook]| {
            hooks.iter().map(|hook| (point, hook.clone())).collect::<Vec<_>>()
        };
        match &self.phase {
            MachinePhase::Preparing => all(HookPoint::Before, &self.plan.hooks.before),
            MachinePhase::Baking { .. } if !self.instances().is_empty() => replacement(),
            // A promotion opens all gates.
            MachinePhase::Baking { .. } if !self.promote_requested => {
                all(HookPoint::Gate, &self.plan.hooks.gate)
            }
            MachinePhase::Reverting { .. } => replacement(),
            _ => Vec::new(),
        }
    }

    /// The instances that serin replaces now.
    fn instances(&self) -> &[String] {
        let step = match &self.phase {
            MachinePhase::Baking { step, .. } => Some(*step),
            MachinePhase::Reverting { .. } => self.hooks.replaced_step,
            _ => None,
        };
        let step = step.and_then(|step| self.plan.steps.get(step));
        step.map_or(&[], Step::instances)
    }

    /// Returns true if serin replaces instances in this phase.
    pub(super) fn is_replacing_instances(&self) -> bool {
        !self.instances().is_empty()
    }

    /// Calls all of these hooks without waiting for success.
    pub(super) fn notify(
        &mut self,
        point: HookPoint,
        reason: Option<&RollbackReason>,
        outputs: &mut Vec<Output>,
    ) {
        let hooks = match point {
            HookPoint::After => self.plan.hooks.after.clone(),
            _ => self.plan.hooks.rollback.clone(),
        };
        for (number, hook) in hooks.into_iter().enumerate() {
            self.call(point, hook, number, reason.map(ToString::to_string), outputs);
        }
    }

    fn call(
        &mut self,
        point: HookPoint,
        hook: Hook,
        number: usize,
        reason: Option<String>,
        outputs: &mut Vec<Output>,
    ) {
        let step = match &self.phase {
            MachinePhase::Baking { step, .. }
            | MachinePhase::Shifting { goal: Goal::Step(step), .. } => Some(*step),
            MachinePhase::Reverting { .. } => self.hooks.replaced_step,
            _ => None,
        };
        let returning = matches!(self.phase, MachinePhase::Reverting { .. });
        let place = match step {
            _ if point.is_notification() => String::new(),
            Some(step) if returning => format!("back-{}/", step + 1),
            Some(step) => format!("step-{}/", step + 1),
            None => String::new(),
        };
        let instances =
            if point.replaces_instances() { self.instances().to_vec() } else { Vec::new() };
        let plan = &self.plan;
        let version = if returning { &plan.baseline } else { &plan.candidate };
        let message = HookMessage {
            id: format!("{}/{}/{place}{point}/{number}", plan.name, self.run_id),
            point,
            rollout: plan.name.clone(),
            service: plan.service.clone(),
            baseline: plan.baseline.clone(),
            candidate: plan.candidate.clone(),
            step: step.map(|step| step + 1),
            weight: self.split.candidate,
            generation: self.split.generation,
            instances,
            version: point.replaces_instances().then(|| version.clone()),
            reason,
        };
        outputs.push(Output::emit(Event::HookCalled {
            id: message.id.clone(),
            point,
            hook: hook.target.to_string(),
            instances: message.instances.clone(),
        }));
        let call = HookCall { hook, message };
        self.hooks.pending.push(PendingCall {
            call: call.clone(),
            failed: None,
            in_flight: true,
            obsolete: false,
        });
        outputs.push(Output::CallHook(call));
    }

    /// Handles the answer to a call.
    pub(super) fn on_hook_answer(
        &mut self,
        now: Duration,
        id: &str,
        answer: Result<(), String>,
        outputs: &mut Vec<Output>,
    ) {
        let position = self.hooks.pending.iter().position(|pending| pending.call.message.id == id);
        let Some(pending) = position.map(|position| self.hooks.pending.remove(position)) else {
            return;
        };
        let (point, hook) = (pending.point(), pending.call.hook.target.to_string());
        let id = id.to_owned();
        match answer {
            Ok(()) => {
                outputs.push(Output::emit(Event::HookSucceeded { id, point, hook }));
                self.hooks.passed += usize::from(!point.is_notification() && !pending.obsolete);
            }
            Err(reason) => {
                let asked_again =
                    !point.is_notification() && point != HookPoint::Before && !pending.obsolete;
                let news = pending.failed.as_ref().is_none_or(|(_, before)| *before != reason);
                if news {
                    outputs.push(Output::emit(Event::HookFailed {
                        id,
                        point,
                        hook: hook.clone(),
                        reason: reason.clone(),
                    }));
                }
                if asked_again {
                    let failed = Some((now + RETRY_INTERVAL, reason));
                    self.hooks.pending.push(PendingCall { failed, in_flight: false, ..pending });
                } else if point == HookPoint::Before {
                    self.roll_back(
                        now,
                        RollbackReason::HookRejected { point, hook, reason },
                        outputs,
                    );
                }
            }
        }
        self.close(now, outputs);
    }

    /// Calls failed hooks again after the retry interval.
    pub(super) fn retry_hooks(&mut self, now: Duration, outputs: &mut Vec<Output>) {
        for pending in &mut self.hooks.pending {
            if let Some((again, _)) = &pending.failed
                && now >= *again
                && !std::mem::replace(&mut pending.in_flight, true)
            {
                outputs.push(Output::CallHook(pending.call.clone()));
            }
        }
    }

    /// The first failed hook, as a blocker.
    pub(super) fn hook_blocker(&self) -> Option<Blocker> {
        self.hooks.pending.iter().find_map(|pending| {
            let (_, why) = pending.failed.as_ref()?;
            let (point, hook) = (pending.point(), pending.call.hook.target.to_string());
            Some(Blocker::HookRejected { point, hook, reason: why.clone() })
        })
    }

    /// Abandons the calls that the rollout no longer waits for.
    pub(super) fn abandon_calls(&mut self) {
        self.hooks.passed = 0;
        self.hooks.pending.retain(|pending| {
            pending.point().is_notification()
                || pending.point().replaces_instances() && pending.in_flight
        });
        for pending in &mut self.hooks.pending {
            pending.obsolete = !pending.point().is_notification();
        }
    }

    /// Returns true if notifications of the end are pending.
    pub(super) fn has_pending_notifications(&self) -> bool {
        self.hooks.pending.iter().any(|pending| pending.point().is_notification())
    }
}
