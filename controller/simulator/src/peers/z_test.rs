//! A test of significance looked at every second: what is right for one look at a fixed time, and wrong for many.

use std::time::Duration;

use serin_core::observation::Counters;
use serin_core::rollout::event::RolloutVerdict;
use serin_core::rollout::plan::{Plan, Step};
use serin_filter::histogram::BOUNDARIES;
use serin_filter::outcome::Failure;
use serin_filter::stat::Stat;
use serin_filter::table::Weight;
use statrs::distribution::{ContinuousCDF, Normal};

use super::flagger::split;
use crate::controller::SimulatedController;
use crate::fleet::SimulatedFleet;

const INTERVAL: Duration = Duration::from_secs(1);

/// Steps that pass by time, and totals compared at each look.
pub(super) struct ZTest {
    /// The z at which a look decides.
    limit: f64,
    steps: Vec<Step>,
    begun: usize,
    next_step: Duration,
    last_poll: Duration,
}

impl ZTest {
    pub(super) fn new(plan: &Plan, level: f64) -> Self {
        Self {
            limit: Normal::standard().inverse_cdf(1.0 - level),
            steps: plan.steps.clone(),
            begun: 0,
            next_step: Duration::ZERO,
            last_poll: Duration::ZERO,
        }
    }
}

impl SimulatedController for ZTest {
    fn next_poll(&self) -> Duration {
        if self.begun == 0 { Duration::ZERO } else { self.last_poll + INTERVAL }
    }

    fn poll(&mut self, now: Duration, fleet: &mut SimulatedFleet) -> Option<RolloutVerdict> {
        self.last_poll = now;
        let [baseline, candidate] = fleet.totals(now);
        if z(&baseline, &candidate) > self.limit {
            fleet.apply(now, split(Weight::ZERO));
            return Some(RolloutVerdict::RolledBack);
        }
        if now >= self.next_step {
            let Some(step) = self.steps.get(self.begun) else {
                return Some(RolloutVerdict::Promoted);
            };
            fleet.apply(now, split(step.weight()));
            self.next_step = now + step.bake;
            self.begun += 1;
        }
        None
    }
}

/// How many standard deviations more often the candidate has failed; 0 where nothing is to compare.
fn z(baseline: &Counters, candidate: &Counters) -> f64 {
    let counts = |counters: &Counters| {
        let failed = Failure::ALL.iter().map(|kind| counters.count(Stat::Failures(*kind)));
        (failed.sum::<u64>() as f64, counters.count(Stat::LatencyBucket(BOUNDARIES)) as f64)
    };
    let ((k_b, n_b), (k_c, n_c)) = (counts(baseline), counts(candidate));
    let pooled = (k_b + k_c) / (n_b + n_c).max(1.0);
    let deviation = (pooled * (1.0 - pooled) * (1.0 / n_b + 1.0 / n_c)).sqrt();
    if n_b > 0.0 && n_c > 0.0 && deviation > 0.0 {
        (k_c / n_c - k_b / n_b) / deviation
    } else {
        0.0
    }
}
