//! Tests whether the candidate is slower, at boundaries over the baseline's distribution.
//!
//! At each boundary a slower request is a bad one, and the evidence of all boundaries is averaged.
//! The informative boundaries depend on the latencies, so they are selected from the baseline's
//! history, at best before the candidate has users, and then kept. There is no bet before, so the
//! selection favours neither version.

use serde::{Deserialize, Serialize};

use super::coin_flip::{BadCounts, CoinFlip, Direction, Odds};
use super::likelihood::{LikelihoodRatio, RequestCounts};
use super::margins::Margins;
use super::settings::Settings;
use super::{Arm, Block};
use crate::judge::wealth::{Wealth, mean_ln_e};

/// The baseline's requests required to select the boundaries.
const MIN_BASELINE_REQUESTS: u64 = 50;

/// Shares of the baseline's slower requests: for each, the lowest boundary that no larger share
/// exceeds is selected.
const TAIL_SHARES: [f64; 3] = [0.5, 0.2, 0.03];

/// Boundaries beyond the baseline's distribution, as factors of the lowest boundary that no request
/// exceeded, or the last boundary.
const TAIL_FACTORS: [f64; 3] = [2.0, 4.0, 8.0];

/// The share of bad requests above which the likelihood ratio is more sensitive than the coin flip.
const COMMON_SHARE: f64 = 0.1;

/// The tests of latency of one rollout.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub(super) struct LatencyTests {
    /// Empty until the boundaries are selected.
    tests: Vec<BoundaryTest>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct BoundaryTest {
    boundary: usize,
    test: LatencyTest,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
enum LatencyTest {
    Rare(CoinFlip),
    Common(LikelihoodRatio),
}

impl BoundaryTest {
    fn new(slots: u32, history: &Arm, boundary: usize) -> Self {
        let (requests, slower) = (history.requests as f64, history.slower_than(boundary) as f64);
        let test = if slower > COMMON_SHARE * requests {
            LatencyTest::Common(LikelihoodRatio::restarting(slots, requests, slower))
        } else if slower > 0.0 {
            LatencyTest::Rare(CoinFlip::restarting(slots))
        } else {
            LatencyTest::Rare(CoinFlip::restarting_where_rare(slots))
        };
        Self { boundary, test }
    }

    fn wealth(&self) -> &Wealth {
        match &self.test {
            LatencyTest::Rare(test) => &test.wealth,
            LatencyTest::Common(test) => &test.wealth,
        }
    }

    fn wealth_mut(&mut self) -> &mut Wealth {
        match &mut self.test {
            LatencyTest::Rare(test) => &mut test.wealth,
            LatencyTest::Common(test) => &mut test.wealth,
        }
    }
}

impl LatencyTests {
    pub(super) fn add(&mut self, margins: Margins<'_>, block: &Block) {
        let Margins { settings, history, .. } = margins;
        let Some(margin) = settings.judged_latency() else { return };
        if self.tests.is_empty() && history.requests >= MIN_BASELINE_REQUESTS {
            let chosen = select_boundaries(settings, history);
            let test = |boundary| BoundaryTest::new(settings.slots, history, boundary);
            self.tests = chosen.into_iter().map(test).collect();
        }
        let Some(odds) = Odds::of(Direction::Harm, margin.relative, block) else { return };
        let n = RequestCounts {
            baseline: block.baseline.requests as f64,
            candidate: block.candidate.requests as f64,
        };
        for BoundaryTest { boundary, test } in &mut self.tests {
            let margin = margins.latency(margin, *boundary);
            let bad = BadCounts::of(block, |arm| arm.slower_than(*boundary));
            match test {
                LatencyTest::Rare(test) => {
                    test.add(&odds, bad, margin.absolute, settings.dispersion)
                }
                LatencyTest::Common(test) => test.add(n, bad, margin, settings.dispersion),
            }
        }
    }

    /// ln of the mean of all tests' E; 0 until there are any.
    pub(super) fn ln_e(&self) -> f64 {
        mean_ln_e(self.each()).unwrap_or(0.0)
    }

    /// The boundary with the most evidence.
    pub(super) fn strongest(&self) -> Option<usize> {
        let clearest = self.each().zip(&self.tests).max_by(|(a, _), (b, _)| a.total_cmp(b));
        clearest.map(|(_, test)| test.boundary)
    }

    pub(super) fn wealths(&mut self) -> impl ExactSizeIterator<Item = &mut Wealth> {
        self.tests.iter_mut().map(BoundaryTest::wealth_mut)
    }

    fn each(&self) -> impl ExactSizeIterator<Item = f64> + Clone {
        self.tests.iter().map(|test| test.wealth().ln_e())
    }
}

/// Indices of the boundaries to test, rising.
fn select_boundaries(settings: &Settings, history: &Arm) -> Vec<usize> {
    let all = settings.boundaries_ms.iter().enumerate();
    let no_more_than = |share: f64| {
        all.clone()
            .map(|(index, _)| index)
            .find(|index| history.slower_than(*index) as f64 <= share * history.requests as f64)
    };
    let mut chosen: Vec<usize> = TAIL_SHARES.into_iter().filter_map(no_more_than).collect();
    if let Some((_, quiet)) = no_more_than(0.0).and_then(|index| all.clone().nth(index)) {
        let above = |factor: f64| all.clone().find(|(_, ms)| **ms >= factor * quiet);
        let above = |factor| above(factor).or(all.clone().next_back()).map(|(index, _)| index);
        chosen.extend(TAIL_FACTORS.into_iter().filter_map(above));
    }
    chosen.sort_unstable();
    chosen.dedup();
    chosen
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn boundaries_follow_the_baseline() {
        let boundaries_ms = vec![5.0, 10.0, 20.0, 50.0, 100.0, 200.0, 400.0, 1_000.0, 5_000.0];
        let settings = Settings { boundaries_ms, ..Settings::default() };
        let slower = vec![1_000, 1_000, 600, 100, 8, 0, 0, 0, 0];
        let history = Arm { requests: 1_000, failures: 0, slower };
        // 50 ms has 10 %, 100 ms 0.8 %, 200 ms nothing: two, four and eight times as much.
        assert_eq!(select_boundaries(&settings, &history), [3, 4, 6, 7, 8]);
        let few = Settings { boundaries_ms: vec![5.0, 10.0, 20.0, 50.0, 100.0, 200.0], ..settings };
        assert_eq!(select_boundaries(&few, &history), [3, 4, 5], "no boundary beyond the last");
    }
}
