//! Splits as weights in a user's object: a VirtualService, an HTTPRoute or a GRPCRoute.

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

/// The versions in the object.
#[derive(Debug, Clone)]
pub(crate) enum WeightedVersions {
    /// As destinations of a VirtualService.
    VirtualService(Versions<Destination>),
    /// As backends of a Gateway API route.
    Route(Versions<Backend>),
}

impl WeightedVersions {
    /// The routes of the rollout in the object.
    ///
    /// # Errors
    /// The object has no such route, or is invalid.
    pub(crate) fn routes(&self, object: &Value) -> Result<RolloutRoutes, FieldError> {
        match self {
            Self::VirtualService(versions) => virtual_service::routes(object, versions),
            Self::Route(versions) => http_route::routes(object, versions),
        }
    }

    /// The weights that give the candidate this share.
    ///
    /// # Errors
    /// The object can't express them.
    pub(crate) fn weights(&self, candidate: Weight) -> Result<RouteWeights, NotPercent> {
        match self {
            Self::VirtualService(_) => RouteWeights::percent(candidate),
            Self::Route(_) => Ok(http_route::route_weights(candidate)),
        }
    }

    /// Whether the gateway has accepted the object. Istio does not report acceptance.
    fn acceptance(&self, object: &Value) -> Result<Acceptance, FieldError> {
        match self {
            Self::VirtualService(_) => Ok(Acceptance::Accepted),
            Self::Route(_) => Acceptance::of(object),
        }
    }

    /// The reason why the mesh does not apply this share: another writer changed the weights, or a
    /// gateway has not accepted them.
    #[must_use]
    pub(crate) fn problem(&self, object: &Value, candidate: Weight) -> Option<RouteProblem> {
        let problem = |message: String| Some(RouteProblem { message, transient: false });
        let weights = self.weights(candidate).ok()?;
        match self.routes(object) {
            Err(error) => return problem(error.to_string()),
            Ok(routes) => {
                if let Some(drift) = routes.drift(weights).first() {
                    return problem(format!("another writer changed the weights: {drift}"));
                }
            }
        }
        match self.acceptance(object) {
            Ok(Acceptance::Accepted) => None,
            Ok(Acceptance::Waiting { reason: message }) => {
                Some(RouteProblem { message, transient: true })
            }
            Ok(Acceptance::Refused { parent, reason, message }) => {
                problem(format!("{parent} rejects the route: {reason}: {message}"))
            }
            Err(error) => problem(error.to_string()),
        }
    }
}

/// The reason why a mesh does not apply a split.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct RouteProblem {
    /// A sentence.
    pub(crate) message: String,
    /// Whether it may pass by itself.
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
    /// A router of an object. `requested_split` has the split that was requested last.
    #[must_use]
    pub(crate) fn new(
        object: ManagedObject,
        weighted: WeightedVersions,
        drift: DriftPolicy,
        requested_split: RequestedSplit,
    ) -> Self {
        Self { object, weighted, drift, requested_split }
    }

    /// A change by another writer that the specification respects. It does not delay a rollback.
    fn drift_to_respect(&self, split: Split, object: &Value) -> Option<Drift> {
        let requested = self.requested_split.read();
        if self.drift == DriftPolicy::Repair || split.candidate == Weight::ZERO {
            return None;
        }
        let weights = self.weighted.weights(requested.weight).ok()?;
        self.weighted.routes(object).ok()?.drift(weights).into_iter().next()
    }

    async fn write(&self, split: Split) -> Result<(), RouteError> {
        let weights = self.weighted.weights(split.candidate)?;
        let object = self.object.read().await?;
        if let Some(drift) = self.drift_to_respect(split, &object) {
            return Err(RouteError::DriftRespected(drift));
        }
        let before = self.weighted.routes(&object).ok().and_then(|routes| routes.candidate());
        let decide = |object: &Value| Ok(self.weighted.routes(object)?.edits(weights));
        let written = self.object.change::<FieldError>(decide).await?;
        self.record_write(split, before, &written);
        Ok(())
    }

    /// Records the requested split. A repeated request for a present split keeps its time.
    fn record_write(&self, split: Split, before: Option<Weight>, written: &Value) {
        let Split { generation, candidate, .. } = split;
        let last = self.requested_split.read();
        let present = before == Some(candidate);
        let repeated = present && (last.generation, last.weight) == (generation, candidate);
        let problem = self.weighted.problem(written, candidate);
        self.requested_split.write(SplitRecord {
            generation,
            weight: candidate,
            previous_weight: match repeated {
                true => last.previous_weight,
                // An earlier attempt wrote weights that are present already.
                false => before.filter(|_| !present),
            },
            written_at: if repeated { last.written_at } else { Instant::now() },
            resource_version: version(written),
            transient: problem.as_ref().is_some_and(|problem| problem.transient),
            problem: problem.map(|problem| problem.message),
            watch_error: last.watch_error,
        });
    }
}

/// The object's version as a number: API servers count versions up.
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

    /// The source infers the rollout's own generation from the traffic of the proxies.
    fn generation_at(&self, running: Generation) -> Generation {
        running
    }
}
