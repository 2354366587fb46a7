//! Metrics that are not counts of requests: values of a query, such as the memory of an instance or the length of a queue.
//!
//! Such values are neither independent nor of a known distribution, so no test on them keeps a promise: this is the rule that others use,
//! so many values in a row beyond a limit, **and it carries no guarantee**. A value that is missing is not known: it neither breaks the rule nor
//! keeps it.

use serde::{Deserialize, Serialize};

/// What a metric has to keep to.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Rule {
    /// The values that are good.
    pub bound: Bound,
    /// So many bad values in a row break the rule; 0 counts as 1.
    pub consecutive: u32,
}

/// A limit to a metric.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Bound {
    /// The candidate's value is at most this.
    AtMost(f64),
    /// The candidate's value is at least this.
    AtLeast(f64),
    /// The candidate's value is at most so many times the baseline's, which is above 0.
    AtMostTimes(f64),
}

/// The state of a rule: how many bad values there have been in a row.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Streak(u32);

impl Streak {
    /// Takes into account what the query gave for each version; `None` is no value. Whether the rule is broken now.
    pub fn observe(&mut self, rule: &Rule, baseline: Option<f64>, candidate: Option<f64>) -> bool {
        match rule.bound.holds(baseline, candidate) {
            Some(true) => self.0 = 0,
            Some(false) => self.0 = self.0.saturating_add(1),
            None => {}
        }
        self.0 >= rule.consecutive.max(1)
    }
}

impl Bound {
    /// `None` if that can't be told.
    fn holds(self, baseline: Option<f64>, candidate: Option<f64>) -> Option<bool> {
        let candidate = candidate.filter(|value| !value.is_nan())?;
        match self {
            Self::AtMost(limit) => Some(candidate <= limit),
            Self::AtLeast(limit) => Some(candidate >= limit),
            Self::AtMostTimes(factor) => {
                let baseline = baseline.filter(|value| *value > 0.0)?;
                Some(candidate <= factor * baseline)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_so_many_bad_values_in_a_row_break_a_rule() {
        let rule = Rule { bound: Bound::AtMost(10.0), consecutive: 3 };
        let mut streak = Streak::default();
        let broken = [11.0, 12.0, 9.0, 11.0, 11.0, 11.0, 10.0]
            .map(|value| streak.observe(&rule, None, Some(value)));
        assert_eq!(broken, [false, false, false, false, false, true, false]);
    }

    #[test]
    fn a_missing_value_is_not_known() {
        let rule = Rule { bound: Bound::AtLeast(1.0), consecutive: 2 };
        let mut streak = Streak::default();
        let broken = [Some(0.0), None, Some(f64::NAN), Some(0.0)]
            .map(|value| streak.observe(&rule, None, value));
        assert_eq!(broken, [false, false, false, true]);
    }

    #[test]
    fn a_relative_rule_needs_the_baseline() {
        let rule = Rule { bound: Bound::AtMostTimes(1.5), consecutive: 1 };
        let broken =
            |baseline, candidate| Streak::default().observe(&rule, baseline, Some(candidate));
        assert!(broken(Some(100.0), 151.0) && !broken(Some(100.0), 150.0));
        assert!(!broken(None, 1e9) && !broken(Some(0.0), 1e9));
    }
}
