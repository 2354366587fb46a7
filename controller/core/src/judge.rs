//! Is the candidate worse than the baseline? Sequential tests that may be looked at as often as one likes.
//!
//! Each SLI has an e-process ([`coin_flip`]) that grows while the candidate is worse than its margin allows. Their weighted sum is
//! one e-process for the whole rollout, valid under any dependence between them: when it reaches 1/alpha, the candidate is worse,
//! and a candidate that is not has at most a chance of alpha to get there, over all looks and steps together.
//!
//! Latency is judged over the whole distribution: for each boundary of the histogram, being slower than it is a "bad" request like any
//! other, and the evidence of the boundaries is averaged (`slowness` says of which, `likelihood` how where many requests are).
//!
//! What else can be said: that the candidate is no worse than its margins (the mirror of each test, anew for each split); that it
//! misses an objective that both versions are held to ([`absolute`]), which speaks against the release only where there is no baseline
//! to share the blame; that its share of the requests contradicts its weight; and how much the failure rates differ.
//!
//! Pure: counts come in, a ruling goes out. The state can be stored and continued.

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
use self::margins::BaselineHistory;
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
    /// Counts that do not make a block yet.
    pending: Block,
    history: BaselineHistory,
    harm: HarmTests,
    /// Of the present split.
    non_inferiority: Option<NonInferiority>,
    /// Of the present split.
    difference: Difference,
    /// One for each objective.
    objectives: Vec<ThresholdAlarm>,
    share: Option<ShareAlarm>,
    /// When bets could be made for the first time, in seconds since the rollout began: slots are counted from then.
    began: f64,
    slots_passed: u64,
    blocks: u64,
    has_judged: bool,
    alarmed: bool,
}

/// A watch over the candidate's share of the requests.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct ShareAlarm {
    too_low: ThresholdAlarm,
    too_high: ThresholdAlarm,
}

impl Judge {
    /// A judge that has seen nothing.
    #[must_use]
    pub fn new(settings: Settings) -> Self {
        let watch = |objective: &Objective| {
            ThresholdAlarm::new(Direction::Harm, objective.at_most, settings.slots)
        };
        Self {
            context: SplitContext::default(),
            pending: Block::default(),
            history: BaselineHistory::default(),
            harm: HarmTests::new(&settings),
            non_inferiority: settings.confidence.map(|_| NonInferiority::new(&settings)),
            difference: Difference::new(),
            objectives: settings.objectives.iter().map(watch).collect(),
            share: None,
            began: 0.0,
            slots_passed: 0,
            blocks: 0,
            has_judged: false,
            alarmed: false,
            settings,
        }
    }

    /// Takes it that the baseline did this in a time that is not judged, which ended `seconds` after the rollout began. What a
    /// baseline usually does tells which latencies to judge by, so that the first judged block is already bet on. The ruling has
    /// a number, and the evidence as it was.
    pub fn learn(&mut self, seconds: f64, baseline: Arm) -> Ruling {
        if !self.has_judged {
            self.began = seconds;
        }
        self.history.add(&baseline);
        let candidate = Arm { slower: vec![0; baseline.slower.len()], ..Arm::default() };
        self.ruling(seconds, Block { baseline, candidate })
    }

    /// Takes a block of a record into account, as it was when it was recorded. In a block in which the candidate had no requests nothing was
    /// judged: it is learned from, unless it belongs to counts that are still being gathered. `errors_bias` is that of the ruling.
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

    /// What it goes by.
    #[must_use]
    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// What the blocks of the present split are judged by.
    #[must_use]
    pub fn context(&self) -> &SplitContext {
        &self.context
    }

    /// ln E of everything so far.
    #[must_use]
    pub fn ln_e(&self) -> f64 {
        self.harm.evidence().all
    }

    /// Whether the last block under the present split spoke against the candidate. What it was about, the next ones will tell.
    #[must_use]
    pub fn alarmed(&self) -> bool {
        self.alarmed
    }

    /// Whether it is shown that under the present split the candidate is no worse than its margins; never, if that is not asked for.
    #[must_use]
    pub fn safe(&self) -> bool {
        self.settings.safe_at().is_some_and(|enough| self.ln_e_safe() >= enough)
    }

    /// ln E of the candidate being no worse than its margins under the present split, by the SLI for which least is shown; 0 if it is not
    /// asked for.
    #[must_use]
    pub fn ln_e_safe(&self) -> f64 {
        self.non_inferiority.as_ref().map_or(0.0, NonInferiority::ln_e)
    }

    /// The first objective that the candidate misses, as far as is known now.
    #[must_use]
    pub fn missed(&self) -> Option<Objective> {
        let all = self.settings.objectives.iter().zip(&self.objectives);
        all.filter(|(_, watch)| watch.raised()).map(|(objective, _)| *objective).next()
    }

    /// Whether the candidate gets a share of the requests that contradicts its weight.
    #[must_use]
    pub fn share_mismatch(&self) -> bool {
        self.share.as_ref().is_some_and(|share| share.too_low.raised() || share.too_high.raised())
    }

    /// The candidate's failure rate less the baseline's, since the split changed.
    #[must_use]
    pub fn difference(&self) -> Interval {
        self.difference.interval()
    }

    /// How many requests of the candidate the evidence of no harm takes, about, if the candidate is just as good as the baseline has been
    /// and gets a `share` of the requests above 0 and below 1. `None` if it never suffices, or is not asked for.
    #[must_use]
    pub fn requests_to_safety(&self, share: f64) -> Option<u64> {
        let usual = self.history.baseline();
        non_inferiority::requests_needed(&self.settings, &self.context, &self.history, usual, share)
    }

    /// Takes into account what happened since the last look, which ended `seconds` after the rollout began. Rules as soon as the
    /// counts make a block.
    pub fn observe(&mut self, seconds: f64, seen: &Block) -> Option<Ruling> {
        self.pending.add(seen);
        let fewest = if self.context.single_arm {
            self.pending.candidate.requests
        } else {
            self.pending.smaller_arm()
        };
        if fewest < self.settings.block_min {
            return None;
        }
        let block = std::mem::take(&mut self.pending);
        Some(self.rule(seconds, block))
    }

    /// The split is about to change, or has changed; what comes is judged by `terms`. Within a block the split must not change (Simpson's
    /// paradox), so counts that do not make one yet are dropped.
    pub fn split_changes(&mut self, terms: SplitContext) {
        self.pending = Block::default();
        self.alarmed = false;
        self.non_inferiority =
            self.settings.confidence.map(|_| NonInferiority::new(&self.settings));
        self.difference = Difference::new();
        let slots = self.settings.slots;
        self.share = terms.slice.share.map(|(low, high)| ShareAlarm {
            too_low: ThresholdAlarm::new(Direction::Safe, low, slots),
            too_high: ThresholdAlarm::new(Direction::Harm, high, slots),
        });
        self.context = terms;
    }

    fn rule(&mut self, seconds: f64, block: Block) -> Ruling {
        self.has_judged = true;
        self.pass_slots(seconds);
        let Self { settings, context, history, .. } = self;
        let before = self.harm.evidence().all;
        self.harm.add(settings, context, history, &block);
        if let Some(safety) = &mut self.non_inferiority {
            safety.add(settings, context, history, &block);
        }
        self.difference.add(&block);
        self.watch(&block);
        self.history.add(&block.baseline);
        self.alarmed = self.harm.evidence().all > before;
        self.ruling(seconds, block)
    }

    /// What there is to say after a block.
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
        // A clock gone wild costs no time and no stake.
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

    fn watch(&mut self, Block { baseline, candidate }: &Block) {
        let limit = self.settings.limit();
        for (objective, watch) in self.settings.objectives.iter().zip(&mut self.objectives) {
            watch.add(candidate.bad(objective.sli), candidate.requests, limit);
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

    /// What is to be named. Errors, if they carry most of the evidence, or are reason enough in this block alone: a request that times
    /// out is slow as well, but that it failed is what matters.
    fn cause(&self, block: &Block) -> Cause {
        let evidence = self.harm.evidence();
        let weights = self.settings.weights();
        let worth = |weight: f64, ln_e: Option<f64>| {
            ln_e.map_or(f64::NEG_INFINITY, |ln_e| weight.ln() + ln_e)
        };
        let errors = worth(weights.errors, Some(evidence.errors));
        let latency = worth(weights.latency, evidence.latency);
        let objectives = worth(weights.objectives, evidence.objectives);
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
