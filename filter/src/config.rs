//! The filter's configuration: one JSON text on the wire ([`wire`]), parsed once into a [`Config`] that needs no second check.

mod check;
mod path;
mod read;
pub mod wire;

use std::ops::RangeInclusive;

use serde_json::Value;
use thiserror::Error;

use crate::authority::Authorities;
use crate::blame::Blame;
use crate::bucket::Bucketing;
use crate::names::{Generation, NameError, ServiceName, VersionName};
use crate::rule::Rule;
use crate::table::{Table, TableError};
use crate::trust::Trust;
use crate::watch::Watch;

/// The schema this build reads and writes. A configuration of another one is refused as a whole.
pub const SCHEMA: u32 = 1;

/// Bounds that keep the memory and the number of statistics of a proxy bounded.
pub mod limit {
    use std::ops::RangeInclusive;

    /// The longest configuration, in bytes.
    pub const BYTES: usize = 1 << 20;
    /// Services in a configuration.
    pub const SERVICES: usize = 256;
    /// Versions of a service.
    pub const VERSIONS: usize = 8;
    /// Versions of all services together.
    pub const ALL_VERSIONS: usize = 512;
    /// Runs in a service's table of buckets.
    pub const RUNS: usize = 1024;
    /// Authorities, sources of identity, rules, or trusted networks of a service.
    pub const ENTRIES: usize = 64;
    /// Milliseconds after which a request can be overdue.
    pub const OVERDUE_MS: RangeInclusive<u32> = 50..=600_000;
    /// Salts that are watched at a time.
    pub const SALTS: usize = 16;
    /// Slices of each salt that are watched.
    pub const SLICES: usize = 32;
    /// What a tripwire can tolerate, in parts per million.
    pub const TOLERATED_PPM: RangeInclusive<u32> = 10_000..=500_000;
}

/// Why a configuration is refused.
#[derive(Debug, Error)]
#[allow(missing_docs)] // the messages say it
pub enum ConfigError {
    #[error("{0} bytes are more than the {max} allowed", max = limit::BYTES)]
    TooLong(usize),
    #[error("not JSON: {0}")]
    Json(#[from] serde_json::Error),
    #[error("{path}: missing")]
    Missing { path: String },
    #[error("{path}: unknown field; known are {known}")]
    UnknownField { path: String, known: &'static str },
    #[error("{}not {wanted}", if path.is_empty() { String::new() } else { format!("{path}: ") })]
    Type { path: String, wanted: &'static str },
    #[error("{path}: {cause}")]
    Name { path: String, cause: NameError },
    #[error(
        "schema {0} is not the one this filter reads, {SCHEMA}: filter and controller are of different releases"
    )]
    Schema(u64),
    #[error("{path}: {count} entries, but {from} to {to} are allowed", from = allowed.start(), to = allowed.end())]
    Count { path: String, count: usize, allowed: RangeInclusive<usize> },
    #[error("{path}: {value} is not from {from} to {to}", from = allowed.start(), to = allowed.end())]
    Range { path: String, value: u32, allowed: RangeInclusive<u32> },
    #[error("{path}: \"{value}\" is there twice")]
    Twice { path: String, value: String },
    #[error("{path}: \"{value}\" is service {other}'s already")]
    Claimed { path: String, value: String, other: ServiceName },
    #[error("{path}: \"{value}\" is none of the service's versions")]
    UnknownVersion { path: String, value: VersionName },
    #[error("{path}: \"{value}\": {why}")]
    Value { path: String, value: String, why: &'static str },
    #[error("{path}: {why}")]
    Senseless { path: String, why: &'static str },
    #[error("{path}: {cause}")]
    Table { path: String, cause: TableError },
}

/// A configuration that has been checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// Its number.
    pub generation: Generation,
    /// Its services.
    pub services: Vec<Service>,
    /// Which requests are whose.
    pub authorities: Authorities,
}

/// A service of a checked configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Service {
    /// Label of its statistics.
    pub name: ServiceName,
    /// Its versions, the baseline first. Other parts refer to them by index.
    pub versions: Vec<wire::Version>,
    /// Who splits, and how.
    pub splitting: Splitting,
    /// How the routes are told the choice.
    pub route: wire::Route,
    /// Sources of a user's identity, the most telling first.
    pub sticky: Vec<wire::Sticky>,
    /// What stands for an identity, the most telling first.
    pub correlation: Vec<wire::Correlation>,
    /// Where identities fall.
    pub bucketing: Bucketing,
    /// Exceptions, in order.
    pub rules: Vec<Rule>,
    /// Whose word counts.
    pub trust: Trust,
    /// Where they may ask for a version.
    pub override_: wire::Override,
    /// Name of the response header that tells the choice.
    pub reveal: Option<String>,
    /// Which answers are a version's fault.
    pub blame: Blame,
    /// A request without an answer for so many microseconds is overdue.
    pub overdue_us: u64,
    /// What the tripwire tolerates, in parts per million; `None` without one.
    pub tripwire: Option<u32>,
    /// What is watched of users before the candidate has any.
    pub watch: Option<Watch>,
}

/// Who splits the requests of a service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Splitting {
    /// The filter, by this table.
    Filter(Table),
    /// The mesh.
    Mesh,
}

impl Service {
    /// The filter's table; `None` if the mesh splits.
    #[must_use]
    pub fn table(&self) -> Option<&Table> {
        match &self.splitting {
            Splitting::Filter(table) => Some(table),
            Splitting::Mesh => None,
        }
    }

    /// Whether the choice is handed on in `tracestate`.
    #[must_use]
    pub fn propagates(&self) -> bool {
        self.correlation.contains(&wire::Correlation::Tracestate)
    }
}

impl Config {
    /// Parses and checks a configuration.
    ///
    /// # Errors
    /// What is wrong with it, and where.
    pub fn parse(text: &[u8]) -> Result<Self, ConfigError> {
        if text.len() > limit::BYTES {
            return Err(ConfigError::TooLong(text.len()));
        }
        let value: Value = serde_json::from_slice(text)?;
        // First of all: a field that only another schema knows is no reason to speak of unknown fields.
        match value.get("schema").and_then(Value::as_u64) {
            Some(schema) if schema != u64::from(SCHEMA) => Err(ConfigError::Schema(schema)),
            _ => read::read::<wire::Config>(&value)?.try_into(),
        }
    }

    /// The service that a request with this authority is for, by index. The authority is asked for only if it matters.
    #[must_use]
    pub fn service(&self, authority: impl FnOnce() -> Option<Vec<u8>>) -> Option<usize> {
        self.authorities.find(authority)
    }
}

impl TryFrom<wire::Config> for Config {
    type Error = ConfigError;

    fn try_from(wire: wire::Config) -> Result<Self, ConfigError> {
        check::config(wire)
    }
}

#[cfg(test)]
mod tests;
