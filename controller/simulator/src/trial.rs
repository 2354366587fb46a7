//! Many runs of one plan by one rule against one kind of traffic, and what came of them.

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

/// The part of alpha that may go wrong in what is known of the users' habits; the judge has the rest.
const MISS_SHARE: f64 = 0.2;

/// What is tried.
#[derive(Debug, Clone)]
pub struct Trial {
    /// The plan.
    pub plan: Plan,
    /// The traffic.
    pub traffic: Traffic,
    /// Who decides.
    pub rule: DecisionRule,
    /// After this time a run is given up.
    pub horizon: Duration,
}

/// What came of one run.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Outcome {
    /// How it ended; `None` if it was given up.
    pub verdict: Option<RolloutVerdict>,
    /// How long it took, in seconds.
    pub seconds: f64,
    /// How long users met a bad candidate, in seconds: from the fault, or the first user, to the end. 0 without a fault.
    pub bad_seconds: f64,
    /// Requests that the candidate answered.
    pub requests: u64,
    /// Failures among them.
    pub failures: u64,
    /// Requests that met the candidate while it was bad.
    pub met_bad: u64,
    /// How many users met the candidate, on average, if there are users.
    pub users: Option<f64>,
}

impl Trial {
    /// All runs, in parallel; calls `done` after each. The same seed gives the same outcomes in the same order.
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

    /// One run.
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

    /// Makes users, watches the future slices for as long as is wanted, and takes the most balanced; with what is known of it in the plan.
    fn prepare_users(
        &self,
        users: UserPopulation,
        plan: &mut Plan,
        rng: &mut SmallRng,
    ) -> Vec<(Weight, UserProfile)> {
        let weights: Vec<Weight> = plan.compared_weights().collect();
        let shares: Vec<f64> = weights.iter().map(|weight| weight.share()).collect();
        let salts = users.slices(&shares, rng);
        let mut taken = 0;
        if !users.watched.is_zero() {
            let requests = self.traffic.rate * users.watched.as_secs_f64();
            let errors = self.traffic.errors;
            let observed: Vec<Vec<_>> = salts
                .iter()
                .map(|slices| slices.iter().map(|s| s.watch(requests, errors, rng)).collect())
                .collect();
            let miss = MISS_SHARE * plan.judge.alpha;
            if let Some(choice) = balance::choose(&observed, miss) {
                taken = choice.salt;
                plan.judge.alpha -= miss;
                for (step, slice) in plan.steps.iter_mut().zip(choice.slices) {
                    step.slice = Some(slice);
                }
            }
        }
        let slices = salts.into_iter().nth(taken).unwrap_or_default();
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

/// A seed for each run (SplitMix64's finalizer).
fn mixed(seed: u64, run: u32) -> u64 {
    let mut z =
        seed.wrapping_add(u64::from(run).wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15));
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}
