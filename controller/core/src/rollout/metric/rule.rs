//! The rule that a metric has to keep to.
//!
//! Values of a query are neither independent nor of a known distribution, so no test on them keeps a promise: this is the rule that others
//! use, so many values in a row beyond a limit, **and it carries no guarantee**. A value that is missing is not known: it neither breaks
//! the rule nor keeps it.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::sample::MetricSample;

/// What a metric has to keep to: all of its limits.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct MetricRule {
    /// The candidate's value is at most this.
    pub at_most: Option<f64>,
    /// The candidate's value is at least this.
    pub at_least: Option<f64>,
    /// The candidate's value is at most so many times the baseline's, which is above 0. Silent where no baseline is left.
    pub at_most_times: Option<f64>,
    /// So many bad values in a row break the rule; 0 counts as 1.
    pub consecutive: u32,
}

impl MetricRule {
    /// Whether it is kept; `None` if that can't be told.
    #[must_use]
    pub fn is_met(&self, values: &MetricSample, has_baseline: bool) -> Option<bool> {
        let candidate = values.candidate.filter(|value| !value.is_nan());
        let baseline = values.baseline.filter(|value| *value > 0.0);
        let most = self.at_most.map(|limit| Some(candidate? <= limit));
        let least = self.at_least.map(|limit| Some(candidate? >= limit));
        let times = self.at_most_times.filter(|_| has_baseline);
        let times = times.map(|factor| Some(candidate? <= factor * baseline?));
        let known = [most, least, times];
        match known.contains(&Some(Some(false))) {
            true => Some(false),
            false => known.iter().all(|limit| *limit != Some(None)).then_some(true),
        }
    }

    /// Whether so many bad values in a row break it.
    #[must_use]
    pub fn is_broken_by(&self, bad: u32) -> bool {
        bad >= self.consecutive.max(1)
    }
}

impl fmt::Display for MetricRule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let most = self.at_most.map(|limit| format!("at most {limit}"));
        let least = self.at_least.map(|limit| format!("at least {limit}"));
        let times =
            self.at_most_times.map(|factor| format!("at most {factor} times the baseline's"));
        let all: Vec<_> = [most, least, times].into_iter().flatten().collect();
        f.write_str(&all.join(" and "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NONE: MetricRule =
        MetricRule { at_most: None, at_least: None, at_most_times: None, consecutive: 1 };

    fn values(baseline: Option<f64>, candidate: Option<f64>) -> MetricSample {
        MetricSample { baseline, candidate, reason: None }
    }

    #[test]
    fn a_limit_is_kept_or_not_or_not_known() {
        let kept = |rule: MetricRule, candidate| rule.is_met(&values(None, candidate), true);
        let most = MetricRule { at_most: Some(10.0), ..NONE };
        assert_eq!([10.0, 10.1].map(|v| kept(most, Some(v))), [Some(true), Some(false)]);
        let least = MetricRule { at_least: Some(1.0), ..NONE };
        assert_eq!([1.0, 0.9].map(|v| kept(least, Some(v))), [Some(true), Some(false)]);
        assert_eq!([None, Some(f64::NAN)].map(|v| kept(least, v)), [None, None]);
    }

    #[test]
    fn a_relative_limit_needs_the_baseline() {
        let rule = MetricRule { at_most_times: Some(1.5), ..NONE };
        let kept = |baseline, candidate| rule.is_met(&values(baseline, Some(candidate)), true);
        assert_eq!((kept(Some(100.0), 150.0), kept(Some(100.0), 151.0)), (Some(true), Some(false)));
        assert_eq!((kept(None, 1e9), kept(Some(0.0), 1e9)), (None, None));
        assert_eq!(
            rule.is_met(&values(None, Some(1e9)), false),
            Some(true),
            "nothing to compare with"
        );
    }

    #[test]
    fn all_limits_have_to_be_kept() {
        let rule = MetricRule { at_most: Some(200.0), at_most_times: Some(1.5), ..NONE };
        let kept = |baseline, candidate| rule.is_met(&values(baseline, Some(candidate)), true);
        assert_eq!(kept(Some(100.0), 149.0), Some(true));
        assert_eq!(kept(Some(100.0), 160.0), Some(false));
        assert_eq!((kept(None, 149.0), kept(None, 201.0)), (None, Some(false)));
        assert_eq!(rule.to_string(), "at most 200 and at most 1.5 times the baseline's");
    }

    #[test]
    fn so_many_bad_values_break_it() {
        let rule = MetricRule { consecutive: 3, ..NONE };
        assert_eq!([1, 2, 3, 4].map(|bad| rule.is_broken_by(bad)), [false, false, true, true]);
        assert!(!NONE.is_broken_by(0) && NONE.is_broken_by(1));
    }
}
