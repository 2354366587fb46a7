//! Real-world objects, and the versions of the service that each routes to.

use serde_json::Value;
use serin_core::config::mesh::{Backend, Destination, RouteWeights, Versions};

use super::super::{Edits, FieldError, RolloutRoutes, http_route, virtual_service};
use super::weight;

macro_rules! file {
    ($name:literal) => {
        include_str!(concat!("../../../../../tests/objects/", $name))
    };
}

/// An object in a file, and the versions in it.
pub(super) enum Sample {
    Istio(&'static str, Versions<Destination>),
    Gateway(&'static str, Versions<Backend>),
}

impl Sample {
    pub(super) fn object(&self) -> Value {
        let (Self::Istio(text, _) | Self::Gateway(text, _)) = self;
        serde_saphyr::from_str(text).unwrap()
    }

    pub(super) fn routes(&self, object: &Value) -> Result<RolloutRoutes, FieldError> {
        match self {
            Self::Istio(_, versions) => virtual_service::routes(object, versions),
            Self::Gateway(_, versions) => http_route::routes(object, versions),
        }
    }

    pub(super) fn shares(&self, percent: u32) -> RouteWeights {
        match self {
            Self::Istio(..) => RouteWeights::percent(weight(percent * 10_000)).unwrap(),
            Self::Gateway(..) => http_route::route_weights(weight(percent * 10_000)),
        }
    }

    pub(super) fn edits(&self, object: &Value, percent: u32) -> Edits {
        self.routes(object).unwrap().edits(self.shares(percent))
    }
}

pub(super) fn destination(host: &str, subset: Option<&str>) -> Destination {
    Destination { host: host.to_owned(), subset: subset.map(str::to_owned), port: None }
}

pub(super) fn subsets(host: &str, baseline: &str, candidate: &str) -> Versions<Destination> {
    Versions {
        baseline: destination(host, Some(baseline)),
        candidate: destination(host, Some(candidate)),
    }
}

pub(super) fn services(baseline: &str, candidate: &str) -> Versions<Backend> {
    let backend = |name: &str| Backend { name: name.to_owned(), namespace: None, port: None };
    Versions { baseline: backend(baseline), candidate: backend(candidate) }
}

pub(super) fn reviews() -> Sample {
    Sample::Istio(file!("reviews.yaml"), subsets("reviews", "v1", "v2"))
}

pub(super) fn storefront() -> Sample {
    Sample::Istio(file!("storefront.yaml"), subsets("storefront", "2026-10", "2026-11"))
}

pub(super) fn delegates() -> Sample {
    let host = |colour| destination(&format!("payments-{colour}.payments.svc.cluster.local"), None);
    let versions = Versions { baseline: host("blue"), candidate: host("green") };
    Sample::Istio(file!("delegates.yaml"), versions)
}

pub(super) fn database() -> Sample {
    Sample::Istio(file!("database.yaml"), subsets("ledger", "v1", "v2"))
}

pub(super) fn first() -> Sample {
    Sample::Istio(file!("first.yaml"), subsets("greeter", "stable", "next"))
}

pub(super) fn future() -> Sample {
    Sample::Istio(file!("future.yaml"), subsets("catalogue", "v1", "v2"))
}

pub(super) fn store() -> Sample {
    store_of(services("store-v1", "store-v2"))
}

pub(super) fn store_of(versions: Versions<Backend>) -> Sample {
    Sample::Gateway(file!("store.yaml"), versions)
}

pub(super) fn inventory() -> Sample {
    let backend = |name: &str| Backend {
        name: name.to_owned(),
        namespace: Some("stock".to_owned()),
        port: Some(9000),
    };
    let versions = Versions { baseline: backend("inventory-1"), candidate: backend("inventory-2") };
    Sample::Gateway(file!("inventory.yaml"), versions)
}

pub(super) fn samples() -> [Sample; 7] {
    [reviews(), storefront(), delegates(), database(), future(), store(), inventory()]
}
