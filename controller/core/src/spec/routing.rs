//! The part of a specification that the filter is given: which requests are the service's, and how they are chosen for.
//!
//! The fields are the filter's own, in words for people where those differ (`5s`, `10%`); the filter's own check decides what is valid,
//! so that nothing is accepted here that a proxy would refuse.

use std::time::Duration;

use schemars::JsonSchema;
use serde::Deserialize;
use serin_filter::config::{self, ConfigError, SCHEMA, wire};
use serin_filter::names::{Generation, ServiceName, VersionName};
use serin_filter::table::BUCKETS;

use super::error::{SpecError, at};
use super::value::{Percent, SpecDuration};

/// What the filter does with requests, besides which split it has.
#[derive(Deserialize, JsonSchema)]
#[serde(default, rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct Tripwire {
    /// Whether it does. Default: true.
    enabled: bool,
    /// The share of its requests that may fail. Default: 10%.
    tolerated: Percent,
}

impl Default for Tripwire {
    fn default() -> Self {
        Self { enabled: true, tolerated: Percent::of_ppm(100_000) }
    }
}

/// A request without an answer for so long is overdue, unless the specification says otherwise.
pub(super) fn overdue() -> SpecDuration {
    SpecDuration(Duration::from_secs(5))
}

/// What stands for an identity, unless the specification says otherwise.
pub(super) fn correlation(split: wire::Split) -> Vec<wire::Correlation> {
    match split {
        wire::Split::Filter => vec![wire::Correlation::TraceId, wire::Correlation::RequestId],
        wire::Split::Mesh => Vec::new(),
    }
}

pub(super) fn every_authority() -> Vec<wire::Authority> {
    vec![wire::Authority("*".to_owned())]
}

/// Milliseconds of `spec.overdue`.
pub(super) fn overdue_ms(overdue: SpecDuration) -> Result<u32, SpecError> {
    let allowed = config::limit::OVERDUE_MS;
    let ms = u32::try_from(overdue.0.as_millis()).ok().filter(|ms| allowed.contains(ms));
    ms.map_or_else(
        || {
            let overdue = humantime::format_duration(overdue.0);
            at("spec.overdue", format!("{overdue} is not between 50ms and 10m"))
        },
        Ok,
    )
}

/// The tripwire, which there is where the filter splits, unless the specification says otherwise.
pub(super) fn tripwire(
    submitted: Option<Tripwire>,
    split: wire::Split,
) -> Result<Option<wire::Tripwire>, SpecError> {
    let tripwire = match (submitted, split) {
        (Some(given), _) => given,
        (None, wire::Split::Filter) => Tripwire::default(),
        (None, wire::Split::Mesh) => return Ok(None),
    };
    let tolerated_ppm = tripwire.tolerated.weight().ppm();
    if !config::limit::TOLERATED_PPM.contains(&tolerated_ppm) {
        let message = format!("{} is not between 1% and 50%", tripwire.tolerated.weight());
        return at("spec.tripwire.tolerated", message);
    }
    Ok(tripwire.enabled.then_some(wire::Tripwire { tolerated_ppm }))
}

/// Whether the filter would take the service, with all its users at the baseline.
pub(super) fn check(service: &wire::Service) -> Result<(), SpecError> {
    let versions = service.versions.first().map(|version| version.name.clone());
    let all = |version: VersionName| wire::Buckets { version, count: BUCKETS };
    let buckets = versions.filter(|_| service.split == wire::Split::Filter).map(all);
    let buckets = buckets.into_iter().collect();
    let services = vec![wire::Service { buckets, ..service.clone() }];
    let wire = wire::Config { schema: SCHEMA, generation: Generation::default(), services };
    config::Config::try_from(wire).map(drop).map_err(|error| user_message(&error, &service.name))
}

/// The filter's paths lead into its own configuration, which has the service under `services[0]`.
fn user_message(error: &ConfigError, service: &ServiceName) -> SpecError {
    let message = error.to_string();
    match message.strip_prefix("services[0]").and_then(|rest| rest.split_once(": ")) {
        Some((path, message)) => {
            SpecError { path: Some(format!("spec{path}")), message: message.to_owned() }
        }
        None => SpecError { path: None, message: format!("{service}: {message}") },
    }
}
