//! Evidence of harm: the e-processes of all SLIs, and the sum that decides.

use serde::{Deserialize, Serialize};

use super::absolute::AbsoluteTest;
use super::coin_flip::{BadCounts, CoinFlip, Direction, Odds};
use super::margins::Margins;
use super::settings::Settings;
use super::{Arm, Block, Objective};
use crate::judge::latency_tests::LatencyTests;
use crate::judge::wealth::{Wealth, ln_sum_exp, mean_ln_e};

/// The tests of harm of one rollout. They are never reset.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct HarmTests {
    errors: CoinFlip,
    latency: LatencyTests,
    /// One for each objective, over the time without a baseline.
    objectives: Vec<AbsoluteTest>,
    evidence: HarmEvidence,
}

/// ln E in total and of each part.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub(super) struct HarmEvidence {
    pub(super) all: f64,
    pub(super) errors: f64,
    pub(super) latency: Option<f64>,
    pub(super) objectives: Option<f64>,
}

impl HarmEvidence {
    /// The weighted parts: errors, latency, objectives.
    pub(super) fn weighted(self, settings: &Settings) -> [f64; 3] {
        let weights = settings.weights();
        let part = |weight: f64, ln_e: Option<f64>| {
            ln_e.map_or(f64::NEG_INFINITY, |ln_e| weight.ln() + ln_e)
        };
        [
            part(weights.errors, Some(self.errors)),
            part(weights.latency, self.latency),
            part(weights.objectives, self.objectives),
        ]
    }
}

impl HarmTests {
    pub(super) fn new(settings: &Settings) -> Self {
        let objective = |objective: &Objective| {
            AbsoluteTest::restarting(Direction::Harm, objective.at_most, settings.slots)
        };
        let mut harm = Self {
            latency: LatencyTests::default(),
            errors: CoinFlip::restarting(settings.slots),
            objectives: settings.objectives.iter().map(objective).collect(),
            evidence: HarmEvidence { all: 0.0, errors: 0.0, latency: None, objectives: None },
        };
        harm.evidence = harm.sum(settings);
        harm
    }

    pub(super) fn evidence(&self) -> HarmEvidence {
        self.evidence
    }

    pub(super) fn pass_slot(&mut self) {
        self.errors.wealth.pass_slot();
        self.latency.wealths().for_each(Wealth::pass_slot);
        self.objectives.iter_mut().for_each(|test| test.wealth.pass_slot());
    }

    /// Adds a block. With `cap`, one block adds at most half of the deciding evidence.
    pub(super) fn add(&mut self, margins: Margins<'_>, block: &Block) {
        let Margins { settings, context, .. } = margins;
        let before = self.evidence.all;
        if context.single_arm {
            self.add_single_arm(settings, &block.candidate);
        } else {
            self.compare(margins, block);
        }
        self.evidence = self.sum(settings);
        let most = before + settings.limit() / 2.0;
        if settings.cap && self.evidence.all > most {
            self.discount_to(settings, most);
            self.evidence = HarmEvidence { all: most, ..self.sum(settings) };
        }
    }

    fn compare(&mut self, margins: Margins<'_>, block: &Block) {
        let margin = margins.errors();
        if let Some(odds) = Odds::of(Direction::Harm, margin.relative, block) {
            let bad = BadCounts::of(block, |arm| arm.failures);
            self.errors.add(&odds, bad, margin.absolute, margins.settings.dispersion);
        }
        self.latency.add(margins, block);
    }

    fn add_single_arm(&mut self, settings: &Settings, candidate: &Arm) {
        for (objective, test) in settings.objectives.iter().zip(&mut self.objectives) {
            test.add(candidate.bad(objective.sli), candidate.requests);
        }
    }

    fn sum(&self, settings: &Settings) -> HarmEvidence {
        let errors = self.errors.ln_e();
        let latency = settings.judged_latency().map(|_| self.latency.ln_e());
        let objectives = mean_ln_e(self.objectives.iter().map(AbsoluteTest::ln_e));
        let parts = HarmEvidence { all: errors, errors, latency, objectives };
        match (latency, objectives) {
            (None, None) => parts,
            _ => HarmEvidence { all: ln_sum_exp(parts.weighted(settings)), ..parts },
        }
    }

    /// Every test with its weight in the evidence.
    fn shares(&mut self, settings: &Settings) -> impl Iterator<Item = (f64, &mut Wealth)> {
        let weights = settings.weights();
        let latency = self.latency.wealths();
        let each_latency = weights.latency / latency.len().max(1) as f64;
        let each_objective = weights.objectives / self.objectives.len().max(1) as f64;
        std::iter::once((weights.errors, &mut self.errors.wealth))
            .chain(latency.map(move |wealth| (each_latency, wealth)))
            .chain(self.objectives.iter_mut().map(move |test| (each_objective, &mut test.wealth)))
    }

    /// Lowers the bets of all tests by one factor until the evidence is `ln_e`.
    fn discount_to(&mut self, settings: &Settings, ln_e: f64) {
        // The wealth of latency is whole until boundaries are selected.
        let latency_waits = self.latency.wealths().len() == 0;
        let mut reserved = if latency_waits { settings.weights().latency } else { 0.0 };
        let mut ln_invested = f64::NEG_INFINITY;
        for (share, wealth) in self.shares(settings) {
            reserved += share * wealth.reserved();
            ln_invested = ln_sum_exp([ln_invested, share.ln() + wealth.ln_invested()]);
        }
        let ln_left = ln_e + (-(reserved.ln() - ln_e).exp()).ln_1p();
        for (_, wealth) in self.shares(settings) {
            wealth.discount(ln_left - ln_invested);
        }
    }

    /// The boundary with the most evidence.
    pub(super) fn slowest(&self) -> Option<usize> {
        self.latency.strongest()
    }

    /// The objective with the most evidence.
    pub(super) fn most_missed(&self) -> Option<usize> {
        let tests = self.objectives.iter().enumerate();
        tests.max_by(|a, b| a.1.ln_e().total_cmp(&b.1.ln_e())).map(|(index, _)| index)
    }
}
