//! The filter's configuration: JSON on the wire ([`wire`]), parsed once into a valid [`Config`].

mod decode;
mod path;
pub mod rule;
mod validate;
pub mod wire;

use std::ops::RangeInclusive;

use serde_json::Value;
use thiserror::Error;

use self::rule::Rule;
use crate::aa_test::AaTest;
use crate::authority::AuthorityMap;
use crate::blame::Blame;
use crate::bucket::Bucketing;
use crate::names::{Generation, NameError, ServiceName, VersionName};
use crate::table::{Table, TableError};
use crate::trust::Trust;

/// The schema that this build reads and writes. The filter rejects any other.
pub const SCHEMA: u32 = 1;

/// Limits that bound a proxy's memory and number of statistics.
pub mod limit {
    use std::ops::RangeInclusive;

    /// Bytes of a configuration.
    pub const BYTES: usize = 1 << 20;
    /// Services of a configuration.
    pub const SERVICES: usize = 256;
    /// Versions of a service.
    pub const VERSIONS: usize = 8;
    /// Versions of all services together.
    pub const TOTAL_VERSIONS: usize = 512;
    /// Ranges of a service's bucket table.
    pub const RANGES: usize = crate::table::MAX_RANGES;
    /// Authorities, sticky keys, rules, or trusted networks of a service.
    pub const ENTRIES: usize = 64;
    /// Milliseconds after which a request is overdue.
    pub const OVERDUE_MS: RangeInclusive<u32> = 50..=600_000;
    /// Salts of an A/A test.
    pub const SALTS: usize = crate::aa_test::MAX_SALTS;
    /// Slices per salt of an A/A test.
    pub const SLICES: usize = 32;
    /// Share of failures that a tripwire tolerates, in parts per million.
    pub const TOLERATED_PPM: RangeInclusive<u32> = 10_000..=500_000;
}

/// Why the filter rejects a configuration.
#[derive(Debug, Error)]
#[allow(missing_docs)] // the messages describe the variants
pub enum ConfigError {
    #[error("{0} bytes exceed the limit of {max}", max = limit::BYTES)]
    TooLong(usize),
    #[error("not JSON: {0}")]
    Json(#[from] serde_json::Error),
    #[error("{path}: missing")]
    Missing { path: String },
    #[error("{path}: unknown field; expected one of {known}")]
    UnknownField { path: String, known: &'static str },
    #[error("{}not {expected}", if path.is_empty() { String::new() } else { format!("{path}: ") })]
    WrongType { path: String, expected: &'static str },
    #[error("{path}: {cause}")]
    InvalidName { path: String, cause: NameError },
    #[error(
        "schema {0} is unsupported; this filter reads {SCHEMA}. Use one release of filter and controller"
    )]
    UnsupportedSchema(u64),
    #[error("{path}: {count} entries, expected {from} to {to}", from = allowed.start(), to = allowed.end())]
    EntryCount { path: String, count: usize, allowed: RangeInclusive<usize> },
    #[error("{path}: {value} is not from {from} to {to}", from = allowed.start(), to = allowed.end())]
    OutOfRange { path: String, value: u32, allowed: RangeInclusive<u32> },
    #[error("{path}: duplicate \"{value}\"")]
    Duplicate { path: String, value: String },
    #[error("{path}: \"{value}\" belongs to service {other}")]
    AuthorityTaken { path: String, value: String, other: ServiceName },
    #[error("{path}: unknown version \"{value}\"")]
    UnknownVersion { path: String, value: VersionName },
    #[error("{path}: \"{value}\": {reason}")]
    InvalidValue { path: String, value: String, reason: &'static str },
    #[error("{path}: {reason}")]
    Invalid { path: String, reason: &'static str },
    #[error("{path}: {cause}")]
    InvalidTable { path: String, cause: TableError },
}

/// A valid configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// Number of this configuration.
    pub generation: Generation,
    /// Services, referred to by index.
    pub services: Vec<Service>,
    /// Maps authorities to services.
    pub authorities: AuthorityMap,
}

/// A service of a valid configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Service {
    /// Statistics label.
    pub name: ServiceName,
    /// Versions, referred to by index. The baseline is the first.
    pub versions: Vec<wire::Version>,
    /// Whether the filter or the mesh splits the traffic.
    pub split_mode: SplitMode,
    /// How the filter passes the chosen version to the routes.
    pub route: wire::Route,
    /// Sticky keys, in order of precedence.
    pub sticky: Vec<wire::Sticky>,
    /// Correlation keys, in order of precedence.
    pub correlation: Vec<wire::Correlation>,
    /// Maps identities to buckets.
    pub bucketing: Bucketing,
    /// Exceptions from the split, in order of precedence.
    pub rules: Vec<Rule>,
    /// Requests that may override the version or propagate a bucket.
    pub trust: Trust,
    /// Header and cookie of an override.
    pub override_: wire::Override,
    /// Name of the response header with the version and the reason.
    pub reveal: Option<String>,
    /// Responses that count as failures.
    pub blame: Blame,
    /// Microseconds without a response after which a request is overdue.
    pub overdue_us: u64,
    /// Share of failures that the tripwire tolerates, in parts per million.
    pub tripwire: Option<u32>,
    /// The A/A test that runs before the candidate receives requests.
    pub aa_test: Option<AaTest>,
}

/// Splits the requests of a service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SplitMode {
    /// The filter splits by this table.
    Filter(Table),
    /// The mesh splits by its own weights.
    Mesh,
}

impl Service {
    /// The bucket table, or `None` if the mesh splits.
    #[must_use]
    pub fn table(&self) -> Option<&Table> {
        match &self.split_mode {
            SplitMode::Filter(table) => Some(table),
            SplitMode::Mesh => None,
        }
    }

    /// Whether the filter propagates the bucket in `tracestate`.
    #[must_use]
    pub fn propagates_bucket(&self) -> bool {
        self.correlation.contains(&wire::Correlation::Tracestate)
    }
}

impl Config {
    /// Parses and validates a configuration.
    ///
    /// # Errors
    /// The first invalid field, with its path.
    pub fn parse(text: &[u8]) -> Result<Self, ConfigError> {
        if text.len() > limit::BYTES {
            return Err(ConfigError::TooLong(text.len()));
        }
        let value: Value = serde_json::from_slice(text)?;
        // Check the schema first: fields of another schema are not reported as unknown.
        match value.get("schema").and_then(Value::as_u64) {
            Some(schema) if schema != u64::from(SCHEMA) => {
                Err(ConfigError::UnsupportedSchema(schema))
            }
            _ => decode::decode::<wire::Config>(&value)?.try_into(),
        }
    }

    /// The index of the service with this authority. Reads the authority only if a pattern needs
    /// it.
    #[must_use]
    pub fn service(&self, authority: impl FnOnce() -> Option<Vec<u8>>) -> Option<usize> {
        self.authorities.find(authority)
    }
}

impl TryFrom<wire::Config> for Config {
    type Error = ConfigError;

    fn try_from(wire: wire::Config) -> Result<Self, ConfigError> {
        validate::config(wire)
    }
}

#[cfg(test)]
mod tests;
