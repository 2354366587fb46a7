//! The time before the first step, in which the baseline serves everybody and the users of the future slices are watched (an A/A
//! comparison). At its end the salt whose slices differ least is chosen; see [`balance`].

use std::time::Duration;

use serin_filter::table::Weight;

use super::super::event::Event;
use super::super::plan::Watch;
use super::{Goal, Output, Phase, Rollout};
use crate::judge::balance::{self, Choice};
use crate::observation::{Sighting, Slices};
use crate::rollout::blocker::Obstacle;
use crate::rollout::machine::blocker::QUIET;
use crate::split::Users;

impl Rollout {
    /// Counts what the users did since the last look, and the time, if nothing was wrong at either end of it.
    pub(super) fn watch(&mut self, span: Duration, sound: bool, sighting: &Sighting) {
        if let Phase::Watching { watched, slices } = &mut self.phase {
            slices.add(&sighting.slices);
            *watched += if sound { span } else { Duration::ZERO };
        }
    }

    /// Chooses the salt and begins with the first step, once enough has been seen.
    pub(super) fn settle(&mut self, now: Duration, outputs: &mut Vec<Output>) {
        let Phase::Watching { watched, slices } = &self.phase else { return };
        let Some(watch) = &self.plan.watch else { return };
        if self.obstacle.is_some() || *watched < watch.time || slices.requests() < watch.requests {
            return;
        }
        let Some(Choice { salt, slices }) = self.choice(watch, slices) else { return };
        let chosen = watch.salts.get(salt).cloned().unwrap_or_default();
        let bias = slices.iter().map(|slice| slice.bias.errors).collect();
        let compared = self.plan.steps.iter_mut().filter(|step| step.is_compared());
        for (step, slice) in compared.zip(slices) {
            step.slice = Some(slice);
        }
        self.split.users = Users::Salted(salt);
        outputs.push(Output::tell(Event::SaltChosen { salt: chosen, bias }));
        self.shift(now, Goal::Step(0), outputs);
    }

    fn choice(&self, watch: &Watch, slices: &Slices) -> Option<Choice> {
        let weights: Vec<Weight> = self.plan.compared_weights().collect();
        balance::choose(&slices.observed(watch.salts.len(), &weights), watch.miss)
    }

    /// A slice of which nobody has called, whatever the salt.
    pub(super) fn nobody_watched(&self) -> Option<Obstacle> {
        let Phase::Watching { watched, slices } = &self.phase else { return None };
        let watch = self.plan.watch.as_ref()?;
        let nobody = slices.requests() == 0 && *watched >= QUIET
            || *watched >= watch.time && self.choice(watch, slices).is_none();
        nobody.then(|| Obstacle::NobodyWatched { service: self.plan.service.clone() })
    }
}
