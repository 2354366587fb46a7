//! The wire format of the configuration, written by the controller. Fields with a default are
//! optional.
//!
//! ```json
//! {"schema": 1, "generation": 7, "services": [{
//!   "name": "shop", "authorities": ["*"], "sticky": [{"header": "x-user-id"}], "salt": "shop-v2",
//!   "versions": [{"name": "v1", "cluster": "shop-v1"}, {"name": "v2", "cluster": "shop-v2"}],
//!   "buckets": [{"version": "v2", "count": 10000}, {"version": "v1", "count": 990000}]}]}
//! ```

use serde::Serialize;

use crate::names::{Generation, ServiceName, VersionName};

/// The configuration of the filter.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Config {
    /// Always [`super::SCHEMA`].
    pub schema: u32,
    /// Higher than that of every earlier configuration.
    pub generation: Generation,
    /// Services. Each authority belongs to one service.
    pub services: Vec<Service>,
}

/// A service and its versions.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Service {
    /// Statistics label.
    pub name: ServiceName,
    /// Authorities of its requests.
    pub authorities: Vec<Authority>,
    /// Versions. The baseline is the first.
    pub versions: Vec<Version>,
    /// Whether the filter or the mesh splits the traffic.
    #[serde(skip_serializing_if = "is_default")]
    pub split: Split,
    /// How the filter passes the chosen version to the routes.
    #[serde(skip_serializing_if = "is_default")]
    pub route: Route,
    /// Sticky keys. The filter uses the first that the request has.
    #[serde(skip_serializing_if = "is_default")]
    pub sticky: Vec<Sticky>,
    /// Correlation keys for requests without a sticky key. The filter uses the first that the
    /// request has, and a random bucket if it has none.
    #[serde(skip_serializing_if = "is_default")]
    pub correlation: Vec<Correlation>,
    /// Key of the identity hash. A different salt gives the candidate different users.
    #[serde(skip_serializing_if = "is_default")]
    pub salt: String,
    /// The bucket table. The counts add up to 1,000,000. Empty if the mesh splits.
    #[serde(skip_serializing_if = "is_default")]
    pub buckets: Vec<BucketRange>,
    /// Exceptions from the split. The filter applies the first that matches.
    #[serde(skip_serializing_if = "is_default")]
    pub rules: Vec<Rule>,
    /// Requests that may override the version or propagate a bucket. None by default.
    #[serde(skip_serializing_if = "is_default")]
    pub trust: Trust,
    /// Header and cookie by which trusted requests override the version.
    #[serde(rename = "override", skip_serializing_if = "is_default")]
    pub override_: Override,
    /// Name of a response header with the version that served and the reason.
    #[serde(skip_serializing_if = "is_default")]
    pub reveal: Option<String>,
    /// Responses that count as failures.
    #[serde(skip_serializing_if = "is_default")]
    pub failures: Failures,
    /// Milliseconds without a response after which a request is overdue.
    #[serde(rename = "overdueMs")]
    pub overdue_ms: u32,
    /// Stops requests to a failing version without the controller.
    #[serde(skip_serializing_if = "is_default")]
    pub tripwire: Option<Tripwire>,
    /// The A/A test that runs before the candidate receives requests.
    #[serde(rename = "aaTest", skip_serializing_if = "is_default")]
    pub aa_test: Option<AaTest>,
}

fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

pub(super) fn default_overdue_ms() -> u32 {
    5_000
}

/// A version and its cluster.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Version {
    /// Value of the version header, and statistics label.
    pub name: VersionName,
    /// The Envoy cluster of this version, which identifies the version that served. Istio
    /// has one per subset, such as `outbound|80|v2|shop.prod.svc.cluster.local`.
    pub cluster: String,
}

/// Splits the requests between versions.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum Split {
    /// The filter selects the version.
    #[default]
    Filter,
    /// The mesh's own weights split. The filter observes which cluster served.
    Mesh,
}

/// How the filter passes the chosen version to the routes.
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

/// A range of buckets of one version.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct BucketRange {
    /// One of the service's versions.
    pub version: VersionName,
    /// Number of buckets.
    pub count: u32,
}

/// An authority (`Host`) of a service: `shop.example` (any port), `shop.example:8080`,
/// `*.shop.example` or `*`. The most specific one applies.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(transparent)]
pub struct Authority(pub String);

/// A sticky key: a source of the user's identity.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub enum Sticky {
    /// The value of this request header, by its lower-case name.
    Header(String),
    /// The value of this cookie.
    Cookie(String),
    /// The value of a cookie that the filter issues to clients without one.
    IdentityCookie(IdentityCookie),
    /// The source address of the request, without the port.
    SourceAddress,
}

/// A cookie issued by the filter.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct IdentityCookie {
    /// Name of the cookie.
    pub name: String,
    /// `Max-Age` in seconds.
    pub max_age_seconds: u32,
    /// Whether the cookie has the attribute `Secure`.
    #[cfg_attr(feature = "schema", schemars(default))]
    pub secure: bool,
}

/// A correlation key: shared by the requests of one call graph if applications forward it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub enum Correlation {
    /// The bucket in `tracestate`. Accepted from trusted sources only, and propagated.
    Tracestate,
    /// The trace id of `traceparent` (W3C Trace Context).
    TraceId,
    /// `x-request-id`, which Envoy generates if absent.
    RequestId,
}

/// An exception from the split. Its requests are excluded from the comparison, as the assignment
/// is not random.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Rule {
    /// Conditions on the request.
    pub when: RuleMatch,
    /// Action for a matching request.
    pub then: RuleAction,
}

/// Conditions on a request. At least one is required, and all must hold.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct RuleMatch {
    /// The request has this header.
    #[serde(skip_serializing_if = "is_default")]
    pub header: Option<KeyValueMatch>,
    /// The request has this cookie.
    #[serde(skip_serializing_if = "is_default")]
    pub cookie: Option<KeyValueMatch>,
    /// The path has this prefix.
    #[serde(skip_serializing_if = "is_default")]
    pub path_prefix: Option<String>,
    /// The method equals this.
    #[serde(skip_serializing_if = "is_default")]
    pub method: Option<String>,
}

/// Matches a header or a cookie.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct KeyValueMatch {
    /// Name. Header names are lower-case.
    pub name: String,
    /// Exact value. Any value if absent.
    #[serde(skip_serializing_if = "is_default")]
    pub value: Option<String>,
}

/// Action for a request that matches a rule.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub enum RuleAction {
    /// Routes the request to this version.
    Version(VersionName),
    /// Routes the request as without serin, and counts no outcome.
    Bypass,
}

/// Identifies requests that may override the version or propagate a bucket.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Trust {
    /// Trusted networks, such as `10.0.0.0/8`.
    #[serde(skip_serializing_if = "is_default")]
    #[cfg_attr(feature = "schema", schemars(default))]
    pub sources: Vec<String>,
    /// A secret that authorizes an override: `v2:SECRET`.
    #[serde(skip_serializing_if = "is_default")]
    pub token: Option<String>,
}

/// Header and cookie by which trusted requests override the version.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Override {
    /// Lower-case name of a request header. The filter removes it from every request.
    #[serde(skip_serializing_if = "is_default")]
    pub header: Option<String>,
    /// Name of a cookie.
    #[serde(skip_serializing_if = "is_default")]
    pub cookie: Option<String>,
}

/// Responses that count as failures. Resets, timeouts and connection failures always do.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Failures {
    /// Statuses such as `429`, `500-504` or `5xx`; `5xx` by default.
    #[serde(skip_serializing_if = "is_default")]
    pub status: Option<Vec<String>>,
    /// gRPC status codes; 2, 4, 13, 14 and 15 by default.
    #[serde(skip_serializing_if = "is_default")]
    pub grpc: Option<Vec<u32>>,
}

/// Stops requests to a failing version without the controller.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Tripwire {
    /// Tolerated share of failed or overdue requests, in parts per million.
    pub tolerated_ppm: u32,
}

/// An A/A test; see [`crate::aa_test`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct AaTest {
    /// Salts to compare.
    pub salts: Vec<String>,
    /// Weights of the candidate in future steps, in parts per million, ascending.
    pub slices: Vec<u32>,
}
