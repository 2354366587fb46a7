//! The configuration as it travels: what the controller writes and the filter is given. What has a default may be left out.
//!
//! ```json
//! {"schema": 1, "generation": 7, "services": [{
//!   "name": "shop", "authorities": ["*"], "sticky": [{"header": "x-user-id"}], "salt": "shop-v2",
//!   "versions": [{"name": "v1", "cluster": "shop-v1"}, {"name": "v2", "cluster": "shop-v2"}],
//!   "buckets": [{"version": "v2", "count": 10000}, {"version": "v1", "count": 990000}]}]}
//! ```

use serde::Serialize;

use crate::names::{Generation, ServiceName, VersionName};

/// The whole configuration.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Config {
    /// Always [`super::SCHEMA`].
    pub schema: u32,
    /// Higher than that of every configuration before.
    pub generation: Generation,
    /// No two claim the same authority.
    pub services: Vec<Service>,
}

/// A service and its versions.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Service {
    /// Label of its statistics.
    pub name: ServiceName,
    /// Which requests are for it.
    pub authorities: Vec<Authority>,
    /// The baseline first.
    pub versions: Vec<Version>,
    /// Who splits.
    #[serde(skip_serializing_if = "is_default")]
    pub split: Split,
    /// How the routes are told the choice.
    #[serde(skip_serializing_if = "is_default")]
    pub route: Route,
    /// Where a user's identity is found; the first source present counts.
    #[serde(skip_serializing_if = "is_default")]
    pub sticky: Vec<Sticky>,
    /// What stands for an identity where there is none; the first one present counts. With none, a request is assigned at random.
    #[serde(skip_serializing_if = "is_default")]
    pub correlation: Vec<Correlation>,
    /// Mixed into the hash of identities, so that rollouts do not always begin with the same users.
    #[serde(skip_serializing_if = "is_default")]
    pub salt: String,
    /// The table of buckets; the counts add up to 1,000,000. Empty if the mesh splits.
    #[serde(skip_serializing_if = "is_default")]
    pub buckets: Vec<Buckets>,
    /// Exceptions from the split; the first that matches counts.
    #[serde(skip_serializing_if = "is_default")]
    pub rules: Vec<Rule>,
    /// Whose word counts. Nobody's by default.
    #[serde(skip_serializing_if = "is_default")]
    pub trust: Trust,
    /// Where those who are trusted may ask for a version.
    #[serde(rename = "override", skip_serializing_if = "is_default")]
    pub override_: Override,
    /// Name of a response header that tells the version that served, and why it was chosen.
    #[serde(skip_serializing_if = "is_default")]
    pub reveal: Option<String>,
    /// Which answers are the version's fault.
    #[serde(skip_serializing_if = "is_default")]
    pub failures: Failures,
    /// A request without an answer for so many milliseconds is overdue.
    #[serde(rename = "overdueMs")]
    pub overdue_ms: u32,
    /// When a worker cuts a version off by itself.
    #[serde(skip_serializing_if = "is_default")]
    pub tripwire: Option<Tripwire>,
    /// What is watched of users before the candidate has any.
    #[serde(skip_serializing_if = "is_default")]
    pub watch: Option<Watch>,
}

fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

/// Five seconds: long for an answer, short for an outage.
pub(super) fn overdue() -> u32 {
    5_000
}

/// A version and where it runs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Version {
    /// Value of the version header and label of its statistics.
    pub name: VersionName,
    /// The Envoy cluster that serves it: tells whether the routes followed the choice. In Istio a subset or a backend is a cluster too,
    /// such as `outbound|80|v2|shop.prod.svc.cluster.local`.
    pub cluster: String,
}

/// Who splits the requests between versions.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum Split {
    /// The filter chooses.
    #[default]
    Filter,
    /// The mesh's own weights choose; the filter observes which cluster served.
    Mesh,
}

/// How the routes are told the choice.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub enum Route {
    /// By [`crate::VERSION_HEADER`], for routes that match it.
    #[default]
    VersionHeader,
    /// By [`crate::CLUSTER_HEADER`], for a route with that `cluster_header`.
    ClusterHeader,
}

/// Adjacent buckets of one version.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Buckets {
    /// One of the service's versions.
    pub version: VersionName,
    /// Number of buckets.
    pub count: u32,
}

/// Which authorities (`Host`) a service has: `shop.example` on every port, `shop.example:8080`, every name below `*.shop.example`, or all:
/// `*`. The most exact one counts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(transparent)]
pub struct Authority(pub String);

/// A source of a user's identity.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub enum Sticky {
    /// The value of this request header, by its lower-case name.
    Header(String),
    /// The value of this cookie.
    Cookie(String),
    /// The value of a cookie that the filter gives to whoever has none.
    IdentityCookie(IdentityCookie),
    /// The address the request came from, without the port.
    SourceAddress,
}

/// A cookie that the filter issues.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct IdentityCookie {
    /// Its name.
    pub name: String,
    /// How long browsers keep it, in seconds.
    pub max_age_seconds: u32,
    /// Whether browsers send it over HTTPS only.
    #[cfg_attr(feature = "schema", schemars(default))]
    pub secure: bool,
}

/// What the requests of one call graph have in common where the applications forward it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub enum Correlation {
    /// The bucket that a filter before put into `tracestate`. Believed only from trusted sources; put there for the next.
    Tracestate,
    /// The trace id of `traceparent` (W3C Trace Context).
    TraceId,
    /// `x-request-id`, which Envoy makes where there is none.
    RequestId,
}

/// An exception from the split. Requests it decides are not compared: they are not assigned by chance.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Rule {
    /// What the request has to be like.
    pub when: When,
    /// What happens to it.
    pub then: Then,
}

/// Conditions on a request, all of which must hold; at least one is given.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct When {
    /// A header is there.
    #[serde(skip_serializing_if = "is_default")]
    pub header: Option<Named>,
    /// A cookie is there.
    #[serde(skip_serializing_if = "is_default")]
    pub cookie: Option<Named>,
    /// The path begins with this.
    #[serde(skip_serializing_if = "is_default")]
    pub path_prefix: Option<String>,
    /// The method is this.
    #[serde(skip_serializing_if = "is_default")]
    pub method: Option<String>,
}

/// Something that has a name and may have to have a value.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Named {
    /// Its name; a header's is lower-case.
    pub name: String,
    /// Its value; any if absent.
    #[serde(skip_serializing_if = "is_default")]
    pub value: Option<String>,
}

/// What happens to a request that a rule matches.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub enum Then {
    /// This version gets it.
    Version(VersionName),
    /// It is routed as if serin were not there, and not counted.
    Bypass,
}

/// Whose word counts.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Trust {
    /// Networks, such as `10.0.0.0/8`, whose requests are trusted.
    #[serde(skip_serializing_if = "is_default")]
    #[cfg_attr(feature = "schema", schemars(default))]
    pub sources: Vec<String>,
    /// A secret that makes a request trusted: an override of `v2:SECRET` is obeyed.
    #[serde(skip_serializing_if = "is_default")]
    pub token: Option<String>,
}

/// Where those who are trusted may ask for a version.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Override {
    /// A request header, by its lower-case name. It is removed from every request.
    #[serde(skip_serializing_if = "is_default")]
    pub header: Option<String>,
    /// A cookie.
    #[serde(skip_serializing_if = "is_default")]
    pub cookie: Option<String>,
}

/// Which answers are the version's fault. What never was an answer (a reset, a timeout, no connection) is so always.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Failures {
    /// Statuses such as `429`, `500-504` or `5xx`; `5xx` by default.
    #[serde(skip_serializing_if = "is_default")]
    pub status: Option<Vec<String>>,
    /// gRPC status codes; those that blame the server by default: 2, 4, 13, 14 and 15.
    #[serde(skip_serializing_if = "is_default")]
    pub grpc: Option<Vec<u32>>,
}

/// When a worker cuts a version off by itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Tripwire {
    /// The share of its requests that a version may fail, or leave overdue, without being cut off, in parts per million.
    pub tolerated_ppm: u32,
}

/// Which users are watched, by their future slices; see [`crate::watch`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Watch {
    /// Salts to compare.
    pub salts: Vec<String>,
    /// The candidate's weight in each future step, in parts per million, rising.
    pub slices: Vec<u32>,
}
