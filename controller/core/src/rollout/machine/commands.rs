//! Execution of commands.

use std::time::Duration;

use super::super::event::{Event, RollbackReason};
use super::state::Pause;
use super::{Goal, MachinePhase, Output, Rollout};
use crate::rollout::command::{Action, Command, Rejected};

impl Rollout {
    /// Executes a command. A command whose action is in effect already has no outputs.
    ///
    /// # Errors
    /// The command is invalid in this phase. The error contains the reason.
    pub fn execute(&mut self, now: Duration, command: Command) -> Result<Vec<Output>, Rejected> {
        let mut outputs = Vec::new();
        if self.is_noop(&command)? {
            return Ok(outputs);
        }
        outputs.push(Output::emit(Event::Command(command.clone())));
        match command.action {
            Action::Pause => self.pause = Some(Pause::UntilResumed),
            Action::PauseFor => {
                let seconds = Duration::from_secs(command.seconds.unwrap_or(0));
                self.pause = Some(Pause::Until(now.saturating_add(seconds)));
            }
            Action::Resume => {
                self.pause = None;
                // The limit of the step restarts.
                self.step_started = now;
            }
            Action::Approve => {
                if let MachinePhase::Baking { approved, .. } = &mut self.phase {
                    *approved = true;
                }
            }
            Action::Advance => match self.phase {
                MachinePhase::Baking { step, .. } => self.open_gate(now, step, &mut outputs),
                _ => self.shift(now, Goal::Step(0), &mut outputs),
            },
            Action::Promote => self.promote_now(now, &mut outputs),
            // Rejected above: the supervisor handles retries.
            Action::Retry => {}
            Action::Abort | Action::Undo => {
                let force = command.force;
                self.roll_back(now, RollbackReason::Command(command), &mut outputs);
                if let MachinePhase::Shifting { goal: Goal::Rollback(reason), .. }
                | MachinePhase::Reverting { reason } = &self.phase
                    && force
                {
                    self.end_unconfirmed(now, reason.clone(), &mut outputs);
                }
                if let MachinePhase::Closing { reason, confirmed } = self.phase.clone()
                    && force
                {
                    self.conclude(now, reason, confirmed, &mut outputs);
                }
            }
        }
        Ok(outputs)
    }

    /// Returns true if the action is in effect already.
    fn is_noop(&self, command: &Command) -> Result<bool, Rejected> {
        let refuse = |why: String| Err(Rejected(why));
        let candidate = &self.plan.candidate;
        if (command.action == Action::PauseFor) != command.seconds.is_some() {
            return refuse("a hold, and nothing else, is for a number of seconds".to_owned());
        }
        match &self.phase {
            // The hooks that notify of the end may take long to answer.
            MachinePhase::Closing { .. } if command.action == Action::Abort && command.force => {
                return Ok(false);
            }
            MachinePhase::Ended | MachinePhase::Closing { .. } => {
                return refuse(format!("the rollout of {} is over", self.plan.service));
            }
            _ if self.is_rolling_back() => {
                return match command.action {
                    Action::Abort | Action::Undo => Ok(!command.force),
                    _ => refuse(format!("all traffic goes back to {} already", self.plan.baseline)),
                };
            }
            MachinePhase::Promoted { .. } => {
                return match command.action {
                    Action::Undo => Ok(false),
                    Action::Promote => Ok(true),
                    Action::Abort => refuse(format!("{candidate} is promoted; undo takes it back")),
                    _ => refuse(format!("{candidate} is promoted: no step is left")),
                };
            }
            _ => {}
        }
        match command.action {
            Action::Retry => {
                refuse("it is under way; retry begins once more what has ended".to_owned())
            }
            Action::Pause => Ok(self.pause == Some(Pause::UntilResumed)),
            Action::PauseFor => Ok(false),
            Action::Resume => Ok(self.pause.is_none()),
            Action::Approve | Action::Advance => self.is_gate_passed(command),
            Action::Promote => Ok(self.promote_requested && self.pause.is_none()),
            Action::Abort => Ok(false),
            Action::Undo => refuse(format!("{candidate} is not promoted yet; abort takes it back")),
        }
    }

    /// Returns true if the command's step has an open gate or has an approval.
    fn is_gate_passed(&self, command: &Command) -> Result<bool, Rejected> {
        let refuse = |why: String| Err(Rejected(why));
        let (present, approved) = match &self.phase {
            MachinePhase::Baking { step, approved, .. } => (step + 1, *approved),
            MachinePhase::Shifting { goal: Goal::Step(step), .. } => (step + 1, false),
            _ => (0, false),
        };
        match command.step {
            Some(step) if step < present => return Ok(true),
            Some(step) if step > present => {
                return refuse(format!("step {step} has not begun; it is at step {present}"));
            }
            _ => {}
        }
        match (&self.phase, command.action) {
            (MachinePhase::Baking { .. }, Action::Approve) => Ok(approved),
            (MachinePhase::Preparing, _) => {
                refuse("the hooks before it have not said yes".to_owned())
            }
            (_, Action::Advance) if self.is_replacing_instances() => {
                refuse("instances are being replaced; after that it goes on by itself".to_owned())
            }
            (MachinePhase::AaTesting { .. }, Action::Approve) => {
                refuse("users are watched; that needs no approval".to_owned())
            }
            (MachinePhase::Baking { .. } | MachinePhase::AaTesting { .. }, _) => Ok(false),
            _ => refuse(format!("{} is not live in every worker yet", self.split.candidate)),
        }
    }

    /// Goes to the last step and opens its gate once it is live. If steps replace instances,
    /// passes through all steps.
    fn promote_now(&mut self, now: Duration, outputs: &mut Vec<Output>) {
        (self.promote_requested, self.pause) = (true, None);
        self.skip_gate_hooks();
        let last = self.plan.steps.len().saturating_sub(1);
        match self.phase {
            MachinePhase::Preparing => {}
            MachinePhase::AaTesting { .. } | MachinePhase::Shifting { goal: Goal::AaTest, .. }
                if self.plan.replacement.is_some() =>
            {
                self.shift(now, Goal::Step(0), outputs);
            }
            MachinePhase::Baking { .. } | MachinePhase::Shifting { .. }
                if self.plan.replacement.is_some() => {}
            MachinePhase::Baking { step, .. }
            | MachinePhase::Shifting { goal: Goal::Step(step), .. }
                if step == last => {}
            _ => self.shift(now, Goal::Step(last), outputs),
        }
    }

    /// Returns true if the step has its approval or needs none. Requests an approval once.
    pub(super) fn has_approval(&mut self, outputs: &mut Vec<Output>) -> bool {
        let needed = self.needs_approval();
        if let MachinePhase::Baking { step, approval_requested, .. } = &mut self.phase
            && needed
            && !std::mem::replace(approval_requested, true)
        {
            outputs.push(Output::emit(Event::ApprovalNeeded { step: *step + 1 }));
        }
        !needed
    }

    /// Returns true if the live step waits for approval.
    pub(super) fn needs_approval(&self) -> bool {
        let MachinePhase::Baking { step, approved, .. } = self.phase else { return false };
        !approved && self.plan.steps.get(step).is_some_and(|step| step.approval)
    }
}
