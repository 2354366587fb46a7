//! The objects in `tests/objects`, and the versions that they route to.

use serde_json::Value;
use serin::kubernetes::patches::{Edits, RolloutRoutes, http_route, virtual_service};
use serin_core::config::mesh::{Backend, Destination, RouteWeights, Versions};
use serin_filter::table::Weight;

/// An object in a file, and its routes.
pub(crate) struct Sample {
    pub(crate) name: &'static str,
    text: &'static str,
    versions: [&'static str; 2],
    /// The VirtualService's host with the versions as subsets, or else the namespace of Services.
    within: Option<&'static str>,
}

macro_rules! sample {
    ($name:literal, $versions:expr, $within:expr) => {
        Sample {
            name: $name,
            text: include_str!(concat!("../../objects/", $name, ".yaml")),
            versions: $versions,
            within: $within,
        }
    };
}

pub(crate) const REVIEWS: Sample = sample!("reviews", ["v1", "v2"], Some("reviews"));
pub(crate) const INVENTORY: Sample =
    sample!("inventory", ["inventory-1", "inventory-2"], Some("stock"));

pub(crate) const SAMPLES: [Sample; 7] = [
    REVIEWS,
    sample!("storefront", ["2026-10", "2026-11"], Some("storefront")),
    sample!(
        "delegates",
        ["payments-blue.payments.svc.cluster.local", "payments-green.payments.svc.cluster.local"],
        None
    ),
    sample!("database", ["v1", "v2"], Some("ledger")),
    sample!("future", ["v1", "v2"], Some("catalogue")),
    sample!("store", ["store-v1", "store-v2"], None),
    INVENTORY,
];

impl Sample {
    pub(crate) fn object(&self) -> Value {
        serde_saphyr::from_str(self.text).expect("YAML")
    }

    pub(crate) fn routes(&self, object: &Value) -> RolloutRoutes {
        let owned = |text: Option<&str>| text.map(str::to_owned);
        let [baseline, candidate] = self.versions;
        let found = if object["kind"] == "VirtualService" {
            let destination = |version: &str| Destination {
                host: self.within.unwrap_or(version).to_owned(),
                subset: self.within.map(|_| version.to_owned()),
                port: None,
            };
            let versions =
                Versions { baseline: destination(baseline), candidate: destination(candidate) };
            virtual_service::routes(object, &versions)
        } else {
            let backend = |name: &str| Backend {
                name: name.to_owned(),
                namespace: owned(self.within),
                port: None,
            };
            let versions = Versions { baseline: backend(baseline), candidate: backend(candidate) };
            http_route::routes(object, &versions)
        };
        found.unwrap_or_else(|error| panic!("{}: {error}", self.name))
    }

    /// The edits that give the candidate this share.
    pub(crate) fn edits(&self, object: &Value, percent: u32) -> Edits {
        let shares = RouteWeights::percent(weight(percent)).expect("a percentage");
        self.routes(object).edits(shares)
    }
}

pub(crate) fn weight(percent: u32) -> Weight {
    Weight::from_ppm(percent * 10_000).expect("at most 100 %")
}
