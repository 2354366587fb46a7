//! What is told of a rollout as Events of Kubernetes. Pure.

use serin_core::judge::explain::share;
use serin_core::rollout::event::{ArmStatus, Event, Verdict};

/// Something to be told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Announcement {
    /// Whether somebody should look.
    pub(crate) warning: bool,
    /// A word, which stays what it is.
    pub(crate) reason: &'static str,
    /// A sentence.
    pub(crate) note: String,
}

/// The longest note that a server takes is 1,024 bytes.
const LONGEST_NOTE: usize = 1_000;

/// What to tell of an event; nothing of those that are of no interest to a cluster.
#[must_use]
pub(crate) fn announcement(event: &Event) -> Option<Announcement> {
    let (warning, reason, note) = match event {
        Event::Started { baseline, candidate, .. } => {
            (false, "Started", format!("from {baseline} to {candidate}"))
        }
        Event::Watching { salts, .. } => {
            (false, "WatchingUsers", format!("users are watched by {salts} salts"))
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
        Event::Warned { message } => (true, "Warned", message.clone()),
        Event::GateOpened { step, status } => {
            let failed = |arm: &ArmStatus| {
                format!("{} failed {}", arm.version, share(arm.failures, arm.requests))
            };
            let (candidate, baseline) = (failed(&status.candidate), failed(&status.baseline));
            (false, "GateOpened", format!("step {step} passed: {candidate}, {baseline}"))
        }
        Event::Overrun { step, at_most, .. } => {
            (true, "Overrun", format!("step {step} has not passed its gate within {at_most} s"))
        }
        Event::Promoted { window } => {
            (false, "RollbackWindow", format!("promoted, and watched for another {window} s"))
        }
        Event::ApprovalNeeded { step } => {
            (true, "ApprovalNeeded", format!("step {step} has all it wants, but for an approval"))
        }
        Event::Frozen { until } => (false, "Frozen", format!("no gate opens before {until}")),
        Event::Thawed => (false, "Thawed", "the freeze is over".to_owned()),
        Event::Released => (false, "Released", "the hold is over".to_owned()),
        Event::CallFailed { point, why, .. } => (true, "HookFailed", format!("{point}: {why}")),
        Event::Ordered(order) => (false, "Ordered", order.to_string()),
        Event::RollingBack { reason } => (true, "RollingBack", reason.to_string()),
        Event::Ended(summary) => match summary.verdict {
            Verdict::Promoted => (false, "Promoted", format!("{} runs", summary.candidate)),
            Verdict::RolledBack => (true, "RolledBack", format!("{} stays", summary.baseline)),
            Verdict::Interrupted => (true, "Stopped", format!("{} stays", summary.baseline)),
        },
        Event::ProxyRestarted
        | Event::Progress(_)
        | Event::Calling { .. }
        | Event::Called { .. } => {
            return None;
        }
    };
    Some(Announcement { warning, reason, note: shortened(note) })
}

fn shortened(note: String) -> String {
    match note.len() > LONGEST_NOTE {
        true => note.chars().take(LONGEST_NOTE / 4).chain("...".chars()).collect(),
        false => note,
    }
}
