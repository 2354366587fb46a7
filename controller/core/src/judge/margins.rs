//! The effective margins: those of the settings, adjusted to the baseline's history and the users'
//! habits.

use serde::{Deserialize, Serialize};

use super::Arm;
use super::coin_flip::Margin;
use super::settings::{Settings, SplitContext};

/// Boundaries that a smaller share of the baseline's requests exceeds get [`RARE_MARGIN`] as their
/// absolute margin: the configured one is a multiple of the normal share there.
const RARE_SHARE: f64 = 0.01;
const RARE_MARGIN: f64 = 0.001;

/// The baseline's counts of all earlier blocks. Margins follow it, so it excludes the block being
/// judged.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub(super) struct BaselineHistory {
    baseline: Arm,
}

impl BaselineHistory {
    pub(super) fn add(&mut self, baseline: &Arm) {
        self.baseline.add(baseline);
    }

    pub(super) fn baseline(&self) -> &Arm {
        &self.baseline
    }

    /// The baseline's requests, and those slower than a boundary.
    pub(super) fn counts(&self, boundary: usize) -> (f64, f64) {
        (self.baseline.requests as f64, self.baseline.slower_than(boundary) as f64)
    }

    fn is_rare(&self, boundary: usize) -> bool {
        (self.baseline.slower_than(boundary) as f64) < RARE_SHARE * self.baseline.requests as f64
    }

    /// The margin of failures.
    pub(super) fn errors(settings: &Settings, terms: &SplitContext) -> Margin {
        widened(settings.errors, terms.slice.bias.errors)
    }

    /// The margin of requests slower than a boundary.
    pub(super) fn latency(&self, margin: Margin, terms: &SplitContext, boundary: usize) -> Margin {
        let usual = margin.absolute;
        let absolute = if self.is_rare(boundary) { usual.min(RARE_MARGIN) } else { usual };
        let bias = terms.slice.bias.latency.get(boundary).copied().unwrap_or(0.0);
        widened(Margin { absolute, ..margin }, bias)
    }
}

/// The margin for users whose requests are bad more often by `bias` even at the baseline. For a
/// candidate within its margin for each user, `p_c <= r * (p_b + bias) + d`.
fn widened(Margin { relative, absolute }: Margin, bias: f64) -> Margin {
    Margin { relative, absolute: (absolute + relative * bias).min(1.0) }
}
