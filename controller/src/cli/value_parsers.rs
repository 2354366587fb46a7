//! Parsers of values of flags.

use std::time::Duration;

/// Parses a number and checks its range.
pub(super) fn number(
    text: &str,
    good: impl Fn(f64) -> bool,
    expected: &str,
) -> Result<f64, String> {
    let number = text.parse().ok().filter(|number| good(*number));
    number.ok_or_else(|| format!("not {expected}"))
}

/// A number above 0.
pub(super) fn positive(text: &str) -> Result<f64, String> {
    number(text, |number| number > 0.0 && number.is_finite(), "a number above 0")
}

/// A number not below 0.
pub(super) fn at_least_zero(text: &str) -> Result<f64, String> {
    number(text, |number| number >= 0.0 && number.is_finite(), "a number, 0 or more")
}

/// A share such as `5%`, as 0 to 1.
pub(super) fn share(text: &str) -> Result<f64, String> {
    let percent = text.strip_suffix('%').and_then(|number| number.trim().parse::<f64>().ok());
    let share = percent.map(|percent| percent / 100.0).filter(|share| (0.0..=1.0).contains(share));
    share.ok_or_else(|| "expected a share from 0% to 100%, such as 0.5%".to_owned())
}

/// A span of time such as `90s`.
pub(super) fn duration(text: &str) -> Result<Duration, String> {
    humantime::parse_duration(text)
        .map_err(|_| "not a span of time with its unit, such as 500ms, 90s or 5m".to_owned())
}
