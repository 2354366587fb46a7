//! The fields of a specification that configure the filter: the requests of the service, and the
//! choice of a version.
//!
//! The fields are those of the filter's configuration, with units (`5s`, `10%`). The filter's own
//! parser validates them, so every accepted specification is valid in a proxy.

use std::time::Duration;

use schemars::JsonSchema;
use serde::Deserialize;
use serin_filter::config::{self, ConfigError, SCHEMA, wire};
use serin_filter::names::{Generation, ServiceName, VersionName};
use serin_filter::table::BUCKETS;

use super::error::{SpecError, at};
use super::value::{Percent, SpecDuration};

/// The tripwire of a proxy.
#[derive(Deserialize, JsonSchema)]
#[serde(default, rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct Tripwire {
    /// Enabled turns the tripwire on. Default: true.
    enabled: bool,
    /// Tolerated is the share of the candidate's requests that may fail. From 1% to 50%. Default:
    /// 10%.
    tolerated: Percent,
}

impl Default for Tripwire {
    fn default() -> Self {
        Self { enabled: true, tolerated: Percent::of_ppm(100_000) }
    }
}

/// The default of `spec.overdue`.
pub(super) fn overdue() -> SpecDuration {
    SpecDuration(Duration::from_secs(5))
}

/// The default of `spec.correlation`.
pub(super) fn correlation(split: wire::Split) -> Vec<wire::Correlation> {
    match split {
        wire::Split::Filter => vec![wire::Correlation::TraceId, wire::Correlation::RequestId],
        wire::Split::Mesh => Vec::new(),
    }
}

pub(super) fn every_authority() -> Vec<wire::Authority> {
    vec![wire::Authority("*".to_owned())]
}

/// `spec.overdue` in milliseconds.
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

/// The tripwire; by default enabled where the filter splits.
pub(super) fn tripwire(
    submitted: Option<Tripwire>,
    split: wire::Split,
) -> Result<Option<wire::Tripwire>, SpecError> {
    let tripwire = match (submitted, split) {
        (Some(tripwire), _) => tripwire,
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

/// Validates the service by the filter's own parser, with all users at the baseline.
pub(super) fn check(service: &wire::Service) -> Result<(), SpecError> {
    let versions = service.versions.first().map(|version| version.name.clone());
    let all = |version: VersionName| wire::BucketRange { version, count: BUCKETS };
    let buckets = versions.filter(|_| service.split == wire::Split::Filter).map(all);
    let buckets = buckets.into_iter().collect();
    let services = vec![wire::Service { buckets, ..service.clone() }];
    let wire = wire::Config { schema: SCHEMA, generation: Generation::default(), services };
    config::Config::try_from(wire).map(drop).map_err(|error| user_message(&error, &service.name))
}

/// Maps a path in the filter's configuration to the path in the specification.
fn user_message(error: &ConfigError, service: &ServiceName) -> SpecError {
    let message = error.to_string();
    match message.strip_prefix("services[0]").and_then(|rest| rest.split_once(": ")) {
        Some((path, message)) => {
            SpecError { path: Some(format!("spec{path}")), message: message.to_owned() }
        }
        None => SpecError { path: None, message: format!("{service}: {message}") },
    }
}
