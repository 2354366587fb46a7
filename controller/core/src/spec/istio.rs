//! `spec.istio`: proxies of Istio.

use schemars::JsonSchema;
use serde::Deserialize;
use serin_filter::config::wire;

use super::drift::DriftPolicy;
use super::error::{SpecError, at};
use super::pods::{Pods, PodsSpec};
use super::value::object_name;
use crate::config::mesh::{Destination, RouteWeights, Versions};
use crate::rollout::plan::Step;

/// The path of the proxies.
pub(super) const PROXIES: &str = "spec.istio.proxies";

/// Proxies of Istio.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IstioProxies {
    /// The component that splits, and the object that configures it.
    pub splitter: Splitter,
    /// The pods whose proxies run the filter.
    pub pods: Pods,
}

/// The component that splits, and the object that configures it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Splitter {
    /// The filter, configured by this WasmPlugin.
    Filter {
        /// The object's name.
        plugin: String,
    },
    /// Istio, by the weights of this VirtualService. The filter only observes.
    Mesh {
        /// The object's name.
        virtual_service: String,
        /// The destinations of the versions.
        versions: Versions<Destination>,
        /// The reaction to drift.
        drift: DriftPolicy,
    },
}

/// Proxies of Istio.
#[derive(Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct IstioSpec {
    /// Mode selects the component that splits. With filter, serin's filter chooses: users stay with
    /// their version, and weights are as fine as 0.0001%; the WasmPlugin must load the filter, and
    /// routes must match its header. With mesh, Istio chooses by the weights of a VirtualService,
    /// in whole percent; the filter only observes.
    mode: SplitMode,
    /// Plugin is the name of the WasmPlugin that loads the filter. With mode filter, serin writes
    /// the split to it. Default: serin.
    plugin: Option<String>,
    /// VirtualService is the name of the VirtualService whose weights change. Required with mode
    /// mesh.
    virtual_service: Option<String>,
    /// Port is the port at which clients call the service.
    port: Option<u16>,
    /// Proxies selects the pods whose proxies run the filter: the callers of the service, including
    /// gateways.
    proxies: PodsSpec,
    /// Drift is the reaction to weights that another client changed. Only with mode mesh. Default:
    /// repair.
    drift: Option<DriftPolicy>,
}

/// The component that splits.
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

    /// The split as the filter's configuration has it.
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
                    "not supported with mode filter, where routes match the filter's header; remove it",
                );
            }
            (SplitMode::Filter, None) if self.drift.is_some() => {
                return at(
                    "spec.istio.drift",
                    "not supported with mode filter, where routes have no weights; remove it",
                );
            }
            (SplitMode::Filter, None) => {
                let plugin = self.plugin.unwrap_or_else(|| "serin".to_owned());
                Splitter::Filter { plugin: object_name("spec.istio.plugin", plugin)? }
            }
            (SplitMode::Mesh, Some(_)) if self.plugin.is_some() => {
                return at(
                    "spec.istio.plugin",
                    "not supported with mode mesh, which changes no WasmPlugin; remove it",
                );
            }
            (SplitMode::Mesh, Some(object)) => Splitter::Mesh {
                virtual_service: object_name("spec.istio.virtualService", object)?,
                versions,
                drift: self.drift.unwrap_or_default(),
            },
            (SplitMode::Mesh, None) => {
                return at(
                    "spec.istio.virtualService",
                    "missing; mode mesh requires the VirtualService whose weights change",
                );
            }
        };
        Ok(IstioProxies { splitter, pods })
    }
}

impl IstioProxies {
    /// Checks that Istio supports the weights of all steps.
    pub(super) fn check_weights(&self, steps: &[Step]) -> Result<(), SpecError> {
        let Splitter::Mesh { .. } = self.splitter else { return Ok(()) };
        for step in steps {
            if let Err(error) = RouteWeights::percent(step.weight()) {
                return at("spec.strategy", error.to_string());
            }
        }
        Ok(())
    }
}
