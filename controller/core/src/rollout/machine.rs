//! The state machine of a rollout: looks at the proxy go in, splits to apply and events to tell come out.
//!
//! ```text
//!             asked for          every worker follows       gate open
//!   step 1 --> Shifting --------------> Baking -----------------> step 2 ... --> promoted
//!                 |                        |
//!                 +---- harm, interrupt ---+--> Shifting to the baseline --> rolled back
//! ```
//!
//! Where users are to be watched, that comes before the first step, at a weight of 0: Shifting --> Watching --> step 1. Where there is a
//! rollback window, the rollout ends after it; until then it can still be rolled back.
//!
//! Two rules hold throughout. What is not known is neither good nor bad: a look that fails, or that shows a proxy not doing what it was
//! asked, opens no gate and starts no rollback. And a rollback needs nothing but the evidence: it is asked for at once, and again until
//! the proxy follows.
//!
//! Pure: it reads no clock, `now` is the time since the rollout began.

mod aa_test;
mod blocker;
mod calls;
mod commands;
mod ending;
mod fleet;
mod gate;
mod judging;
mod limits;
mod metrics;
mod phase;
mod status;

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use serin_filter::names::{Generation, VersionName};
use serin_filter::stat::FLUSH_INTERVAL;
use serin_filter::table::Weight;

use self::calls::PendingCall;
use self::metrics::MetricState;
use self::phase::{Goal, MachinePhase};
use super::call::HookCall;
use super::event::{Event, RollbackReason};
use super::metric::MetricSample;
use super::plan::{AaTest, Plan, Step};
use crate::judge::explain::VersionLabels;
use crate::judge::{Judge, Ruling, SplitContext};
use crate::observation::{FleetDelta, Observation, SliceCounts, VersionDelta};
use crate::rollout::blocker::Blocker;
use crate::split::{Split, UserAssignment};

/// A generation is live when no worker has said otherwise for this long; each speaks every [`FLUSH_INTERVAL`].
const CONFIRMATION_TIME: Duration = FLUSH_INTERVAL.saturating_mul(2);

/// Time between looks while a split is on its way.
const SHIFTING_INTERVAL: Duration = Duration::from_millis(100);

/// While a split is on its way both splits are in what is counted, so it is not judged; but not for longer than this.
const SHIFTING_GRACE: Duration = Duration::from_secs(2);

/// A split that the proxy does not follow is asked for again after this time, as a new generation.
const SPLIT_RETRY_INTERVAL: Duration = Duration::from_secs(5);

/// No latency is waited for longer than this after a split has gone live.
const MAX_WARM_UP: Duration = Duration::from_secs(30);

/// What the machine is told.
#[derive(Debug, Clone, PartialEq)]
pub enum Input {
    /// A look at the proxy.
    Observation(Observation),
    /// The split last asked for could not be applied.
    ApplyFailed {
        /// Why.
        reason: String,
    },
    /// A call was answered with a yes, or why not.
    HookAnswered {
        /// Which.
        id: String,
        /// How.
        answer: Result<(), String>,
    },
    /// The plan's metrics were measured.
    MetricsSampled {
        /// Under which split.
        generation: Generation,
        /// What they are, in the order of the plan.
        values: Vec<MetricSample>,
    },
    /// The user asks to stop: all traffic goes back. If it is on its way already, nobody waits for the proxy to confirm it any more.
    Interrupt,
}

/// What the machine wants.
#[derive(Debug, Clone, PartialEq)]
pub enum Output {
    /// This split in force.
    Apply(Split),
    /// This told to the user.
    Emit(Box<Event>),
    /// This called.
    CallHook(HookCall),
    /// The plan's metrics measured.
    SampleMetrics {
        /// Under this split.
        generation: Generation,
    },
    /// This recorded: what the judge saw, or learned from, and said.
    RecordRuling(Ruling),
}

impl Output {
    fn emit(event: Event) -> Self {
        Self::Emit(Box::new(event))
    }
}

/// A rollout under way.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Rollout {
    plan: Plan,
    judge: Judge,
    phase: MachinePhase,
    /// Tells it from all others of its name.
    #[serde(default)]
    run_id: String,
    /// The split last asked for.
    split: Split,
    /// When it was asked for, last time.
    split_sent: Duration,
    /// When the step, or whatever the split is for, began.
    step_started: Duration,
    /// Whether it stays where it is: a step has taken too long, or somebody wants that.
    paused: bool,
    /// When it goes on by itself.
    paused_until: Option<Duration>,
    /// Whether somebody wants no more gates.
    promote_requested: bool,
    /// Whether nothing can be stored: it does not move then, but for a rollback.
    #[serde(skip)]
    store_down: bool,
    /// The end of the freeze that it is in.
    freeze_end: Option<String>,
    /// The calls without a yes.
    pending_calls: Vec<PendingCall>,
    /// What is known of the plan's metrics.
    #[serde(default)]
    metric_state: MetricState,
    /// How many of those that are called one after the other where it stands have said yes.
    hooks_passed: usize,
    /// The last step whose instances have been, or are being, replaced.
    replaced_step: Option<usize>,
    /// When the last look was.
    last_poll: Duration,
    /// When the last look was that showed anything: what is counted goes back to there.
    last_sample: Duration,
    /// When a worker last reported.
    last_worker_report: Duration,
    /// What is not as it should be, as of the last look.
    blocker: Option<Blocker>,
    /// The last warning.
    #[serde(default)]
    last_warning: Option<String>,
    /// What each version did since the step went live, as far as it was judged.
    step_deltas: BTreeMap<VersionName, VersionDelta>,
    /// What each version did since the rollout began.
    total_deltas: BTreeMap<VersionName, VersionDelta>,
}

impl Rollout {
    /// Begins a rollout where this split is in force. Its first own is the next generation. `run` tells it from all others of its name.
    #[must_use]
    pub fn start(plan: Plan, present: Split, run_id: String) -> (Self, Vec<Output>) {
        let mut rollout = Self {
            judge: Judge::new(plan.judge.clone()),
            phase: MachinePhase::Preparing,
            run_id,
            split: present,
            split_sent: Duration::ZERO,
            step_started: Duration::ZERO,
            paused: false,
            paused_until: None,
            promote_requested: false,
            store_down: false,
            freeze_end: None,
            pending_calls: Vec::new(),
            metric_state: MetricState::default(),
            hooks_passed: 0,
            replaced_step: None,
            last_poll: Duration::ZERO,
            last_sample: Duration::ZERO,
            last_worker_report: Duration::ZERO,
            blocker: None,
            last_warning: None,
            step_deltas: BTreeMap::new(),
            total_deltas: BTreeMap::new(),
            plan,
        };
        let mut outputs = vec![Output::emit(Event::Started {
            service: rollout.plan.service.clone(),
            baseline: rollout.plan.baseline.clone(),
            candidate: rollout.plan.candidate.clone(),
            steps: rollout.plan.steps.iter().map(|step| step.weight).collect(),
            breaking: rollout.plan.breaking,
        })];
        rollout.start_first_step(Duration::ZERO, &mut outputs);
        (rollout, outputs)
    }

    /// Asks for the first split, if all who are called before that have said yes.
    fn start_first_step(&mut self, now: Duration, outputs: &mut Vec<Output>) {
        if self.advance_hooks(outputs) {
            let goal = if self.plan.aa_test.is_some() { Goal::AaTest } else { Goal::Step(0) };
            self.shift(now, goal, outputs);
        }
    }

    /// Whether the rollout is over.
    #[must_use]
    pub fn ended(&self) -> bool {
        self.phase == MachinePhase::Ended
    }

    /// What it carries out.
    #[must_use]
    pub fn plan(&self) -> &Plan {
        &self.plan
    }

    /// Whether all traffic goes back to the baseline.
    #[must_use]
    pub fn is_rolling_back(&self) -> bool {
        matches!(
            self.phase,
            MachinePhase::Shifting { goal: Goal::Rollback(_), .. } | MachinePhase::Reverting { .. }
        )
    }

    /// What keeps it from going on, as of the last look.
    #[must_use]
    pub fn blocker(&self) -> Option<&Blocker> {
        self.blocker.as_ref()
    }

    /// The split last asked for.
    #[must_use]
    pub fn split(&self) -> Split {
        self.split
    }

    /// Goes on after a time in which nobody looked: what happened in it is not known, so it counts for nothing.
    pub fn resume_clock(&mut self, now: Duration) {
        let gap = now.saturating_sub(self.last_poll);
        self.step_started += gap;
        if let MachinePhase::Promoted { since } = &mut self.phase {
            *since += gap;
        }
        (self.last_poll, self.last_sample, self.last_worker_report) = (now, now, now);
        if let MachinePhase::Shifting { followed, .. } = &mut self.phase {
            *followed = None;
        }
    }

    /// What to do again after a restart: whether it was done is not known, and to do it twice changes nothing.
    #[must_use]
    pub fn replay(&self) -> Vec<Output> {
        let split = (self.phase != MachinePhase::Preparing).then_some(Output::Apply(self.split));
        split.into_iter().chain(self.unanswered_calls()).collect()
    }

    /// Holds it where it is for as long as nothing can be stored, or lets it go on. What is seen counts all the same, and a rollback waits for
    /// nothing.
    pub fn set_store_down(&mut self, held: bool) {
        self.store_down = held;
    }

    /// Tells in which freeze it is, by the end of it, if in any. In a freeze no gate opens by itself, and no limit counts.
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

    /// How long after the last look the next is due.
    #[must_use]
    pub fn next_poll(&self) -> Duration {
        match self.phase {
            MachinePhase::Shifting { since, .. }
                if self.last_poll.saturating_sub(since) < SHIFTING_GRACE =>
            {
                SHIFTING_INTERVAL.min(self.plan.interval)
            }
            MachinePhase::Baking { warm, .. } if warm > self.last_poll => {
                warm.saturating_sub(self.last_poll).min(self.plan.interval)
            }
            _ => self.plan.interval,
        }
    }

    /// Takes an input into account.
    pub fn step(&mut self, now: Duration, input: Input) -> Vec<Output> {
        let mut outputs = Vec::new();
        match input {
            _ if self.ended() => {}
            Input::Observation(Observation::Delta(seen)) => {
                self.expire_pause(now, &mut outputs);
                self.on_sample(now, &seen, &mut outputs);
            }
            Input::Observation(Observation::Unreachable { reason: why }) => {
                self.expire_pause(now, &mut outputs);
                self.last_poll = now;
                self.set_blocker(Some(Blocker::Unreachable { reason: why }), &mut outputs);
                self.resend_split(now, None, &mut outputs);
                self.enforce_step_limit(now, &mut outputs);
            }
            Input::ApplyFailed { reason: why } => {
                self.set_blocker(Some(Blocker::WriteFailed { reason: why }), &mut outputs);
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

    fn on_sample(&mut self, now: Duration, seen: &FleetDelta, outputs: &mut Vec<Output>) {
        if seen.restarted {
            outputs.push(Output::emit(Event::ProxyRestarted));
        }
        self.warn(seen, outputs);
        let was_sound = self.blocker.is_none();
        let since = std::mem::replace(&mut self.last_sample, now);
        self.last_poll = now;
        if seen.workers_current {
            self.last_worker_report = now;
        }
        self.set_blocker(self.fleet_blocker(now, seen), outputs);
        add(&mut self.total_deltas, seen);
        let (span, sound) = (now.saturating_sub(since), was_sound && self.blocker.is_none());
        self.count_aa_test(span, sound, seen);
        if self.is_judgeable(since, seen.age) {
            add(&mut self.step_deltas, seen);
            if let MachinePhase::Baking { baked, .. } = &mut self.phase
                && sound
            {
                *baked += span;
            }
            self.judge(now, seen, outputs);
        } else if !self.is_rolling_back() {
            self.learn(now, seen, outputs);
        }
        if seen.newest_generation == Some(self.split.generation)
            && seen.tripped.contains(&self.plan.candidate)
            && self.phase != MachinePhase::Preparing
        {
            self.roll_back(now, RollbackReason::Tripwire { sentence: self.failures() }, outputs);
        }
        self.enforce_budgets(outputs, now);
        self.resend_split(now, seen.generation, outputs);
        self.retry_hooks(now, outputs);
        self.advance(now, seen, outputs);
        self.enforce_step_limit(now, outputs);
        self.request_metrics(now, outputs);
    }

    /// Whether what happened since `since` is to be judged: it is of one split, free of the start-up bias, and not decided yet.
    fn is_judgeable(&self, since: Duration, age: Duration) -> bool {
        match self.phase {
            MachinePhase::Shifting { goal: Goal::Step(_), since: asked, .. } => {
                since >= asked + SHIFTING_GRACE + age
            }
            MachinePhase::Baking { warm, .. } => since >= warm,
            MachinePhase::Promoted { .. } => true,
            MachinePhase::Shifting { goal: Goal::AaTest | Goal::Rollback(_), .. }
            | MachinePhase::Preparing
            | MachinePhase::AaTesting { .. }
            | MachinePhase::Reverting { .. }
            | MachinePhase::Closing { .. }
            | MachinePhase::Ended => false,
        }
    }

    /// Asks again for a split that the proxy does not follow.
    fn resend_split(
        &mut self,
        now: Duration,
        running: Option<Generation>,
        outputs: &mut Vec<Output>,
    ) {
        let patience = match &self.blocker {
            Some(Blocker::WriteFailed { .. }) => self.plan.interval,
            _ => SPLIT_RETRY_INTERVAL,
        };
        let asked = self.phase != MachinePhase::Preparing;
        if !asked || running == Some(self.split.generation) || now < self.split_sent + patience {
            return;
        }
        if let Some(Blocker::Rejected { .. } | Blocker::RejectedByProxies { .. }) = self.blocker {
            // Envoy does not look again at a configuration that it has refused.
            self.split.generation = self.split.generation.next();
            if let MachinePhase::Shifting { followed, .. } = &mut self.phase {
                *followed = None;
            }
        }
        self.split_sent = now;
        outputs.push(Output::Apply(self.split));
    }

    fn advance(&mut self, now: Duration, seen: &FleetDelta, outputs: &mut Vec<Output>) {
        if self.store_down {
            return;
        }
        let wanted = self.split.generation;
        match &mut self.phase {
            MachinePhase::Shifting { since, followed, .. } => {
                let follows = seen.generation == Some(wanted)
                    && !seen.workers_behind
                    && seen.health.confirms(wanted);
                *followed = follows.then_some(followed.unwrap_or(now));
                let confirmed =
                    followed.is_some_and(|followed| now >= followed + CONFIRMATION_TIME);
                if confirmed && seen.workers_current {
                    let after = now.saturating_sub(*since).as_secs_f64();
                    let Split { generation, candidate: weight, .. } = self.split;
                    outputs.push(Output::emit(Event::Live { weight, generation, after }));
                    self.go_live(now, outputs);
                }
            }
            MachinePhase::Baking { step, baked, .. } if self.blocker.is_none() && !self.paused => {
                let (step, baked) = (*step, *baked);
                let passed = self.freeze_end.is_none() && self.gate_is_open(step, baked);
                let opens = self.promote_requested || passed && self.has_approval(outputs);
                if opens && self.advance_hooks(outputs) {
                    self.open_gate(now, step, outputs);
                }
            }
            MachinePhase::AaTesting { .. } if !self.paused && self.freeze_end.is_none() => {
                self.choose_salt(now, outputs)
            }
            MachinePhase::Promoted { since } if now >= *since + self.plan.window => {
                self.end(now, None, outputs);
            }
            MachinePhase::Preparing if !self.paused && self.freeze_end.is_none() => {
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

    fn go_live(&mut self, now: Duration, outputs: &mut Vec<Output>) {
        let MachinePhase::Shifting { goal, .. } = self.phase.clone() else { return };
        match goal {
            Goal::Step(step) => {
                self.judge.split_changes(self.split_context(step));
                self.step_deltas.clear();
                self.reset_metrics(now);
                // Whoever asks for a preview is compared with nobody.
                let previews = self.plan.steps.get(step).is_some_and(Step::is_preview);
                let warm = now + if previews { Duration::ZERO } else { self.warm_up() };
                let (approved, asked) = (false, false);
                self.phase =
                    MachinePhase::Baking { step, baked: Duration::ZERO, approved, asked, warm };
            }
            Goal::AaTest => {
                let slices = SliceCounts::default();
                self.phase = MachinePhase::AaTesting { watched: Duration::ZERO, slices };
            }
            Goal::Rollback(reason) if self.replaced_step.is_some() => {
                self.phase = MachinePhase::Reverting { reason };
            }
            Goal::Rollback(reason) => self.end(now, Some(reason), outputs),
        }
    }

    /// How long the slowest of a thousand requests takes at the baseline.
    fn warm_up(&self) -> Duration {
        let usual = self.total_deltas.get(&self.plan.baseline).cloned().unwrap_or_default();
        let usual = usual.within_boundaries().quantile_ms(0.999);
        Duration::from_secs_f64(usual.unwrap_or(0.0) / 1_000.0).min(MAX_WARM_UP)
    }

    /// The step that is live, or on its way.
    fn current_step(&self) -> Option<&Step> {
        match self.phase {
            MachinePhase::Baking { step, .. }
            | MachinePhase::Shifting { goal: Goal::Step(step), .. } => self.plan.steps.get(step),
            _ => None,
        }
    }

    /// What the blocks of a step are judged by.
    fn split_context(&self, step: usize) -> SplitContext {
        self.plan.steps.get(step).map(Step::split_context).unwrap_or_default()
    }

    fn names(&self) -> VersionLabels<'_> {
        VersionLabels {
            baseline: self.plan.baseline.as_str(),
            candidate: self.plan.candidate.as_str(),
        }
    }

    fn shift(&mut self, now: Duration, goal: Goal, outputs: &mut Vec<Output>) {
        // Where instances were replaced, the baseline gets no more than what those that it has left can carry.
        let (step, of) = match goal {
            Goal::Step(step) => (Some(step), Some(step)),
            Goal::Rollback(_) => (None, self.replaced_step),
            Goal::AaTest => (None, None),
        };
        let weight =
            of.and_then(|step| self.plan.steps.get(step)).map_or(Weight::ZERO, |s| s.weight);
        self.abandon_calls();
        let generation = self.split.generation.next();
        // Until the proxy follows, it is still the split before that is in force.
        let terms = SplitContext { single_arm: false, ..self.judge.context().clone() };
        self.judge.split_changes(terms);
        let assignment = match (&goal, self.split.assignment) {
            (Goal::AaTest, _) => UserAssignment::AaTest,
            (_, UserAssignment::AaTest) => UserAssignment::ServiceSalt,
            (_, users) => users,
        };
        self.split = Split { generation, candidate: weight, assignment };
        self.split_sent = now;
        self.step_started = now;
        // What was wrong with the split before says nothing of this one.
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

    /// Lets it go on when the time is over for which it was held.
    fn expire_pause(&mut self, now: Duration, outputs: &mut Vec<Output>) {
        if self.paused_until.is_some_and(|until| now >= until) {
            (self.paused, self.paused_until) = (false, None);
            self.step_started = now;
            outputs.push(Output::emit(Event::PauseExpired));
        }
    }
}

fn add(to: &mut BTreeMap<VersionName, VersionDelta>, seen: &FleetDelta) {
    for (version, activity) in &seen.versions {
        match to.get_mut(version) {
            Some(before) => before.add(activity),
            None => drop(to.insert(version.clone(), activity.clone())),
        }
    }
}

#[cfg(test)]
mod tests;
