//! `spec.istio`: proxies of Istio.

use schemars::JsonSchema;
use serde::Deserialize;
use serin_filter::config::wire;

use super::drift::DriftPolicy;
use super::error::{SpecError, at};
use super::pods::{Pods, PodsSpec};
use super::value::object_name;
use crate::config::mesh::{Destination, RouteWeights, Versions};
use crate::config::prometheus::PrometheusConnection;
use crate::rollout::plan::Step;

/// The path of the proxies.
const PROXIES: &str = "spec.istio.proxies";

/// Proxies of Istio.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IstioProxies {
    /// Who splits, and by which object it is told.
    pub splitter: Splitter,
    /// The proxies that run the filter.
    pub pods: Pods,
}

/// Who splits, and by which object it is told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Splitter {
    /// The filter, by the WasmPlugin of this name.
    Filter {
        /// Its name.
        plugin: String,
    },
    /// Istio, by the weights of the VirtualService of this name; the filter only observes.
    Mesh {
        /// Its name.
        virtual_service: String,
        /// The versions in it.
        versions: Versions<Destination>,
        /// What is done about weights that somebody else has changed.
        drift: DriftPolicy,
    },
}

/// Istio, as the user writes it.
#[derive(Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct IstioSpec {
    /// Who splits. With filter, serin's filter chooses, users stay with their version, and weights are as fine as 0.0001%; the WasmPlugin has to
    /// carry the filter and routes have to match its header. With mesh, Istio chooses by the weights of a VirtualService, in whole percent, and
    /// the filter only observes.
    mode: SplitMode,
    /// The WasmPlugin that gives the proxies the filter and, with mode filter, is told the split. Default: serin.
    plugin: Option<String>,
    /// The VirtualService whose weights change; with mode mesh.
    virtual_service: Option<String>,
    /// The port at which clients call the service.
    port: Option<u16>,
    /// The pods whose proxies run the filter: those that call the service, gateways among them.
    proxies: PodsSpec,
    /// What is done about weights that somebody else has changed; with mode mesh. Default: repair.
    drift: Option<DriftPolicy>,
}

/// Who splits.
#[derive(Deserialize, Clone, Copy, PartialEq, Eq, JsonSchema)]
#[serde(rename_all = "camelCase")]
enum SplitMode {
    /// serin's filter.
    Filter,
    /// Istio.
    Mesh,
}

impl IstioSpec {
    pub(super) fn port(&self) -> Option<u16> {
        self.port
    }

    /// Who splits, in the filter's words.
    pub(super) fn split(&self) -> wire::Split {
        match self.mode {
            SplitMode::Filter => wire::Split::Filter,
            SplitMode::Mesh => wire::Split::Mesh,
        }
    }

    pub(super) fn parse(self, versions: Versions<Destination>) -> Result<IstioProxies, SpecError> {
        let pods = self.proxies.parse(PROXIES)?;
        let splitter = match (self.mode, self.virtual_service) {
            (SplitMode::Filter, Some(_)) => {
                return at(
                    "spec.istio.virtualService",
                    "with mode filter no VirtualService is changed; its routes match the filter's header",
                );
            }
            (SplitMode::Filter, None) if self.drift.is_some() => {
                return at("spec.istio.drift", "with mode filter there are no weights in routes");
            }
            (SplitMode::Filter, None) => {
                let plugin = self.plugin.unwrap_or_else(|| "serin".to_owned());
                Splitter::Filter { plugin: object_name("spec.istio.plugin", plugin)? }
            }
            (SplitMode::Mesh, Some(_)) if self.plugin.is_some() => {
                return at("spec.istio.plugin", "with mode mesh no WasmPlugin is changed");
            }
            (SplitMode::Mesh, Some(object)) => Splitter::Mesh {
                virtual_service: object_name("spec.istio.virtualService", object)?,
                versions,
                drift: self.drift.unwrap_or_default(),
            },
            (SplitMode::Mesh, None) => {
                return at("spec.istio.virtualService", "missing; mode mesh changes its weights");
            }
        };
        Ok(IstioProxies { splitter, pods })
    }
}

impl IstioProxies {
    /// The Prometheus that is asked, if one is, and where it is named.
    pub(super) fn prometheus(&self) -> Option<(String, &PrometheusConnection)> {
        self.pods.prometheus(PROXIES)
    }

    /// Whether Istio can be told the weights of all steps.
    pub(super) fn can_carry(&self, steps: &[Step]) -> Result<(), SpecError> {
        let Splitter::Mesh { .. } = self.splitter else { return Ok(()) };
        for step in steps {
            if let Err(error) = RouteWeights::percent(step.weight) {
                return at("spec.strategy", error.to_string());
            }
        }
        Ok(())
    }
}
