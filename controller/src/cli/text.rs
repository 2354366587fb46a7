//! Events in words.

use std::time::Duration;

use console::style;
use serin_core::judge::explain::{percent, share};
use serin_core::rollout::event::{
    ArmStatus, Event, MetricStatus, RolloutStatus, RolloutVerdict, Sensitivity, Stage, Summary,
};
use serin_core::rollout::plan::TimeoutAction;
use serin_filter::outcome::Failure;

use crate::server::api::RolloutView;
use crate::storage::sqlite::{QueueState, RolloutEntry};

/// The lines that tell an event.
pub(super) fn lines(at: Duration, event: &Event) -> Vec<String> {
    let say = |what: String| vec![format!("{}  {what}", timestamp(at))];
    match event {
        Event::Started { service, baseline, candidate, steps, breaking } => {
            let weights: Vec<_> = steps.iter().map(ToString::to_string).collect();
            let mut lines =
                say(format!("{service}: from {baseline} to {candidate} by {}", weights.join(", ")));
            if *breaking {
                lines.extend(say(format!(
                    "{} both versions answer while the workers take up the switch, and what they share, such as a database, \
                     is used by both for as long as both run",
                    style("breaking:").yellow()
                )));
            }
            lines
        }
        Event::AaTesting { salts, duration, requests, .. } => say(format!(
            "watching users by {salts} salts, for {} and {requests} requests: the baseline serves everybody",
            span(Duration::from_secs_f64(*duration))
        )),
        Event::SaltChosen { salt, bias } => {
            let bias: Vec<_> = bias.iter().map(|bias| percent(*bias)).collect();
            say(format!(
                "salt {salt:?} divides users best; the margins are wider by what they may differ still: {} in the steps",
                bias.join(", ")
            ))
        }
        Event::Shifting { step: Some(step), weight, generation } => {
            say(format!("step {step}: {weight} asked for (generation {generation})"))
        }
        Event::Shifting { step: None, weight, generation } => {
            say(format!("{weight} asked for (generation {generation})"))
        }
        Event::Live { weight, after, .. } => {
            say(format!("{weight} live in every worker after {after:.1} s"))
        }
        Event::Blocked { message, .. } => say(format!("{} {message}", style("blocked:").yellow())),
        Event::Unblocked => say(format!("{} going on", style("unblocked:").green())),
        Event::Warning { message } => say(format!("{} {message}", style("warning:").yellow())),
        Event::ProxyRestarted => {
            say("Envoy was started anew; its counters begin from zero".to_owned())
        }
        Event::Progress(status) => vec![progress(at, status)],
        Event::GateOpened { step, status } => {
            let passed = style("passed:").green();
            let mut lines = say(format!(
                "step {step} {passed} {}; {}",
                compared(status),
                sensitivity_text(status)
            ));
            let caveat = status.caveat.iter().filter(|_| *step == 1);
            lines.extend(caveat.flat_map(|caveat| say(format!("not covered: {caveat}"))));
            lines
        }
        Event::StepTimeout { step, at_most, then } => {
            let then = match then {
                TimeoutAction::Advance => "going on without:".to_owned(),
                TimeoutAction::Pause | TimeoutAction::RollBack => {
                    style("paused:").yellow().to_string()
                }
            };
            let at_most = span(Duration::from_secs_f64(*at_most));
            say(format!("{then} step {step} has not passed its gate within {at_most}"))
        }
        Event::Promoted { window } => say(format!(
            "{} watched for another {}",
            style("promoted:").green(),
            span(Duration::from_secs_f64(*window))
        )),
        Event::ApprovalNeeded { step } => say(format!(
            "{} step {step} has all its gate wants, but for an approval",
            style("waiting:").yellow()
        )),
        Event::FreezeStarted { until } => {
            say(format!("{} no gate opens before {until}", style("frozen:").yellow()))
        }
        Event::FreezeEnded => say("the freeze is over".to_owned()),
        Event::PauseExpired => say("the hold is over".to_owned()),
        Event::HookCalled { point, hook, instances, .. } => {
            let instances = match instances.is_empty() {
                true => String::new(),
                false => format!(" for {}", instances.join(", ")),
            };
            say(format!("{point}: calling {hook}{instances}"))
        }
        Event::HookSucceeded { point, .. } => say(format!("{point}: {}", style("yes").green())),
        Event::HookFailed { point, reason: why, .. } => {
            say(format!("{point}: {} {why}", style("no:").yellow()))
        }
        Event::Command(order) => say(order.to_string()),
        Event::RollingBack { reason } => say(format!("{} {reason}", style("rolling back:").red())),
        Event::Ended(summary) => ended(summary),
    }
}

/// Progress in one line.
pub(super) fn progress(at: Duration, status: &RolloutStatus) -> String {
    if let Some(requests) = status.aa_test_requests {
        return watching(at, status, requests);
    }
    let position = position(status);
    let baked = format!("{} of {}", span(status.baked), span(status.bake));
    let evidence = format!("evidence {:.1} of {:.0}", status.evidence, status.limit);
    let compared = compared(status);
    let metric = |metric: &MetricStatus| format!("; {} {}", metric.name, values(metric));
    let metrics: String = status.metrics.iter().map(metric).collect();
    format!(
        "{}  {position}: {}, {baked}; {compared}; {evidence}{metrics}",
        timestamp(at),
        status.weight
    )
}

/// What a metric was measured to be.
pub(super) fn values(MetricStatus { baseline, candidate, .. }: &MetricStatus) -> String {
    let candidate = candidate.map_or_else(|| "unknown".to_owned(), |value| value.to_string());
    match baseline {
        Some(baseline) => format!("{candidate} (baseline {baseline})"),
        None => candidate,
    }
}

/// A rollout of a server, in one line.
pub(super) fn rollout_line(RolloutView { entry, status }: &RolloutView) -> String {
    let RolloutEntry { id, name, service, phase, outcome, .. } = entry;
    let stands = match (phase, status, outcome) {
        (QueueState::Queued, ..) => "queued".to_owned(),
        (QueueState::Running, Some(status), _) => {
            let paused = match (status.paused, &status.freeze_end) {
                (true, _) => ", paused",
                (false, Some(_)) => ", frozen",
                (false, None) => "",
            };
            let obstacle =
                status.blocker.as_ref().map_or_else(String::new, |o| format!("; blocked: {o}"));
            format!(
                "{}, {}{paused}; {}{obstacle}",
                position(status),
                status.weight,
                compared(status)
            )
        }
        (QueueState::Running, None, _) => "under way".to_owned(),
        (QueueState::Ended | QueueState::Failed, _, outcome) => outcome.clone().unwrap_or_default(),
    };
    format!("{id:>4}  {name:<20} {service:<16} {stands}")
}

/// A rollout that has ended, or is in its rollback window, in one line.
pub(super) fn history_line(entry: &RolloutEntry) -> String {
    let RolloutEntry { id, name, service, baseline, candidate, promoted, ended, outcome, .. } =
        entry;
    let outcome = match (outcome.as_deref(), promoted) {
        (Some("promoted") | None, Some(promoted)) => format!("promoted {promoted}"),
        (Some(outcome), Some(promoted)) => format!("{outcome}, after promotion {promoted}"),
        (outcome, None) => outcome.unwrap_or_default().to_owned(),
    };
    let ended =
        ended.map_or_else(|| "in its rollback window".to_owned(), |ended| ended.to_string());
    format!("{id:>4}  {ended}  {name:<20} {service:<16} {baseline} -> {candidate}  {outcome}")
}

/// How far the rollout is.
pub(super) fn position(status: &RolloutStatus) -> String {
    match (status.stage, status.step) {
        (Stage::Preparing, _) => "calling hooks".to_owned(),
        (Stage::AaTesting, _) => "watching users".to_owned(),
        (Stage::Step, step) => format!("step {} of {}", step.unwrap_or(0), status.steps),
        (Stage::Promoted, _) => "promoted".to_owned(),
        (Stage::RollingBack, _) => "going back".to_owned(),
        (Stage::Ending, _) => "ending".to_owned(),
    }
}

fn watching(at: Duration, status: &RolloutStatus, requests: u64) -> String {
    let (watched, time) = (span(status.baked), span(status.bake));
    let needed = status.requests_needed;
    format!(
        "{}  watching users: {watched} of {time}, {requests} of {needed} requests",
        timestamp(at)
    )
}

/// How both versions did.
fn compared(status: &RolloutStatus) -> String {
    let failed = |arm: &ArmStatus| share(arm.failures, arm.requests);
    let RolloutStatus { baseline, candidate, .. } = status;
    format!(
        "{} failed {}, {} {}",
        candidate.version,
        failed(candidate),
        baseline.version,
        failed(baseline)
    )
}

/// What it is worth that a step has passed.
fn sensitivity_text(status: &RolloutStatus) -> String {
    let candidate = &status.candidate.version;
    match status.sensitivity {
        Sensitivity::Detects { failure_rate } => {
            let rate = percent(failure_rate);
            format!("had {candidate} failed {rate} or more, this step would have seen it")
        }
        Sensitivity::Nothing => format!(
            "too few requests to see even a {candidate} that always fails; ask for more in bake.requests"
        ),
        Sensitivity::Objectives => {
            format!("no baseline left at {}: {candidate} was held to its objectives", status.weight)
        }
        Sensitivity::NoBaseline => {
            format!("no baseline left at {}: {candidate} was watched, not compared", status.weight)
        }
        Sensitivity::Preview { requests } => {
            format!("{requests} requests asked for {candidate}, none of them failed")
        }
    }
}

fn ended(summary: &Summary) -> Vec<String> {
    let Summary { service, baseline, candidate, .. } = summary;
    let title = match summary.verdict {
        RolloutVerdict::Promoted => style(format!("PROMOTED: {service} is {candidate}")).green(),
        RolloutVerdict::RolledBack => {
            style(format!("ROLLED BACK: {service} stays {baseline}")).red()
        }
        RolloutVerdict::Interrupted => {
            style(format!("INTERRUPTED: {service} stays {baseline}")).yellow()
        }
    };
    let mut lines = vec![String::new(), title.bold().to_string()];
    if let Some(reason) = &summary.reason {
        lines.push(format!("  reason    {reason}"));
    }
    lines.push(format!("  duration  {:.1} s", summary.duration.as_secs_f64()));
    let failed: u64 = summary.candidate_failures.values().sum();
    let kinds: Vec<_> = summary
        .candidate_failures
        .iter()
        .map(|(failure, count)| format!("{count} {}", failure_text(*failure)))
        .collect();
    let kinds = if kinds.is_empty() { String::new() } else { format!(" ({})", kinds.join(", ")) };
    let met = summary.candidate_requests;
    lines.push(format!(
        "  exposure  {met} requests met {candidate}, {failed} of them failed{kinds}"
    ));
    let confirmed = if summary.confirmed {
        "confirmed by every worker"
    } else {
        "written, but not confirmed by Envoy"
    };
    lines.push(format!(
        "  weights   {baseline} {}, {candidate} {} (generation {}), {confirmed}",
        summary.weight.rest(),
        summary.weight,
        summary.generation
    ));
    lines
}

/// What became of requests that failed.
fn failure_text(failure: Failure) -> &'static str {
    match failure {
        Failure::Status => "with a status of 5xx",
        Failure::Grpc => "with a gRPC status",
        Failure::Reset => "by a reset connection",
        Failure::Connect => "for want of a connection",
        Failure::Timeout => "by a timeout",
        Failure::Unavailable => "for want of an instance",
        Failure::Unrouted => "for want of a route",
    }
}

/// The time since the rollout began.
fn timestamp(at: Duration) -> String {
    format!("{:>7.1}s", at.as_secs_f64())
}

/// A span of time to the second.
pub(super) fn span(span: Duration) -> String {
    humantime::format_duration(Duration::from_secs(span.as_secs())).to_string()
}

/// A rate that may be unknown.
pub(super) fn rate(rate: Option<f64>) -> String {
    rate.map_or_else(|| "-".to_owned(), percent)
}

#[cfg(test)]
mod tests {
    use serin_core::rollout::event::RollbackReason;

    use super::*;

    #[test]
    fn the_end_names_verdict_cause_exposure_and_weights() {
        let summary = Summary {
            verdict: RolloutVerdict::RolledBack,
            reason: Some(RollbackReason::Harm {
                sli: "errors".to_owned(),
                sentence: "30.0 % (3 of 10) of v2's requests failed, 0 % (0 of 90) of v1's"
                    .to_owned(),
                evidence: 636.4,
                limit: 100.0,
                block: 19,
            }),
            service: "shop".parse().unwrap(),
            baseline: "v1".parse().unwrap(),
            candidate: "v2".parse().unwrap(),
            weight: serin_filter::table::Weight::ZERO,
            generation: serin_filter::names::Generation(4),
            confirmed: true,
            duration: Duration::from_millis(28_640),
            candidate_requests: 881,
            candidate_failures: [(Failure::Status, 70), (Failure::Reset, 4)].into(),
        };
        let lines = lines(Duration::ZERO, &Event::Ended(summary));
        let lines: Vec<_> = lines.iter().map(|line| console::strip_ansi_codes(line)).collect();
        assert_eq!(
            lines,
            [
                "",
                "ROLLED BACK: shop stays v1",
                "  reason    30.0 % (3 of 10) of v2's requests failed, 0 % (0 of 90) of v1's \
                 (evidence 636, limit 100, block 19)",
                "  duration  28.6 s",
                "  exposure  881 requests met v2, 74 of them failed (70 with a status of 5xx, 4 by a reset connection)",
                "  weights   v1 100 %, v2 0 % (generation 4), confirmed by every worker",
            ]
        );
    }
}
