//! What would happen: a rollout in virtual time, against made traffic.
//!
//! Everything that decides is what `serin run` runs: the state machine, the judge, and the differencing of each proxy's cumulative
//! counters. Only the proxies and their callers are made ([`traffic`] says of what kind, [`fleet`] plays them), so that a user can ask "with my
//! traffic, how long does this plan take, and how many users meet a bad release?", and so that what is claimed of the judge can be
//! measured. The rules of the [`peers`] run against the same traffic, for comparison.
//!
//! A run is decided by its seed: the same seed, the same run.

mod arm;
pub mod fleet;
mod latency;
pub mod peers;
pub mod serin_controller;
pub mod traffic;
pub mod trial;
pub mod users;

use std::time::Duration;

use serin_core::rollout::event::RolloutVerdict;

use self::fleet::SimulatedFleet;

/// What carries a rollout out: looks at the fleet now and then, and shifts its traffic.
pub trait SimulatedController {
    /// When it wants to look next, since the rollout began.
    fn next_poll(&self) -> Duration;

    /// Looks, and does what it wants to do; says how the rollout ended, once it has.
    fn poll(&mut self, now: Duration, fleet: &mut SimulatedFleet) -> Option<RolloutVerdict>;
}

#[cfg(test)]
mod tests;
