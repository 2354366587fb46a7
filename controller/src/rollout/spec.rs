//! The rollout as the user writes it: YAML, of the shape of a Kubernetes resource, checked as a whole before anything happens.

use std::collections::BTreeMap;
use std::path::Path;

use serde::Deserialize;
use serin_filter::config::wire;
use serin_filter::names::{ServiceName, VersionName};
use thiserror::Error;

use self::analysis::Analysis;
pub use self::envoy::Envoy;
use self::strategy::Strategy;
use self::value::{Count, Span};
use super::plan::Plan;

mod analysis;
mod envoy;
mod freeze;
mod hooks;
mod metrics;
mod prometheus;
mod rolling;
mod routing;
mod strategy;
mod value;

/// The longest specification, in bytes.
pub const MAX_BYTES: u64 = 1 << 20;

/// Why a specification is refused. The message begins with the path of the field at fault, where there is one.
#[derive(Debug, Error)]
#[error("{}{message}", path.as_ref().map_or_else(String::new, |path| format!("{path}: ")))]
pub struct SpecError {
    path: Option<String>,
    message: String,
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
    pub envoy: Envoy,
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
    #[serde(rename = "namespace")]
    _namespace: Option<String>,
    #[serde(rename = "labels")]
    _labels: Option<BTreeMap<String, String>>,
    #[serde(rename = "annotations")]
    _annotations: Option<BTreeMap<String, String>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Body {
    service: ServiceName,
    #[serde(default = "routing::every_authority")]
    authorities: Vec<wire::Authority>,
    #[serde(default)]
    route: wire::Route,
    #[serde(default)]
    sticky: Vec<wire::Sticky>,
    #[serde(default = "routing::correlation")]
    correlation: Vec<wire::Correlation>,
    #[serde(default)]
    rules: Vec<wire::Rule>,
    #[serde(default)]
    trust: wire::Trust,
    #[serde(default, rename = "override")]
    override_: wire::Override,
    reveal: Option<String>,
    #[serde(default)]
    failures: wire::Failures,
    #[serde(default = "routing::overdue")]
    overdue: Span,
    #[serde(default)]
    tripwire: routing::Tripwire,
    versions: Vec<wire::Version>,
    baseline: VersionName,
    candidate: VersionName,
    #[serde(default)]
    compatibility: strategy::Compatibility,
    strategy: Strategy,
    rollback_window: Option<Span>,
    failure_budget: Option<Count>,
    #[serde(default)]
    freeze: Vec<freeze::FreezeSpec>,
    time_zone: Option<String>,
    #[serde(default)]
    hooks: hooks::HooksSpec,
    #[serde(default)]
    analysis: Analysis,
    envoy: envoy::EnvoySpec,
}

impl Spec {
    /// Reads and checks the file at `path`.
    ///
    /// # Errors
    /// The file can't be read, or what is wrong with it and where.
    pub fn read(path: &Path) -> Result<Self, SpecError> {
        use std::io::Read;
        let mut text = String::new();
        let read = std::fs::File::open(path)
            .and_then(|file| file.take(MAX_BYTES + 1).read_to_string(&mut text));
        match read {
            Ok(length) if length as u64 > MAX_BYTES => Err(SpecError {
                path: None,
                message: format!("longer than {MAX_BYTES} bytes: not a rollout"),
            }),
            Ok(_) => Self::parse(&text),
            Err(error) => Err(SpecError { path: None, message: error.to_string() }),
        }
    }

    /// Checks a specification.
    ///
    /// # Errors
    /// What is wrong with it and where.
    pub fn parse(text: &str) -> Result<Self, SpecError> {
        if text.trim().is_empty() {
            return Err(SpecError { path: None, message: "empty: not a rollout".to_owned() });
        }
        let document = deserialize(text)?;
        if document.api_version != "serin.dev/v1alpha1" {
            return at(
                "apiVersion",
                format!("{:?} is not \"serin.dev/v1alpha1\"", document.api_version),
            );
        }
        if document.kind != "Rollout" {
            return at("kind", format!("{:?} is not \"Rollout\"", document.kind));
        }
        document.spec.checked(document.metadata.name.to_string())
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
        let mut message = in_words(&error.without_snippet().to_string());
        // Binary input would fill the screen.
        if message.len() > 400 {
            message = message.chars().take(400).chain("...".chars()).collect();
        }
        SpecError { path, message }
    })
}

/// The parser's words for developers, in words for users.
fn in_words(message: &str) -> String {
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
    fn checked(self, name: String) -> Result<Spec, SpecError> {
        let versions = self.ordered_versions()?;
        let envoy = self.envoy.checked()?;
        let steps = self.strategy.checked(self.compatibility, &self.override_)?;
        let window = self.rollback_window.unwrap_or_else(|| self.strategy.rollback_window()).0;
        let mut judge = self.analysis.checked(&steps)?;
        let watch = self.analysis.watch(&name, judge.alpha, &steps, !self.sticky.is_empty())?;
        judge.alpha -= watch.as_ref().map_or(0.0, |watch| watch.miss);
        let sticky = !self.sticky.is_empty();
        let interval = self.analysis.interval.0;
        let metrics =
            self.analysis.metrics.map(|metrics| metrics.checked(&envoy.evidence)).transpose()?;
        let service = wire::Service {
            name: self.service.clone(),
            authorities: self.authorities,
            versions,
            split: wire::Split::Filter,
            route: self.route,
            sticky: self.sticky,
            correlation: self.correlation,
            salt: name.clone(),
            buckets: Vec::new(),
            rules: self.rules,
            trust: self.trust,
            override_: self.override_,
            reveal: self.reveal,
            failures: self.failures,
            overdue_ms: routing::overdue_ms(self.overdue)?,
            tripwire: routing::tripwire(&self.tripwire)?,
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
                freezes: freeze::checked(&self.freeze, self.time_zone)?,
                breaking: self.compatibility == strategy::Compatibility::Breaking,
                judge,
                interval,
                sticky,
                watch,
                hooks: self.hooks.checked()?,
                replacement: self.strategy.replacement()?,
                metrics,
            },
            service,
            envoy,
        })
    }

    /// Baseline and candidate, in this order.
    fn ordered_versions(&self) -> Result<Vec<wire::Version>, SpecError> {
        for (index, version) in self.versions.iter().enumerate() {
            let before = self.versions.iter().take(index);
            let path = |field| format!("spec.versions[{index}].{field}");
            if before.clone().any(|other| other.name == version.name) {
                return at(path("name"), format!("\"{}\" is there twice", version.name));
            }
            if version.cluster.is_empty() {
                return at(path("cluster"), "empty");
            }
            if before.clone().any(|other| other.cluster == version.cluster) {
                let cluster = &version.cluster;
                return at(path("cluster"), format!("{cluster:?} already serves another version"));
            }
        }
        let find = |path: &str, name: &VersionName| {
            let known =
                || self.versions.iter().map(|v| v.name.as_str()).collect::<Vec<_>>().join(", ");
            match self.versions.iter().find(|version| version.name == *name) {
                Some(version) => Ok(version.clone()),
                None => at(path, format!("\"{name}\" is none of spec.versions ({})", known())),
            }
        };
        let baseline = find("spec.baseline", &self.baseline)?;
        let candidate = find("spec.candidate", &self.candidate)?;
        if baseline == candidate {
            return at("spec.candidate", format!("\"{}\" is the baseline too", self.candidate));
        }
        Ok(vec![baseline, candidate])
    }
}

#[cfg(test)]
mod tests;
