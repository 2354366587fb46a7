//! Events and statuses as text for a terminal.

use std::time::Duration;

use console::{StyledObject, style};
use serin_core::judge::explain::percent;
use serin_core::rollout::event::{Event, MetricStatus, RolloutStatus, RolloutVerdict, Summary};
use serin_filter::outcome::Failure;

use crate::server::api::RolloutView;
use crate::storage::sqlite::{QueueState, RolloutEntry};

/// An event as lines of a terminal.
pub(super) fn lines(at: Duration, event: &Event) -> Vec<String> {
    let line = |text: String| format!("{}  {text}", timestamp(at));
    match event {
        Event::Progress(status) => vec![progress(at, status)],
        Event::Ended(summary) => ended(summary),
        _ => {
            let text = match label(event) {
                Some(label) => format!("{label} {event}"),
                None => event.to_string(),
            };
            [Some(text), event.caveat()].into_iter().flatten().map(line).collect()
        }
    }
}

/// The coloured word in front of an event.
fn label(event: &Event) -> Option<StyledObject<&'static str>> {
    match event {
        Event::Blocked { .. } => Some(style("blocked:").yellow()),
        Event::Unblocked => Some(style("unblocked:").green()),
        Event::Warning { .. } => Some(style("warning:").yellow()),
        Event::StepTimeout { .. } => Some(style("timeout:").yellow()),
        Event::Promoted { .. } => Some(style("promoted:").green()),
        Event::ApprovalNeeded { .. } => Some(style("waiting:").yellow()),
        Event::FreezeStarted { .. } => Some(style("frozen:").yellow()),
        Event::RollingBack { .. } => Some(style("rolling back:").red()),
        _ => None,
    }
}

/// Progress in one line.
pub(super) fn progress(at: Duration, status: &RolloutStatus) -> String {
    if let Some(requests) = status.aa_test_requests {
        return aa_test(at, status, requests);
    }
    let position = status.position();
    let baked = format!("{} of {}", span(status.baked), span(status.bake));
    let evidence = format!("evidence {:.1} of {:.0}", status.evidence, status.limit);
    let comparison = status.comparison();
    let metric = |metric: &MetricStatus| format!("; {} {}", metric.name, values(metric));
    let metrics: String = status.metrics.iter().map(metric).collect();
    format!(
        "{}  {position}: {}, {baked}; {comparison}; {evidence}{metrics}",
        timestamp(at),
        status.weight
    )
}

/// The last values of a metric.
pub(super) fn values(MetricStatus { baseline, candidate, .. }: &MetricStatus) -> String {
    let candidate = candidate.map_or_else(|| "unknown".to_owned(), |value| value.to_string());
    match baseline {
        Some(baseline) => format!("{candidate} (baseline {baseline})"),
        None => candidate,
    }
}

/// A rollout of the server in one line.
pub(super) fn rollout_line(RolloutView { entry, status }: &RolloutView) -> String {
    let RolloutEntry { id, name, service, phase, outcome, .. } = entry;
    let state = match (phase, status, outcome) {
        (QueueState::Queued, ..) => "queued".to_owned(),
        (QueueState::Running, Some(status), _) => {
            let paused = match (status.paused, &status.freeze_end) {
                (true, _) => ", paused",
                (false, Some(_)) => ", frozen",
                (false, None) => "",
            };
            let blocker = status.blocker.as_ref();
            let blocked =
                blocker.map_or_else(String::new, |blocker| format!("; blocked: {blocker}"));
            format!(
                "{}, {}{paused}; {}{blocked}",
                status.position(),
                status.weight,
                status.comparison()
            )
        }
        (QueueState::Running, None, _) => "running".to_owned(),
        (QueueState::Ended | QueueState::Failed, _, outcome) => outcome.clone().unwrap_or_default(),
    };
    format!("{id:>4}  {name:<20} {service:<16} {state}")
}

/// A rollout that ended or is in its rollback window, in one line.
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

fn aa_test(at: Duration, status: &RolloutStatus, requests: u64) -> String {
    let (elapsed, duration) = (span(status.baked), span(status.bake));
    let needed = status.requests_needed;
    format!("{}  A/A test: {elapsed} of {duration}, {requests} of {needed} requests", timestamp(at))
}

fn ended(summary: &Summary) -> Vec<String> {
    let Summary { baseline, candidate, .. } = summary;
    let title = match summary.verdict {
        RolloutVerdict::Promoted => style(format!("PROMOTED: {summary}")).green(),
        RolloutVerdict::RolledBack => style(format!("ROLLED BACK: {summary}")).red(),
        RolloutVerdict::Interrupted => style(format!("INTERRUPTED: {summary}")).yellow(),
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
    lines.push(format!(
        "  exposure  {} requests reached {candidate}, {failed} of them failed{kinds}",
        summary.candidate_requests
    ));
    let confirmed = if summary.confirmed {
        "confirmed by every worker"
    } else {
        "written, not confirmed by Envoy"
    };
    lines.push(format!(
        "  weights   {baseline} {}, {candidate} {} (generation {}), {confirmed}",
        summary.weight.rest(),
        summary.weight,
        summary.generation
    ));
    lines
}

/// The kind of a failure.
fn failure_text(failure: Failure) -> &'static str {
    match failure {
        Failure::Status => "HTTP 5xx",
        Failure::Grpc => "gRPC errors",
        Failure::Reset => "connection resets",
        Failure::Connect => "connection failures",
        Failure::Timeout => "timeouts",
        Failure::Unavailable => "without a healthy upstream",
        Failure::Unrouted => "without a route",
    }
}

/// The time since the rollout started.
fn timestamp(at: Duration) -> String {
    format!("{:>7.1}s", at.as_secs_f64())
}

/// A duration in whole seconds.
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
    fn the_summary_shows_verdict_reason_exposure_and_weights() {
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
                "ROLLED BACK: shop stays on v1",
                "  reason    30.0 % (3 of 10) of v2's requests failed, 0 % (0 of 90) of v1's \
                 (evidence 636, limit 100, block 19)",
                "  duration  28.6 s",
                "  exposure  881 requests reached v2, 74 of them failed (70 HTTP 5xx, 4 connection resets)",
                "  weights   v1 100 %, v2 0 % (generation 4), confirmed by every worker",
            ]
        );
    }
}
