//! Alarms on a share with a limit: raised while the share is beyond it, cleared once it is back.
//!
//! Both take evidence. While the share keeps to its limit, the alarm is raised with a probability
//! of at most alpha. It is cleared by evidence of the opposite, so a bad past does not delay it.
//! Each alarm has this probability again: it costs time, not the rollout.

use serde::{Deserialize, Serialize};

use super::absolute::AbsoluteTest;
use super::coin_flip::Direction;

/// The evidence E that clears the alarm.
const RECOVERY_EVIDENCE: f64 = 20.0;

/// The alarm of one share.
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
    /// An alarm on a share above `limit` ([`Direction::Harm`]), or below it ([`Direction::Safe`]).
    pub(super) fn new(bad: Direction, limit: f64, slots: u32) -> Self {
        let test = AbsoluteTest::restarting(bad, limit, slots);
        Self { bad, limit, slots, test, raised: false }
    }

    pub(super) fn pass_slot(&mut self) {
        self.test.wealth.pass_slot();
    }

    /// Adds a block. Evidence of `ln_limit` raises the alarm.
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
            // Only the evidence since the share recovered counts.
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
    fn the_alarm_is_raised_and_cleared_by_evidence() {
        let mut alarm = ThresholdAlarm::new(Direction::Harm, 0.01, 30);
        let mut seconds_until = |raised: bool, bad: u64| {
            let before = (1..=600).take_while(|second| {
                if second % 60 == 0 {
                    alarm.pass_slot();
                }
                alarm.add(bad, 100, 100_f64.ln());
                alarm.raised() != raised
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
        let mut alarm = ThresholdAlarm::new(Direction::Safe, 0.05, 30);
        (0..20).for_each(|_| alarm.add(0, 100, 100_f64.ln()));
        assert!(alarm.raised());
    }
}
