//! A made world in virtual time: a proxy with users, that does as it is asked unless told to make trouble.

use std::collections::{BTreeSet, VecDeque};
use std::ops::{Deref, DerefMut};

use futures_util::FutureExt;
use serin_filter::histogram;
use serin_filter::outcome::Failure;
use serin_filter::select::Reason as Why;
use serin_filter::stat::{SliceStat, Stat};

use super::*;
use crate::driver::{self, Environment, Turn};
use crate::observation::{DeltaTracker, FleetHealth, Snapshot};
use crate::ports::{Journal, Router};
use crate::rollout::call::{HookCall, HookMessage, HookPoint};
use crate::rollout::command::{Command, Rejected};
use crate::rollout::freeze::FreezeSchedule;

/// The salt by which users who always fail are in every slice as often as outside.
pub(super) const BALANCED: u32 = 2;

/// What can be wrong with the world.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum TestFault {
    Unreachable,
    Unwritable,
    NoFilter,
    Rejects,
    Lags,
    Silent,
    /// Requests for which this version (0 is the baseline) is chosen are served by the other.
    Misroutes(usize),
    CandidateFails,
    /// The filter's tripwire cuts the candidate off.
    Trips,
    /// One of ten requests that ask for the candidate fails.
    PicksFail,
    BothFail,
    BaselineHangs,
    /// Hooks called at this point say no.
    Refuses(HookPoint),
    /// Hooks do not answer.
    HooksHang,
    /// Metrics are beyond their limits.
    MetricsBad,
    /// Queries of metrics have no value.
    MetricsMissing,
}

/// A rollout in the surroundings that it is driven in.
pub(super) struct World {
    pub(super) rollout: Rollout,
    surroundings: Surroundings,
}

/// A proxy, its users, a journal, hooks and metrics in virtual time.
pub(super) struct Surroundings {
    plan: Plan,
    pub(super) now: Duration,
    pub(super) proxy: Proxy,
    pub(super) trouble: Vec<TestFault>,
    /// What polls report of proxies beside this one.
    pub(super) roster: FleetHealth,
    /// Whether the controller is killed between all polls, and resumes from its stored state.
    pub(super) killed: bool,
    /// Whether the journal fails.
    pub(super) store_down: bool,
    /// The end of the freeze in force.
    freeze_end: Option<String>,
    /// Every split asked for, with the time.
    pub(super) applied: Vec<(Duration, Split)>,
    /// Every call made.
    pub(super) calls: Vec<HookCall>,
    /// The results of calls and queries that the rollout has not received yet.
    answers: VecDeque<Input>,
    /// The replaced instances that run the candidate.
    pub(super) replaced: BTreeSet<String>,
    /// Every event but progress.
    pub(super) events: Vec<Event>,
    /// Rulings on blocks that have requests of the candidate.
    pub(super) rulings: Vec<Ruling>,
    /// Rulings on the other blocks.
    pub(super) learned: Vec<Ruling>,
    /// Since the step went live: time between polls that both found the proxy as requested.
    sound_for: Duration,
    /// The same when the last gate opened.
    pub(super) sound_at_gate: Duration,
    /// Whether the last sample of the metrics was good, since the step went live.
    metrics: Option<bool>,
    /// The same when the last gate opened.
    pub(super) metrics_at_gate: Option<bool>,
    was_sound: bool,
    heard: Duration,
    differ: DeltaTracker,
}

impl Deref for World {
    type Target = Surroundings;

    fn deref(&self) -> &Surroundings {
        &self.surroundings
    }
}

impl DerefMut for World {
    fn deref_mut(&mut self) -> &mut Surroundings {
        &mut self.surroundings
    }
}

pub(super) struct Proxy {
    pub(super) running: Split,
    /// From being asked to following.
    pub(super) delay: Duration,
    /// Requests a second.
    pub(super) rate: f64,
    /// Requests a second that ask for the candidate.
    pub(super) picks: f64,
    pub(super) latency_us: u64,
    /// Salts and slices that are watched when that is asked for.
    watch: Option<serin_filter::config::wire::AaTest>,
    /// Requests while they were.
    watched: f64,
    asked: Option<(Duration, Split)>,
    arms: [Counted; 2],
    started: u64,
    ticks: f64,
    ticks_behind: f64,
    rejections: u64,
}

#[derive(Default)]
struct Counted {
    chosen: f64,
    misrouted: f64,
    requests: f64,
    failures: f64,
    pinned: f64,
    pinned_failures: f64,
}

impl World {
    /// A rollout just begun, at a proxy that runs generation 7.
    pub(super) fn new(plan: Plan) -> Self {
        Self::troubled(plan, Vec::new())
    }

    /// The same with this trouble from the start on.
    pub(super) fn troubled(plan: Plan, trouble: Vec<TestFault>) -> Self {
        let running = Split::baseline(Generation(7));
        let mut proxy = Proxy::new(running);
        proxy.watch = plan.filter_aa_test();
        let mut differ = DeltaTracker::default();
        differ.delta(proxy.snapshot(&[]));
        let (rollout, outputs) = Rollout::start(plan.clone(), running, "1".to_owned());
        let surroundings = Surroundings {
            plan,
            now: Duration::ZERO,
            proxy,
            trouble,
            roster: FleetHealth::default(),
            killed: false,
            store_down: false,
            freeze_end: None,
            applied: Vec::new(),
            calls: Vec::new(),
            answers: VecDeque::new(),
            replaced: BTreeSet::new(),
            events: Vec::new(),
            rulings: Vec::new(),
            learned: Vec::new(),
            sound_for: Duration::ZERO,
            sound_at_gate: Duration::ZERO,
            metrics: None,
            metrics_at_gate: None,
            was_sound: false,
            heard: Duration::ZERO,
            differ,
        };
        let mut world = Self { rollout, surroundings };
        world.carry_out(outputs);
        world
    }

    /// Waits until the next poll is due, then polls.
    pub(super) fn poll(&mut self) {
        let span = self.rollout.next_poll();
        let requested = self.rollout.split().generation;
        let observation = self.surroundings.observe(span, requested);
        self.input(Input::Observation(observation));
    }

    pub(super) fn input(&mut self, input: Input) {
        self.restart_if_killed();
        let handled = driver::handle(&mut self.rollout, &mut self.surroundings, input);
        let _ = handled.now_or_never().expect(READY);
        self.deliver_answers();
    }

    pub(super) fn order(&mut self, command: Command) -> Result<(), Rejected> {
        let turn = Turn::Command(command);
        let decided = driver::decide(&mut self.rollout, &mut self.surroundings, turn);
        let outputs = decided.now_or_never().expect(READY)?;
        self.carry_out(outputs);
        Ok(())
    }

    pub(super) fn freeze(&mut self, until: Option<String>) {
        self.freeze_end.clone_from(&until);
        let outputs = self.rollout.freeze(self.now, until);
        self.carry_out(outputs);
    }

    fn carry_out(&mut self, outputs: Vec<Output>) {
        let executed = driver::execute(&mut self.rollout, &mut self.surroundings, outputs);
        let _ = executed.now_or_never().expect(READY);
        self.deliver_answers();
    }

    fn deliver_answers(&mut self) {
        while let Some(answer) = self.answers.pop_front() {
            self.restart_if_killed();
            let handled = driver::handle(&mut self.rollout, &mut self.surroundings, answer);
            let _ = handled.now_or_never().expect(READY);
        }
    }

    fn restart_if_killed(&mut self) {
        if self.killed {
            let stored = serde_json::to_string(&self.rollout).unwrap();
            self.rollout = serde_json::from_str(&stored).unwrap();
        }
    }

    /// Has all hooks say yes that have not answered.
    pub(super) fn answer_all(&mut self) {
        for output in self.rollout.replay() {
            if let Output::CallHook(call) = output {
                self.call_hook(call);
            }
        }
        self.deliver_answers();
    }

    /// Looks for this long, or until the rollout is over.
    pub(super) fn run(&mut self, seconds: f64) {
        let end = self.now + Duration::from_secs_f64(seconds);
        while self.now < end && !self.rollout.ended() {
            self.poll();
        }
    }

    /// Looks until the condition holds.
    pub(super) fn until(&mut self, what: &str, condition: impl Fn(&Self) -> bool) {
        let deadline = self.now + Duration::from_secs(3_600);
        while !condition(self) {
            assert!(self.now < deadline, "never {what}; {:?}", self.rollout.status());
            self.poll();
        }
    }

    pub(super) fn until_live(&mut self, step: usize) {
        self.until("live", |world| {
            let status = world.rollout.status();
            status.live && status.step == Some(step)
        });
    }

    pub(super) fn until_ended(&mut self) -> Summary {
        self.until("ended", |world| world.rollout.ended());
        match self.events.last() {
            Some(Event::Ended(summary)) => summary.clone(),
            last => panic!("ended with {last:?}"),
        }
    }

    /// The candidate's weights in percent as asked for, without repetitions.
    pub(super) fn weights(&self) -> Vec<f64> {
        let splits = self.applied.iter().map(|(_, split)| split.candidate.share() * 100.0);
        let mut weights: Vec<_> = splits.collect();
        weights.dedup();
        weights
    }

    pub(super) fn obstacle(&self) -> Option<Blocker> {
        self.rollout.blocker.clone()
    }
}

impl Surroundings {
    /// Lets `span` pass, then polls the proxy.
    fn observe(&mut self, span: Duration, requested: Generation) -> Observation {
        self.now += span;
        self.proxy.serve(self.now, span, &self.trouble);
        let observation = if self.trouble.contains(&TestFault::Unreachable) {
            Observation::Unreachable { reason: "no answer".to_owned() }
        } else {
            let seen = self.differ.delta(self.proxy.snapshot(&self.trouble));
            Observation::Delta(FleetDelta { health: Box::new(self.roster.clone()), ..seen })
        };
        let sound = self.is_sound(&observation, requested);
        if sound && self.was_sound {
            self.sound_for += span;
        }
        self.was_sound = sound;
        observation
    }

    /// While instances have no traffic, each version has the share of its other instances.
    fn check_capacity(&self, instances: &[String], weight: Weight) {
        let all: usize = self.plan.steps.iter().map(|step| step.instances().len()).sum();
        let candidates = self.replaced.iter().filter(|name| !instances.contains(name)).count();
        let carried = candidates * 1_000_000 / (all - instances.len());
        assert_eq!(weight.ppm() as usize, carried, "{instances:?} are taken out");
        assert_eq!(self.proxy.running.candidate, weight, "live in the proxy");
    }

    /// Written down apart from the machine: no more than this may count as bake time.
    fn is_sound(&mut self, observation: &Observation, requested: Generation) -> bool {
        let Observation::Delta(seen) = observation else { return false };
        if seen.workers_current {
            self.heard = self.now;
        }
        seen.generation == Some(requested)
            && !seen.workers_behind
            && self.now - self.heard <= blocker::SILENT_AFTER
            && seen.versions.values().all(|activity| activity.misrouted == 0)
    }
}

/// Surroundings answer at once.
const READY: &str = "no port waits";

impl Router for Surroundings {
    type Error = Unwritable;

    async fn apply(&mut self, split: Split) -> Result<(), Unwritable> {
        self.applied.push((self.now, split));
        if self.trouble.contains(&TestFault::Unwritable) {
            self.was_sound = false;
            return Err(Unwritable);
        }
        self.proxy.take(self.now, split, &self.trouble);
        Ok(())
    }

    fn generation_at(&self, running: Generation) -> Generation {
        running
    }
}

/// Nothing can be written.
#[derive(Debug, thiserror::Error)]
#[error("disk full")]
pub(super) struct Unwritable;

impl Journal for Surroundings {
    type Error = Unwritable;

    async fn commit(&mut self, _: Duration, _: &Rollout, _: &[Output]) -> Result<(), Unwritable> {
        if self.store_down { Err(Unwritable) } else { Ok(()) }
    }

    fn event(&mut self, _: Duration, event: &Event) {
        match event {
            Event::Progress(_) => return,
            Event::Live { .. } => {
                (self.sound_for, self.metrics) = (Duration::ZERO, None);
            }
            Event::GateOpened { .. } => {
                (self.sound_at_gate, self.metrics_at_gate) = (self.sound_for, self.metrics);
            }
            _ => {}
        }
        self.events.push(event.clone());
    }

    fn ruling(&mut self, ruling: &Ruling) {
        match ruling.block.candidate.requests {
            0 => self.learned.push(ruling.clone()),
            _ => self.rulings.push(ruling.clone()),
        }
    }
}

impl Environment for Surroundings {
    fn now(&self) -> Duration {
        self.now
    }

    fn freeze_end(&self, _: &FreezeSchedule) -> Option<String> {
        self.freeze_end.clone()
    }

    fn call_hook(&mut self, call: HookCall) {
        let HookMessage { id, point, instances, version, weight, .. } = call.message.clone();
        if point.replaces_instances() {
            self.check_capacity(&instances, weight);
        }
        self.calls.push(call);
        if self.trouble.contains(&TestFault::HooksHang) {
            return;
        }
        let refused = self.trouble.contains(&TestFault::Refuses(point));
        if point == HookPoint::Replace && !refused {
            self.replaced.retain(|instance| !instances.contains(instance));
            if version.is_some_and(|version| version.as_str() == "v2") {
                self.replaced.extend(instances);
            }
        }
        let answer = if refused { Err("not now".to_owned()) } else { Ok(()) };
        self.answers.push_back(Input::HookAnswered { id, answer });
    }

    fn sample_metrics(&mut self, generation: Generation) {
        let bad = self.trouble.contains(&TestFault::MetricsBad);
        let missing = self.trouble.contains(&TestFault::MetricsMissing);
        let candidate = (!missing).then_some(if bad { 11.0 } else { 10.0 });
        self.metrics = Some(!bad && !missing);
        let reason = missing.then(|| "no value".to_owned());
        let value = MetricSample { baseline: Some(10.0), candidate, reason };
        let metrics = self.plan.metrics.as_ref().map_or(0, |metrics| metrics.all.len());
        let values = vec![value; metrics];
        self.answers.push_back(Input::MetricsSampled { generation, values });
    }
}

impl Proxy {
    fn new(running: Split) -> Self {
        Self {
            running,
            delay: Duration::from_millis(50),
            rate: 1_000.0,
            picks: 0.0,
            latency_us: 1_000,
            watch: None,
            watched: 0.0,
            asked: None,
            arms: Default::default(),
            started: 1,
            ticks: 0.0,
            ticks_behind: 0.0,
            rejections: 0,
        }
    }

    /// Restarts: the configuration remains, the counters do not.
    pub(super) fn restart(&mut self) {
        self.arms = Default::default();
        self.watched = 0.0;
        self.started += 1;
        (self.ticks, self.ticks_behind, self.rejections) = (0.0, 0.0, 0);
    }

    fn take(&mut self, now: Duration, split: Split, trouble: &[TestFault]) {
        if trouble.contains(&TestFault::Rejects) {
            self.rejections += 1;
        } else if self.asked.is_none_or(|(_, asked)| asked != split) {
            self.asked = Some((now, split));
        }
    }

    /// Lets `span` pass until `now`. A new split is in force at its end: what a look counts may be of the split before.
    fn serve(&mut self, now: Duration, span: Duration, trouble: &[TestFault]) {
        let has = |what| trouble.contains(&what);
        let ticks = span.as_secs_f64() / FLUSH_INTERVAL.as_secs_f64();
        self.ticks += if has(TestFault::Silent) { 0.0 } else { ticks };
        self.ticks_behind += if has(TestFault::Lags) { ticks } else { 0.0 };
        let share = self.running.candidate.share();
        if self.running.assignment == UserAssignment::AaTest {
            self.watched += self.rate * span.as_secs_f64();
        }
        for (chosen, share) in [1.0 - share, share].into_iter().enumerate() {
            let requests = self.rate * share * span.as_secs_f64();
            let misrouted = has(TestFault::Misroutes(chosen));
            let served = if misrouted { 1 - chosen } else { chosen };
            self.arms[chosen].chosen += requests;
            self.arms[chosen].misrouted += if misrouted { requests } else { 0.0 };
            if served == 1 || !has(TestFault::BaselineHangs) {
                let fails =
                    has(TestFault::BothFail) || served == 1 && has(TestFault::CandidateFails);
                self.arms[served].requests += requests;
                self.arms[served].failures += if fails { requests } else { 0.0 };
            }
        }
        let picked = self.picks * span.as_secs_f64();
        self.arms[1].pinned += picked;
        self.arms[1].pinned_failures += if has(TestFault::PicksFail) { picked / 10.0 } else { 0.0 };
        if let Some((asked, split)) = self.asked
            && now >= asked + self.delay
        {
            (self.running, self.asked) = (split, None);
        }
    }

    fn snapshot(&self, trouble: &[TestFault]) -> Snapshot {
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // small and positive
        let whole = |count: f64| count as u64;
        let bucket = histogram::bucket(self.latency_us);
        let counters = |arm: &Counted| {
            let requests = whole(arm.requests);
            (bucket..histogram::BUCKETS)
                .map(|bucket| (Stat::LatencyBucket(bucket), requests))
                .chain([
                    (Stat::Chosen(Why::Header), whole(arm.chosen)),
                    (Stat::Misrouted, whole(arm.misrouted)),
                    (Stat::Requests, requests),
                    (Stat::Pinned, whole(arm.pinned)),
                    (Stat::PinnedFailures, whole(arm.pinned_failures)),
                    (Stat::Failures(Failure::Status), whole(arm.failures)),
                ])
                .collect()
        };
        let mut slices = SliceCounts::default();
        let (salts, watched) = match &self.watch {
            Some(watch) => (watch.salts.len(), &watch.slices[..]),
            None => (0, &[][..]),
        };
        for salt in (0..).take(salts) {
            for slice in watched.iter().copied().chain([1_000_000]) {
                let requests = self.watched * f64::from(slice) / 1e6;
                slices.set(salt, slice, SliceStat::Requests, whole(requests));
                // One in a hundred always fails. By all salts but one they are in every slice.
                let failures = if salt == BALANCED { requests } else { self.watched } / 100.0;
                slices.set(salt, slice, SliceStat::Failures, whole(failures.min(requests)));
            }
        }
        let [v1, v2]: [VersionName; 2] = ["v1", "v2"].map(|name| name.parse().unwrap());
        Snapshot {
            slices,
            generation: (!trouble.contains(&TestFault::NoFilter))
                .then_some(self.running.generation),
            started: self.started,
            ticks: whole(self.ticks),
            ticks_behind: whole(self.ticks_behind),
            rejections: self.rejections,
            tripped: trouble.contains(&TestFault::Trips).then(|| v2.clone()).into_iter().collect(),
            versions: [(v1, counters(&self.arms[0])), (v2, counters(&self.arms[1]))].into(),
        }
    }
}
