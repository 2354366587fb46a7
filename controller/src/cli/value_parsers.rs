//! Parsers of numbers with ranges.

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
