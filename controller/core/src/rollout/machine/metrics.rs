//! The metrics of a rollout: when to query them, and the effects of their values.
//!
//! serin queries them while a step is live and in the rollback window, but not in a preview,
//! where the candidate gets few requests. An unknown value opens no gate and starts no rollback.

use std::time::Duration;

use serin_filter::names::Generation;

use super::super::event::{MetricStatus, RollbackReason};
use super::super::metric::{Metric, MetricSample, MetricsPlan};
use super::super::plan::Step;
use super::state::{MetricRecord, MetricState};
use super::{MachinePhase, Output, Rollout};
use crate::rollout::blocker::Blocker;

impl Rollout {
    /// Resets the metrics after a split goes live. The first query waits, because metrics lag
    /// behind the split.
    pub(super) fn reset_metrics(&mut self, now: Duration) {
        let every = self.plan.metrics.as_ref().map_or(Duration::ZERO, |metrics| metrics.interval);
        self.metric_state = MetricState { due: now + every, ..MetricState::default() };
    }

    /// Requests samples when they are due.
    pub(super) fn request_metrics(&mut self, now: Duration, outputs: &mut Vec<Output>) {
        let Some(MetricsPlan { interval, .. }) = self.plan.metrics else { return };
        if self.samples_metrics() && now >= self.metric_state.due && !self.metric_state.in_flight {
            (self.metric_state.due, self.metric_state.in_flight) = (now + interval, true);
            outputs.push(Output::SampleMetrics { generation: self.split.generation });
        }
    }

    /// Returns true if metrics describe the candidate in this phase.
    fn samples_metrics(&self) -> bool {
        match self.phase {
            MachinePhase::Baking { .. } => !self.is_previewing(),
            MachinePhase::Promoted { .. } => true,
            _ => false,
        }
    }

    /// Handles the samples of all metrics. Samples of a previous split are ignored.
    pub(super) fn on_metrics(
        &mut self,
        now: Duration,
        generation: Generation,
        values: Vec<MetricSample>,
        outputs: &mut Vec<Output>,
    ) {
        self.metric_state.in_flight = false;
        if generation != self.split.generation || !self.samples_metrics() {
            return;
        }
        let has_baseline = matches!(self.phase, MachinePhase::Baking { .. })
            && self.current_step().is_some_and(Step::has_baseline);
        let bad: Vec<_> =
            self.metric_state.records.iter().map(|known| known.consecutive_bad).collect();
        let before = bad.into_iter().chain(std::iter::repeat(0));
        let known =
            self.metrics().iter().zip(values).zip(before).map(|((metric, last), before)| {
                let passed = metric.rule.is_met(&last, has_baseline);
                let consecutive_bad = match passed {
                    Some(true) => 0,
                    Some(false) => before.saturating_add(1),
                    None => before,
                };
                MetricRecord { last, passed, consecutive_bad }
            });
        self.metric_state.records = known.collect();
        if let Some(reason) = self.broken_metric_rule() {
            self.roll_back(now, reason, outputs);
        }
    }

    fn metrics(&self) -> &[Metric] {
        self.plan.metrics.as_ref().map_or(&[], |metrics| &metrics.all)
    }

    fn known_metrics(&self) -> impl Iterator<Item = (&Metric, &MetricRecord)> {
        self.metrics().iter().zip(&self.metric_state.records)
    }

    fn broken_metric_rule(&self) -> Option<RollbackReason> {
        let broken = self
            .known_metrics()
            .find(|(metric, known)| metric.rule.is_broken_by(known.consecutive_bad))?;
        let (Metric { name, rule, .. }, MetricRecord { last, consecutive_bad, .. }) = broken;
        Some(RollbackReason::Metric {
            metric: name.clone(),
            limit: rule.to_string(),
            baseline: last.baseline,
            candidate: last.candidate.unwrap_or_default(),
            consecutive: *consecutive_bad,
        })
    }

    /// Returns true if the last samples in this step keep all rules and no query is in flight.
    pub(super) fn metrics_pass(&self) -> bool {
        let MetricState { records, in_flight, .. } = &self.metric_state;
        let kept = || records.iter().all(|known| known.passed == Some(true));
        self.is_previewing() || records.len() == self.metrics().len() && !in_flight && kept()
    }

    /// The first metric without a value, as a blocker.
    pub(super) fn metric_blocker(&self) -> Option<Blocker> {
        let (metric, known) = self.known_metrics().find(|(_, known)| known.passed.is_none())?;
        let reason = known
            .last
            .reason
            .clone()
            .unwrap_or_else(|| "the baseline's value is not above 0".to_owned());
        Some(Blocker::MetricUnavailable { metric: metric.name.clone(), reason })
    }

    pub(super) fn metric_status(&self) -> Vec<MetricStatus> {
        let status = |(metric, known): (&Metric, &MetricRecord)| MetricStatus {
            name: metric.name.clone(),
            limit: metric.rule.to_string(),
            baseline: known.last.baseline,
            candidate: known.last.candidate,
            bad: known.consecutive_bad,
            consecutive: metric.rule.consecutive,
        };
        self.known_metrics().map(status).collect()
    }
}
