//! The effective margins: those of the settings, adjusted to the baseline's history and the users'
//! habits.

use super::Arm;
use super::coin_flip::Margin;
use super::settings::{Settings, SplitContext};

/// Boundaries that a smaller share of the baseline's requests exceeds get [`RARE_MARGIN`] as their
/// absolute margin: the configured one is a multiple of the normal share there.
const RARE_SHARE: f64 = 0.01;
const RARE_MARGIN: f64 = 0.001;

/// The margins of one split.
#[derive(Debug, Clone, Copy)]
pub(super) struct Margins<'j> {
    pub(super) settings: &'j Settings,
    pub(super) context: &'j SplitContext,
    /// The baseline's counts of all earlier blocks, without the block being judged.
    pub(super) history: &'j Arm,
}

impl Margins<'_> {
    /// The margin of failures.
    pub(super) fn errors(self) -> Margin {
        widened(self.settings.errors, self.context.slice.bias.errors)
    }

    /// The configured `margin` of latency at one boundary.
    pub(super) fn latency(self, margin: Margin, boundary: usize) -> Margin {
        let Self { context, history, .. } = self;
        let is_rare = (history.slower_than(boundary) as f64) < RARE_SHARE * history.requests as f64;
        let usual = margin.absolute;
        let absolute = if is_rare { usual.min(RARE_MARGIN) } else { usual };
        let bias = context.slice.bias.latency.get(boundary).copied().unwrap_or(0.0);
        widened(Margin { absolute, ..margin }, bias)
    }
}

/// The margin for users whose requests are bad more often by `bias` even at the baseline. For a
/// candidate within its margin for each user, `p_c <= r * (p_b + bias) + d`.
fn widened(Margin { relative, absolute }: Margin, bias: f64) -> Margin {
    Margin { relative, absolute: (absolute + relative * bias).min(1.0) }
}
