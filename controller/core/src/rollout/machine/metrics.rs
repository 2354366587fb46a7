//! The metrics of a rollout: when they are asked for, and what comes of their values.
//!
//! They are asked for while a step is live, and in the rollback window; not in a preview, in which the candidate has hardly any requests.
//! What is not known opens no gate, and starts no rollback.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use serin_filter::names::Generation;

use super::super::event::{MetricStatus, Reason};
use super::super::metric::{Measured, Metric, Metrics};
use super::super::plan::Step;
use super::{Output, Phase, Rollout};
use crate::rollout::blocker::Obstacle;

/// What is known of the metrics.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub(super) struct Survey {
    /// When they are asked for next.
    due: Duration,
    /// Whether they have been asked for, and have had no answer since.
    #[serde(skip)]
    on_its_way: bool,
    /// One for each metric, once they have been measured under the present split.
    known: Vec<Known>,
}

/// What is known of one metric under the present split.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Known {
    last: Measured,
    /// Whether the last values keep the rule; `None` if that can't be told.
    kept: Option<bool>,
    /// How many values in a row do not.
    bad: u32,
}

impl Rollout {
    /// Begins anew with the metrics, for a split that has just gone live. It may not show in them before some time has passed.
    pub(super) fn begin_survey(&mut self, now: Duration) {
        let every = self.plan.metrics.as_ref().map_or(Duration::ZERO, |metrics| metrics.every);
        self.survey = Survey { due: now + every, ..Survey::default() };
    }

    /// Asks for the metrics when it is time.
    pub(super) fn measure(&mut self, now: Duration, outputs: &mut Vec<Output>) {
        let Some(Metrics { every, .. }) = self.plan.metrics else { return };
        if self.is_surveyed() && now >= self.survey.due && !self.survey.on_its_way {
            (self.survey.due, self.survey.on_its_way) = (now + every, true);
            outputs.push(Output::Measure { generation: self.split.generation });
        }
    }

    /// Whether metrics say anything of the candidate where the rollout stands.
    fn is_surveyed(&self) -> bool {
        match self.phase {
            Phase::Baking { .. } => !self.previews(),
            Phase::Promoted { .. } => true,
            _ => false,
        }
    }

    /// Takes the values of all metrics into account. Those of a split before say nothing of this one.
    pub(super) fn measured(
        &mut self,
        now: Duration,
        generation: Generation,
        values: Vec<Measured>,
        outputs: &mut Vec<Output>,
    ) {
        self.survey.on_its_way = false;
        if generation != self.split.generation || !self.is_surveyed() {
            return;
        }
        let has_baseline = matches!(self.phase, Phase::Baking { .. })
            && self.present_step().is_some_and(Step::has_baseline);
        let bad: Vec<_> = self.survey.known.iter().map(|known| known.bad).collect();
        let before = bad.into_iter().chain(std::iter::repeat(0));
        let known =
            self.metrics().iter().zip(values).zip(before).map(|((metric, last), before)| {
                let kept = metric.rule.is_kept(&last, has_baseline);
                let bad = match kept {
                    Some(true) => 0,
                    Some(false) => before.saturating_add(1),
                    None => before,
                };
                Known { last, kept, bad }
            });
        self.survey.known = known.collect();
        if let Some(reason) = self.broken_rule() {
            self.roll_back(now, reason, outputs);
        }
    }

    fn metrics(&self) -> &[Metric] {
        self.plan.metrics.as_ref().map_or(&[], |metrics| &metrics.all)
    }

    fn known_metrics(&self) -> impl Iterator<Item = (&Metric, &Known)> {
        self.metrics().iter().zip(&self.survey.known)
    }

    fn broken_rule(&self) -> Option<Reason> {
        let broken =
            self.known_metrics().find(|(metric, known)| metric.rule.is_broken_by(known.bad))?;
        let (Metric { name, rule, .. }, Known { last, bad, .. }) = broken;
        Some(Reason::Metric {
            metric: name.clone(),
            limit: rule.to_string(),
            baseline: last.baseline,
            candidate: last.candidate.unwrap_or_default(),
            consecutive: *bad,
        })
    }

    /// Whether nothing speaks against the candidate in the metrics: all keep their rules, as measured last in this step. What has been asked is
    /// waited for.
    pub(super) fn metrics_are_kept(&self) -> bool {
        let Survey { known, on_its_way, .. } = &self.survey;
        let kept = || known.iter().all(|known| known.kept == Some(true));
        self.previews() || known.len() == self.metrics().len() && !on_its_way && kept()
    }

    /// A metric whose value is not known.
    pub(super) fn unmeasured(&self) -> Option<Obstacle> {
        let (metric, known) = self.known_metrics().find(|(_, known)| known.kept.is_none())?;
        let why = known
            .last
            .why
            .clone()
            .unwrap_or_else(|| "the baseline's value is not above 0".to_owned());
        Some(Obstacle::Unmeasured { metric: metric.name.clone(), why })
    }

    pub(super) fn metric_status(&self) -> Vec<MetricStatus> {
        let status = |(metric, known): (&Metric, &Known)| MetricStatus {
            name: metric.name.clone(),
            limit: metric.rule.to_string(),
            baseline: known.last.baseline,
            candidate: known.last.candidate,
            bad: known.bad,
            consecutive: metric.rule.consecutive,
        };
        self.known_metrics().map(status).collect()
    }
}
