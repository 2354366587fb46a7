//! The rule for a metric.
//!
//! A query's values are neither independent nor of a known distribution, so no test on them has a
//! guaranteed error rate. The rule is the customary one: a number of consecutive values beyond a
//! limit. **It carries no guarantee.** A missing value neither breaks the rule nor keeps it.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::sample::MetricSample;

/// The limits of a metric; all of them apply.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct MetricRule {
    /// The upper limit of the candidate's value.
    pub at_most: Option<f64>,
    /// The lower limit of the candidate's value.
    pub at_least: Option<f64>,
    /// The upper limit of the candidate's value as a multiple of the baseline's, which must be
    /// above 0. Ignored without a baseline.
    pub at_most_times: Option<f64>,
    /// The number of consecutive bad values that break the rule; 0 counts as 1.
    pub consecutive: u32,
}

impl MetricRule {
    /// Returns whether the sample keeps the rule; `None` if a value is missing.
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

    /// Returns true if this number of consecutive bad values breaks the rule.
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
    fn a_limit_is_met_or_missed_or_unknown() {
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
    fn all_limits_must_be_met() {
        let rule = MetricRule { at_most: Some(200.0), at_most_times: Some(1.5), ..NONE };
        let kept = |baseline, candidate| rule.is_met(&values(baseline, Some(candidate)), true);
        assert_eq!(kept(Some(100.0), 149.0), Some(true));
        assert_eq!(kept(Some(100.0), 160.0), Some(false));
        assert_eq!((kept(None, 149.0), kept(None, 201.0)), (None, Some(false)));
        assert_eq!(rule.to_string(), "at most 200 and at most 1.5 times the baseline's");
    }

    #[test]
    fn consecutive_bad_values_break_the_rule() {
        let rule = MetricRule { consecutive: 3, ..NONE };
        assert_eq!([1, 2, 3, 4].map(|bad| rule.is_broken_by(bad)), [false, false, true, true]);
        assert!(!NONE.is_broken_by(0) && NONE.is_broken_by(1));
    }
}
