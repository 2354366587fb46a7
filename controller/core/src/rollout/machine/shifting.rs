//! Requests a split and follows it until it is live.

use std::time::Duration;

use serin_filter::names::Generation;
use serin_filter::table::Weight;

use super::io::Output;
use super::phase::{Goal, MachinePhase};
use super::{MAX_WARM_UP, Rollout, SPLIT_RETRY_INTERVAL};
use crate::judge::SplitContext;
use crate::observation::SliceCounts;
use crate::rollout::blocker::Blocker;
use crate::rollout::event::Event;
use crate::rollout::plan::{AaTest, Step};
use crate::split::{Split, UserAssignment};

impl Rollout {
    pub(super) fn shift(&mut self, now: Duration, goal: Goal, outputs: &mut Vec<Output>) {
        // Replaced instances no longer carry baseline traffic.
        let (step, weighted) = match goal {
            Goal::Step(step) => (Some(step), Some(step)),
            Goal::Rollback(_) => (None, self.hooks.replaced_step),
            Goal::AaTest => (None, None),
        };
        let weight =
            weighted.and_then(|step| self.plan.steps.get(step)).map_or(Weight::ZERO, Step::weight);
        self.abandon_calls();
        let generation = self.split.generation.next();
        // The previous split stays in force until the proxy follows.
        let context = SplitContext { single_arm: false, ..self.judge.context().clone() };
        self.judge.split_changes(context);
        let assignment = match (&goal, self.split.assignment) {
            (Goal::AaTest, _) => UserAssignment::AaTest,
            (_, UserAssignment::AaTest) => UserAssignment::ServiceSalt,
            (_, users) => users,
        };
        self.split = Split { generation, candidate: weight, assignment };
        self.split_sent = now;
        self.step_started = now;
        // The blocker of the previous split does not apply to this one.
        self.blocker = None;
        outputs.push(Output::emit(match (&goal, &self.plan.aa_test) {
            (Goal::AaTest, Some(AaTest { duration, requests, salts, .. })) => Event::AaTesting {
                generation,
                salts: salts.len(),
                duration: duration.as_secs_f64(),
                requests: *requests,
            },
            _ => Event::Shifting { step: step.map(|step| step + 1), weight, generation },
        }));
        self.phase = MachinePhase::Shifting { goal, since: now, followed: None };
        outputs.push(Output::Apply(self.split));
    }

    /// Repeats a split that the proxy does not follow.
    pub(super) fn resend_split(
        &mut self,
        now: Duration,
        running: Option<Generation>,
        outputs: &mut Vec<Output>,
    ) {
        let retry_interval = match &self.blocker {
            Some(Blocker::WriteFailed { .. }) => self.plan.interval,
            _ => SPLIT_RETRY_INTERVAL,
        };
        let requested = self.phase != MachinePhase::Preparing;
        if !requested
            || running == Some(self.split.generation)
            || now < self.split_sent + retry_interval
        {
            return;
        }
        if let Some(Blocker::Rejected { .. } | Blocker::RejectedByProxies { .. }) = self.blocker {
            // Envoy ignores a configuration that it rejected before.
            self.split.generation = self.split.generation.next();
            if let MachinePhase::Shifting { followed, .. } = &mut self.phase {
                *followed = None;
            }
        }
        self.split_sent = now;
        outputs.push(Output::Apply(self.split));
    }

    pub(super) fn go_live(&mut self, now: Duration, outputs: &mut Vec<Output>) {
        let MachinePhase::Shifting { goal, .. } = self.phase.clone() else { return };
        match goal {
            Goal::Step(step) => {
                self.judge.split_changes(self.split_context(step));
                self.deltas.step.clear();
                self.reset_metrics(now);
                // Preview requests are not compared.
                let preview = self.plan.steps.get(step).is_some_and(Step::is_preview);
                let warm_until = now + if preview { Duration::ZERO } else { self.warm_up() };
                self.phase = MachinePhase::Baking {
                    step,
                    baked: Duration::ZERO,
                    approved: false,
                    approval_requested: false,
                    warm_until,
                };
            }
            Goal::AaTest => {
                let slices = SliceCounts::default();
                self.phase = MachinePhase::AaTesting { watched: Duration::ZERO, slices };
            }
            Goal::Rollback(reason) if self.hooks.replaced_step.is_some() => {
                self.phase = MachinePhase::Reverting { reason };
            }
            Goal::Rollback(reason) => self.end(now, Some(reason), outputs),
        }
    }

    /// The 99.9th percentile of the baseline's latency.
    fn warm_up(&self) -> Duration {
        let baseline = self.deltas.total.get(&self.plan.baseline).cloned().unwrap_or_default();
        let latency = baseline.within_boundaries().quantile_ms(0.999);
        Duration::from_secs_f64(latency.unwrap_or(0.0) / 1_000.0).min(MAX_WARM_UP)
    }
}
