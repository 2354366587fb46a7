//! What a status says of a rollout under way, or just ended. Pure.

use std::time::Duration;

use jiff::Timestamp;
use serin_core::judge::explain::percent;
use serin_core::rollout::blocker::Obstacle;
use serin_core::rollout::event;
use serin_core::rollout::event::{Event, Reason, Sensitivity, Stage, Summary, Verdict};
use serin_core::rollout::machine::{Output, Rollout};

use crate::kubernetes::condition::{DEGRADED, Finding, PROGRESSING, READY, set};
use crate::kubernetes::status::{
    Evidence, HISTORY, ObjectStatus, OrderReport, Past, Phase, Retiring, UnderWay,
};

/// The longest state that is stored, in bytes: an object may have 1.5 MB, and others put things into it too.
pub(crate) const LONGEST_STATE: usize = 512 << 10;

/// When, and on the word of which object.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Moment {
    /// The generation of the object that was obeyed last.
    pub(crate) generation: i64,
    /// Now.
    pub(crate) now: Timestamp,
}

/// What a rollout began with.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Began<'r> {
    /// `spec`.
    pub(crate) spec: &'r str,
    /// Whether replicas follow the weights.
    pub(crate) scales: bool,
}

/// The status after a rollout has taken a step.
///
/// # Errors
/// Its state is too long to be stored.
pub(crate) fn progressed(
    before: &ObjectStatus,
    moment: Moment,
    began: Began<'_>,
    at: Duration,
    rollout: &Rollout,
    outputs: &[Output],
) -> Result<ObjectStatus, String> {
    let mut status = before.clone();
    status.observed_generation = moment.generation;
    status.generation = status.generation.max(rollout.split().generation.0);
    show_split(&mut status, rollout);
    let ended = outputs.iter().find_map(|output| match output {
        Output::Tell(event) => match &**event {
            Event::Ended(summary) => Some(summary),
            _ => None,
        },
        _ => None,
    });
    if let Some(summary) = ended {
        end(&mut status, moment, summary);
        status.retiring = retiring(summary).filter(|_| began.scales);
        return Ok(status);
    }
    let state = serde_json::to_string(rollout).map_err(|error| error.to_string())?;
    if state.len() > LONGEST_STATE {
        return Err(format!(
            "{} bytes are more than the {LONGEST_STATE} that are kept",
            state.len()
        ));
    }
    let plan = rollout.plan();
    status.under_way = Some(UnderWay {
        baseline: plan.baseline.clone(),
        candidate: plan.candidate.clone(),
        spec: began.spec.to_owned(),
        state,
        at_ms: u64::try_from(at.as_millis()).unwrap_or(u64::MAX),
        wall: moment.now,
    });
    status.stable = Some(plan.baseline.clone());
    // Whatever it was, this rollout may need it.
    status.retiring = None;
    show_progress(&mut status, moment, &rollout.status(), rollout.obstacle());
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

fn show_progress(
    status: &mut ObjectStatus,
    moment: Moment,
    shown: &event::Status,
    obstacle: Option<&Obstacle>,
) {
    status.phase = match shown.stage {
        Stage::GoingBack => Phase::RollingBack,
        Stage::Promoted => Phase::Promoted,
        _ if shown.paused => Phase::Paused,
        Stage::Preparing | Stage::Watching | Stage::Step => Phase::Progressing,
        // It ends as what it was.
        Stage::Ending => status.phase,
    };
    status.step = shown.step.map_or_else(String::new, |step| format!("{step}/{}", shown.steps));
    let (reason, doing) = doing(shown);
    status.message = match &shown.obstacle {
        Some(obstacle) => format!("{doing}; waiting: {obstacle}"),
        None => doing,
    };
    status.evidence = Some(evidence(shown));
    let message = status.message.clone();
    let under_way = Finding { type_: PROGRESSING, holds: true, reason, message };
    let ready = Finding {
        type_: READY,
        holds: false,
        reason: "Progressing".to_owned(),
        message: "a rollout is under way".to_owned(),
    };
    let degraded = match obstacle {
        Some(obstacle) => trouble(word(obstacle), obstacle.to_string()),
        None => as_expected(),
    };
    for finding in [ready, under_way, degraded] {
        set(&mut status.conditions, finding, moment.generation, moment.now);
    }
}

/// What is being done, as a word and as a sentence.
fn doing(shown: &event::Status) -> (String, String) {
    let event::Status { weight, step, steps, .. } = shown;
    let candidate = &shown.candidate.version;
    let step = || step.map_or_else(String::new, |step| format!("step {step} of {steps}, "));
    let (word, sentence) = match shown.stage {
        Stage::Preparing => {
            ("Preparing", "hooks are called before anything is asked for".to_owned())
        }
        Stage::Watching => ("WatchingUsers", "users are watched before the first step".to_owned()),
        Stage::GoingBack => ("RollingBack", "all traffic goes back to the baseline".to_owned()),
        Stage::Promoted => {
            ("RollbackWindow", format!("{candidate} serves everybody, and is watched"))
        }
        Stage::Ending => ("Ending", "hooks are told of the end".to_owned()),
        Stage::Step if shown.paused => {
            ("Paused", format!("{}{candidate} stays at {weight}", step()))
        }
        Stage::Step if shown.frozen.is_some() => {
            ("Frozen", format!("{}no gate opens in a freeze", step()))
        }
        Stage::Step if shown.live => {
            ("StepLive", format!("{}{weight} to {candidate}, live", step()))
        }
        Stage::Step => ("StepShifting", format!("{}{weight} to {candidate}, on its way", step())),
    };
    (word.to_owned(), sentence)
}

fn evidence(shown: &event::Status) -> Evidence {
    let (baseline, candidate) = (&shown.baseline, &shown.candidate);
    Evidence {
        baseline_requests: baseline.requests,
        baseline_failures: baseline.failures,
        candidate_requests: candidate.requests,
        candidate_failures: candidate.failures,
        against: format!("{:.1} of {:.0}", shown.evidence, shown.limit),
        detects: match shown.sensitivity {
            Sensitivity::Detects { failure_rate } => percent(failure_rate),
            _ => String::new(),
        },
        caveat: shown.caveat.clone().unwrap_or_default(),
    }
}

fn end(status: &mut ObjectStatus, moment: Moment, summary: &Summary) {
    let Summary { verdict, reason, baseline, candidate, confirmed, .. } = summary;
    let reason = reason.as_ref().map(Reason::to_string);
    let (phase, verdict) = match verdict {
        Verdict::Promoted => (Phase::Stable, "Promoted"),
        Verdict::RolledBack => (Phase::RolledBack, "RolledBack"),
        Verdict::Interrupted => (Phase::Stopped, "Stopped"),
    };
    let promoted = phase == Phase::Stable;
    status.phase = phase;
    status.stable = Some(if promoted { candidate } else { baseline }.clone());
    status.rejected = (!promoted).then(|| candidate.clone());
    (status.step, status.under_way, status.evidence) = (String::new(), None, None);
    status.message = match &reason {
        None => format!("{candidate} is promoted"),
        Some(reason) => format!("{baseline} stays: {reason}"),
    };
    status.history.insert(
        0,
        Past {
            baseline: baseline.clone(),
            candidate: candidate.clone(),
            verdict: verdict.to_owned(),
            reason,
            confirmed: *confirmed,
            ended: moment.now,
        },
    );
    status.history.truncate(HISTORY);
    let message = status.message.clone();
    resting(status, moment, &message);
}

/// The version that serves nobody any more. Where a proxy has not confirmed that, it may serve somebody.
fn retiring(summary: &Summary) -> Option<Retiring> {
    let version = match summary.verdict {
        Verdict::Promoted => &summary.baseline,
        Verdict::RolledBack | Verdict::Interrupted => &summary.candidate,
    };
    summary.confirmed.then(|| Retiring { version: version.clone(), trouble: None })
}

/// The status of an object for which nothing is being done.
#[must_use]
pub(crate) fn rested(before: &ObjectStatus, moment: Moment, phase: Phase) -> ObjectStatus {
    let mut status = before.clone();
    status.observed_generation = moment.generation;
    if phase == Phase::Stable {
        // Another candidate has been wanted since.
        status.rejected = None;
        // What is told of the last rollout stays.
        if before.phase != phase {
            status.message = "the version that is wanted runs".to_owned();
        }
    }
    status.phase = phase;
    let message = status.message.clone();
    resting(&mut status, moment, &message);
    status
}

fn resting(status: &mut ObjectStatus, moment: Moment, message: &str) {
    let word = format!("{:?}", status.phase);
    let stable = status.phase == Phase::Stable;
    let finding =
        |type_, holds| Finding { type_, holds, reason: word.clone(), message: message.to_owned() };
    let degraded = match stable {
        true => as_expected(),
        false => finding(DEGRADED, true),
    };
    for finding in [finding(READY, stable), finding(PROGRESSING, false), degraded] {
        set(&mut status.conditions, finding, moment.generation, moment.now);
    }
}

/// The status of an object whose rollout can't begin, or can't go on.
#[must_use]
pub(crate) fn stuck(before: &ObjectStatus, moment: Moment, word: &str, why: &str) -> ObjectStatus {
    let mut status = before.clone();
    status.observed_generation = moment.generation;
    if status.under_way.is_none() {
        status.phase = Phase::Pending;
    }
    status.message = why.to_owned();
    let finding =
        |type_| Finding { type_, holds: false, reason: word.to_owned(), message: why.to_owned() };
    let degraded = trouble(word.to_owned(), why.to_owned());
    for finding in [finding(READY), finding(PROGRESSING), degraded] {
        set(&mut status.conditions, finding, moment.generation, moment.now);
    }
    status
}

/// The status after an order was dealt with.
#[must_use]
pub(crate) fn reported(before: &ObjectStatus, report: OrderReport) -> ObjectStatus {
    ObjectStatus { order: Some(report), ..before.clone() }
}

fn trouble(reason: String, message: String) -> Finding {
    Finding { type_: DEGRADED, holds: true, reason, message }
}

fn as_expected() -> Finding {
    let (reason, message) = ("AsExpected".to_owned(), String::new());
    Finding { type_: DEGRADED, holds: false, reason, message }
}

/// The word for an obstacle: its kind, as the API has it, in the case of Kubernetes.
fn word(obstacle: &Obstacle) -> String {
    let value = serde_json::to_value(obstacle).unwrap_or_default();
    let kind = value.get("kind").and_then(serde_json::Value::as_str).unwrap_or("obstacle");
    let mut letters = kind.chars();
    letters.next().map(|first| first.to_ascii_uppercase()).into_iter().chain(letters).collect()
}

#[cfg(test)]
mod tests;
