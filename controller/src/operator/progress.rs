//! The status of a rollout under way, or just ended. Pure.

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

/// The longest state that is stored, in bytes: an object may have 1.5 MB, and other writers use it too.
pub(crate) const MAX_STATE_BYTES: usize = 512 << 10;

/// The time of a status, and the generation of its object.
#[derive(Debug, Clone, Copy)]
pub(crate) struct StatusContext {
    /// The generation of the object that the rollout follows.
    pub(crate) generation: i64,
    /// Now.
    pub(crate) now: Timestamp,
}

/// The start of a rollout.
#[derive(Debug, Clone, Copy)]
pub(crate) struct StartedWith<'r> {
    /// `spec`.
    pub(crate) spec: &'r str,
    /// Whether replicas follow the weights.
    pub(crate) scales: bool,
}

/// The status after a rollout has taken a step.
///
/// # Errors
/// Its state is too long to store.
pub(crate) fn progressed(
    before: &ObjectStatus,
    moment: StatusContext,
    began: StartedWith<'_>,
    at: Duration,
    rollout: &Rollout,
    outputs: &[Output],
) -> Result<ObjectStatus, String> {
    let mut status = before.clone();
    status.observed_generation = moment.generation;
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
        end(&mut status, moment, summary);
        status.pending_scale_down = pending_scale_down(summary).filter(|_| began.scales);
        return Ok(status);
    }
    let state = serde_json::to_string(rollout).map_err(|error| error.to_string())?;
    if state.len() > MAX_STATE_BYTES {
        return Err(format!(
            "{} bytes are more than the {MAX_STATE_BYTES} that are kept",
            state.len()
        ));
    }
    let plan = rollout.plan();
    status.checkpoint = Some(StatusCheckpoint {
        baseline: plan.baseline.clone(),
        candidate: plan.candidate.clone(),
        spec: began.spec.to_owned(),
        state,
        at_ms: u64::try_from(at.as_millis()).unwrap_or(u64::MAX),
        wall: moment.now,
    });
    status.stable = Some(plan.baseline.clone());
    // This rollout may need the version.
    status.pending_scale_down = None;
    show_progress(&mut status, moment, rollout);
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

fn show_progress(status: &mut ObjectStatus, moment: StatusContext, rollout: &Rollout) {
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
    let under_way = ConditionUpdate { type_: PROGRESSING, holds: true, reason, message };
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
    for finding in [ready, under_way, degraded] {
        set(&mut status.conditions, finding, moment.generation, moment.now);
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

fn end(status: &mut ObjectStatus, moment: StatusContext, summary: &Summary) {
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
            ended: moment.now,
        },
    );
    status.history.truncate(MAX_HISTORY);
    let message = status.message.clone();
    set_idle(status, moment, &message);
}

/// The version that serves no users. It may serve some until every proxy has confirmed the split.
fn pending_scale_down(summary: &Summary) -> Option<PendingScaleDown> {
    let version = match summary.verdict {
        RolloutVerdict::Promoted => &summary.baseline,
        RolloutVerdict::RolledBack | RolloutVerdict::Interrupted => &summary.candidate,
    };
    summary.confirmed.then(|| PendingScaleDown { version: version.clone(), problem: None })
}

/// The status of an object without a rollout under way.
#[must_use]
pub(crate) fn idle_status(
    before: &ObjectStatus,
    moment: StatusContext,
    phase: RolloutPhase,
) -> ObjectStatus {
    let mut status = before.clone();
    status.observed_generation = moment.generation;
    if phase == RolloutPhase::Stable {
        // spec.candidate has been another version since.
        status.rejected = None;
        // The message of the last rollout stays.
        if before.phase != phase {
            status.message = "the desired version runs".to_owned();
        }
    }
    status.phase = phase;
    let message = status.message.clone();
    set_idle(&mut status, moment, &message);
    status
}

fn set_idle(status: &mut ObjectStatus, moment: StatusContext, message: &str) {
    let word = format!("{:?}", status.phase);
    let stable = status.phase == RolloutPhase::Stable;
    let finding = |type_, holds| ConditionUpdate {
        type_,
        holds,
        reason: word.clone(),
        message: message.to_owned(),
    };
    let degraded = match stable {
        true => not_degraded(),
        false => finding(DEGRADED, true),
    };
    for finding in [finding(READY, stable), finding(PROGRESSING, false), degraded] {
        set(&mut status.conditions, finding, moment.generation, moment.now);
    }
}

/// The status of an object whose rollout can't begin or continue.
#[must_use]
pub(crate) fn error_status(
    before: &ObjectStatus,
    moment: StatusContext,
    word: &str,
    reason: &str,
) -> ObjectStatus {
    let mut status = before.clone();
    status.observed_generation = moment.generation;
    if status.checkpoint.is_none() {
        status.phase = RolloutPhase::Pending;
    }
    status.message = reason.to_owned();
    let finding = |type_| ConditionUpdate {
        type_,
        holds: false,
        reason: word.to_owned(),
        message: reason.to_owned(),
    };
    let degraded = degraded(word.to_owned(), reason.to_owned());
    for finding in [finding(READY), finding(PROGRESSING), degraded] {
        set(&mut status.conditions, finding, moment.generation, moment.now);
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
