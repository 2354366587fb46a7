//! Commands between the tasks of one object, and their results.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use jiff::Timestamp;

use crate::kubernetes::status::{CommandReport, RolloutPhase};

/// The commands of one object. Clones share their state.
#[derive(Debug, Clone, Default)]
pub(crate) struct CommandMailbox(Arc<Mutex<MailboxState>>);

#[derive(Debug, Default)]
struct MailboxState {
    generation: i64,
    phase: RolloutPhase,
    /// The text of the command that was sent to the rollout.
    submitted: Option<String>,
    /// The result of a command, until it is stored.
    report: Option<CommandReport>,
}

impl CommandMailbox {
    fn state(&self) -> MutexGuard<'_, MailboxState> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Sets the generation of the object that the rollout follows.
    pub(crate) fn set_generation(&self, generation: i64) {
        self.state().generation = generation;
    }

    /// The generation of the object that the rollout follows.
    #[must_use]
    pub(crate) fn generation(&self) -> i64 {
        self.state().generation
    }

    /// The phase that was stored last.
    #[must_use]
    pub(crate) fn phase(&self) -> RolloutPhase {
        self.state().phase
    }

    /// Sets the phase that was stored last.
    pub(crate) fn set_phase(&self, phase: RolloutPhase) {
        self.state().phase = phase;
    }

    /// Records a command that is sent to the rollout.
    pub(crate) fn submit(&self, text: &str) {
        self.state().submitted = Some(text.to_owned());
    }

    /// Records that the rollout accepted the command. The journal stores the result with the
    /// outcome.
    pub(crate) fn accept(&self, now: Timestamp) {
        let mut state = self.state();
        if let Some(text) = state.submitted.take() {
            state.report = Some(CommandReport { text, at: now, rejected: None });
        }
    }

    /// Records the result of a command that was rejected or changed nothing.
    pub(crate) fn report(&self, report: CommandReport) {
        let mut state = self.state();
        if state.submitted.take().is_some() || report.rejected.is_some() {
            state.report = Some(report);
        }
    }

    /// The result that is not stored yet.
    #[must_use]
    pub(crate) fn unreported(&self) -> Option<CommandReport> {
        self.state().report.clone()
    }

    /// Records that this result is stored.
    pub(crate) fn mark_reported(&self, report: &CommandReport) {
        let mut state = self.state();
        if state.report.as_ref() == Some(report) {
            state.report = None;
        }
    }
}
