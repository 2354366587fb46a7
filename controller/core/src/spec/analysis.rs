//! How a rollout is judged, as the user writes it.

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
    /// Time between looks at the proxies. Default: 1s.
    pub(super) interval: SpecDuration,
    /// The chance of a false rollback to accept, over the whole rollout. Default: 0.01.
    alpha: SpecNumber,
    /// How sure a gate of evidence has to be. Default: 95%.
    confidence: Percent,
    /// By how much the candidate may fail more often. Default: 1.2 times as often, and 0.1% of its requests on top.
    errors: Tolerance,
    /// By how much more of its requests may be slow. Default: 1.1 times as many, and 0.5% of its requests on top.
    latency: LatencyTolerance,
    /// Limits that hold whatever the baseline does.
    objectives: Objectives,
    /// Watches the users of the future slices before the first step.
    aa_test: Option<AaTestSpec>,
    /// Other metrics of the candidate, and their limits.
    pub(super) metrics: Option<MetricsSpec>,
}

/// How users are watched before the first step.
#[derive(Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
struct AaTestSpec {
    /// For how long. Default: 10m.
    time: SpecDuration,
    /// How many requests with an identity it takes. Default: 10000.
    requests: SpecCount,
    /// How many ways to divide the users there are to choose from. Default: 16.
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

/// The part of alpha that may go wrong in what is known of the users; the judge has the rest.
const MISS_SHARE: f64 = 0.2;

/// What the candidate has to keep to, whatever the baseline does.
#[derive(Deserialize, JsonSchema, Default)]
#[serde(default, deny_unknown_fields)]
struct Objectives {
    /// At most this share fails.
    errors: Option<Percent>,
    /// At most this share is slow.
    latency: Option<LatencyObjective>,
}

/// At most this share takes longer: a quantile of latency is below a limit.
#[derive(Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct LatencyObjective {
    /// What counts as slow: one of the boundaries of the histogram.
    longer_than: SpecDuration,
    /// The share.
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
    /// So many times as many as at the baseline.
    relative: Option<SpecNumber>,
    /// A share of its requests on top.
    absolute: Option<Percent>,
    /// Latencies below are not judged: callers hardly notice, and a version with fewer requests has colder caches.
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
    /// So many times as often as the baseline.
    relative: Option<SpecNumber>,
    /// A share of its requests on top.
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
            return at("spec.analysis.confidence", "a confidence is above 0 % and below 100 %");
        }
        let wanted = steps.iter().any(|step| step.gate == Gate::Evidence);
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
            confidence: wanted.then_some(confidence),
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
            return at(
                PATH,
                "spec.sticky names no source of identity, so there are no users to watch",
            );
        }
        if !steps.iter().any(Step::is_compared) {
            return at(PATH, "no step leaves users at the baseline to compare with");
        }
        let most = limit::SALTS as u64;
        if !(1..=most).contains(&salts.0) {
            return at(format!("{PATH}.salts"), format!("{} is not from 1 to {most}", salts.0));
        }
        if steps.len() > limit::SLICES {
            let message = format!("more than {} steps can't be watched", limit::SLICES);
            return at(PATH, message);
        }
        // The first is what it would be otherwise.
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
                let known: Vec<_> = judged.iter().map(ToString::to_string).collect();
                let message =
                    format!("{ms} ms is none of the boundaries counted: {}", known.join(", "));
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
