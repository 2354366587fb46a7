//! The judge's inputs, and the effects of its rulings.

use std::collections::BTreeMap;
use std::time::Duration;

use serin_filter::names::VersionName;

use super::super::event::RollbackReason;
use super::{Output, Rollout};
use crate::judge::{self, Block, Cause, Sli};
use crate::observation::{FleetDelta, VersionDelta};

impl Rollout {
    /// Learns the baseline's usual behavior from counts that are not judged.
    pub(super) fn learn(&mut self, now: Duration, seen: &FleetDelta, outputs: &mut Vec<Output>) {
        let Block { baseline, .. } = self.block_of(&seen.versions);
        if baseline.requests > 0 {
            outputs.push(Output::RecordRuling(self.judge.learn(now.as_secs_f64(), baseline)));
        }
    }

    pub(super) fn judge(&mut self, now: Duration, seen: &FleetDelta, outputs: &mut Vec<Output>) {
        let Some(ruling) = self.judge.observe(now.as_secs_f64(), &self.block_of(&seen.versions))
        else {
            return;
        };
        if let judge::Verdict::Harm(cause) = ruling.verdict {
            let settings = &self.plan.judge;
            let reason = RollbackReason::Harm {
                sli: cause.sli().to_string(),
                sentence: cause.explain(settings, self.names(), &self.block_of(&self.deltas.step)),
                evidence: ruling.ln_e.exp().min(f64::MAX),
                limit: 1.0 / settings.alpha,
                block: ruling.number,
            };
            self.roll_back(now, reason, outputs);
        }
        outputs.push(Output::RecordRuling(ruling));
    }

    /// The failures of both versions since the step went live, or before that since the rollout
    /// started.
    pub(super) fn failures(&self) -> String {
        let seen = if self.deltas.step.is_empty() { &self.deltas.total } else { &self.deltas.step };
        Cause::Worse(Sli::Errors).explain(&self.plan.judge, self.names(), &self.block_of(seen))
    }

    /// The counts of both versions as a block. Only the last latency boundaries are judged.
    pub(super) fn block_of(&self, versions: &BTreeMap<VersionName, VersionDelta>) -> Block {
        let judged = self.plan.judge.boundaries_ms.len();
        let arm = |version| {
            let mut arm = versions.get(version).map(VersionDelta::arm).unwrap_or_default();
            arm.slower.drain(..arm.slower.len().saturating_sub(judged));
            arm
        };
        Block { baseline: arm(&self.plan.baseline), candidate: arm(&self.plan.candidate) }
    }
}
