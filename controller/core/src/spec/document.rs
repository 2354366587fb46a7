//! The document that a user writes, and the specification parsed from it.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::Deserialize;
use serin_filter::config::wire;
use serin_filter::names::{ServiceName, VersionName};

use super::analysis::Analysis;
use super::deployments::Deployments;
use super::error::{SpecError, at};
use super::gateway_api::GatewayApiSpec;
use super::istio::IstioSpec;
use super::proxies::Proxies;
use super::rolling::RollingUnit;
use super::strategy::Strategy;
use super::value::{SpecCount, SpecDuration};
use super::versions::{VersionSpec, pair};
use super::{deployments, envoy, freeze, hooks, routing, strategy};
use crate::config::prometheus::prometheus_name;
use crate::rollout::plan::Plan;

/// The `apiVersion` of a rollout.
pub const API_VERSION: &str = "serin.dev/v1alpha1";

/// The `kind` of a rollout.
pub const KIND: &str = "ServiceRollout";

/// A parsed specification.
#[derive(Debug, Clone, PartialEq)]
pub struct Spec {
    /// The plan of the rollout.
    pub plan: Plan,
    /// The filter's configuration of the service, without the bucket table.
    pub service: wire::Service,
    /// The proxies that split the traffic.
    pub proxies: Proxies,
    /// The Deployments of the versions; `None` if the specification names none.
    pub deployments: Option<Deployments>,
}

/// The document as deserialized.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct Document {
    api_version: String,
    kind: String,
    pub(super) metadata: Metadata,
    pub(super) spec: Body,
}

/// The metadata of a Kubernetes resource. Labels and annotations are ignored.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Metadata {
    name: ServiceName,
    pub(super) namespace: Option<String>,
    #[serde(rename = "labels")]
    _labels: Option<BTreeMap<String, String>>,
    #[serde(rename = "annotations")]
    _annotations: Option<BTreeMap<String, String>>,
}

/// The specification of a rollout.
#[derive(Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct Body {
    /// Service is the name of the service, and the label of its statistics.
    pub(super) service: ServiceName,
    /// Authorities selects the requests of the service by their Host header: shop.example on every
    /// port, shop.example:8080, *.shop.example, or * for all requests. Default: *.
    #[serde(default = "routing::every_authority")]
    authorities: Vec<wire::Authority>,
    /// Route is the way in which the filter passes its choice to the routes. Default:
    /// versionHeader.
    #[serde(default)]
    route: wire::Route,
    /// Sticky lists the sources of a user's identity. The first source present in a request is
    /// used; the same identity gets the same version.
    #[serde(default)]
    sticky: Vec<wire::Sticky>,
    /// Correlation lists the substitutes for a missing identity. The first one present in a request
    /// is used. Default: traceId, requestId.
    correlation: Option<Vec<wire::Correlation>>,
    /// Rules lists exceptions from the split. The first rule that matches applies. Requests decided
    /// by a rule are not compared.
    #[serde(default)]
    rules: Vec<wire::Rule>,
    /// Trust names the clients that may request a version. Default: none.
    #[serde(default)]
    trust: wire::Trust,
    /// Override names the header and the cookie by which trusted clients request a version.
    #[serde(default, rename = "override")]
    override_: wire::Override,
    /// Reveal names a response header that reports the version and the reason of its choice.
    reveal: Option<String>,
    /// Failures selects the responses that count as failures. Resets, timeouts and refused
    /// connections always do.
    #[serde(default)]
    failures: wire::Failures,
    /// Overdue is the time after which a request without a response counts as overdue. From 50ms to
    /// 10m. Default: 5s.
    #[serde(default = "routing::overdue")]
    overdue: SpecDuration,
    /// Tripwire stops a failing candidate in each proxy, without the controller.
    tripwire: Option<routing::Tripwire>,
    /// Versions lists all versions of the service and their destinations.
    versions: Vec<VersionSpec>,
    /// Baseline is the running version. In a cluster it applies until the first promotion; after
    /// that, status.stable is the baseline.
    pub(super) baseline: VersionName,
    /// Candidate is the new version. In a cluster a rollout starts when the candidate differs from
    /// the running version and has not been tried before.
    pub(super) candidate: VersionName,
    /// Scale makes replicas follow the weights. The candidate's Deployment is scaled up before its
    /// share grows, and to zero after a rollback. The baseline's Deployment keeps its replicas
    /// until the rollback window closes, and is then scaled to zero. A Deployment with a
    /// HorizontalPodAutoscaler is not scaled; the rollout waits for its replicas. Default: false.
    #[serde(default)]
    scale: bool,
    /// Compatibility says whether clients of one version can be served by the other. Default:
    /// compatible.
    #[serde(default)]
    compatibility: strategy::Compatibility,
    /// Strategy is exactly one of trafficShifting, canary, blueGreen and rolling.
    strategy: Strategy,
    /// RollbackWindow is the time after promotion in which the candidate is still compared and can
    /// be rolled back. Default: 0s; 10m for blueGreen.
    rollback_window: Option<SpecDuration>,
    /// FailureBudget is the number of failed candidate requests that the rollout may cost. One more
    /// rolls it back. Default: unlimited.
    failure_budget: Option<SpecCount>,
    /// Freeze lists times at which no rollout starts and no gate opens. Rollbacks are not frozen.
    #[serde(default)]
    freeze: Vec<freeze::FreezeSpec>,
    /// TimeZone is the IANA name of the time zone of the freezes. Default: UTC.
    time_zone: Option<String>,
    /// Hooks are webhooks called at points of the rollout.
    #[serde(default)]
    hooks: hooks::HooksSpec,
    /// Analysis configures the comparison of the versions.
    #[serde(default)]
    analysis: Analysis,
    // Not part of the kind: only a file names Envoys.
    #[schemars(skip)]
    envoy: Option<envoy::EnvoySpec>,
    /// Istio selects proxies of Istio. Exactly one of istio and gatewayApi is required.
    istio: Option<IstioSpec>,
    /// GatewayApi selects proxies behind a route of the Gateway API.
    gateway_api: Option<GatewayApiSpec>,
}

impl Spec {
    /// Parses a specification.
    ///
    /// # Errors
    /// The first invalid field, with its path.
    pub fn parse(text: &str) -> Result<Self, SpecError> {
        if text.trim().is_empty() {
            return Err(SpecError::unreadable("empty document; expected a rollout"));
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
        // Binary input makes long messages.
        if message.len() > 400 {
            message = message.chars().take(400).chain("...".chars()).collect();
        }
        SpecError { path, message }
    })
}

/// Replaces the parser's terms by those of a user.
fn user_message(message: &str) -> String {
    let replacements = [
        ("DuplicateKeyPolicy", "duplicate field"),
        ("from_str_multiple", "more than one document; write one rollout per file"),
        ("cannot deserialize null", "empty; set a value"),
        ("expected mapping start", "not a mapping"),
        ("untagged enum", "not a scalar"),
        ("non-finite float", "not a finite number such as 1.2"),
    ];
    let (original, line) = message.rsplit_once(" at line ").unwrap_or((message, ""));
    let replacement = replacements.iter().find(|(part, _)| original.contains(part));
    let message = replacement.map_or(original, |(_, message)| message);
    if line.is_empty() { message.to_owned() } else { format!("{message} (line {line})") }
}

impl Body {
    pub(super) fn parse(mut self, metadata: Metadata) -> Result<Spec, SpecError> {
        let name = metadata.name.to_string();
        let namespace = metadata.namespace.unwrap_or_else(|| "default".to_owned());
        let split = self.istio.as_ref().map_or(wire::Split::Filter, IstioSpec::split);
        let split = if self.gateway_api.is_some() { wire::Split::Mesh } else { split };
        let (versions, proxies) = self.resolve_platform(&namespace)?;
        self.check_distinguishable(&proxies)?;
        let unit = self.rolling_unit(&proxies)?;
        let steps = self.strategy.parse(self.compatibility, &self.override_, unit)?;
        let (baseline, candidate) = (&self.baseline, &self.candidate);
        let deployments = deployments::parse(&self.versions, baseline, candidate, self.scale)?;
        if let Proxies::Istio(istio) = &proxies {
            istio.check_weights(&steps)?;
        }
        let window = self.rollback_window.unwrap_or_else(|| self.strategy.rollback_window()).0;
        let mut judge = self.analysis.parse(&steps)?;
        let aa_test = self.analysis.aa_test(&name, judge.alpha, &steps, !self.sticky.is_empty())?;
        judge.alpha -= aa_test.as_ref().map_or(0.0, |test| test.miss_probability);
        let sticky = !self.sticky.is_empty();
        let interval = self.analysis.interval.0;
        let source = proxies.prometheus().map(|(_, connection)| connection);
        let metrics = self.analysis.metrics.map(|metrics| metrics.parse(source)).transpose()?;
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
            aa_test: None,
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

    /// Checks that the proxies' statistics distinguish the versions. In a mesh the bootstrap adds
    /// no labels.
    fn check_distinguishable(&self, proxies: &Proxies) -> Result<(), SpecError> {
        let (baseline, candidate) = (&self.baseline, &self.candidate);
        let labelled = matches!(proxies, Proxies::Envoy(_));
        if labelled || prometheus_name(baseline.as_str()) != prometheus_name(candidate.as_str()) {
            return Ok(());
        }
        let message = format!(
            "{baseline} and {candidate} have the same name in Envoy's statistics, which replace . and - by _; rename one"
        );
        at("spec.candidate", message)
    }

    /// The unit that a rolling rollout replaces on these proxies.
    fn rolling_unit(&self, proxies: &Proxies) -> Result<RollingUnit, SpecError> {
        match (proxies, self.scale) {
            (Proxies::Envoy(_), true) => {
                at("spec.scale", "requires spec.istio or spec.gatewayApi; remove it for spec.envoy")
            }
            (Proxies::Envoy(_), false) => Ok(RollingUnit::Instances),
            (Proxies::Istio(_) | Proxies::GatewayApi(_), scale) => {
                Ok(RollingUnit::Replicas { scale })
            }
        }
    }

    /// The proxies, and both versions as the filter knows them, the baseline first.
    fn resolve_platform(
        &mut self,
        namespace: &str,
    ) -> Result<(Vec<wire::Version>, Proxies), SpecError> {
        let (versions, baseline, candidate) = (&self.versions, &self.baseline, &self.candidate);
        match (self.envoy.take(), self.istio.take(), self.gateway_api.take()) {
            (Some(envoy), None, None) => {
                let resolve = VersionSpec::in_envoy;
                let (wire, _) = pair(versions, baseline, candidate, resolve)?;
                Ok((wire, Proxies::Envoy(envoy.parse()?)))
            }
            (None, Some(istio), None) => {
                let port = istio.port();
                let resolve =
                    |version: &VersionSpec, path: &str| version.in_istio(path, port, namespace);
                let (wire, targets) = pair(versions, baseline, candidate, resolve)?;
                Ok((wire, Proxies::Istio(istio.parse(targets)?)))
            }
            (None, None, Some(gateway_api)) => {
                let resolve =
                    |version: &VersionSpec, path: &str| version.in_gateway_api(path, namespace);
                let (wire, targets) = pair(versions, baseline, candidate, resolve)?;
                Ok((wire, Proxies::GatewayApi(gateway_api.parse(targets)?)))
            }
            _ => at("spec", "exactly one of envoy, istio and gatewayApi is required"),
        }
    }
}
