//! Watches a share that has a limit, for as long as it takes: raises the alarm when the share is beyond it, and calls it off when it is
//! back.
//!
//! Both take evidence: the alarm is raised at most with probability alpha while the share keeps to its limit, and after that the
//! opposite has to be shown, so that what is now good is not held up by what was bad. Each alarm has that chance anew: it costs time,
//! not a release.

use serde::{Deserialize, Serialize};

use super::absolute::AbsoluteTest;
use super::coin_flip::Direction;

/// How sure to be that the share is back, as E.
const RECOVERY_EVIDENCE: f64 = 20.0;

/// A watch over one share.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct ThresholdAlarm {
    /// The side of the limit that is bad.
    bad: Direction,
    limit: f64,
    slots: u32,
    test: AbsoluteTest,
    raised: bool,
}

impl ThresholdAlarm {
    /// A watch over a share that may not be above `limit` ([`Direction::Harm`]), or not below ([`Direction::Safe`]).
    pub(super) fn new(bad: Direction, limit: f64, slots: u32) -> Self {
        let test = AbsoluteTest::restarting(bad, limit, slots);
        Self { bad, limit, slots, test, raised: false }
    }

    pub(super) fn pass_slot(&mut self) {
        self.test.wealth_mut().pass_slot();
    }

    /// Takes a block into account; the alarm is raised at evidence of `ln_limit`.
    pub(super) fn add(&mut self, part: u64, whole: u64, ln_limit: f64) {
        self.test.add(part, whole);
        let ln_e = self.test.ln_e();
        if !self.raised && ln_e >= ln_limit {
            self.raised = true;
            self.test = self.recovery_test();
        } else if self.raised && ln_e >= RECOVERY_EVIDENCE.ln() {
            self.raised = false;
            self.test = AbsoluteTest::restarting(self.bad, self.limit, self.slots);
        } else if self.raised && ln_e < 0.0 {
            // However long it was bad: what counts is since when it has been good.
            self.test = self.recovery_test();
        }
    }

    fn recovery_test(&self) -> AbsoluteTest {
        AbsoluteTest::fully_invested(opposite(self.bad), self.limit)
    }

    /// Whether the alarm is raised.
    pub(super) fn raised(&self) -> bool {
        self.raised
    }
}

fn opposite(direction: Direction) -> Direction {
    match direction {
        Direction::Harm => Direction::Safe,
        Direction::Safe => Direction::Harm,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_alarm_is_raised_and_called_off_by_evidence() {
        let mut watch = ThresholdAlarm::new(Direction::Harm, 0.01, 30);
        let mut seconds_until = |raised: bool, bad: u64| {
            let before = (1..=600).take_while(|second| {
                if second % 60 == 0 {
                    watch.pass_slot();
                }
                watch.add(bad, 100, 100_f64.ln());
                watch.raised() != raised
            });
            before.count()
        };
        assert_eq!(seconds_until(true, 0), 600, "a healthy share raises nothing");
        assert!(seconds_until(true, 10) < 5);
        assert_eq!(seconds_until(false, 2), 600, "better, but still beyond");
        let recovered = seconds_until(false, 0);
        assert!((3..60).contains(&recovered), "{recovered}");
        assert!(seconds_until(true, 10) < 5, "and it can come back");
    }

    #[test]
    fn a_share_can_be_too_low() {
        let mut watch = ThresholdAlarm::new(Direction::Safe, 0.05, 30);
        (0..20).for_each(|_| watch.add(0, 100, 100_f64.ln()));
        assert!(watch.raised());
    }
}
