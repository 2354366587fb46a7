//! What the tasks of one object tell each other: orders on their way, and what became of them.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use jiff::Timestamp;

use crate::kubernetes::status::{CommandReport, RolloutPhase};

/// What lies on it. Clones share it.
#[derive(Debug, Clone, Default)]
pub(crate) struct CommandMailbox(Arc<Mutex<MailboxState>>);

#[derive(Debug, Default)]
struct MailboxState {
    generation: i64,
    phase: RolloutPhase,
    /// The text of an order that the rollout has been given.
    submitted: Option<String>,
    /// What is to be said of an order.
    report: Option<CommandReport>,
}

impl CommandMailbox {
    fn state(&self) -> MutexGuard<'_, MailboxState> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The object of this generation has been obeyed.
    pub(crate) fn set_generation(&self, generation: i64) {
        self.state().generation = generation;
    }

    /// The generation of the object that was obeyed last.
    #[must_use]
    pub(crate) fn generation(&self) -> i64 {
        self.state().generation
    }

    /// Where the rollout is, as it was stored last.
    #[must_use]
    pub(crate) fn phase(&self) -> RolloutPhase {
        self.state().phase
    }

    /// What was stored last.
    pub(crate) fn set_phase(&self, phase: RolloutPhase) {
        self.state().phase = phase;
    }

    /// An order is given to the rollout.
    pub(crate) fn submit(&self, text: &str) {
        self.state().submitted = Some(text.to_owned());
    }

    /// The rollout takes the order that it was given: that is stored together with what comes of it.
    pub(crate) fn accept(&self, now: Timestamp) {
        let mut state = self.state();
        if let Some(text) = state.submitted.take() {
            state.report = Some(CommandReport { text, at: now, rejected: None });
        }
    }

    /// What became of an order that was not taken, or had nothing to change.
    pub(crate) fn report(&self, report: CommandReport) {
        let mut state = self.state();
        if state.submitted.take().is_some() || report.rejected.is_some() {
            state.report = Some(report);
        }
    }

    /// What is to be said of an order, and is not stored yet.
    #[must_use]
    pub(crate) fn unreported(&self) -> Option<CommandReport> {
        self.state().report.clone()
    }

    /// This has been stored.
    pub(crate) fn mark_reported(&self, report: &CommandReport) {
        let mut state = self.state();
        if state.report.as_ref() == Some(report) {
            state.report = None;
        }
    }
}
