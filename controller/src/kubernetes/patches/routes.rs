//! The routes of a rollout in an object, and their weights.

use std::fmt::{self, Display};

use json_patch::jsonptr::PointerBuf;
use serde_json::Value;
use serin_core::config::mesh::RouteWeights;
use serin_filter::table::Weight;

use super::Edits;
use super::field::user_message;

pub(super) const WEIGHT: &str = "weight";

/// The routes of a rollout in an object; at least one.
#[derive(Debug, Clone)]
pub struct RolloutRoutes {
    /// Other values that were read from the object.
    pub(super) edits: Edits,
    pub(super) routes: Vec<RolloutRoute>,
}

/// One route.
#[derive(Debug, Clone)]
pub struct RolloutRoute {
    /// The list of weighted entries.
    pub(super) path: PointerBuf,
    /// The list as it was read.
    pub(super) read: Value,
    pub(super) baseline: WeightEntry,
    pub(super) candidate: WeightEntry,
}

#[derive(Debug, Clone, Copy)]
pub(super) struct WeightEntry {
    pub(super) index: usize,
    pub(super) weight: u32,
    /// Whether the object has the weight.
    pub(super) explicit: bool,
}

/// A route whose weights another writer has changed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Drift {
    /// Path of the route, such as `spec.http[0].route`.
    pub route: String,
    /// The weights that serin wrote.
    pub written: RouteWeights,
    /// The weights in the route.
    pub found: RouteWeights,
}

impl Display for Drift {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { route, written, found } = self;
        write!(f, "{route}: the weights {written} were written, but {found} are there")
    }
}

impl RolloutRoute {
    /// Its path, such as `spec.http[0].route`.
    #[must_use]
    pub fn path(&self) -> String {
        user_message(&self.path)
    }

    /// The candidate's present share of the route's requests; `None` if both weights are 0.
    #[must_use]
    pub fn candidate(&self) -> Option<Weight> {
        self.weights().candidate_weight()
    }

    /// The weights in it.
    fn weights(&self) -> RouteWeights {
        RouteWeights { baseline: self.baseline.weight, candidate: self.candidate.weight }
    }

    fn drift(&self, written: RouteWeights) -> Option<Drift> {
        let drift = || Drift { route: self.path(), written, found: self.weights() };
        (self.weights() != written).then(drift)
    }

    fn edit(&self, shares: RouteWeights, edits: &mut Edits) {
        if self.weights() == shares {
            return;
        }
        // Every entry counts: an additional one would change the meaning of the weights.
        edits.expect(self.path.clone(), self.read.clone());
        let mut weigh = |entry: WeightEntry, weight: u32| {
            let path = self.path.with_trailing_token(entry.index).with_trailing_token(WEIGHT);
            match entry.explicit {
                _ if entry.weight == weight => {}
                true => edits.replace(path, weight.into()),
                false => edits.add(path, weight.into()),
            }
        };
        weigh(self.baseline, shares.baseline);
        weigh(self.candidate, shares.candidate);
    }
}

impl RolloutRoutes {
    /// The routes, in the object's order.
    #[must_use]
    pub fn routes(&self) -> &[RolloutRoute] {
        &self.routes
    }

    /// The candidate's present share, if all routes agree.
    #[must_use]
    pub fn candidate(&self) -> Option<Weight> {
        let mut shares = self.routes.iter().map(RolloutRoute::candidate);
        let first = shares.next()??;
        shares.all(|share| share == Some(first)).then_some(first)
    }

    /// The routes whose weights differ from those that serin wrote.
    #[must_use]
    pub fn drift(&self, written: RouteWeights) -> Vec<Drift> {
        self.routes.iter().filter_map(|route| route.drift(written)).collect()
    }

    /// The edits that give the versions these shares in every route.
    #[must_use]
    pub fn edits(&self, shares: RouteWeights) -> Edits {
        let mut edits = self.edits.clone();
        for route in &self.routes {
            route.edit(shares, &mut edits);
        }
        edits
    }
}
