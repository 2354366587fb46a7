//! The routes in an object that are a rollout's, and the weights in them.

use std::fmt::{self, Display};

use json_patch::jsonptr::PointerBuf;
use serde_json::{Map, Value};
use serin_core::config::mesh::Shares;
use serin_filter::table::Weight;

use super::Edits;
use super::field::in_words;

pub(super) const WEIGHT: &str = "weight";

/// The routes of an object that are a rollout's; at least one.
#[derive(Debug, Clone)]
pub struct Routes {
    /// What was read of the object besides.
    pub(super) edits: Edits,
    pub(super) routes: Vec<Route>,
}

/// One of them.
#[derive(Debug, Clone)]
pub struct Route {
    /// The list of weighted entries.
    pub(super) path: PointerBuf,
    /// The whole of it, as it was read.
    pub(super) read: Value,
    pub(super) baseline: Entry,
    pub(super) candidate: Candidate,
}

#[derive(Debug, Clone, Copy)]
pub(super) struct Entry {
    pub(super) index: usize,
    pub(super) weight: u32,
    /// Whether the weight is written there.
    pub(super) said: bool,
}

#[derive(Debug, Clone)]
pub(super) enum Candidate {
    There(Entry),
    /// Not there yet; this would be added.
    Missing(Map<String, Value>),
}

/// A route whose weights somebody else has changed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Drift {
    /// Path of the route, such as `spec.http[0].route`.
    pub route: String,
    /// What serin wrote.
    pub written: Shares,
    /// What is there; `None` if the candidate is not there any more.
    pub found: Option<Shares>,
}

impl Display for Drift {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { route, written, found } = self;
        match found {
            Some(found) => {
                write!(f, "{route}: the weights {written} were written, but {found} are there")
            }
            None => write!(
                f,
                "{route}: the weights {written} were written, but the candidate is not there any more"
            ),
        }
    }
}

impl Route {
    /// Its path, such as `spec.http[0].route`.
    #[must_use]
    pub fn path(&self) -> String {
        in_words(&self.path)
    }

    /// The share of its requests that the candidate gets now; `None` if no version gets any.
    #[must_use]
    pub fn candidate(&self) -> Option<Weight> {
        self.shares().map_or(Some(Weight::ZERO), Shares::candidate_weight)
    }

    /// The weights in it, if the candidate is there.
    fn shares(&self) -> Option<Shares> {
        match self.candidate {
            Candidate::Missing(_) => None,
            Candidate::There(candidate) => {
                Some(Shares { baseline: self.baseline.weight, candidate: candidate.weight })
            }
        }
    }

    /// Whether these weights would change nothing.
    fn has(&self, shares: Shares) -> bool {
        self.shares().map_or(shares.candidate == 0, |present| present == shares)
    }

    fn drift(&self, written: Shares) -> Option<Drift> {
        let drift = || Drift { route: self.path(), written, found: self.shares() };
        (!self.has(written)).then(drift)
    }

    fn edit(&self, shares: Shares, edits: &mut Edits) {
        if self.has(shares) {
            return;
        }
        // Every entry counts: one more would make the weights mean something else.
        edits.expect(self.path.clone(), self.read.clone());
        let mut weigh = |entry: Entry, weight: u32| {
            let path = self.path.with_trailing_token(entry.index).with_trailing_token(WEIGHT);
            match entry.said {
                _ if entry.weight == weight => {}
                true => edits.replace(path, weight.into()),
                false => edits.add(path, weight.into()),
            }
        };
        weigh(self.baseline, shares.baseline);
        match &self.candidate {
            Candidate::There(entry) => weigh(*entry, shares.candidate),
            Candidate::Missing(entry) => {
                let mut entry = entry.clone();
                entry.insert(WEIGHT.to_owned(), shares.candidate.into());
                // The baseline is alone.
                edits.add(self.path.with_trailing_token(1), entry.into());
            }
        }
    }
}

impl Routes {
    /// The routes, in the object's order.
    #[must_use]
    pub fn routes(&self) -> &[Route] {
        &self.routes
    }

    /// The candidate's present share, if all routes agree on one.
    #[must_use]
    pub fn candidate(&self) -> Option<Weight> {
        let mut shares = self.routes.iter().map(Route::candidate);
        let first = shares.next()??;
        shares.all(|share| share == Some(first)).then_some(first)
    }

    /// Where the weights are not those that serin wrote last.
    #[must_use]
    pub fn drift(&self, written: Shares) -> Vec<Drift> {
        self.routes.iter().filter_map(|route| route.drift(written)).collect()
    }

    /// What has to change for the versions to have these shares in every route.
    #[must_use]
    pub fn edits(&self, shares: Shares) -> Edits {
        let mut edits = self.edits.clone();
        for route in &self.routes {
            route.edit(shares, &mut edits);
        }
        edits
    }
}
