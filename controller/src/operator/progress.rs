//! The status of an object for the state of its rollout. Pure.

use std::time::Duration;

use jiff::Timestamp;
use serin_core::judge::explain::percent;
use serin_core::rollout::blocker::Blocker;
use serin_core::rollout::event;
use serin_core::rollout::event::{
    Event, RollbackReason, RolloutVerdict, Sensitivity, Stage, Summary,
};
use serin_core::rollout::machine::{Output, Rollout};

use crate::kubernetes::condition::{ConditionUpdate, DEGRADED, PROGRESSING, READY, set};
use crate::kubernetes::status::{
    CommandReport, EvidenceStatus, HistoryEntry, MAX_HISTORY, ObjectStatus, PendingScaleDown,
    RolloutPhase, StatusCheckpoint,
};

/// The maximum length of a stored state, in bytes. An object may have 1.5 MB, which it shares with
/// other writers.
pub(crate) const MAX_STATE_BYTES: usize = 512 << 10;

/// The context of a status.
#[derive(Debug, Clone, Copy)]
pub(crate) struct StatusContext {
    /// The generation of the object that the rollout follows.
    pub(crate) generation: i64,
    /// The present time.
    pub(crate) now: Timestamp,
}

/// The configuration with which a rollout started.
#[derive(Debug, Clone, Copy)]
pub(crate) struct StartedWith<'r> {
    /// `spec`.
    pub(crate) spec: &'r str,
    /// Whether replicas follow the weights.
    pub(crate) scales: bool,
}

/// The status after an input to the state machine.
///
/// # Errors
/// The state is too long for an object.
pub(crate) fn progressed(
    before: &ObjectStatus,
    context: StatusContext,
    started: StartedWith<'_>,
    at: Duration,
    rollout: &Rollout,
    outputs: &[Output],
) -> Result<ObjectStatus, String> {
    let mut status = before.clone();
    status.observed_generation = context.generation;
    status.generation = status.generation.max(rollout.split().generation.0);
    show_split(&mut status, rollout);
    let ended = outputs.iter().find_map(|output| match output {
        Output::Emit(event) => match &**event {
            Event::Ended(summary) => Some(summary),
            _ => None,
        },
        _ => None,
    });
    if let Some(summary) = ended {
        end(&mut status, context, summary);
        status.pending_scale_down = pending_scale_down(summary).filter(|_| started.scales);
        return Ok(status);
    }
    let state = serde_json::to_string(rollout).map_err(|error| error.to_string())?;
    if state.len() > MAX_STATE_BYTES {
        return Err(format!(
            "the state has {} bytes; a status has room for {MAX_STATE_BYTES}",
            state.len()
        ));
    }
    let plan = rollout.plan();
    status.checkpoint = Some(StatusCheckpoint {
        baseline: plan.baseline.clone(),
        candidate: plan.candidate.clone(),
        spec: started.spec.to_owned(),
        state,
        at_ms: u64::try_from(at.as_millis()).unwrap_or(u64::MAX),
        wall: context.now,
    });
    status.stable = Some(plan.baseline.clone());
    // This rollout may need the version that was about to be scaled down.
    status.pending_scale_down = None;
    show_progress(&mut status, context, rollout);
    Ok(status)
}

fn show_split(status: &mut ObjectStatus, rollout: &Rollout) {
    let (plan, weight) = (rollout.plan(), rollout.split().candidate);
    status.weight = weight.to_string();
    status.weights = [
        (plan.baseline.clone(), weight.rest().to_string()),
        (plan.candidate.clone(), weight.to_string()),
    ]
    .into();
}

fn show_progress(status: &mut ObjectStatus, context: StatusContext, rollout: &Rollout) {
    let view = &rollout.status();
    status.phase = match view.stage {
        Stage::RollingBack => RolloutPhase::RollingBack,
        Stage::Promoted => RolloutPhase::Promoted,
        _ if view.paused => RolloutPhase::Paused,
        Stage::Preparing | Stage::AaTesting | Stage::Step => RolloutPhase::Progressing,
        // The phase stays until the end.
        Stage::Ending => status.phase,
    };
    status.step = view.step.map_or_else(String::new, |step| format!("{step}/{}", view.steps));
    let reason = view.reason().to_owned();
    status.message = match &view.blocker {
        Some(blocker) => format!("{view}; blocked: {blocker}"),
        None => view.to_string(),
    };
    status.evidence = Some(evidence(view));
    let message = status.message.clone();
    let progressing = ConditionUpdate { type_: PROGRESSING, holds: true, reason, message };
    let ready = ConditionUpdate {
        type_: READY,
        holds: false,
        reason: "Progressing".to_owned(),
        message: "a rollout is under way".to_owned(),
    };
    let degraded = match (rollout.blocker(), rollout.warning()) {
        (Some(blocker), _) => degraded(blocker_reason(blocker), blocker.to_string()),
        (None, Some(warning)) => degraded("Warning".to_owned(), warning.to_owned()),
        (None, None) => not_degraded(),
    };
    for update in [ready, progressing, degraded] {
        set(&mut status.conditions, update, context.generation, context.now);
    }
}

fn evidence(view: &event::RolloutStatus) -> EvidenceStatus {
    let (baseline, candidate) = (&view.baseline, &view.candidate);
    EvidenceStatus {
        baseline_requests: baseline.requests,
        baseline_failures: baseline.failures,
        candidate_requests: candidate.requests,
        candidate_failures: candidate.failures,
        against: format!("{:.1} of {:.0}", view.evidence, view.limit),
        detects: match view.sensitivity {
            Sensitivity::Detects { failure_rate } => percent(failure_rate),
            _ => String::new(),
        },
        caveat: view.caveat.clone().unwrap_or_default(),
    }
}

fn end(status: &mut ObjectStatus, context: StatusContext, summary: &Summary) {
    let Summary { verdict, reason, baseline, candidate, confirmed, .. } = summary;
    let reason = reason.as_ref().map(RollbackReason::to_string);
    let (phase, verdict) = match verdict {
        RolloutVerdict::Promoted => (RolloutPhase::Stable, "Promoted"),
        RolloutVerdict::RolledBack => (RolloutPhase::RolledBack, "RolledBack"),
        RolloutVerdict::Interrupted => (RolloutPhase::Stopped, "Stopped"),
    };
    let promoted = phase == RolloutPhase::Stable;
    status.phase = phase;
    status.stable = Some(if promoted { candidate } else { baseline }.clone());
    status.rejected = (!promoted).then(|| candidate.clone());
    (status.step, status.checkpoint, status.evidence) = (String::new(), None, None);
    status.message = match &reason {
        None => format!("{candidate} is promoted"),
        Some(reason) => format!("{baseline} stays: {reason}"),
    };
    status.history.insert(
        0,
        HistoryEntry {
            baseline: baseline.clone(),
            candidate: candidate.clone(),
            verdict: verdict.to_owned(),
            reason,
            confirmed: *confirmed,
            ended: context.now,
        },
    );
    status.history.truncate(MAX_HISTORY);
    let message = status.message.clone();
    set_idle(status, context, &message);
}

/// The version that serves no users. Until every proxy has confirmed the split, it may serve some.
fn pending_scale_down(summary: &Summary) -> Option<PendingScaleDown> {
    let version = match summary.verdict {
        RolloutVerdict::Promoted => &summary.baseline,
        RolloutVerdict::RolledBack | RolloutVerdict::Interrupted => &summary.candidate,
    };
    summary.confirmed.then(|| PendingScaleDown { version: version.clone(), problem: None })
}

/// The status of an object without a rollout in progress.
#[must_use]
pub(crate) fn idle_status(
    before: &ObjectStatus,
    context: StatusContext,
    phase: RolloutPhase,
) -> ObjectStatus {
    let mut status = before.clone();
    status.observed_generation = context.generation;
    if phase == RolloutPhase::Stable {
        // spec.candidate was another version in the meantime.
        status.rejected = None;
        // The message of the last rollout stays.
        if before.phase != phase {
            status.message = "the desired version runs".to_owned();
        }
    }
    status.phase = phase;
    let message = status.message.clone();
    set_idle(&mut status, context, &message);
    status
}

fn set_idle(status: &mut ObjectStatus, context: StatusContext, message: &str) {
    let reason = format!("{:?}", status.phase);
    let stable = status.phase == RolloutPhase::Stable;
    let update = |type_, holds| ConditionUpdate {
        type_,
        holds,
        reason: reason.clone(),
        message: message.to_owned(),
    };
    let degraded = match stable {
        true => not_degraded(),
        false => update(DEGRADED, true),
    };
    for update in [update(READY, stable), update(PROGRESSING, false), degraded] {
        set(&mut status.conditions, update, context.generation, context.now);
    }
}

/// The status of an object whose rollout can't start or continue.
#[must_use]
pub(crate) fn error_status(
    before: &ObjectStatus,
    context: StatusContext,
    reason: &str,
    message: &str,
) -> ObjectStatus {
    let mut status = before.clone();
    status.observed_generation = context.generation;
    if status.checkpoint.is_none() {
        status.phase = RolloutPhase::Pending;
    }
    status.message = message.to_owned();
    let update = |type_| ConditionUpdate {
        type_,
        holds: false,
        reason: reason.to_owned(),
        message: message.to_owned(),
    };
    let degraded = degraded(reason.to_owned(), message.to_owned());
    for update in [update(READY), update(PROGRESSING), degraded] {
        set(&mut status.conditions, update, context.generation, context.now);
    }
    status
}

/// The status after a command was handled.
#[must_use]
pub(crate) fn command_status(before: &ObjectStatus, report: CommandReport) -> ObjectStatus {
    ObjectStatus { command: Some(report), ..before.clone() }
}

fn degraded(reason: String, message: String) -> ConditionUpdate {
    ConditionUpdate { type_: DEGRADED, holds: true, reason, message }
}

fn not_degraded() -> ConditionUpdate {
    let (reason, message) = ("AsExpected".to_owned(), String::new());
    ConditionUpdate { type_: DEGRADED, holds: false, reason, message }
}

/// The reason of a condition: the kind of the blocker in CamelCase.
#[must_use]
pub(crate) fn blocker_reason(blocker: &Blocker) -> String {
    let value = serde_json::to_value(blocker).unwrap_or_default();
    let kind = value.get("kind").and_then(serde_json::Value::as_str).unwrap_or("blocked");
    let mut letters = kind.chars();
    letters.next().map(|first| first.to_ascii_uppercase()).into_iter().chain(letters).collect()
}

#[cfg(test)]
mod tests;
