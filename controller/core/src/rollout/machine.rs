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

use self::calls::Pending;
use self::metrics::Survey;
use self::phase::{Goal, Phase};
use super::call::Call;
use super::event::{Event, Reason};
use super::metric::Measured;
use super::plan::{Plan, Step, Watch};
use crate::judge::explain::Names;
use crate::judge::{Judge, Ruling, Terms};
use crate::observation::{Activity, Look, Sighting, Slices};
use crate::rollout::blocker::Obstacle;
use crate::split::{Split, Users};

/// A generation is live when no worker has said otherwise for this long; each speaks every [`FLUSH_INTERVAL`].
const CONFIRMATION: Duration = FLUSH_INTERVAL.saturating_mul(2);

/// Time between looks while a split is on its way.
const SHIFTING_INTERVAL: Duration = Duration::from_millis(100);

/// While a split is on its way both splits are in what is counted, so it is not judged; but not for longer than this.
const SHIFTING_GRACE: Duration = Duration::from_secs(2);

/// A split that the proxy does not follow is asked for again after this time, as a new generation.
const RETRY: Duration = Duration::from_secs(5);

/// No latency is waited for longer than this after a split has gone live.
const LONGEST_WARM_UP: Duration = Duration::from_secs(30);

/// What the machine is told.
#[derive(Debug, Clone, PartialEq)]
pub enum Input {
    /// A look at the proxy.
    Look(Look),
    /// The split last asked for could not be applied.
    NotApplied {
        /// Why.
        why: String,
    },
    /// A call was answered with a yes, or why not.
    Called {
        /// Which.
        id: String,
        /// How.
        answer: Result<(), String>,
    },
    /// The plan's metrics were measured.
    Measured {
        /// Under which split.
        generation: Generation,
        /// What they are, in the order of the plan.
        values: Vec<Measured>,
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
    Tell(Box<Event>),
    /// This called.
    Call(Call),
    /// The plan's metrics measured.
    Measure {
        /// Under this split.
        generation: Generation,
    },
    /// This recorded: what the judge saw, or learned from, and said.
    Record(Ruling),
}

impl Output {
    fn tell(event: Event) -> Self {
        Self::Tell(Box::new(event))
    }
}

/// A rollout under way.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Rollout {
    plan: Plan,
    judge: Judge,
    phase: Phase,
    /// Tells it from all others of its name.
    #[serde(default)]
    run: String,
    /// The split last asked for.
    split: Split,
    /// When it was asked for, last time.
    asked: Duration,
    /// When the step, or whatever the split is for, began.
    entered: Duration,
    /// Whether it stays where it is: a step has taken too long, or somebody wants that.
    paused: bool,
    /// When it goes on by itself.
    paused_until: Option<Duration>,
    /// Whether somebody wants no more gates.
    promote: bool,
    /// Whether nothing can be stored: it does not move then, but for a rollback.
    #[serde(skip)]
    held: bool,
    /// The end of the freeze that it is in.
    frozen: Option<String>,
    /// The calls without a yes.
    calls: Vec<Pending>,
    /// What is known of the plan's metrics.
    #[serde(default)]
    survey: Survey,
    /// How many of those that are called one after the other where it stands have said yes.
    answered: usize,
    /// The last step whose instances have been, or are being, replaced.
    replaced: Option<usize>,
    /// When the last look was.
    looked: Duration,
    /// When the last look was that showed anything: what is counted goes back to there.
    seen: Duration,
    /// When a worker last reported.
    heard: Duration,
    /// What is not as it should be, as of the last look.
    obstacle: Option<Obstacle>,
    /// The last warning.
    #[serde(default)]
    warned: Option<String>,
    /// What each version did since the step went live, as far as it was judged.
    step: BTreeMap<VersionName, Activity>,
    /// What each version did since the rollout began.
    total: BTreeMap<VersionName, Activity>,
}

impl Rollout {
    /// Begins a rollout where this split is in force. Its first own is the next generation. `run` tells it from all others of its name.
    #[must_use]
    pub fn start(plan: Plan, present: Split, run: String) -> (Self, Vec<Output>) {
        let mut rollout = Self {
            judge: Judge::new(plan.judge.clone()),
            phase: Phase::Preparing,
            run,
            split: present,
            asked: Duration::ZERO,
            entered: Duration::ZERO,
            paused: false,
            paused_until: None,
            promote: false,
            held: false,
            frozen: None,
            calls: Vec::new(),
            survey: Survey::default(),
            answered: 0,
            replaced: None,
            looked: Duration::ZERO,
            seen: Duration::ZERO,
            heard: Duration::ZERO,
            obstacle: None,
            warned: None,
            step: BTreeMap::new(),
            total: BTreeMap::new(),
            plan,
        };
        let mut outputs = vec![Output::tell(Event::Started {
            service: rollout.plan.service.clone(),
            baseline: rollout.plan.baseline.clone(),
            candidate: rollout.plan.candidate.clone(),
            steps: rollout.plan.steps.iter().map(|step| step.weight).collect(),
            breaking: rollout.plan.breaking,
        })];
        rollout.set_out(Duration::ZERO, &mut outputs);
        (rollout, outputs)
    }

    /// Asks for the first split, if all who are called before that have said yes.
    fn set_out(&mut self, now: Duration, outputs: &mut Vec<Output>) {
        if self.all_called(outputs) {
            let goal = if self.plan.watch.is_some() { Goal::Watch } else { Goal::Step(0) };
            self.shift(now, goal, outputs);
        }
    }

    /// Whether the rollout is over.
    #[must_use]
    pub fn ended(&self) -> bool {
        self.phase == Phase::Ended
    }

    /// What it carries out.
    #[must_use]
    pub fn plan(&self) -> &Plan {
        &self.plan
    }

    /// Whether all traffic goes back to the baseline.
    #[must_use]
    pub fn goes_back(&self) -> bool {
        matches!(
            self.phase,
            Phase::Shifting { goal: Goal::Baseline(_), .. } | Phase::Returning { .. }
        )
    }

    /// What keeps it from going on, as of the last look.
    #[must_use]
    pub fn obstacle(&self) -> Option<&Obstacle> {
        self.obstacle.as_ref()
    }

    /// The split last asked for.
    #[must_use]
    pub fn split(&self) -> Split {
        self.split
    }

    /// Goes on after a time in which nobody looked: what happened in it is not known, so it counts for nothing.
    pub fn wake(&mut self, now: Duration) {
        let gap = now.saturating_sub(self.looked);
        self.entered += gap;
        if let Phase::Promoted { since } = &mut self.phase {
            *since += gap;
        }
        (self.looked, self.seen, self.heard) = (now, now, now);
        if let Phase::Shifting { followed, .. } = &mut self.phase {
            *followed = None;
        }
    }

    /// What to do again after a restart: whether it was done is not known, and to do it twice changes nothing.
    #[must_use]
    pub fn again(&self) -> Vec<Output> {
        let split = (self.phase != Phase::Preparing).then_some(Output::Apply(self.split));
        split.into_iter().chain(self.unanswered()).collect()
    }

    /// Holds it where it is for as long as nothing can be stored, or lets it go on. What is seen counts all the same, and a rollback waits for
    /// nothing.
    pub fn hold(&mut self, held: bool) {
        self.held = held;
    }

    /// Tells in which freeze it is, by the end of it, if in any. In a freeze no gate opens by itself, and no limit counts.
    pub fn freeze(&mut self, now: Duration, until: Option<String>) -> Vec<Output> {
        if self.frozen == until || self.ended() {
            return Vec::new();
        }
        self.frozen.clone_from(&until);
        vec![Output::tell(match until {
            Some(until) => Event::Frozen { until },
            None => {
                self.entered = now;
                Event::Thawed
            }
        })]
    }

    /// How long after the last look the next is due.
    #[must_use]
    pub fn next_look(&self) -> Duration {
        match self.phase {
            Phase::Shifting { since, .. } if self.looked.saturating_sub(since) < SHIFTING_GRACE => {
                SHIFTING_INTERVAL.min(self.plan.interval)
            }
            Phase::Baking { warm, .. } if warm > self.looked => {
                warm.saturating_sub(self.looked).min(self.plan.interval)
            }
            _ => self.plan.interval,
        }
    }

    /// Takes an input into account.
    pub fn step(&mut self, now: Duration, input: Input) -> Vec<Output> {
        let mut outputs = Vec::new();
        match input {
            _ if self.ended() => {}
            Input::Look(Look::Seen(seen)) => {
                self.release(now, &mut outputs);
                self.see(now, &seen, &mut outputs);
            }
            Input::Look(Look::Unreachable { why }) => {
                self.release(now, &mut outputs);
                self.looked = now;
                self.find(Some(Obstacle::Unreachable { why }), &mut outputs);
                self.ask_again(now, None, &mut outputs);
                self.keep_time(now, &mut outputs);
            }
            Input::NotApplied { why } => {
                self.find(Some(Obstacle::NotWritten { why }), &mut outputs);
            }
            Input::Called { id, answer } => self.called(now, &id, answer, &mut outputs),
            Input::Measured { generation, values } => {
                self.measured(now, generation, values, &mut outputs);
            }
            Input::Interrupt => match self.phase.clone() {
                Phase::Shifting { goal: Goal::Baseline(reason), .. }
                | Phase::Returning { reason } => {
                    self.give_up(now, reason, &mut outputs);
                }
                Phase::Closing { reason, confirmed } => {
                    self.conclude(now, reason, confirmed, &mut outputs);
                }
                _ => self.roll_back(now, Reason::Interrupted, &mut outputs),
            },
        }
        outputs
    }

    fn see(&mut self, now: Duration, seen: &Sighting, outputs: &mut Vec<Output>) {
        if seen.restarted {
            outputs.push(Output::tell(Event::ProxyRestarted));
        }
        self.warn(seen, outputs);
        let was_sound = self.obstacle.is_none();
        let since = std::mem::replace(&mut self.seen, now);
        self.looked = now;
        if seen.workers_on {
            self.heard = now;
        }
        self.find(self.obstacle_in(now, seen), outputs);
        add(&mut self.total, seen);
        let (span, sound) = (now.saturating_sub(since), was_sound && self.obstacle.is_none());
        self.watch(span, sound, seen);
        if self.counts(since, seen.age) {
            add(&mut self.step, seen);
            if let Phase::Baking { baked, .. } = &mut self.phase
                && sound
            {
                *baked += span;
            }
            self.judge(now, seen, outputs);
        } else if !self.goes_back() {
            self.learn(now, seen, outputs);
        }
        if seen.newest == Some(self.split.generation)
            && seen.tripped.contains(&self.plan.candidate)
            && self.phase != Phase::Preparing
        {
            self.roll_back(now, Reason::Tripwire { sentence: self.failures() }, outputs);
        }
        self.keep_limits(outputs, now);
        self.ask_again(now, seen.generation, outputs);
        self.call_again(now, outputs);
        self.advance(now, seen, outputs);
        self.keep_time(now, outputs);
        self.measure(now, outputs);
    }

    /// Whether what happened since `since` is to be judged: it is of one split, free of the start-up bias, and not decided yet.
    fn counts(&self, since: Duration, age: Duration) -> bool {
        match self.phase {
            Phase::Shifting { goal: Goal::Step(_), since: asked, .. } => {
                since >= asked + SHIFTING_GRACE + age
            }
            Phase::Baking { warm, .. } => since >= warm,
            Phase::Promoted { .. } => true,
            Phase::Shifting { goal: Goal::Watch | Goal::Baseline(_), .. }
            | Phase::Preparing
            | Phase::Watching { .. }
            | Phase::Returning { .. }
            | Phase::Closing { .. }
            | Phase::Ended => false,
        }
    }

    /// Asks again for a split that the proxy does not follow.
    fn ask_again(&mut self, now: Duration, running: Option<Generation>, outputs: &mut Vec<Output>) {
        let patience = match &self.obstacle {
            Some(Obstacle::NotWritten { .. }) => self.plan.interval,
            _ => RETRY,
        };
        let asked = self.phase != Phase::Preparing;
        if !asked || running == Some(self.split.generation) || now < self.asked + patience {
            return;
        }
        if let Some(Obstacle::Rejected { .. } | Obstacle::RejectedBy { .. }) = self.obstacle {
            // Envoy does not look again at a configuration that it has refused.
            self.split.generation = self.split.generation.next();
            if let Phase::Shifting { followed, .. } = &mut self.phase {
                *followed = None;
            }
        }
        self.asked = now;
        outputs.push(Output::Apply(self.split));
    }

    fn advance(&mut self, now: Duration, seen: &Sighting, outputs: &mut Vec<Output>) {
        if self.held {
            return;
        }
        let wanted = self.split.generation;
        match &mut self.phase {
            Phase::Shifting { since, followed, .. } => {
                let follows = seen.generation == Some(wanted)
                    && !seen.workers_behind
                    && seen.roster.confirms(wanted);
                *followed = follows.then_some(followed.unwrap_or(now));
                let confirmed = followed.is_some_and(|followed| now >= followed + CONFIRMATION);
                if confirmed && seen.workers_on {
                    let after = now.saturating_sub(*since).as_secs_f64();
                    let Split { generation, candidate: weight, .. } = self.split;
                    outputs.push(Output::tell(Event::Live { weight, generation, after }));
                    self.go_live(now, outputs);
                }
            }
            Phase::Baking { step, baked, .. } if self.obstacle.is_none() && !self.paused => {
                let (step, baked) = (*step, *baked);
                let passed = self.frozen.is_none() && self.gate_is_open(step, baked);
                let opens = self.promote || passed && self.approved(outputs);
                if opens && self.all_called(outputs) {
                    self.open_gate(now, step, outputs);
                }
            }
            Phase::Watching { .. } if !self.paused && self.frozen.is_none() => {
                self.settle(now, outputs)
            }
            Phase::Promoted { since } if now >= *since + self.plan.window => {
                self.end(now, None, outputs);
            }
            Phase::Preparing if !self.paused && self.frozen.is_none() => {
                self.set_out(now, outputs);
            }
            Phase::Returning { reason } => {
                let reason = reason.clone();
                if self.all_called(outputs) {
                    self.restored(now, reason, outputs);
                }
            }
            Phase::Closing { .. } => self.close(now, outputs),
            Phase::Preparing
            | Phase::Baking { .. }
            | Phase::Watching { .. }
            | Phase::Promoted { .. }
            | Phase::Ended => {}
        }
    }

    fn go_live(&mut self, now: Duration, outputs: &mut Vec<Output>) {
        let Phase::Shifting { goal, .. } = self.phase.clone() else { return };
        match goal {
            Goal::Step(step) => {
                self.judge.split_changes(self.terms(step));
                self.step.clear();
                self.begin_survey(now);
                // Whoever asks for a preview is compared with nobody.
                let previews = self.plan.steps.get(step).is_some_and(Step::is_preview);
                let warm = now + if previews { Duration::ZERO } else { self.warm_up() };
                let (approved, asked) = (false, false);
                self.phase = Phase::Baking { step, baked: Duration::ZERO, approved, asked, warm };
            }
            Goal::Watch => {
                let slices = Slices::default();
                self.phase = Phase::Watching { watched: Duration::ZERO, slices };
            }
            Goal::Baseline(reason) if self.replaced.is_some() => {
                self.phase = Phase::Returning { reason };
            }
            Goal::Baseline(reason) => self.end(now, Some(reason), outputs),
        }
    }

    /// How long the slowest of a thousand requests takes at the baseline.
    fn warm_up(&self) -> Duration {
        let usual = self.total.get(&self.plan.baseline).cloned().unwrap_or_default();
        let usual = usual.within_boundaries().quantile_ms(0.999);
        Duration::from_secs_f64(usual.unwrap_or(0.0) / 1_000.0).min(LONGEST_WARM_UP)
    }

    /// The step that is live, or on its way.
    fn present_step(&self) -> Option<&Step> {
        match self.phase {
            Phase::Baking { step, .. } | Phase::Shifting { goal: Goal::Step(step), .. } => {
                self.plan.steps.get(step)
            }
            _ => None,
        }
    }

    /// What the blocks of a step are judged by.
    fn terms(&self, step: usize) -> Terms {
        self.plan.steps.get(step).map(Step::terms).unwrap_or_default()
    }

    fn names(&self) -> Names<'_> {
        Names { baseline: self.plan.baseline.as_str(), candidate: self.plan.candidate.as_str() }
    }

    fn shift(&mut self, now: Duration, goal: Goal, outputs: &mut Vec<Output>) {
        // Where instances were replaced, the baseline gets no more than what those that it has left can carry.
        let (step, of) = match goal {
            Goal::Step(step) => (Some(step), Some(step)),
            Goal::Baseline(_) => (None, self.replaced),
            Goal::Watch => (None, None),
        };
        let weight =
            of.and_then(|step| self.plan.steps.get(step)).map_or(Weight::ZERO, |s| s.weight);
        self.leave_calls();
        let generation = self.split.generation.next();
        // Until the proxy follows, it is still the split before that is in force.
        let terms = Terms { alone: false, ..self.judge.terms().clone() };
        self.judge.split_changes(terms);
        let users = match (&goal, self.split.users) {
            (Goal::Watch, _) => Users::Watched,
            (_, Users::Watched) => Users::Usual,
            (_, users) => users,
        };
        self.split = Split { generation, candidate: weight, users };
        self.asked = now;
        self.entered = now;
        // What was wrong with the split before says nothing of this one.
        self.obstacle = None;
        outputs.push(Output::tell(match (&goal, &self.plan.watch) {
            (Goal::Watch, Some(Watch { time, requests, salts, .. })) => Event::Watching {
                generation,
                salts: salts.len(),
                time: time.as_secs_f64(),
                requests: *requests,
            },
            _ => Event::Shifting { step: step.map(|step| step + 1), weight, generation },
        }));
        self.phase = Phase::Shifting { goal, since: now, followed: None };
        outputs.push(Output::Apply(self.split));
    }

    /// Lets it go on when the time is over for which it was held.
    fn release(&mut self, now: Duration, outputs: &mut Vec<Output>) {
        if self.paused_until.is_some_and(|until| now >= until) {
            (self.paused, self.paused_until) = (false, None);
            self.entered = now;
            outputs.push(Output::tell(Event::Released));
        }
    }
}

fn add(to: &mut BTreeMap<VersionName, Activity>, seen: &Sighting) {
    for (version, activity) in &seen.versions {
        match to.get_mut(version) {
            Some(before) => before.add(activity),
            None => drop(to.insert(version.clone(), activity.clone())),
        }
    }
}

#[cfg(test)]
mod tests;
