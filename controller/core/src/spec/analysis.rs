//! `spec.analysis`: how the versions are compared.

use std::time::Duration;

use schemars::JsonSchema;
use serde::Deserialize;
use serin_filter::config::limit;
use serin_filter::histogram::BOUNDARIES_US;

use super::error::{SpecError, at};
use super::metrics::MetricsSpec;
use super::value::{Percent, SpecCount, SpecDuration, SpecNumber};
use crate::judge::coin_flip::Margin;
use crate::judge::{self, Objective, Sli};
use crate::rollout::plan::{AaTest, Gate, Step};

#[derive(Deserialize, JsonSchema)]
#[serde(default, rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct Analysis {
    /// Interval is the time between two polls of the proxies. From 100ms to 1m. Default: 1s.
    pub(super) interval: SpecDuration,
    /// Alpha is the accepted probability of a false rollback over the whole rollout. Above 0, at
    /// most 0.5. Default: 0.01.
    alpha: SpecNumber,
    /// Confidence is the confidence that a gate of kind evidence requires. Above 0%, below 100%.
    /// Default: 95%.
    confidence: Percent,
    /// Errors is the tolerated excess of the candidate's failure rate. Default: 1.2 times the
    /// baseline's rate plus 0.1% of the requests.
    errors: Tolerance,
    /// Latency is the tolerated excess of the candidate's slow requests. Default: 1.1 times the
    /// baseline's share plus 0.5% of the requests.
    latency: LatencyTolerance,
    /// Objectives are limits that do not depend on the baseline.
    objectives: Objectives,
    /// AaTest compares the users of the future slices before the first step, while the baseline
    /// serves all of them.
    aa_test: Option<AaTestSpec>,
    /// Metrics are further metrics of the candidate, with limits.
    pub(super) metrics: Option<MetricsSpec>,
}

/// The A/A test: the comparison before the rollout.
#[derive(Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
struct AaTestSpec {
    /// Time is the minimum duration of the test. Default: 10m.
    time: SpecDuration,
    /// Requests is the minimum number of requests with an identity. Default: 10000.
    requests: SpecCount,
    /// Salts is the number of candidate assignments, of which the test selects the most balanced.
    /// From 1 to 16. Default: 16.
    salts: SpecCount,
}

impl Default for AaTestSpec {
    fn default() -> Self {
        Self {
            time: SpecDuration(Duration::from_secs(600)),
            requests: SpecCount(10_000),
            salts: SpecCount(16),
        }
    }
}

/// The share of alpha that the A/A test may miss; the judge has the rest.
const MISS_SHARE: f64 = 0.2;

/// Limits that do not depend on the baseline.
#[derive(Deserialize, JsonSchema, Default)]
#[serde(default, deny_unknown_fields)]
struct Objectives {
    /// Errors is the largest share of requests that may fail. Above 0%, below 50%.
    errors: Option<Percent>,
    /// Latency is the largest share of requests that may be slow.
    latency: Option<LatencyObjective>,
}

/// A limit on a quantile of latency.
#[derive(Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct LatencyObjective {
    /// LongerThan is the latency above which a request is slow: a boundary of the histogram, such
    /// as 500ms.
    longer_than: SpecDuration,
    /// AtMost is the largest share of slow requests. Above 0%, below 50%.
    at_most: Percent,
}

impl Default for Analysis {
    fn default() -> Self {
        Self {
            interval: SpecDuration(Duration::from_secs(1)),
            alpha: SpecNumber(judge::Settings::default().alpha),
            confidence: Percent::whole(95),
            errors: Tolerance::default(),
            latency: LatencyTolerance::default(),
            objectives: Objectives::default(),
            aa_test: None,
            metrics: None,
        }
    }
}

#[derive(Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
struct LatencyTolerance {
    /// Relative is the tolerated factor over the baseline's share. From 1 to 100. Default: 1.1.
    relative: Option<SpecNumber>,
    /// Absolute is the tolerated share of the candidate's requests on top.
    absolute: Option<Percent>,
    /// Above is the latency below which requests are not compared, because callers hardly notice
    /// and a version with fewer requests has colder caches. Default: 5ms.
    above: SpecDuration,
}

impl Default for LatencyTolerance {
    fn default() -> Self {
        Self { relative: None, absolute: None, above: SpecDuration(Duration::from_millis(5)) }
    }
}

impl LatencyTolerance {
    fn boundaries_ms(&self) -> Vec<f64> {
        let above = self.above.0.as_micros();
        let judged = BOUNDARIES_US.iter().filter(|us| u128::from(**us) >= above);
        judged.map(|us| f64::from(*us) / 1_000.0).collect()
    }
}

#[derive(Deserialize, JsonSchema, Default)]
#[serde(default, deny_unknown_fields)]
struct Tolerance {
    /// Relative is the tolerated factor over the baseline's rate. From 1 to 100. Default: 1.2.
    relative: Option<SpecNumber>,
    /// Absolute is the tolerated share of the candidate's requests on top.
    absolute: Option<Percent>,
}

impl Analysis {
    pub(super) fn parse(&self, steps: &[Step]) -> Result<judge::Settings, SpecError> {
        let default = judge::Settings::default();
        let (alpha, interval) = (self.alpha.0, self.interval.0);
        if !(alpha > 0.0 && alpha <= 0.5) {
            return at("spec.analysis.alpha", format!("{alpha} is not above 0 and at most 0.5"));
        }
        if interval < Duration::from_millis(100) || interval > Duration::from_secs(60) {
            let interval = humantime::format_duration(interval);
            return at("spec.analysis.interval", format!("{interval} is not between 100ms and 1m"));
        }
        let confidence = self.confidence.weight().share();
        if !(confidence > 0.0 && confidence < 1.0) {
            return at("spec.analysis.confidence", "must be above 0 % and below 100 %");
        }
        let gathers_evidence = steps.iter().any(|step| step.gate == Gate::Evidence);
        let latency = default.latency.unwrap_or(default.errors);
        let tolerated =
            Tolerance { relative: self.latency.relative, absolute: self.latency.absolute };
        let planned = steps.iter().fold(Duration::ZERO, |sum, step| sum.saturating_add(step.bake));
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // saturates
        let slots = (planned.as_secs_f64() / default.slot_seconds).ceil() as u32;
        Ok(judge::Settings {
            alpha,
            errors: self.errors.parse("spec.analysis.errors", default.errors)?,
            latency: Some(tolerated.parse("spec.analysis.latency", latency)?),
            boundaries_ms: self.latency.boundaries_ms(),
            objectives: self.objectives()?,
            confidence: gathers_evidence.then_some(confidence),
            slots: slots.max(default.slots),
            ..default
        })
    }
}

impl Analysis {
    pub(super) fn aa_test(
        &self,
        name: &str,
        alpha: f64,
        steps: &[Step],
        sticky: bool,
    ) -> Result<Option<AaTest>, SpecError> {
        const PATH: &str = "spec.analysis.aaTest";
        let Some(AaTestSpec { time, requests, salts }) = &self.aa_test else { return Ok(None) };
        if !sticky {
            return at(PATH, "spec.sticky names no source of identity; the test requires one");
        }
        if !steps.iter().any(Step::is_compared) {
            return at(
                PATH,
                "every step serves all users from one version; the test requires a step with both",
            );
        }
        let most = limit::SALTS as u64;
        if !(1..=most).contains(&salts.0) {
            return at(format!("{PATH}.salts"), format!("{} is not from 1 to {most}", salts.0));
        }
        if steps.len() > limit::SLICES {
            let message = format!("more than {} steps; the test supports no more", limit::SLICES);
            return at(PATH, message);
        }
        // Without an A/A test the rollout uses the first salt.
        let salt = |n| if n == 0 { name.to_owned() } else { format!("{name}/{n}") };
        let salts = (0..salts.0).map(salt).collect();
        Ok(Some(AaTest {
            duration: time.0,
            requests: requests.0,
            salts,
            miss_probability: MISS_SHARE * alpha,
        }))
    }

    fn objectives(&self) -> Result<Vec<Objective>, SpecError> {
        const PATH: &str = "spec.analysis.objectives";
        let share = |path: String, share: Percent| match share.weight().share() {
            at_most if at_most > 0.0 && at_most < 0.5 => Ok(at_most),
            _ => at(path, format!("{} is not above 0 % and below 50 %", share.weight())),
        };
        let mut objectives = Vec::new();
        if let Some(errors) = self.objectives.errors {
            let at_most = share(format!("{PATH}.errors"), errors)?;
            objectives.push(Objective { sli: Sli::Errors, at_most });
        }
        if let Some(latency) = &self.objectives.latency {
            let ms = latency.longer_than.0.as_secs_f64() * 1_000.0;
            let judged = self.latency.boundaries_ms();
            let Some(boundary) = judged.iter().position(|boundary| *boundary == ms) else {
                let boundaries: Vec<_> = judged.iter().map(ToString::to_string).collect();
                let message = format!(
                    "{ms} ms is not a boundary of the histogram: {}",
                    boundaries.join(", ")
                );
                return at(format!("{PATH}.latency.longerThan"), message);
            };
            let at_most = share(format!("{PATH}.latency.atMost"), latency.at_most)?;
            objectives.push(Objective { sli: Sli::Latency { boundary }, at_most });
        }
        Ok(objectives)
    }
}

impl Tolerance {
    fn parse(&self, path: &str, default: Margin) -> Result<Margin, SpecError> {
        let relative = self.relative.map_or(default.relative, |relative| relative.0);
        if !(1.0..=100.0).contains(&relative) {
            return at(
                format!("{path}.relative"),
                format!("{relative} is not between 1 (no worse than the baseline) and 100"),
            );
        }
        let absolute = self.absolute.map_or(default.absolute, |percent| percent.weight().share());
        Ok(Margin { relative, absolute })
    }
}
