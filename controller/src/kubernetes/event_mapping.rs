//! What is told of a rollout as Events of Kubernetes. Pure.

use serin_core::judge::explain::share;
use serin_core::rollout::event::{ArmStatus, Event, RolloutVerdict};

/// Something to be told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct EventNote {
    /// Whether somebody should look.
    pub(crate) warning: bool,
    /// A word, which stays what it is.
    pub(crate) reason: &'static str,
    /// A sentence.
    pub(crate) note: String,
}

/// The longest note that a server takes is 1,024 bytes.
const MAX_NOTE_BYTES: usize = 1_000;

/// What to tell of an event; nothing of those that are of no interest to a cluster.
#[must_use]
pub(crate) fn event_note(event: &Event) -> Option<EventNote> {
    let (warning, reason, note) = match event {
        Event::Started { baseline, candidate, .. } => {
            (false, "Started", format!("from {baseline} to {candidate}"))
        }
        Event::AaTesting { salts, .. } => {
            (false, "AATesting", format!("users are watched by {salts} salts"))
        }
        Event::SaltChosen { salt, .. } => (false, "SaltChosen", format!("{salt:?} divides users")),
        Event::Shifting { step: Some(step), weight, .. } => {
            (false, "Shifting", format!("step {step}: {weight} asked for"))
        }
        Event::Shifting { step: None, weight, .. } => {
            (false, "Shifting", format!("{weight} asked for"))
        }
        Event::Live { weight, after, .. } => {
            (false, "Live", format!("{weight} live at every proxy after {after:.1} s"))
        }
        Event::Blocked { message, .. } => (true, "Blocked", message.clone()),
        Event::Unblocked => (false, "Unblocked", "going on".to_owned()),
        Event::Warning { message } => (true, "Warning", message.clone()),
        Event::GateOpened { step, status } => {
            let failed = |arm: &ArmStatus| {
                format!("{} failed {}", arm.version, share(arm.failures, arm.requests))
            };
            let (candidate, baseline) = (failed(&status.candidate), failed(&status.baseline));
            (false, "GateOpened", format!("step {step} passed: {candidate}, {baseline}"))
        }
        Event::StepTimeout { step, at_most, .. } => {
            (true, "StepTimeout", format!("step {step} has not passed its gate within {at_most} s"))
        }
        Event::Promoted { window } => {
            (false, "RollbackWindow", format!("promoted, and watched for another {window} s"))
        }
        Event::ApprovalNeeded { step } => {
            (true, "ApprovalNeeded", format!("step {step} has all it wants, but for an approval"))
        }
        Event::FreezeStarted { until } => {
            (false, "FreezeStarted", format!("no gate opens before {until}"))
        }
        Event::FreezeEnded => (false, "FreezeEnded", "the freeze is over".to_owned()),
        Event::PauseExpired => (false, "PauseExpired", "the hold is over".to_owned()),
        Event::HookFailed { point, reason: why, .. } => {
            (true, "HookFailed", format!("{point}: {why}"))
        }
        Event::Command(order) => (false, "Command", order.to_string()),
        Event::RollingBack { reason } => (true, "RollingBack", reason.to_string()),
        Event::Ended(summary) => match summary.verdict {
            RolloutVerdict::Promoted => (false, "Promoted", format!("{} runs", summary.candidate)),
            RolloutVerdict::RolledBack => {
                (true, "RolledBack", format!("{} stays", summary.baseline))
            }
            RolloutVerdict::Interrupted => (true, "Stopped", format!("{} stays", summary.baseline)),
        },
        Event::ProxyRestarted
        | Event::Progress(_)
        | Event::HookCalled { .. }
        | Event::HookSucceeded { .. } => {
            return None;
        }
    };
    Some(EventNote { warning, reason, note: truncate(note) })
}

fn truncate(note: String) -> String {
    match note.len() > MAX_NOTE_BYTES {
        true => note.chars().take(MAX_NOTE_BYTES / 4).chain("...".chars()).collect(),
        false => note,
    }
}
