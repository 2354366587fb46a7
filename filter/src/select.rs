//! Selects the version of a request. Equal keys select the same version in every worker, every
//! proxy and the controller.
//!
//! In order of precedence: a trusted override, a rule, the bucket of a sticky key, the bucket of a
//! correlation key, a random bucket. The bucket table maps the bucket to a version.

use crate::aa_test::{NO_SLICES, SliceMembership};
use crate::authority::without_port;
use crate::bucket::scale;
use crate::config::wire::{Correlation, Sticky};
use crate::config::{Service, SplitMode};
use crate::request::Request;
use crate::trace;

/// Why the filter selected a version.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(usize)]
pub enum Reason {
    /// A trusted override.
    Override,
    /// A rule.
    Rule,
    /// Identity in a header.
    Header,
    /// Identity in a cookie.
    Cookie,
    /// Identity in the cookie that the filter issues.
    IdentityCookie,
    /// Source address.
    SourceAddress,
    /// Bucket in `tracestate`.
    Tracestate,
    /// Trace id.
    TraceId,
    /// Request id.
    RequestId,
    /// Random bucket.
    Random,
    /// The tripwire tripped the version of the bucket.
    Tripwire,
}

impl Reason {
    /// All reasons, in the order of their discriminants.
    pub const ALL: [Self; 11] = [
        Self::Override,
        Self::Rule,
        Self::Header,
        Self::Cookie,
        Self::IdentityCookie,
        Self::SourceAddress,
        Self::Tracestate,
        Self::TraceId,
        Self::RequestId,
        Self::Random,
        Self::Tripwire,
    ];

    /// The value of the label `reason`.
    #[must_use]
    pub fn label(self) -> &'static str {
        match self {
            Self::Override => "override",
            Self::Rule => "rule",
            Self::Header => "header",
            Self::Cookie => "cookie",
            Self::IdentityCookie => "identity-cookie",
            Self::SourceAddress => "source-address",
            Self::Tracestate => "tracestate",
            Self::TraceId => "trace-id",
            Self::RequestId => "request-id",
            Self::Random => "random",
            Self::Tripwire => "tripwire",
        }
    }

    /// Whether an override or a rule pinned the version. Pinned requests are excluded from the
    /// comparison, as their assignment is not random.
    #[must_use]
    pub fn is_pinned(self) -> bool {
        matches!(self, Self::Override | Self::Rule)
    }
}

/// The result of selection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Selection {
    /// A rule bypasses the filter.
    Bypass,
    /// The mesh splits.
    Observe,
    /// The filter assigns a version.
    Version(Assignment),
}

/// The assignment of a request to a version.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Assignment {
    /// Index of the version.
    pub version: usize,
    /// Why the filter selected it.
    pub reason: Reason,
    /// The bucket, unless the version is pinned.
    pub bucket: Option<u32>,
    /// A new identity for the client.
    pub new_identity: Option<String>,
    /// The user's slices of the A/A test.
    pub slices: SliceMembership,
}

/// Selects the version of a request to `service`.
#[must_use]
pub fn select(service: &Service, request: &impl Request) -> Selection {
    let SplitMode::Filter(table) = &service.split_mode else { return Selection::Observe };
    let pinned = |version, reason| {
        Selection::Version(Assignment {
            version,
            reason,
            bucket: None,
            new_identity: None,
            slices: NO_SLICES,
        })
    };
    if let Some(version) = override_version(service, request) {
        return pinned(version, Reason::Override);
    }
    if let Some(rule) = service.rules.iter().find(|rule| rule.matches(request)) {
        return rule.version.map_or(Selection::Bypass, |version| pinned(version, Reason::Rule));
    }
    let Key { bucket, reason, new_identity, slices } = sticky_key(service, request)
        .or_else(|| correlation_key(service, request))
        .unwrap_or_else(|| Key::new(scale(request.random()), Reason::Random));
    let version = table.version(bucket);
    Selection::Version(Assignment { version, reason, bucket: Some(bucket), new_identity, slices })
}

/// The version of a trusted override.
fn override_version(service: &Service, request: &impl Request) -> Option<usize> {
    let header = || request.header(service.override_.header.as_ref()?);
    let cookie = || request.cookie(service.override_.cookie.as_ref()?);
    [header(), cookie()].into_iter().flatten().find_map(|value| {
        let (name, token) = match value.iter().position(|byte| *byte == b':') {
            Some(colon) => (value.get(..colon)?, value.get(colon + 1..)),
            None => (&value[..], None),
        };
        let version = service.versions.iter().position(|v| v.name.as_str().as_bytes() == name)?;
        let trusted = token.is_some_and(|token| service.trust.accepts_token(token))
            || service.trust.accepts_source(request);
        trusted.then_some(version)
    })
}

struct Key {
    bucket: u32,
    reason: Reason,
    new_identity: Option<String>,
    slices: SliceMembership,
}

impl Key {
    fn new(bucket: u32, reason: Reason) -> Self {
        Self { bucket, reason, new_identity: None, slices: NO_SLICES }
    }

    fn from_identity(service: &Service, identity: &[u8], reason: Reason) -> Self {
        let slices = service.aa_test.as_ref().map(|test| test.membership(identity));
        let slices = slices.unwrap_or(NO_SLICES);
        Self { slices, ..Self::new(service.bucketing.bucket(identity), reason) }
    }
}

/// The first sticky key that the request has.
fn sticky_key(service: &Service, request: &impl Request) -> Option<Key> {
    service.sticky.iter().find_map(|source| {
        let (identity, reason) = match source {
            Sticky::Header(name) => (request.header(name)?, Reason::Header),
            Sticky::Cookie(name) => (request.cookie(name)?, Reason::Cookie),
            Sticky::SourceAddress => {
                let source = request.source().filter(|source| !source.is_empty())?;
                (without_port(&source).to_vec(), Reason::SourceAddress)
            }
            Sticky::IdentityCookie(cookie) => match request.cookie(&cookie.name) {
                Some(identity) => (identity, Reason::IdentityCookie),
                None => return Some(issue_identity(service, request)),
            },
        };
        Some(Key::from_identity(service, &identity, reason))
    })
}

/// Creates an identity, which already determines the version of this request.
fn issue_identity(service: &Service, request: &impl Request) -> Key {
    let identity = format!("{:016x}{:016x}", request.random(), request.random());
    let key = Key::from_identity(service, identity.as_bytes(), Reason::IdentityCookie);
    Key { new_identity: Some(identity), ..key }
}

/// The first correlation key that the request has.
fn correlation_key(service: &Service, request: &impl Request) -> Option<Key> {
    let bucket = |identity: &[u8]| service.bucketing.bucket(identity);
    service.correlation.iter().find_map(|correlation| match correlation {
        Correlation::Tracestate => {
            let bucket = trace::parse_bucket(&request.header("tracestate")?)?;
            service.trust.accepts_source(request).then(|| Key::new(bucket, Reason::Tracestate))
        }
        Correlation::TraceId => {
            let parent = request.header("traceparent")?;
            Some(Key::new(bucket(trace::trace_id(&parent)?), Reason::TraceId))
        }
        Correlation::RequestId => {
            let id = trace::normalize_request_id(request.header("x-request-id")?);
            Some(Key::new(bucket(&id), Reason::RequestId))
        }
    })
}

#[cfg(test)]
mod tests;
