//! The A/A test before the first step. The baseline serves all users, and the filter counts the
//! users of the future slices. At the end serin chooses the salt whose slices differ least; see
//! [`balance`].

use std::sync::Arc;
use std::time::Duration;

use serin_filter::table::Weight;

use super::super::event::Event;
use super::super::plan::AaTest;
use super::{Goal, MachinePhase, Output, Rollout};
use crate::judge::balance::{self, SaltChoice};
use crate::observation::{FleetDelta, SliceCounts};
use crate::rollout::blocker::Blocker;
use crate::rollout::machine::blocker::NO_TRAFFIC_AFTER;
use crate::split::UserAssignment;

impl Rollout {
    /// Adds the slice counts since the last poll. Adds the interval if both its polls are sound.
    pub(super) fn count_aa_test(&mut self, span: Duration, sound: bool, delta: &FleetDelta) {
        if let MachinePhase::AaTesting { watched, slices } = &mut self.phase {
            slices.add(&delta.slices);
            *watched += if sound { span } else { Duration::ZERO };
        }
    }

    /// Chooses the salt and starts the first step once the test has enough time and requests.
    pub(super) fn choose_salt(&mut self, now: Duration, outputs: &mut Vec<Output>) {
        let MachinePhase::AaTesting { watched, slices } = &self.phase else { return };
        let Some(watch) = &self.plan.aa_test else { return };
        if self.blocker.is_some() || *watched < watch.duration || slices.requests() < watch.requests
        {
            return;
        }
        let Some(SaltChoice { salt, slices }) = self.salt_choice(watch, slices) else { return };
        let chosen = watch.salts.get(salt).cloned().unwrap_or_default();
        let bias = slices.iter().map(|slice| slice.bias.errors).collect();
        let compared =
            Arc::make_mut(&mut self.plan).steps.iter_mut().filter(|step| step.is_compared());
        for (step, slice) in compared.zip(slices) {
            step.slice = Some(slice);
        }
        self.split.assignment = UserAssignment::TestedSalt(salt);
        outputs.push(Output::emit(Event::SaltChosen { salt: chosen, bias }));
        self.shift(now, Goal::Step(0), outputs);
    }

    fn salt_choice(&self, watch: &AaTest, slices: &SliceCounts) -> Option<SaltChoice> {
        let weights: Vec<Weight> = self.plan.compared_weights().collect();
        balance::choose(&slices.observed(watch.salts.len(), &weights), watch.miss_probability)
    }

    /// Blocks if no sampled user falls in some step's slice for any salt.
    pub(super) fn aa_test_blocker(&self) -> Option<Blocker> {
        let MachinePhase::AaTesting { watched, slices } = &self.phase else { return None };
        let watch = self.plan.aa_test.as_ref()?;
        let unsampled = slices.requests() == 0 && *watched >= NO_TRAFFIC_AFTER
            || *watched >= watch.duration && self.salt_choice(watch, slices).is_none();
        unsampled.then(|| Blocker::NoUsersSampled { service: self.plan.service.clone() })
    }
}
