//! Sequential tests of whether the candidate is worse than the baseline, valid at any number of
//! looks.
//!
//! Each SLI has an e-process ([`coin_flip`]) that grows while the candidate is worse than its
//! margin. The weighted sum of these is one e-process for the whole rollout, valid under any
//! dependence between them. When it reaches 1/alpha, the candidate is worse; a candidate within its
//! margins gets there with a probability of at most alpha, over all looks and steps together.
//!
//! Latency is judged over the whole distribution: at each boundary of the histogram a slower
//! request is a "bad" one, and the evidence of the boundaries is averaged (`latency_tests` selects
//! the boundaries, `likelihood` tests those that many requests exceed).
//!
//! The judge also tests that the candidate is no worse than its margins (the mirror of each test,
//! restarted at each split); that it meets an objective ([`absolute`]), which is evidence of harm
//! only without a baseline; that its share of the requests agrees with its weight; and it bounds
//! the difference of the failure rates.
//!
//! The judge has no I/O: counts come in, a ruling goes out. Its state can be stored and resumed.

pub mod absolute;
pub mod balance;
pub mod block;
pub mod coin_flip;
mod detectable;
mod difference;
pub mod explain;
mod harm_tests;
mod latency_tests;
mod likelihood;
mod margins;
mod non_inferiority;
mod ruling;
mod settings;
mod sli;
mod threshold_alarm;
pub mod wealth;

use serde::{Deserialize, Serialize};

pub use self::block::{Arm, Block};
use self::coin_flip::Direction;
use self::difference::Difference;
pub use self::difference::Interval;
use self::margins::Margins;
pub use self::ruling::{Cause, Ruling, Verdict};
pub use self::settings::{Bias, Objective, Settings, Slice, SplitContext};
pub use self::sli::Sli;
use crate::judge::harm_tests::HarmTests;
use crate::judge::non_inferiority::NonInferiority;
use crate::judge::threshold_alarm::ThresholdAlarm;

/// The judge of one rollout.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Judge {
    settings: Settings,
    context: SplitContext,
    /// Counts of an incomplete block.
    pending: Block,
    /// The baseline's counts of all earlier blocks.
    history: Arm,
    harm: HarmTests,
    /// Of the current split.
    non_inferiority: Option<NonInferiority>,
    /// Of the current split.
    difference: Difference,
    /// One for each objective.
    objectives: Vec<ThresholdAlarm>,
    share: Option<ShareAlarm>,
    /// The time of the first bet, in seconds since the rollout began. Slots count from here.
    began: f64,
    slots_passed: u64,
    blocks: u64,
    has_judged: bool,
    alarmed: bool,
}

/// Alarms on the candidate's share of the requests.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct ShareAlarm {
    too_low: ThresholdAlarm,
    too_high: ThresholdAlarm,
}

impl Judge {
    /// A judge without observations.
    #[must_use]
    pub fn new(settings: Settings) -> Self {
        let alarm = |objective: &Objective| {
            ThresholdAlarm::new(Direction::Harm, objective.at_most, settings.slots)
        };
        Self {
            context: SplitContext::default(),
            pending: Block::default(),
            history: Arm::default(),
            harm: HarmTests::new(&settings),
            non_inferiority: settings.confidence.map(|_| NonInferiority::new(&settings)),
            difference: Difference::new(),
            objectives: settings.objectives.iter().map(alarm).collect(),
            share: None,
            began: 0.0,
            slots_passed: 0,
            blocks: 0,
            has_judged: false,
            alarmed: false,
            settings,
        }
    }

    /// Records the baseline's counts of a time that is not judged, which ended `seconds` after the
    /// rollout began. The baseline's history selects the latency boundaries, so the first judged
    /// block already counts. The ruling has a number and unchanged evidence.
    pub fn learn(&mut self, seconds: f64, baseline: Arm) -> Ruling {
        if !self.has_judged {
            self.began = seconds;
        }
        self.history.add(&baseline);
        let candidate = Arm { slower: vec![0; baseline.slower.len()], ..Arm::default() };
        self.ruling(seconds, Block { baseline, candidate })
    }

    /// Replays a recorded block. A block without candidate requests is learned from, unless counts
    /// of an incomplete block are pending. `errors_bias` is that of the ruling.
    pub fn replay(&mut self, seconds: f64, block: &Block, errors_bias: f64) -> Option<Ruling> {
        self.context.slice.bias.errors = errors_bias;
        if block.candidate.requests == 0
            && !self.context.single_arm
            && self.pending == Block::default()
        {
            return Some(self.learn(seconds, block.baseline.clone()));
        }
        self.observe(seconds, block)
    }

    /// The settings.
    #[must_use]
    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// The context of the current split.
    #[must_use]
    pub fn context(&self) -> &SplitContext {
        &self.context
    }

    /// ln E of harm, over all SLIs and steps.
    #[must_use]
    pub fn ln_e(&self) -> f64 {
        self.harm.evidence().all
    }

    /// Whether the last block under the current split added evidence of harm. The next blocks
    /// identify its cause.
    #[must_use]
    pub fn alarmed(&self) -> bool {
        self.alarmed
    }

    /// Whether there is enough evidence that the candidate is no worse than its margins under the
    /// current split. Always false without `confidence`.
    #[must_use]
    pub fn safe(&self) -> bool {
        self.settings.safe_at().is_some_and(|enough| self.ln_e_safe() >= enough)
    }

    /// ln E of the candidate being no worse than its margins under the current split, for the SLI
    /// with the least evidence; 0 without `confidence`.
    #[must_use]
    pub fn ln_e_safe(&self) -> f64 {
        self.non_inferiority.as_ref().map_or(0.0, NonInferiority::ln_e)
    }

    /// The first objective that the candidate currently misses.
    #[must_use]
    pub fn missed(&self) -> Option<Objective> {
        let all = self.settings.objectives.iter().zip(&self.objectives);
        all.filter(|(_, alarm)| alarm.raised()).map(|(objective, _)| *objective).next()
    }

    /// Whether the candidate's share of the requests contradicts its weight.
    #[must_use]
    pub fn share_mismatch(&self) -> bool {
        self.share.as_ref().is_some_and(|share| share.too_low.raised() || share.too_high.raised())
    }

    /// The candidate's failure rate minus the baseline's, since the split changed.
    #[must_use]
    pub fn difference(&self) -> Interval {
        self.difference.interval()
    }

    /// Estimates the candidate's requests until the evidence of no harm suffices, if the candidate
    /// is as good as the baseline and gets a `share` (above 0, below 1) of the requests. `None` if
    /// it never suffices, or without `confidence`.
    #[must_use]
    pub fn requests_to_safety(&self, share: f64) -> Option<u64> {
        non_inferiority::requests_needed(self.margins(), share)
    }

    /// Adds the counts since the last poll, which ended `seconds` after the rollout began. Returns
    /// a ruling once the counts complete a block.
    pub fn observe(&mut self, seconds: f64, counts: &Block) -> Option<Ruling> {
        self.pending.add(counts);
        let requests = if self.context.single_arm {
            self.pending.candidate.requests
        } else {
            self.pending.smaller_arm()
        };
        if requests < self.settings.block_min {
            return None;
        }
        let block = std::mem::take(&mut self.pending);
        Some(self.rule(seconds, block))
    }

    /// Starts a new split, judged by `context`. The split must not change within a block (Simpson's
    /// paradox), so the counts of an incomplete block are dropped.
    pub fn split_changes(&mut self, context: SplitContext) {
        self.pending = Block::default();
        self.alarmed = false;
        self.non_inferiority =
            self.settings.confidence.map(|_| NonInferiority::new(&self.settings));
        self.difference = Difference::new();
        let slots = self.settings.slots;
        self.share = context.slice.share.map(|(low, high)| ShareAlarm {
            too_low: ThresholdAlarm::new(Direction::Safe, low, slots),
            too_high: ThresholdAlarm::new(Direction::Harm, high, slots),
        });
        self.context = context;
    }

    fn margins(&self) -> Margins<'_> {
        let Self { settings, context, history, .. } = self;
        Margins { settings, context, history }
    }

    fn rule(&mut self, seconds: f64, block: Block) -> Ruling {
        self.has_judged = true;
        self.pass_slots(seconds);
        let before = self.harm.evidence().all;
        let Self { settings, context, history, .. } = self;
        let margins = Margins { settings, context, history };
        self.harm.add(margins, &block);
        if let Some(tests) = &mut self.non_inferiority {
            tests.add(margins, &block);
        }
        self.difference.add(&block);
        self.alarm(&block);
        self.history.add(&block.baseline);
        self.alarmed = self.harm.evidence().all > before;
        self.ruling(seconds, block)
    }

    /// The ruling after a block.
    fn ruling(&mut self, seconds: f64, block: Block) -> Ruling {
        self.blocks += 1;
        let evidence = self.harm.evidence();
        let verdict = self.verdict(&block);
        Ruling {
            number: self.blocks,
            seconds,
            block,
            errors_bias: self.context.slice.bias.errors,
            ln_e_errors: evidence.errors,
            ln_e_latency: evidence.latency,
            ln_e_objectives: evidence.objectives,
            ln_e: evidence.all,
            ln_e_safe: self.non_inferiority.as_ref().map(NonInferiority::ln_e),
            verdict,
        }
    }

    fn pass_slots(&mut self, seconds: f64) {
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // saturates
        let due = ((seconds - self.began) / self.settings.slot_seconds) as u64;
        // A jump of the clock costs no time and no wealth.
        let most = self.slots_passed.saturating_add(self.settings.slots.into());
        for _ in self.slots_passed..due.min(most) {
            self.harm.pass_slot();
            self.objectives.iter_mut().for_each(ThresholdAlarm::pass_slot);
            if let Some(share) = &mut self.share {
                share.too_low.pass_slot();
                share.too_high.pass_slot();
            }
        }
        self.slots_passed = self.slots_passed.max(due);
    }

    fn alarm(&mut self, Block { baseline, candidate }: &Block) {
        let limit = self.settings.limit();
        for (objective, alarm) in self.settings.objectives.iter().zip(&mut self.objectives) {
            alarm.add(candidate.bad(objective.sli), candidate.requests, limit);
        }
        if let Some(share) = &mut self.share {
            let all = baseline.requests + candidate.requests;
            share.too_low.add(candidate.requests, all, limit);
            share.too_high.add(candidate.requests, all, limit);
        }
    }

    fn verdict(&self, block: &Block) -> Verdict {
        if self.ln_e() >= self.settings.limit() {
            return Verdict::Harm(self.cause(block));
        }
        match self.missed() {
            Some(objective) => Verdict::Unhealthy(objective),
            None if self.safe() => Verdict::Safe,
            None => Verdict::Undecided,
        }
    }

    /// The cause to report. Errors, if they carry most of the evidence or suffice in this block
    /// alone: a request that times out is also slow, but its failure matters.
    fn cause(&self, block: &Block) -> Cause {
        let [errors, latency, objectives] = self.harm.evidence().weighted(&self.settings);
        let missed = self.harm.most_missed().and_then(|index| self.settings.objectives.get(index));
        match (missed, self.harm.slowest()) {
            (Some(missed), _) if objectives > errors.max(latency) => Cause::Misses(*missed),
            (_, Some(boundary)) if latency > errors && !self.shows(block) => {
                Cause::Worse(Sli::Latency { boundary })
            }
            _ => Cause::Worse(Sli::Errors),
        }
    }
}

#[cfg(test)]
mod tests;
