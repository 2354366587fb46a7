//! Logs, spans and metrics. Servers register the metrics that they measure.

pub mod logging;
pub mod operator;

use std::fmt::{Display, Error};
use std::time::Duration;

use prometheus_client::encoding::{
    DescriptorEncoder, EncodeGaugeValue, EncodeLabelSet, EncodeMetric,
};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;
use serin_core::rollout::event::{Event, RolloutStatus, RolloutVerdict};
use tracing::Span;

/// Upper bounds of the buckets of durations, in seconds.
const BOUNDS: [f64; 13] =
    [0.001, 0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.15, 0.25, 0.5, 1.0, 2.5, 5.0];

/// The span of a rollout, from its start or resume to its end in this process.
///
/// Its level is enabled at every `--log`: each entry names its rollout.
pub fn rollout_span(
    rollout: &impl Display,
    service: &impl Display,
    namespace: Option<&str>,
) -> Span {
    tracing::error_span!(parent: None, "rollout", %rollout, %service, namespace)
}

/// A histogram of durations in seconds, from 1 ms to 5 s.
#[must_use]
pub fn duration_histogram() -> Histogram {
    Histogram::new(BOUNDS)
}

/// Measurements of all rollouts of a process.
#[derive(Debug, Clone)]
pub struct RolloutMetrics {
    lateness: Histogram,
    duration: Histogram,
    verdicts: Family<VerdictLabels, Counter>,
    store_writes: Counter,
    store_failures: Counter,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct VerdictLabels {
    verdict: &'static str,
}

impl Default for RolloutMetrics {
    fn default() -> Self {
        Self {
            lateness: duration_histogram(),
            duration: duration_histogram(),
            verdicts: Family::default(),
            store_writes: Counter::default(),
            store_failures: Counter::default(),
        }
    }
}

impl RolloutMetrics {
    /// Counts a poll: its delay after it was due, and the time until its result was stored and
    /// acted on.
    pub fn on_poll(&self, late: Duration, took: Duration) {
        self.lateness.observe(late.as_secs_f64());
        self.duration.observe(took.as_secs_f64());
    }

    /// Logs an event, and counts it if it is a verdict.
    pub fn on_event(&self, event: &Event) {
        match event {
            Event::Progress(_) => {}
            _ => tracing::info!(event = serde_json::to_string(event).unwrap_or_default()),
        }
        let Event::Ended(summary) = event else { return };
        let verdict = match summary.verdict {
            RolloutVerdict::Promoted => "promoted",
            RolloutVerdict::RolledBack => "rolled_back",
            RolloutVerdict::Interrupted => "interrupted",
        };
        self.verdicts.get_or_create(&VerdictLabels { verdict }).inc();
    }

    /// Counts an attempt to persist a rollout.
    pub fn on_store_write(&self, written: bool) {
        self.store_writes.inc();
        if !written {
            self.store_failures.inc();
        }
    }

    /// Adds the measurements to a page.
    pub fn register(&self, registry: &mut Registry) {
        registry.register(
            "serin_poll_lateness_seconds",
            "Delay of a poll of the proxies after it was due",
            self.lateness.clone(),
        );
        registry.register(
            "serin_poll_duration_seconds",
            "Time from the start of a poll until its result was stored and acted on",
            self.duration.clone(),
        );
        registry.register("serin_verdicts", "Rollouts that ended", self.verdicts.clone());
        registry.register(
            "serin_store_writes",
            "Attempts to persist the state of a rollout",
            self.store_writes.clone(),
        );
        registry.register(
            "serin_store_write_failures",
            "Failed attempts to persist the state of a rollout",
            self.store_failures.clone(),
        );
    }
}

/// Encodes a gauge with one series for each set of labels.
///
/// # Errors
/// The page can't be written.
pub fn encode_gauges<'l, L: EncodeLabelSet + 'l, V: EncodeGaugeValue>(
    encoder: &mut DescriptorEncoder<'_>,
    name: &str,
    help: &str,
    series: impl IntoIterator<Item = (&'l L, V)>,
) -> Result<(), Error> {
    let mut family = encoder.encode_descriptor(name, help, None, MetricType::Gauge)?;
    for (labels, value) in series {
        ConstGauge::new(value).encode(family.encode_family(labels)?)?;
    }
    Ok(())
}

/// Encodes the series of running rollouts, each with its labels.
///
/// # Errors
/// The page can't be written.
pub fn encode_statuses<L: EncodeLabelSet>(
    encoder: &mut DescriptorEncoder<'_>,
    rollouts: &[(L, RolloutStatus)],
) -> Result<(), Error> {
    let each = |value: fn(&RolloutStatus) -> f64| {
        rollouts.iter().map(move |(labels, status)| (labels, value(status)))
    };
    let flag = |value: fn(&RolloutStatus) -> bool| {
        rollouts.iter().map(move |(labels, status)| (labels, i64::from(value(status))))
    };
    encode_gauges(
        encoder,
        "serin_rollout_weight",
        "Requested share of the candidate, 0 to 1",
        each(|status| status.weight.share()),
    )?;
    encode_gauges(
        encoder,
        "serin_rollout_evidence",
        "Evidence against the candidate; the rollout is rolled back at serin_rollout_evidence_limit",
        each(|status| status.evidence),
    )?;
    encode_gauges(
        encoder,
        "serin_rollout_evidence_limit",
        "Evidence that rolls the rollout back: 1 / alpha",
        each(|status| status.limit),
    )?;
    encode_gauges(
        encoder,
        "serin_rollout_blocked",
        "Whether a condition blocks the rollout",
        flag(|status| status.blocker.is_some()),
    )?;
    encode_gauges(
        encoder,
        "serin_rollout_paused",
        "Whether the rollout is paused",
        flag(|status| status.paused),
    )
}

#[cfg(test)]
mod tests;
