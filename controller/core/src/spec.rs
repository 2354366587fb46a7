//! The rollout as the user writes it: YAML, of the shape of a Kubernetes resource, checked as a whole before anything happens.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::Deserialize;
use serin_filter::config::wire;
use serin_filter::names::{ServiceName, VersionName};
use thiserror::Error;

use self::analysis::Analysis;
pub use self::deployments::Deployments;
pub use self::envoy::EnvoyProxies;
pub use self::mesh::{
    DriftPolicy, GatewayApiProxies, IstioProxies, Pods, RouteKind, Splitter, StatisticsSource,
};
use self::rolling::RollingUnit;
use self::strategy::Strategy;
use self::value::{SpecCount, SpecDuration};
use self::version::{VersionSpec, pair};
use crate::config::prometheus::{PrometheusConnection, prometheus_name};
use crate::config::source::SourceConfig;
use crate::rollout::plan::Plan;

mod analysis;
pub mod definition;
mod deployments;
mod envoy;
mod freeze;
mod hooks;
pub mod manifest;
mod mesh;
mod metrics;
mod prometheus;
mod rolling;
mod routing;
mod secrets;
mod strategy;
mod value;
mod version;

/// What the `apiVersion` of a rollout is.
pub const API_VERSION: &str = "serin.dev/v1alpha1";

/// What its `kind` is.
pub const KIND: &str = "ServiceRollout";

/// The longest specification, in bytes.
pub const MAX_BYTES: u64 = 1 << 20;

/// Why a specification is refused. The message begins with the path of the field at fault, where there is one.
#[derive(Debug, Error)]
#[error("{}{message}", path.as_ref().map_or_else(String::new, |path| format!("{path}: ")))]
pub struct SpecError {
    path: Option<String>,
    message: String,
}

impl SpecError {
    /// A document that can't be read at all.
    #[must_use]
    pub fn unreadable(message: impl Into<String>) -> Self {
        Self { path: None, message: message.into() }
    }
}

fn at<T>(path: impl Into<String>, message: impl Into<String>) -> Result<T, SpecError> {
    Err(SpecError { path: Some(path.into()), message: message.into() })
}

/// A checked specification.
#[derive(Debug, Clone, PartialEq)]
pub struct Spec {
    /// What to do.
    pub plan: Plan,
    /// What the filter is given, but for the table of buckets.
    pub service: wire::Service,
    /// Where to do it.
    pub proxies: Proxies,
    /// What runs the versions, if that is looked after.
    pub deployments: Option<Deployments>,
}

/// The proxies that split, and whatever tells them how.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Proxies {
    /// Envoys that take their configuration from serin: `spec.envoy`.
    Envoy(EnvoyProxies),
    /// Those of Istio, by objects in Kubernetes: `spec.istio`.
    Istio(IstioProxies),
    /// Those behind a route of the Gateway API: `spec.gatewayApi`.
    GatewayApi(GatewayApiProxies),
}

impl Proxies {
    /// The Prometheus that evidence of them comes from, if it comes from one, and where the rollout names it.
    fn prometheus(&self) -> Option<(String, &PrometheusConnection)> {
        match self {
            Self::Envoy(EnvoyProxies { source: SourceConfig::Prometheus(settings), .. }) => {
                Some((envoy::PROMETHEUS.to_owned(), &settings.connection))
            }
            Self::Envoy(_) => None,
            Self::Istio(istio) => istio.prometheus(),
            Self::GatewayApi(gateway_api) => gateway_api.prometheus(),
        }
    }
}

/// The document, before what serde can't check is checked.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Document {
    api_version: String,
    kind: String,
    metadata: Metadata,
    spec: Body,
}

/// What of a Kubernetes resource's metadata people write. Labels and annotations are theirs.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Metadata {
    name: ServiceName,
    namespace: Option<String>,
    #[serde(rename = "labels")]
    _labels: Option<BTreeMap<String, String>>,
    #[serde(rename = "annotations")]
    _annotations: Option<BTreeMap<String, String>>,
}

/// What is to be done.
#[derive(Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Body {
    /// Label of the service's statistics.
    service: ServiceName,
    /// Requests with these authorities (Host headers) are the service's: shop.example on every port, shop.example:8080, *.shop.example, or all.
    /// Default: all.
    #[serde(default = "routing::every_authority")]
    authorities: Vec<wire::Authority>,
    /// How routes are told what the filter has chosen. Default: versionHeader.
    #[serde(default)]
    route: wire::Route,
    /// Where a user's identity is found; the first source present counts, and the same user meets the same version.
    #[serde(default)]
    sticky: Vec<wire::Sticky>,
    /// What stands for an identity where there is none; the first present counts. Default: traceId, requestId.
    correlation: Option<Vec<wire::Correlation>>,
    /// Exceptions from the split, the first that matches. Requests that they decide are not compared.
    #[serde(default)]
    rules: Vec<wire::Rule>,
    /// Who may ask for a version. Default: nobody.
    #[serde(default)]
    trust: wire::Trust,
    /// Where those who are trusted may ask for a version.
    #[serde(default, rename = "override")]
    override_: wire::Override,
    /// A response header that tells which version served, and why.
    reveal: Option<String>,
    /// Which answers are the version's fault; resets, timeouts and refused connections always are.
    #[serde(default)]
    failures: wire::Failures,
    /// A request that waits so long for an answer counts as overdue. Default: 5s.
    #[serde(default = "routing::overdue")]
    overdue: SpecDuration,
    /// When a proxy cuts the candidate off by itself.
    tripwire: Option<routing::Tripwire>,
    /// All versions, and where each is reached.
    versions: Vec<VersionSpec>,
    /// The version that runs. In a cluster it is so only until a version has been promoted: then status.stable is the baseline.
    baseline: VersionName,
    /// The version that shall run. In a cluster a rollout begins whenever it is not the one that runs, and has not been tried yet.
    candidate: VersionName,
    /// Whether replicas follow the weights: the candidate's Deployment is given those that its share takes before it gets it, and none once it was
    /// taken back; the old baseline's keeps its own until the rollback window is over, and has none then. A Deployment that a
    /// HorizontalPodAutoscaler looks after is only waited for. Default: false.
    #[serde(default)]
    scale: bool,
    /// Whether clients of the one version can be served by the other.
    #[serde(default)]
    compatibility: strategy::Compatibility,
    /// How the candidate gets its users: exactly one of trafficShifting, canary, blueGreen and rolling.
    strategy: Strategy,
    /// How long the candidate is watched after promotion, and taken back. Default: 0s, and 10m for blueGreen.
    rollback_window: Option<SpecDuration>,
    /// The rollout is taken back as soon as more of the candidate's requests have failed.
    failure_budget: Option<SpecCount>,
    /// When nothing begins and no gate opens; a rollback may at any time.
    #[serde(default)]
    freeze: Vec<freeze::FreezeSpec>,
    /// IANA name of the time zone of the freezes. Default: UTC.
    time_zone: Option<String>,
    /// Who is called, and when.
    #[serde(default)]
    hooks: hooks::HooksSpec,
    /// How the versions are compared.
    #[serde(default)]
    analysis: Analysis,
    // Of a file only, so it is not in the definition of the kind.
    #[schemars(skip)]
    envoy: Option<envoy::EnvoySpec>,
    /// Proxies of Istio. Exactly one of istio and gatewayApi is needed.
    istio: Option<mesh::IstioSpec>,
    /// Proxies behind a route of the Gateway API.
    gateway_api: Option<mesh::GatewayApiSpec>,
}

impl Spec {
    /// Checks a specification.
    ///
    /// # Errors
    /// What is wrong with it and where.
    pub fn parse(text: &str) -> Result<Self, SpecError> {
        if text.trim().is_empty() {
            return Err(SpecError::unreadable("empty: not a rollout"));
        }
        let document = deserialize(text)?;
        if document.api_version != API_VERSION {
            let message = format!("{:?} is not {API_VERSION:?}", document.api_version);
            return at("apiVersion", message);
        }
        if document.kind != KIND {
            return at("kind", format!("{:?} is not {KIND:?}", document.kind));
        }
        document.spec.parse(document.metadata)
    }
}

fn deserialize(text: &str) -> Result<Document, SpecError> {
    let mut path = None;
    let document = serde_saphyr::with_deserializer_from_str(text, |yaml| {
        serde_path_to_error::deserialize::<_, Document>(yaml).map_err(|error| {
            let known = error.path().to_string();
            path = Some(known.trim_end_matches(".?").to_owned()).filter(|path| path != ".");
            error.into_inner()
        })
    });
    document.map_err(|error| {
        let mut message = user_message(&error.without_snippet().to_string());
        // Binary input would fill the screen.
        if message.len() > 400 {
            message = message.chars().take(400).chain("...".chars()).collect();
        }
        SpecError { path, message }
    })
}

/// The parser's words for developers, in words for users.
fn user_message(message: &str) -> String {
    let instead = [
        ("DuplicateKeyPolicy", "a field is there twice"),
        ("from_str_multiple", "more than one document; a file has one rollout"),
        ("cannot deserialize null", "empty; a value is needed"),
        ("expected mapping start", "not a list of fields with values"),
        ("untagged enum", "not a single value"),
        ("non-finite float", "not a number such as 1.2"),
    ];
    let (theirs, place) = message.rsplit_once(" at line ").unwrap_or((message, ""));
    let known = instead.iter().find(|(part, _)| theirs.contains(part));
    let ours = known.map_or(theirs, |(_, ours)| ours);
    if place.is_empty() { ours.to_owned() } else { format!("{ours} (line {place})") }
}

impl Body {
    fn parse(mut self, metadata: Metadata) -> Result<Spec, SpecError> {
        let name = metadata.name.to_string();
        let namespace = metadata.namespace.unwrap_or_else(|| "default".to_owned());
        let split = self.istio.as_ref().map_or(wire::Split::Filter, mesh::IstioSpec::split);
        let split = if self.gateway_api.is_some() { wire::Split::Mesh } else { split };
        let (versions, proxies) = self.resolve_platform(&namespace)?;
        self.check_distinguishable(&proxies)?;
        let moves = self.rolling_unit(&proxies)?;
        let steps = self.strategy.parse(self.compatibility, &self.override_, moves)?;
        let (baseline, candidate) = (&self.baseline, &self.candidate);
        let deployments = deployments::parse(&self.versions, baseline, candidate, self.scale)?;
        if let Proxies::Istio(istio) = &proxies {
            istio.can_carry(&steps)?;
        }
        let window = self.rollback_window.unwrap_or_else(|| self.strategy.rollback_window()).0;
        let mut judge = self.analysis.parse(&steps)?;
        let aa_test = self.analysis.aa_test(&name, judge.alpha, &steps, !self.sticky.is_empty())?;
        judge.alpha -= aa_test.as_ref().map_or(0.0, |watch| watch.miss_probability);
        let sticky = !self.sticky.is_empty();
        let interval = self.analysis.interval.0;
        let asked = proxies.prometheus().map(|(_, connection)| connection);
        let metrics = self.analysis.metrics.map(|metrics| metrics.parse(asked)).transpose()?;
        let service = wire::Service {
            name: self.service.clone(),
            authorities: self.authorities,
            versions,
            split,
            route: self.route,
            sticky: self.sticky,
            correlation: self.correlation.unwrap_or_else(|| routing::correlation(split)),
            salt: name.clone(),
            buckets: Vec::new(),
            rules: self.rules,
            trust: self.trust,
            override_: self.override_,
            reveal: self.reveal,
            failures: self.failures,
            overdue_ms: routing::overdue_ms(self.overdue)?,
            tripwire: routing::tripwire(self.tripwire, split)?,
            watch: None,
        };
        routing::check(&service)?;
        Ok(Spec {
            plan: Plan {
                name,
                service: self.service,
                baseline: self.baseline,
                candidate: self.candidate,
                steps,
                window,
                budget: self.failure_budget.map(|budget| budget.0),
                freezes: freeze::parse(&self.freeze, self.time_zone)?,
                breaking: self.compatibility == strategy::Compatibility::Breaking,
                judge,
                interval,
                sticky,
                aa_test,
                hooks: self.hooks.parse()?,
                replacement: self.strategy.replacement()?,
                metrics,
            },
            service,
            proxies,
            deployments,
        })
    }

    /// Makes sure that the proxies' statistics tell the versions apart. In a mesh no bootstrap gives them labels.
    fn check_distinguishable(&self, proxies: &Proxies) -> Result<(), SpecError> {
        let (baseline, candidate) = (&self.baseline, &self.candidate);
        let labelled = matches!(proxies, Proxies::Envoy(_));
        if labelled || prometheus_name(baseline.as_str()) != prometheus_name(candidate.as_str()) {
            return Ok(());
        }
        let message = format!(
            "{baseline} and {candidate} have the same name in Envoy's statistics, which have _ for . and -: rename one"
        );
        at("spec.candidate", message)
    }

    /// What a rolling release moves, where these proxies are.
    fn rolling_unit(&self, proxies: &Proxies) -> Result<RollingUnit, SpecError> {
        match (proxies, self.scale) {
            (Proxies::Envoy(_), true) => at(
                "spec.scale",
                "is for spec.istio and spec.gatewayApi: here nobody asks a cluster for replicas",
            ),
            (Proxies::Envoy(_), false) => Ok(RollingUnit::Instances),
            (Proxies::Istio(_) | Proxies::GatewayApi(_), scale) => {
                Ok(RollingUnit::Replicas { scale })
            }
        }
    }

    /// Where it is done, and the two versions there: the baseline first.
    fn resolve_platform(
        &mut self,
        namespace: &str,
    ) -> Result<(Vec<wire::Version>, Proxies), SpecError> {
        let (versions, baseline, candidate) = (&self.versions, &self.baseline, &self.candidate);
        match (self.envoy.take(), self.istio.take(), self.gateway_api.take()) {
            (Some(envoy), None, None) => {
                let reached = VersionSpec::in_envoy;
                let (wire, _) = pair(versions, baseline, candidate, reached)?.split_targets();
                Ok((wire, Proxies::Envoy(envoy.parse()?)))
            }
            (None, Some(istio), None) => {
                let port = istio.port();
                let reached =
                    |version: &VersionSpec, path: &str| version.in_istio(path, port, namespace);
                let (wire, targets) = pair(versions, baseline, candidate, reached)?.split_targets();
                Ok((wire, Proxies::Istio(istio.parse(targets)?)))
            }
            (None, None, Some(gateway_api)) => {
                let reached =
                    |version: &VersionSpec, path: &str| version.in_gateway_api(path, namespace);
                let (wire, targets) = pair(versions, baseline, candidate, reached)?.split_targets();
                Ok((wire, Proxies::GatewayApi(gateway_api.parse(targets)?)))
            }
            _ => at("spec", "exactly one of envoy, istio and gatewayApi is needed"),
        }
    }
}

#[cfg(test)]
mod tests;
