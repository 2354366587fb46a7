//! The interface of everything that carries out a rollout in virtual time.

use std::time::Duration;

use serin_core::rollout::event::RolloutVerdict;

use super::fleet::SimulatedFleet;

/// Carries out a rollout: polls the fleet and shifts its traffic.
pub trait SimulatedController {
    /// The time of the next poll, since the rollout began.
    fn next_poll(&self) -> Duration;

    /// Polls the fleet and acts on the result; returns the verdict once the rollout has ended.
    fn poll(&mut self, now: Duration, fleet: &mut SimulatedFleet) -> Option<RolloutVerdict>;
}
