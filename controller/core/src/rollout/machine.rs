//! The state machine of a rollout. Its inputs are observations of the proxies. Its outputs are
//! splits to apply and events to publish.
//!
//! ```text
//!             asked for          every worker follows       gate open
//!   step 1 --> Shifting --------------> Baking -----------------> step 2 ... --> promoted
//!                 |                        |
//!                 +---- harm, interrupt ---+--> Shifting to the baseline --> rolled back
//! ```
//!
//! An A/A test precedes the first step, at a weight of 0: Shifting --> AaTesting --> step 1. With
//! a rollback window, the rollout ends after the window and can be rolled back until then.
//!
//! Two rules hold in every phase. Unknown is neither good nor bad: a failed poll, or one that
//! shows a proxy out of line with the requested split, opens no gate and starts no rollback. A
//! rollback needs only the evidence: the state machine requests it at once, and repeats the
//! request until the proxy follows.
//!
//! Pure: it reads no clock. `now` is the time since the rollout started.

mod aa_test;
mod blocker;
mod calls;
mod commands;
mod ending;
mod fleet;
mod gate;
mod io;
mod judging;
mod limits;
mod metrics;
mod phase;
mod shifting;
mod state;
mod status;

use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use serin_filter::stat::FLUSH_INTERVAL;

pub use self::io::{Input, Output};
use self::phase::{Goal, MachinePhase};
use self::state::{Deltas, HookProgress, MetricState, Pause, PollTimes};
use super::blocker::Blocker;
use super::event::{Event, RollbackReason};
use super::plan::{Plan, Step};
use crate::judge::explain::VersionLabels;
use crate::judge::{Judge, SplitContext};
use crate::observation::{FleetDelta, Observation};
use crate::split::Split;

/// A generation is live if no worker contradicts it for this long. Each worker reports every
/// [`FLUSH_INTERVAL`].
const CONFIRMATION_TIME: Duration = FLUSH_INTERVAL.saturating_mul(2);

/// Interval between polls during a shift.
const SHIFTING_INTERVAL: Duration = Duration::from_millis(100);

/// During a shift the counts contain both splits, so they are not judged, but for at most this
/// long.
const SHIFTING_GRACE: Duration = Duration::from_secs(2);

/// The interval after which an unconfirmed split is requested again, as a new generation.
const SPLIT_RETRY_INTERVAL: Duration = Duration::from_secs(5);

/// The longest warm-up after a split goes live.
const MAX_WARM_UP: Duration = Duration::from_secs(30);

/// A rollout in progress.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Rollout {
    /// Shared by the copies of the state that the driver makes.
    plan: Arc<Plan>,
    judge: Judge,
    phase: MachinePhase,
    /// Distinguishes rollouts of the same name.
    run_id: String,
    /// The last requested split.
    split: Split,
    /// When it was requested last.
    split_sent: Duration,
    /// When the step or another goal started.
    step_started: Duration,
    /// Why no gate opens, if paused.
    pause: Option<Pause>,
    /// Whether a person promoted it: gates open at once.
    promote_requested: bool,
    /// Whether the store is down: only a rollback proceeds.
    #[serde(skip)]
    store_down: bool,
    /// The end of the present freeze.
    freeze_end: Option<String>,
    hooks: HookProgress,
    metric_state: MetricState,
    polls: PollTimes,
    /// The blocker at the last poll.
    blocker: Option<Blocker>,
    /// The warning at the last poll.
    last_warning: Option<String>,
    deltas: Deltas,
}

impl Rollout {
    /// Starts a rollout from the split in force. Its first split gets the next generation.
    /// `run_id` distinguishes rollouts of the same name.
    #[must_use]
    pub fn start(plan: Plan, present: Split, run_id: String) -> (Self, Vec<Output>) {
        let mut rollout = Self {
            judge: Judge::new(plan.judge.clone()),
            phase: MachinePhase::Preparing,
            run_id,
            split: present,
            split_sent: Duration::ZERO,
            step_started: Duration::ZERO,
            pause: None,
            promote_requested: false,
            store_down: false,
            freeze_end: None,
            hooks: HookProgress::default(),
            metric_state: MetricState::default(),
            polls: PollTimes::default(),
            blocker: None,
            last_warning: None,
            deltas: Deltas::default(),
            plan: Arc::new(plan),
        };
        let mut outputs = vec![Output::emit(Event::Started {
            service: rollout.plan.service.clone(),
            baseline: rollout.plan.baseline.clone(),
            candidate: rollout.plan.candidate.clone(),
            steps: rollout.plan.steps.iter().map(Step::weight).collect(),
            breaking: rollout.plan.breaking,
        })];
        rollout.start_first_step(Duration::ZERO, &mut outputs);
        (rollout, outputs)
    }

    /// Requests the first split once all hooks before the rollout succeed.
    fn start_first_step(&mut self, now: Duration, outputs: &mut Vec<Output>) {
        if self.advance_hooks(outputs) {
            let goal = if self.plan.aa_test.is_some() { Goal::AaTest } else { Goal::Step(0) };
            self.shift(now, goal, outputs);
        }
    }

    /// Returns true if the rollout ended.
    #[must_use]
    pub fn ended(&self) -> bool {
        self.phase == MachinePhase::Ended
    }

    /// The plan.
    #[must_use]
    pub fn plan(&self) -> &Plan {
        &self.plan
    }

    /// Returns true if all traffic moves back to the baseline.
    #[must_use]
    pub fn is_rolling_back(&self) -> bool {
        matches!(
            self.phase,
            MachinePhase::Shifting { goal: Goal::Rollback(_), .. } | MachinePhase::Reverting { .. }
        )
    }

    /// The blocker at the last poll.
    #[must_use]
    pub fn blocker(&self) -> Option<&Blocker> {
        self.blocker.as_ref()
    }

    /// The warning at the last poll: a problem that does not block the rollout.
    #[must_use]
    pub fn warning(&self) -> Option<&str> {
        self.last_warning.as_deref()
    }

    /// The last requested split.
    #[must_use]
    pub fn split(&self) -> Split {
        self.split
    }

    /// Resumes after an interval without polls. The interval counts for nothing, because its
    /// events are unknown.
    pub fn resume_clock(&mut self, now: Duration) {
        let gap = now.saturating_sub(self.polls.last);
        self.step_started += gap;
        if let MachinePhase::Promoted { since } = &mut self.phase {
            *since += gap;
        }
        self.polls.resume(now);
        if let MachinePhase::Shifting { followed, .. } = &mut self.phase {
            *followed = None;
        }
    }

    /// The outputs to repeat after a restart. Their completion is unknown, and repeating them has
    /// no effect.
    #[must_use]
    pub fn replay(&self) -> Vec<Output> {
        let split = (self.phase != MachinePhase::Preparing).then_some(Output::Apply(self.split));
        split.into_iter().chain(self.unanswered_calls()).collect()
    }

    /// Sets whether the store can be written. While it can't, samples count and a rollback
    /// proceeds, but nothing else moves.
    pub fn set_store_available(&mut self, available: bool) {
        self.store_down = !available;
    }

    /// Sets the end of the present freeze, if any. In a freeze no gate opens by itself, and no
    /// limit counts.
    pub fn freeze(&mut self, now: Duration, until: Option<String>) -> Vec<Output> {
        if self.freeze_end == until || self.ended() {
            return Vec::new();
        }
        self.freeze_end.clone_from(&until);
        vec![Output::emit(match until {
            Some(until) => Event::FreezeStarted { until },
            None => {
                self.step_started = now;
                Event::FreezeEnded
            }
        })]
    }

    /// The interval from the last poll to the next.
    #[must_use]
    pub fn next_poll(&self) -> Duration {
        match self.phase {
            MachinePhase::Shifting { since, .. }
                if self.polls.last.saturating_sub(since) < SHIFTING_GRACE =>
            {
                SHIFTING_INTERVAL.min(self.plan.interval)
            }
            MachinePhase::Baking { warm_until, .. } if warm_until > self.polls.last => {
                warm_until.saturating_sub(self.polls.last).min(self.plan.interval)
            }
            _ => self.plan.interval,
        }
    }

    /// Handles an input.
    pub fn step(&mut self, now: Duration, input: Input) -> Vec<Output> {
        let mut outputs = Vec::new();
        match input {
            _ if self.ended() => {}
            Input::Observation(Observation::Delta(delta)) => {
                self.expire_pause(now, &mut outputs);
                self.on_sample(now, &delta, &mut outputs);
            }
            Input::Observation(Observation::Unreachable { reason }) => {
                self.expire_pause(now, &mut outputs);
                self.polls.last = now;
                self.set_blocker(Some(Blocker::Unreachable { reason }), &mut outputs);
                self.resend_split(now, None, &mut outputs);
                self.enforce_step_limit(now, &mut outputs);
            }
            Input::ApplyFailed { reason } => {
                self.set_blocker(Some(Blocker::WriteFailed { reason }), &mut outputs);
            }
            Input::HookAnswered { id, answer } => {
                self.on_hook_answer(now, &id, answer, &mut outputs)
            }
            Input::MetricsSampled { generation, values } => {
                self.on_metrics(now, generation, values, &mut outputs);
            }
            Input::Interrupt => match self.phase.clone() {
                MachinePhase::Shifting { goal: Goal::Rollback(reason), .. }
                | MachinePhase::Reverting { reason } => {
                    self.end_unconfirmed(now, reason, &mut outputs);
                }
                MachinePhase::Closing { reason, confirmed } => {
                    self.conclude(now, reason, confirmed, &mut outputs);
                }
                _ => self.roll_back(now, RollbackReason::Interrupted, &mut outputs),
            },
        }
        outputs
    }

    fn on_sample(&mut self, now: Duration, delta: &FleetDelta, outputs: &mut Vec<Output>) {
        if delta.restarted {
            outputs.push(Output::emit(Event::ProxyRestarted));
        }
        self.warn(delta, outputs);
        let was_sound = self.blocker.is_none();
        let since = std::mem::replace(&mut self.polls.last_sample, now);
        self.polls.last = now;
        if delta.workers_current {
            self.polls.last_worker_report = now;
        }
        self.set_blocker(self.fleet_blocker(now, delta), outputs);
        self.deltas.add_to_total(delta);
        let (span, sound) = (now.saturating_sub(since), was_sound && self.blocker.is_none());
        self.count_aa_test(span, sound, delta);
        if self.is_judgeable(since, delta.age) {
            self.deltas.add_to_step(delta);
            if let MachinePhase::Baking { baked, .. } = &mut self.phase
                && sound
            {
                *baked += span;
            }
            self.judge(now, delta, outputs);
        } else if !self.is_rolling_back() {
            self.learn(now, delta, outputs);
        }
        if delta.newest_generation == Some(self.split.generation)
            && delta.tripped.contains(&self.plan.candidate)
            && self.phase != MachinePhase::Preparing
        {
            self.roll_back(now, RollbackReason::Tripwire { sentence: self.failures() }, outputs);
        }
        self.enforce_budgets(outputs, now);
        self.resend_split(now, delta.generation, outputs);
        self.retry_hooks(now, outputs);
        self.advance(now, delta, outputs);
        self.enforce_step_limit(now, outputs);
        self.request_metrics(now, outputs);
    }

    /// Returns true if counts since `since` can be judged: they belong to one split, are free of
    /// the start-up bias, and are undecided.
    fn is_judgeable(&self, since: Duration, age: Duration) -> bool {
        match self.phase {
            MachinePhase::Shifting { goal: Goal::Step(_), since: requested, .. } => {
                since >= requested + SHIFTING_GRACE + age
            }
            MachinePhase::Baking { warm_until, .. } => since >= warm_until,
            MachinePhase::Promoted { .. } => true,
            MachinePhase::Shifting { goal: Goal::AaTest | Goal::Rollback(_), .. }
            | MachinePhase::Preparing
            | MachinePhase::AaTesting { .. }
            | MachinePhase::Reverting { .. }
            | MachinePhase::Closing { .. }
            | MachinePhase::Ended => false,
        }
    }

    fn advance(&mut self, now: Duration, delta: &FleetDelta, outputs: &mut Vec<Output>) {
        if self.store_down {
            return;
        }
        let requested = self.split.generation;
        match &mut self.phase {
            MachinePhase::Shifting { since, followed, .. } => {
                let follows = delta.generation == Some(requested)
                    && !delta.workers_behind
                    && delta.health.confirms(requested);
                *followed = follows.then_some(followed.unwrap_or(now));
                let confirmed =
                    followed.is_some_and(|followed| now >= followed + CONFIRMATION_TIME);
                if confirmed && delta.workers_current {
                    let after = now.saturating_sub(*since).as_secs_f64();
                    let Split { generation, candidate: weight, .. } = self.split;
                    outputs.push(Output::emit(Event::Live { weight, generation, after }));
                    self.go_live(now, outputs);
                }
            }
            MachinePhase::Baking { step, baked, .. }
                if self.blocker.is_none() && self.pause.is_none() =>
            {
                let (step, baked) = (*step, *baked);
                let passed = self.freeze_end.is_none() && self.gate_is_open(step, baked);
                let opens = self.promote_requested || passed && self.has_approval(outputs);
                if opens && self.advance_hooks(outputs) {
                    self.open_gate(now, step, outputs);
                }
            }
            MachinePhase::AaTesting { .. } if self.pause.is_none() && self.freeze_end.is_none() => {
                self.choose_salt(now, outputs)
            }
            MachinePhase::Promoted { since } if now >= *since + self.plan.window => {
                self.end(now, None, outputs);
            }
            MachinePhase::Preparing if self.pause.is_none() && self.freeze_end.is_none() => {
                self.start_first_step(now, outputs);
            }
            MachinePhase::Reverting { reason } => {
                let reason = reason.clone();
                if self.advance_hooks(outputs) {
                    self.continue_restore(now, reason, outputs);
                }
            }
            MachinePhase::Closing { .. } => self.close(now, outputs),
            MachinePhase::Preparing
            | MachinePhase::Baking { .. }
            | MachinePhase::AaTesting { .. }
            | MachinePhase::Promoted { .. }
            | MachinePhase::Ended => {}
        }
    }

    /// The step that is live or shifting.
    fn current_step(&self) -> Option<&Step> {
        match self.phase {
            MachinePhase::Baking { step, .. }
            | MachinePhase::Shifting { goal: Goal::Step(step), .. } => self.plan.steps.get(step),
            _ => None,
        }
    }

    /// The context for judging a step's blocks.
    fn split_context(&self, step: usize) -> SplitContext {
        self.plan.steps.get(step).map(Step::split_context).unwrap_or_default()
    }

    fn names(&self) -> VersionLabels<'_> {
        VersionLabels {
            baseline: self.plan.baseline.as_str(),
            candidate: self.plan.candidate.as_str(),
        }
    }

    /// Resumes when a timed pause expires.
    fn expire_pause(&mut self, now: Duration, outputs: &mut Vec<Output>) {
        if let Some(Pause::Until(until)) = self.pause
            && now >= until
        {
            self.pause = None;
            self.step_started = now;
            outputs.push(Output::emit(Event::PauseExpired));
        }
    }
}

#[cfg(test)]
mod tests;
