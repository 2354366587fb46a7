//! Where a rollout stands, and how it ended, in the words of [`event`](super::super::event).

use std::time::Duration;

use serin_filter::names::VersionName;
use serin_filter::table::Weight;

use super::super::event::{
    ArmStatus, Reason, Safety, Sensitivity, Stage, Status, Summary, Verdict,
};
use super::super::plan::{Gate, Step};
use super::{CONFIRMATION, Goal, Phase, Rollout};
use crate::split::Users;

impl Rollout {
    pub(super) fn summary(
        &self,
        now: Duration,
        reason: Option<Reason>,
        confirmed: bool,
    ) -> Summary {
        let candidate = self.total.get(&self.plan.candidate).cloned().unwrap_or_default();
        Summary {
            verdict: match &reason {
                None => Verdict::Promoted,
                Some(Reason::Interrupted | Reason::Ordered(_)) => Verdict::Interrupted,
                Some(_) => Verdict::RolledBack,
            },
            reason,
            service: self.plan.service.clone(),
            baseline: self.plan.baseline.clone(),
            candidate: self.plan.candidate.clone(),
            weight: self.split.candidate,
            generation: self.split.generation,
            confirmed,
            duration: now,
            candidate_requests: candidate.requests,
            candidate_failures: candidate.failures,
        }
    }

    /// Where the rollout stands.
    #[must_use]
    pub fn status(&self) -> Status {
        let (index, live, baked) = match &self.phase {
            Phase::Baking { step, baked, .. } => (Some(*step), true, *baked),
            Phase::Shifting { goal: Goal::Step(step), .. } => (Some(*step), false, Duration::ZERO),
            Phase::Watching { watched, .. } => (None, true, *watched),
            Phase::Promoted { since } => (None, true, self.looked.saturating_sub(*since)),
            _ => (None, false, Duration::ZERO),
        };
        let watch = self.plan.watch.as_ref().filter(|_| self.split.users == Users::Watched);
        let step = index.and_then(|index| self.plan.steps.get(index));
        Status {
            stage: self.stage(),
            step: index.map(|index| index + 1),
            steps: self.plan.steps.len(),
            weight: self.split.candidate,
            live,
            baseline: self.arm_status(&self.plan.baseline),
            candidate: self.arm_status(&self.plan.candidate),
            evidence: self.judge.ln_e().exp().min(f64::MAX),
            limit: 1.0 / self.plan.judge.alpha,
            sensitivity: self.sensitivity(),
            difference: self.judge.difference(),
            safety: step.and_then(|step| self.safety(step)),
            baked,
            bake: match (&self.phase, step, watch) {
                (Phase::Promoted { .. }, ..) => self.plan.window,
                (_, Some(step), _) => step.bake,
                (_, None, watch) => watch.map(|watch| watch.time).unwrap_or_default(),
            },
            requests_needed: step
                .map(|step| step.requests)
                .or(watch.map(|watch| watch.requests))
                .unwrap_or_default(),
            watched: watch.map(|_| match &self.phase {
                Phase::Watching { slices, .. } => slices.requests(),
                _ => 0,
            }),
            metrics: self.metric_status(),
            caveat: step.and_then(|step| self.caveat(step)),
            left: index.and_then(|index| self.left(index, baked)),
            paused: self.paused,
            frozen: self.frozen.clone(),
            obstacle: self.obstacle.as_ref().map(ToString::to_string),
        }
    }

    fn stage(&self) -> Stage {
        match &self.phase {
            Phase::Preparing => Stage::Preparing,
            Phase::Watching { .. } | Phase::Shifting { goal: Goal::Watch, .. } => Stage::Watching,
            Phase::Baking { .. } | Phase::Shifting { goal: Goal::Step(_), .. } => Stage::Step,
            Phase::Promoted { .. } => Stage::Promoted,
            Phase::Shifting { goal: Goal::Baseline(_), .. } | Phase::Returning { .. } => {
                Stage::GoingBack
            }
            Phase::Closing { .. } | Phase::Ended => Stage::Ending,
        }
    }

    fn caveat(&self, step: &Step) -> Option<String> {
        let unknown = self.plan.sticky && step.is_compared() && step.slice.is_none();
        unknown.then(|| {
            "users were not watched before (spec.analysis.watch): a few who always fail can look like a bad release".to_owned()
        })
    }

    fn sensitivity(&self) -> Sensitivity {
        if self.previews() {
            return Sensitivity::Preview { requests: self.tried().0 };
        }
        if self.split.candidate == Weight::ALL {
            return match self.plan.judge.objectives.is_empty() {
                true => Sensitivity::NoBaseline,
                false => Sensitivity::Objectives,
            };
        }
        let detectable = self.judge.detectable_failure_rate(&self.block_of(&self.step));
        detectable
            .map_or(Sensitivity::Nothing, |failure_rate| Sensitivity::Detects { failure_rate })
    }

    fn safety(&self, step: &Step) -> Option<Safety> {
        let wanted = step.gate == Gate::Evidence && step.is_compared();
        let limit = self.plan.judge.safe_at().filter(|_| wanted)?;
        Some(Safety {
            evidence: self.judge.ln_e_safe().exp().min(f64::MAX),
            limit: limit.exp(),
            requests_needed: self.judge.requests_to_safety(step.weight.share()),
        })
    }

    fn arm_status(&self, version: &VersionName) -> ArmStatus {
        let activity = self.step.get(version).cloned().unwrap_or_default();
        let arm = activity.arm();
        ArmStatus {
            version: version.clone(),
            requests: arm.requests,
            failures: arm.failures,
            failure_rate: arm.failure_rate(),
            p50_ms: activity.quantile_ms(0.5),
            p99_ms: activity.quantile_ms(0.99),
        }
    }

    /// Time to promotion at the present rate of requests, which grows with the weight.
    fn left(&self, index: usize, baked: Duration) -> Option<Duration> {
        let requests =
            self.step.get(&self.plan.candidate).map_or(0, |candidate| candidate.requests);
        if self.obstacle.is_some() || self.previews() || requests == 0 || baked.is_zero() {
            return None;
        }
        let per_second = requests as f64 / baked.as_secs_f64() / self.split.candidate.share();
        let needed = |step: &Step, missing: u64, bake: Duration| {
            let carry = missing as f64 / (per_second * step.weight.share());
            bake.max(Duration::try_from_secs_f64(carry).unwrap_or(Duration::MAX))
        };
        let mut steps = self.plan.steps.iter().skip(index);
        let present = steps.next()?;
        let missing = present.requests.saturating_sub(requests);
        let first = needed(present, missing, present.bake.saturating_sub(baked));
        Some(steps.fold(first, |sum, step| {
            sum.saturating_add(needed(step, step.requests, step.bake).saturating_add(CONFIRMATION))
        }))
    }
}
