//! Evidence of no harm: the mirror of the tests of harm, for gates of kind evidence.
//!
//! Each SLI, and each latency boundary, must be shown to be no worse than its margin. As all must
//! pass, none needs a share of the error probability (an intersection-union test).

use serde::{Deserialize, Serialize};

use super::Block;
use super::coin_flip::{BadCounts, CoinFlip, Direction, Margin, Odds};
use super::margins::Margins;
use super::settings::Settings;

/// The tests of safety under one split.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct NonInferiority {
    errors: CoinFlip,
    /// One for each boundary.
    latency: Vec<CoinFlip>,
}

impl NonInferiority {
    pub(super) fn new(settings: &Settings) -> Self {
        let boundaries = settings.judged_latency().map_or(0, |_| settings.boundaries_ms.len());
        Self {
            errors: CoinFlip::fully_invested(),
            latency: vec![CoinFlip::fully_invested(); boundaries],
        }
    }

    /// ln E of the SLI with the least evidence.
    pub(super) fn ln_e(&self) -> f64 {
        self.latency.iter().map(CoinFlip::ln_e).fold(self.errors.ln_e(), f64::min)
    }

    pub(super) fn add(&mut self, margins: Margins<'_>, block: &Block) {
        let settings = margins.settings;
        let odds = |margin: Margin| Odds::of(Direction::Safe, margin.relative, block);
        let margin = margins.errors();
        let Some(for_errors) = odds(margin) else { return };
        let bad = BadCounts::of(block, |arm| arm.failures);
        self.errors.add(&for_errors, bad, margin.absolute, settings.dispersion);
        let Some(margin) = settings.judged_latency() else { return };
        let Some(for_latency) = odds(margin) else { return };
        for (boundary, test) in self.latency.iter_mut().enumerate() {
            let absolute = margins.latency(margin, boundary).absolute;
            let bad = BadCounts::of(block, |arm| arm.slower_than(boundary));
            test.add(&for_latency, bad, absolute, settings.dispersion);
        }
    }
}

/// Estimates the candidate's requests until the evidence of no harm suffices, for a candidate as
/// good as the baseline at a `share` (above 0, below 1) of the requests. `None` above a billion:
/// without a margin no number of requests suffices.
pub(super) fn requests_needed(margins: Margins<'_>, share: f64) -> Option<u64> {
    let Margins { settings, history, .. } = margins;
    let enough = settings.safe_at()?;
    let rate = |bad: u64| bad as f64 / history.requests.max(1) as f64;
    let mut slis = vec![(margins.errors(), rate(history.failures))];
    if let Some(margin) = settings.judged_latency() {
        slis.extend((0..settings.boundaries_ms.len()).map(|boundary| {
            (margins.latency(margin, boundary), rate(history.slower_than(boundary)))
        }));
    }
    let suffice = |requests: u64| {
        slis.iter().all(|(margin, rate)| {
            expected_ln_e(*margin, *rate, requests as f64, share, settings.dispersion) >= enough
        })
    };
    least_requests(suffice)
}

/// The smallest number of requests that suffices, up to a billion.
pub(super) fn least_requests(suffice: impl Fn(u64) -> bool) -> Option<u64> {
    let (mut too_few, mut enough) = (0, 1_000_000_000);
    if !suffice(enough) {
        return None;
    }
    while enough - too_few > 1 {
        let middle = u64::midpoint(too_few, enough);
        if suffice(middle) { enough = middle } else { too_few = middle }
    }
    Some(enough)
}

/// ln E of safety after `candidate` requests of a candidate as bad as the baseline, at expected
/// counts.
fn expected_ln_e(margin: Margin, rate: f64, candidate: f64, share: f64, dispersion: f64) -> f64 {
    let baseline = candidate * (1.0 - share) / share;
    let Some(odds) = Odds::new(Direction::Safe, margin.relative, baseline, candidate) else {
        return 0.0;
    };
    let bad = BadCounts { baseline: baseline * rate, candidate: candidate * rate };
    let mut test = CoinFlip::fully_invested();
    test.add(&odds, bad, margin.absolute, dispersion);
    test.ln_e()
}

#[cfg(test)]
mod tests {
    use super::super::{Arm, SplitContext};
    use super::*;

    fn needed(errors: Margin, failures: u64, share: f64) -> Option<u64> {
        let settings =
            Settings { errors, latency: None, confidence: Some(0.95), ..Settings::default() };
        let history = &Arm { requests: 100_000, failures, slower: Vec::new() };
        let (settings, context) = (&settings, &SplitContext::default());
        requests_needed(Margins { settings, context, history }, share)
    }

    /// The figures of the design, from a simulation: 1,093 requests at 0.1 % errors, a margin of
    /// 0.5 % and a split of 5 %; by the default margins 3,500 without any error and 9,000 at 0.1 %.
    #[test]
    fn the_estimate_matches_the_simulation() {
        let wide = Margin { relative: 1.0, absolute: 0.005 };
        let default = Settings::default().errors;
        for (margin, failures, measured) in
            [(wide, 100, 1_093.0), (default, 0, 3_500.0), (default, 100, 9_000.0)]
        {
            let needed = needed(margin, failures, 0.05).unwrap() as f64;
            assert!((needed / measured - 1.0).abs() < 0.25, "{needed} instead of {measured}");
        }
    }

    #[test]
    fn without_a_margin_nothing_suffices() {
        assert_eq!(needed(Margin { relative: 1.0, absolute: 0.0 }, 100, 0.05), None);
    }
}
