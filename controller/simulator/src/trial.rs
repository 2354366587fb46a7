//! Runs of one plan by one rule against one kind of traffic, and their outcomes.

use std::time::Duration;

use rand::SeedableRng;
use rand::rngs::SmallRng;
use rayon::prelude::*;
use serin_core::judge::balance;
use serin_core::rollout::event::RolloutVerdict;
use serin_core::rollout::plan::Plan;
use serin_filter::table::Weight;

use super::controller::SimulatedController;
use super::fleet::SimulatedFleet;
use super::peers::DecisionRule;
use super::traffic::Traffic;
use super::users::{UserPopulation, UserProfile};
use crate::serin_controller::SerinController;

/// The share of alpha that the A/A test may miss; the judge has the rest.
const MISS_SHARE: f64 = 0.2;

/// The configuration of the runs.
#[derive(Debug, Clone)]
pub struct Trial {
    /// The plan.
    pub plan: Plan,
    /// The traffic.
    pub traffic: Traffic,
    /// The decision rule.
    pub rule: DecisionRule,
    /// The time at which a run is abandoned.
    pub horizon: Duration,
}

/// The outcome of one run.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Outcome {
    /// The verdict; `None` for an abandoned run.
    pub verdict: Option<RolloutVerdict>,
    /// The duration in seconds.
    pub seconds: f64,
    /// The time in seconds from the fault, or the first user, to the end. 0 without a fault.
    pub bad_seconds: f64,
    /// The candidate's requests.
    pub requests: u64,
    /// Failures among them.
    pub failures: u64,
    /// Requests served while the candidate was faulty.
    pub met_bad: u64,
    /// The mean number of users who reached the candidate, if users are simulated.
    pub users: Option<f64>,
}

impl Trial {
    /// Executes all runs in parallel and calls `done` after each. The same seed gives the same
    /// outcomes in the same order.
    pub fn run(&self, runs: u32, seed: u64, done: impl Fn() + Sync) -> Vec<Outcome> {
        (0..runs)
            .into_par_iter()
            .map(|run| {
                let outcome = self.run_once(mixed(seed, run));
                done();
                outcome
            })
            .collect()
    }

    /// Executes one run.
    #[must_use]
    pub fn run_once(&self, seed: u64) -> Outcome {
        let mut plan = self.plan.clone();
        let profile = match self.traffic.users {
            Some(users) => {
                self.prepare_users(users, &mut plan, &mut SmallRng::seed_from_u64(!seed))
            }
            None => Vec::new(),
        };
        let versions = [plan.baseline.clone(), plan.candidate.clone()];
        let mut fleet = SimulatedFleet::new(self.traffic.clone(), versions, profile, seed);
        let mut controller: Box<dyn SimulatedController> = match &self.rule {
            DecisionRule::Serin => Box::new(SerinController::new(plan)),
            DecisionRule::Peer(peer) => peer.controller(&plan),
        };
        loop {
            let now = controller.next_poll();
            if now > self.horizon {
                return self.outcome(None, self.horizon, &fleet);
            }
            if let Some(verdict) = controller.poll(now, &mut fleet) {
                return self.outcome(Some(verdict), now, &fleet);
            }
        }
    }

    /// Creates users, runs the A/A test, and selects the most balanced salt; the plan gets the
    /// bounds of its slices.
    fn prepare_users(
        &self,
        users: UserPopulation,
        plan: &mut Plan,
        rng: &mut SmallRng,
    ) -> Vec<(Weight, UserProfile)> {
        let weights: Vec<Weight> = plan.compared_weights().collect();
        let shares: Vec<f64> = weights.iter().map(|weight| weight.share()).collect();
        let salts = users.slices(&shares, rng);
        let mut selected = 0;
        if !users.watched.is_zero() {
            let requests = self.traffic.rate * users.watched.as_secs_f64();
            let errors = self.traffic.errors;
            let observed: Vec<Vec<_>> = salts
                .iter()
                .map(|slices| slices.iter().map(|s| s.watch(requests, errors, rng)).collect())
                .collect();
            let miss = MISS_SHARE * plan.judge.alpha;
            if let Some(choice) = balance::choose(&observed, miss) {
                selected = choice.salt;
                plan.judge.alpha -= miss;
                for (step, slice) in plan.steps.iter_mut().zip(choice.slices) {
                    step.slice = Some(slice);
                }
            }
        }
        let slices = salts.into_iter().nth(selected).unwrap_or_default();
        weights.into_iter().zip(slices).collect()
    }

    fn outcome(
        &self,
        verdict: Option<RolloutVerdict>,
        end: Duration,
        fleet: &SimulatedFleet,
    ) -> Outcome {
        let seconds = end.as_secs_f64();
        let (requests, failures, met_bad) = fleet.exposure();
        let bad_since =
            self.traffic.fault.map(|fault| fault.from.as_secs_f64().max(fleet.first_exposed()));
        Outcome {
            verdict,
            seconds,
            bad_seconds: bad_since.map_or(0.0, |since| (seconds - since).max(0.0)),
            requests,
            failures,
            met_bad,
            users: self
                .traffic
                .users
                .map(|users| users.exposed(fleet.largest_weight().share(), requests as f64)),
        }
    }
}

/// The seed of a run (SplitMix64's finalizer).
fn mixed(seed: u64, run: u32) -> u64 {
    let mut z =
        seed.wrapping_add(u64::from(run).wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15));
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}
