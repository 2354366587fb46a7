//! The live view of a rollout.

use std::time::Duration;

use console::style;
use serin_core::judge::Interval;
use serin_core::judge::explain::percent;
use serin_core::rollout::event::{
    ArmStatus, MetricStatus, NonInferiorityStatus, RolloutStatus, Sensitivity,
};

use super::text::{rate, span, values};

/// Width of a progress bar in cells.
const BAR: usize = 24;

/// The view as lines.
pub(super) fn view(at: Duration, status: &RolloutStatus) -> Vec<String> {
    let position = status.position();
    let requests = gate_requests(status);
    let state = if status.live { style("live").green() } else { style("shifting").yellow() };
    let left =
        status.time_left.map_or_else(String::new, |left| format!("   about {} left", span(left)));
    let weight = style(status.weight).bold();
    let Interval { low, high } = status.difference;
    let mut lines = vec![
        String::new(),
        format!("  {position}   {weight}   {state}   {} passed{left}", span(at)),
        format!(
            "  bake      {} {} of {}, {} of {} requests",
            bar(done(status), console::Color::Green),
            span(status.baked),
            span(status.bake),
            requests,
            status.requests_needed
        ),
        format!(
            "  evidence  {} {:.1} of {:.0} against {}",
            bar(status.evidence.max(1.0).ln() / status.limit.ln(), console::Color::Red),
            status.evidence,
            status.limit,
            status.candidate.version
        ),
        format!("  detects   {}", sensitivity_text(status)),
        format!(
            "  differs   failure rate by {} to {} (95 % confidence sequence)",
            signed(low),
            signed(high)
        ),
        style(format!(
            "  {:<16} {:>10} {:>10} {:>10} {:>10} {:>10}",
            "version", "requests", "failures", "rate", "p50", "p99"
        ))
        .dim()
        .to_string(),
        arm(&status.baseline),
        arm(&status.candidate),
    ];
    lines.extend(status.metrics.iter().map(metric));
    if let Some(progress) = &status.non_inferiority {
        lines.insert(4, non_inferiority(progress));
    }
    if let Some(caveat) = &status.caveat {
        lines.push(style(format!("  not covered: {caveat}")).dim().to_string());
    }
    if status.paused {
        lines.push(format!("  {} the weight stays", style("paused:").yellow()));
    }
    if let Some(until) = &status.freeze_end {
        lines.push(format!("  {} until {until}", style("frozen:").yellow()));
    }
    if let Some(blocker) = &status.blocker {
        lines.push(format!("  {} {blocker}", style("blocked:").yellow()));
    }
    lines
}

/// The smallest fault that the step can detect so far.
fn sensitivity_text(status: &RolloutStatus) -> String {
    match status.sensitivity {
        Sensitivity::Detects { failure_rate } => {
            format!("failure rates of {} and more", percent(failure_rate))
        }
        Sensitivity::Nothing => "nothing yet: too few requests".to_owned(),
        Sensitivity::Objectives => "no baseline left: only the objectives decide".to_owned(),
        Sensitivity::NoBaseline => "nothing: no baseline left".to_owned(),
        Sensitivity::Preview { .. } => "any failure of a preview request".to_owned(),
    }
}

/// The last values of a metric.
fn metric(status: &MetricStatus) -> String {
    let MetricStatus { name, limit, bad, consecutive, .. } = status;
    let values = values(status);
    let bad = match bad {
        0 => String::new(),
        bad => style(format!(", {bad} of {consecutive} consecutive bad values")).red().to_string(),
    };
    format!("  {name:<16} {values}; {limit}{bad}")
}

/// The progress towards non-inferiority.
fn non_inferiority(
    NonInferiorityStatus { evidence, limit, requests_needed }: &NonInferiorityStatus,
) -> String {
    let needed = requests_needed.map_or_else(
        || "the margin is too narrow for any number of requests".to_owned(),
        |requests| format!("about {requests} requests needed"),
    );
    let bar = bar(evidence.max(1.0).ln() / limit.ln(), console::Color::Green);
    format!("  safe      {bar} {evidence:.1} of {limit:.0} for non-inferiority, {needed}")
}

/// A difference of shares in percent with its sign.
fn signed(difference: f64) -> String {
    let sign = if difference < 0.0 { "-" } else { "+" };
    format!("{sign}{}", percent(difference.abs()))
}

/// The requests that count towards the gate.
fn gate_requests(status: &RolloutStatus) -> u64 {
    match status.sensitivity {
        Sensitivity::Preview { requests } => requests,
        _ => status.aa_test_requests.unwrap_or(status.candidate.requests),
    }
}

/// Progress towards the gate, 0 to 1: the smaller of time and requests.
fn done(status: &RolloutStatus) -> f64 {
    let ratio = |part: f64, whole: f64| if whole > 0.0 { part / whole } else { 1.0 };
    let time = ratio(status.baked.as_secs_f64(), status.bake.as_secs_f64());
    let requests = gate_requests(status);
    time.min(ratio(requests as f64, status.requests_needed as f64))
}

#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // clamped
fn bar(share: f64, color: console::Color) -> String {
    let full = (share.clamp(0.0, 1.0) * BAR as f64).round() as usize;
    format!("{}{}", style("█".repeat(full)).fg(color), style("░".repeat(BAR - full)).dim())
}

fn arm(arm: &ArmStatus) -> String {
    let ms = |ms: Option<f64>| ms.map_or_else(|| "-".to_owned(), |ms| format!("{ms:.1} ms"));
    format!(
        "  {:<16} {:>10} {:>10} {:>10} {:>10} {:>10}",
        arm.version.as_str(),
        arm.requests,
        arm.failures,
        rate(arm.failure_rate),
        ms(arm.p50_ms),
        ms(arm.p99_ms)
    )
}

#[cfg(test)]
mod tests {
    use serin_filter::table::Weight;

    use super::*;

    fn arm(version: &str, requests: u64, failures: u64) -> ArmStatus {
        ArmStatus {
            version: version.parse().unwrap(),
            requests,
            failures,
            failure_rate: Some(failures as f64 / requests as f64),
            p50_ms: Some(3.71),
            p99_ms: None,
        }
    }

    #[test]
    fn the_view_shows_progress_evidence_and_both_versions() {
        let status = RolloutStatus {
            stage: serin_core::rollout::event::Stage::Step,
            step: Some(2),
            steps: 5,
            weight: Weight::from_ppm(50_000).unwrap(),
            live: true,
            baseline: arm("v1", 2658, 2),
            candidate: arm("v2", 143, 0),
            evidence: 10.0,
            limit: 100.0,
            sensitivity: Sensitivity::Detects { failure_rate: 0.0178 },
            difference: Interval { low: -0.01, high: 0.021 },
            non_inferiority: Some(NonInferiorityStatus {
                evidence: 4.0,
                limit: 20.0,
                requests_needed: Some(3_500),
            }),
            baked: Duration::from_millis(7_900),
            bake: Duration::from_secs(10),
            requests_needed: 286,
            time_left: Some(Duration::from_secs(34)),
            aa_test_requests: None,
            metrics: Vec::new(),
            caveat: None,
            paused: false,
            freeze_end: None,
            blocker: Some("no route".to_owned()),
        };
        let lines = view(Duration::from_secs(18), &status);
        let lines: Vec<_> = lines.iter().map(|line| console::strip_ansi_codes(line)).collect();
        assert_eq!(
            lines,
            [
                "",
                "  step 2 of 5   5 %   live   18s passed   about 34s left",
                "  bake      ████████████░░░░░░░░░░░░ 7s of 10s, 143 of 286 requests",
                "  evidence  ████████████░░░░░░░░░░░░ 10.0 of 100 against v2",
                "  safe      ███████████░░░░░░░░░░░░░ 4.0 of 20 for non-inferiority, about 3500 requests needed",
                "  detects   failure rates of 1.78 % and more",
                "  differs   failure rate by -1.00 % to +2.10 % (95 % confidence sequence)",
                "  version            requests   failures       rate        p50        p99",
                "  v1                     2658          2    0.075 %     3.7 ms          -",
                "  v2                      143          0        0 %     3.7 ms          -",
                "  blocked: no route",
            ]
        );
    }
}
