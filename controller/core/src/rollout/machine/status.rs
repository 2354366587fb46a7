//! The status and the summary of a rollout, as types of [`event`](super::super::event).

use std::time::Duration;

use serin_filter::names::VersionName;
use serin_filter::table::Weight;

use super::super::event::{
    ArmStatus, NonInferiorityStatus, RollbackReason, RolloutStatus, RolloutVerdict, Sensitivity,
    Stage, Summary,
};
use super::super::plan::{Gate, Step};
use super::{CONFIRMATION_TIME, Goal, MachinePhase, Rollout};
use crate::split::UserAssignment;

impl Rollout {
    pub(super) fn summary(
        &self,
        now: Duration,
        reason: Option<RollbackReason>,
        confirmed: bool,
    ) -> Summary {
        let candidate = self.deltas.total.get(&self.plan.candidate).cloned().unwrap_or_default();
        Summary {
            verdict: match &reason {
                None => RolloutVerdict::Promoted,
                Some(RollbackReason::Interrupted | RollbackReason::Command(_)) => {
                    RolloutVerdict::Interrupted
                }
                Some(_) => RolloutVerdict::RolledBack,
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

    /// The present status.
    #[must_use]
    pub fn status(&self) -> RolloutStatus {
        let (index, live, baked) = match &self.phase {
            MachinePhase::Baking { step, baked, .. } => (Some(*step), true, *baked),
            MachinePhase::Shifting { goal: Goal::Step(step), .. } => {
                (Some(*step), false, Duration::ZERO)
            }
            MachinePhase::AaTesting { watched, .. } => (None, true, *watched),
            MachinePhase::Promoted { since } => {
                (None, true, self.polls.last.saturating_sub(*since))
            }
            _ => (None, false, Duration::ZERO),
        };
        let watch =
            self.plan.aa_test.as_ref().filter(|_| self.split.assignment == UserAssignment::AaTest);
        let step = index.and_then(|index| self.plan.steps.get(index));
        RolloutStatus {
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
            non_inferiority: step.and_then(|step| self.non_inferiority(step)),
            baked,
            bake: match (&self.phase, step, watch) {
                (MachinePhase::Promoted { .. }, ..) => self.plan.window,
                (_, Some(step), _) => step.bake,
                (_, None, watch) => watch.map(|watch| watch.duration).unwrap_or_default(),
            },
            requests_needed: step
                .map(|step| step.requests)
                .or(watch.map(|watch| watch.requests))
                .unwrap_or_default(),
            aa_test_requests: watch.map(|_| match &self.phase {
                MachinePhase::AaTesting { slices, .. } => slices.requests(),
                _ => 0,
            }),
            metrics: self.metric_status(),
            caveat: step.and_then(|step| self.caveat(step)),
            time_left: index.and_then(|index| self.time_left(index, baked)),
            paused: self.pause.is_some(),
            freeze_end: self.freeze_end.clone(),
            blocker: self.blocker.as_ref().map(ToString::to_string),
        }
    }

    fn stage(&self) -> Stage {
        match &self.phase {
            MachinePhase::Preparing => Stage::Preparing,
            MachinePhase::AaTesting { .. } | MachinePhase::Shifting { goal: Goal::AaTest, .. } => {
                Stage::AaTesting
            }
            MachinePhase::Baking { .. } | MachinePhase::Shifting { goal: Goal::Step(_), .. } => {
                Stage::Step
            }
            MachinePhase::Promoted { .. } => Stage::Promoted,
            MachinePhase::Shifting { goal: Goal::Rollback(_), .. }
            | MachinePhase::Reverting { .. } => Stage::RollingBack,
            MachinePhase::Closing { .. } | MachinePhase::Ended => Stage::Ending,
        }
    }

    fn caveat(&self, step: &Step) -> Option<String> {
        let unknown = self.plan.sticky && step.is_compared() && step.slice.is_none();
        unknown.then(|| {
            "users were not watched before (spec.analysis.aaTest): a few who always fail can look like a bad release".to_owned()
        })
    }

    fn sensitivity(&self) -> Sensitivity {
        if self.is_previewing() {
            return Sensitivity::Preview { requests: self.preview_counts().0 };
        }
        if self.split.candidate == Weight::ALL {
            return match self.plan.judge.objectives.is_empty() {
                true => Sensitivity::NoBaseline,
                false => Sensitivity::Objectives,
            };
        }
        let detectable = self.judge.detectable_failure_rate(&self.block_of(&self.deltas.step));
        detectable
            .map_or(Sensitivity::Nothing, |failure_rate| Sensitivity::Detects { failure_rate })
    }

    fn non_inferiority(&self, step: &Step) -> Option<NonInferiorityStatus> {
        let wanted = step.gate == Gate::Evidence && step.is_compared();
        let limit = self.plan.judge.safe_at().filter(|_| wanted)?;
        Some(NonInferiorityStatus {
            evidence: self.judge.ln_e_safe().exp().min(f64::MAX),
            limit: limit.exp(),
            requests_needed: self.judge.requests_to_safety(step.weight().share()),
        })
    }

    fn arm_status(&self, version: &VersionName) -> ArmStatus {
        let activity = self.deltas.step.get(version).cloned().unwrap_or_default();
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

    /// Time to promotion at the present request rate, scaled by the weights.
    fn time_left(&self, index: usize, baked: Duration) -> Option<Duration> {
        let requests =
            self.deltas.step.get(&self.plan.candidate).map_or(0, |candidate| candidate.requests);
        if self.blocker.is_some() || self.is_previewing() || requests == 0 || baked.is_zero() {
            return None;
        }
        let per_second = requests as f64 / baked.as_secs_f64() / self.split.candidate.share();
        let needed = |step: &Step, missing: u64, bake: Duration| {
            let carry = missing as f64 / (per_second * step.weight().share());
            bake.max(Duration::try_from_secs_f64(carry).unwrap_or(Duration::MAX))
        };
        let mut steps = self.plan.steps.iter().skip(index);
        let present = steps.next()?;
        let missing = present.requests.saturating_sub(requests);
        let first = needed(present, missing, present.bake.saturating_sub(baked));
        Some(steps.fold(first, |sum, step| {
            sum.saturating_add(
                needed(step, step.requests, step.bake).saturating_add(CONFIRMATION_TIME),
            )
        }))
    }
}
