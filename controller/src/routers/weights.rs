//! Splits as weights in an object of the user's: a VirtualService, an HTTPRoute or a GRPCRoute.

use serde_json::Value;
use serin_core::config::mesh::{Backend, Destination, NotPercent, RouteWeights, Versions};
use serin_core::ports::Router;
use serin_core::spec::DriftPolicy;
use serin_core::split::Split;
use serin_filter::names::Generation;
use serin_filter::table::Weight;
use tokio::time::Instant;

use super::RouteError;
use crate::kubernetes::objects::ManagedObject;
use crate::kubernetes::patches::acceptance::Acceptance;
use crate::kubernetes::patches::{Drift, FieldError, RolloutRoutes, http_route, virtual_service};
use crate::sources::requested_split::{RequestedSplit, SplitRecord};

/// Where the versions are in the object.
#[derive(Debug, Clone)]
pub(crate) enum WeightedVersions {
    /// In a VirtualService.
    VirtualService(Versions<Destination>),
    /// In a route of the Gateway API.
    Route(Versions<Backend>),
}

impl WeightedVersions {
    /// The routes of the object that are the rollout's.
    ///
    /// # Errors
    /// There are none, or the object is not what it has to be.
    pub(crate) fn routes(&self, object: &Value) -> Result<RolloutRoutes, FieldError> {
        match self {
            Self::VirtualService(versions) => virtual_service::routes(object, versions),
            Self::Route(versions) => http_route::routes(object, versions),
        }
    }

    /// The weights by which the candidate gets this share.
    ///
    /// # Errors
    /// The object can't have them.
    pub(crate) fn weights(&self, candidate: Weight) -> Result<RouteWeights, NotPercent> {
        match self {
            Self::VirtualService(_) => RouteWeights::percent(candidate),
            Self::Route(_) => Ok(http_route::route_weights(candidate)),
        }
    }

    /// Whether the gateway has accepted the object. Istio does not report that.
    fn acceptance(&self, object: &Value) -> Result<Acceptance, FieldError> {
        match self {
            Self::VirtualService(_) => Ok(Acceptance::Accepted),
            Self::Route(_) => Acceptance::of(object),
        }
    }

    /// What of an object as it is now keeps the mesh from following this share: somebody has changed the weights, or a gateway has not taken
    /// them over; and whether that is worth telling.
    #[must_use]
    pub(crate) fn problem(&self, object: &Value, candidate: Weight) -> Option<RouteProblem> {
        let told = |message: String| Some(RouteProblem { message, transient: false });
        let shares = self.weights(candidate).ok()?;
        match self.routes(object) {
            Err(error) => return told(error.to_string()),
            Ok(routes) => {
                if let Some(drift) = routes.drift(shares).first() {
                    return told(format!("somebody else has changed the weights: {drift}"));
                }
            }
        }
        match self.acceptance(object) {
            Ok(Acceptance::Accepted) => None,
            Ok(Acceptance::Waiting { reason: message }) => {
                Some(RouteProblem { message, transient: true })
            }
            Ok(Acceptance::Refused { parent, reason, message }) => {
                told(format!("{parent} does not take the route: {reason}: {message}"))
            }
            Err(error) => told(error.to_string()),
        }
    }
}

/// What keeps a mesh from following.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct RouteProblem {
    /// What.
    pub(crate) message: String,
    /// Whether that is what may be expected for a while.
    pub(crate) transient: bool,
}

/// The weights of one rollout.
#[derive(Debug)]
pub(crate) struct WeightRouter {
    object: ManagedObject,
    weighted: WeightedVersions,
    drift: DriftPolicy,
    requested_split: RequestedSplit,
}

impl WeightRouter {
    /// A router that has told the mesh what is on the board.
    #[must_use]
    pub(crate) fn new(
        object: ManagedObject,
        weighted: WeightedVersions,
        drift: DriftPolicy,
        requested_split: RequestedSplit,
    ) -> Self {
        Self { object, weighted, drift, requested_split }
    }

    /// A change by another writer that is to be respected. It does not delay a rollback.
    fn drift_to_respect(&self, split: Split, object: &Value) -> Option<Drift> {
        let note = self.requested_split.read();
        if self.drift == DriftPolicy::Repair || split.candidate == Weight::ZERO {
            return None;
        }
        let shares = self.weighted.weights(note.weight).ok()?;
        self.weighted.routes(object).ok()?.drift(shares).into_iter().next()
    }

    async fn write(&self, split: Split) -> Result<(), RouteError> {
        let shares = self.weighted.weights(split.candidate)?;
        let object = self.object.read().await?;
        if let Some(drift) = self.drift_to_respect(split, &object) {
            return Err(RouteError::DriftRespected(drift));
        }
        let before = self.weighted.routes(&object).ok().and_then(|routes| routes.candidate());
        let decide = |object: &Value| Ok(self.weighted.routes(object)?.edits(shares));
        let written = self.object.change::<FieldError>(decide).await?;
        self.record_write(split, before, &written);
        Ok(())
    }

    /// Puts what was written on the board. What was asked for before, and was there already, keeps its time.
    fn record_write(&self, split: Split, before: Option<Weight>, written: &Value) {
        let Split { generation, candidate, .. } = split;
        let known = self.requested_split.read();
        let there = before == Some(candidate);
        let again = there && (known.generation, known.weight) == (generation, candidate);
        let trouble = self.weighted.problem(written, candidate);
        self.requested_split.write(SplitRecord {
            generation,
            weight: candidate,
            previous_weight: match again {
                true => known.previous_weight,
                // An earlier attempt wrote weights that are present already.
                false => before.filter(|_| !there),
            },
            written_at: if again { known.written_at } else { Instant::now() },
            resource_version: version(written),
            transient: trouble.as_ref().is_some_and(|trouble| trouble.transient),
            problem: trouble.map(|trouble| trouble.message),
            watch_error: known.watch_error,
        });
    }
}

/// The object's version, as a number: servers count them up.
#[must_use]
pub(crate) fn version(object: &Value) -> u64 {
    let version = object.pointer("/metadata/resourceVersion").and_then(Value::as_str);
    version.and_then(|version| version.parse().ok()).unwrap_or(0)
}

impl Router for WeightRouter {
    type Error = RouteError;

    async fn apply(&mut self, split: Split) -> Result<(), RouteError> {
        self.write(split).await
    }

    /// What proxies run is inferred from what they serve, and is the rollout's own.
    fn generation_at(&self, running: Generation) -> Generation {
        running
    }
}
