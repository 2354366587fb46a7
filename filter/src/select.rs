//! Which version answers a request. Pure: the same key gives the same version in every worker, every proxy and the controller.
//!
//! In this order: an override by somebody trusted, a rule, the bucket of the user's identity, the bucket of what the call graph has
//! in common, a random bucket. The table of the configuration says which version has the bucket.

use crate::authority::without_port;
use crate::bucket::scale;
use crate::config::wire::{Correlation, Sticky};
use crate::config::{Service, Splitting};
use crate::request::Request;
use crate::trace;
use crate::watch::{NOWHERE, Places};

/// Why a request got its version.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(usize)]
pub enum Reason {
    /// Somebody trusted asked for it.
    Override,
    /// A rule.
    Rule,
    /// The user's identity in a header.
    Header,
    /// The user's identity in a cookie.
    Cookie,
    /// The user's identity in the cookie that the filter issues.
    IdentityCookie,
    /// The address it came from.
    SourceAddress,
    /// The bucket in `tracestate`.
    Tracestate,
    /// The trace id.
    TraceId,
    /// The request id.
    RequestId,
    /// Chance.
    Random,
    /// The tripwire keeps requests from the version that it would have got.
    Tripwire,
}

impl Reason {
    /// Every reason, in the order of their numbers.
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

    /// Whether somebody picked the version. What was picked is not compared with what fell to a version by chance.
    #[must_use]
    pub fn is_picked(self) -> bool {
        matches!(self, Self::Override | Self::Rule)
    }
}

/// What is decided about a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Selection {
    /// A rule says to leave it alone.
    Bypass,
    /// The mesh chooses.
    Observe,
    /// A version is chosen.
    Version(Choice),
}

/// A choice of version.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Choice {
    /// Index of the version.
    pub version: usize,
    /// Why it was chosen.
    pub reason: Reason,
    /// The bucket, if one decided.
    pub bucket: Option<u32>,
    /// An identity that the user has to be given.
    pub issued: Option<String>,
    /// Where the user is in the slices that are [watched](crate::watch), if any are.
    pub places: Places,
}

/// Decides about a request for `service`.
#[must_use]
pub fn select(service: &Service, request: &impl Request) -> Selection {
    let Splitting::Filter(table) = &service.splitting else { return Selection::Observe };
    let picked = |version, reason| {
        Selection::Version(Choice { version, reason, bucket: None, issued: None, places: NOWHERE })
    };
    if let Some(version) = overridden(service, request) {
        return picked(version, Reason::Override);
    }
    if let Some(rule) = service.rules.iter().find(|rule| rule.matches(request)) {
        return rule.version.map_or(Selection::Bypass, |version| picked(version, Reason::Rule));
    }
    let Key { bucket, reason, issued, places } = sticky(service, request)
        .or_else(|| correlated(service, request))
        .unwrap_or_else(|| Key::of(scale(request.random()), Reason::Random));
    let version = table.version(bucket);
    Selection::Version(Choice { version, reason, bucket: Some(bucket), issued, places })
}

/// The version that somebody trusted asks for.
fn overridden(service: &Service, request: &impl Request) -> Option<usize> {
    let header = || request.header(service.override_.header.as_ref()?);
    let cookie = || request.cookie(service.override_.cookie.as_ref()?);
    [header(), cookie()].into_iter().flatten().find_map(|wish| {
        let (name, token) = match wish.iter().position(|byte| *byte == b':') {
            Some(colon) => (wish.get(..colon)?, wish.get(colon + 1..)),
            None => (&wish[..], None),
        };
        let version = service.versions.iter().position(|v| v.name.as_str().as_bytes() == name)?;
        let trusted =
            token.is_some_and(|token| service.trust.token(token)) || service.trust.source(request);
        trusted.then_some(version)
    })
}

struct Key {
    bucket: u32,
    reason: Reason,
    issued: Option<String>,
    places: Places,
}

impl Key {
    fn of(bucket: u32, reason: Reason) -> Self {
        Self { bucket, reason, issued: None, places: NOWHERE }
    }

    fn of_user(service: &Service, identity: &[u8], reason: Reason) -> Self {
        let places = service.watch.as_ref().map(|watch| watch.places(identity));
        let places = places.unwrap_or(NOWHERE);
        Self { places, ..Self::of(service.bucketing.bucket(identity), reason) }
    }
}

/// The bucket of the user, by the first source that knows who it is.
fn sticky(service: &Service, request: &impl Request) -> Option<Key> {
    service.sticky.iter().find_map(|source| {
        let (identity, reason) = match source {
            Sticky::Header(name) => (request.telling_header(name)?, Reason::Header),
            Sticky::Cookie(name) => (request.cookie(name)?, Reason::Cookie),
            Sticky::SourceAddress => {
                let source = request.source().filter(|source| !source.is_empty())?;
                (without_port(&source).to_vec(), Reason::SourceAddress)
            }
            Sticky::IdentityCookie(cookie) => match request.cookie(&cookie.name) {
                Some(identity) => (identity, Reason::IdentityCookie),
                None => return Some(introduce(service, request)),
            },
        };
        Some(Key::of_user(service, &identity, reason))
    })
}

/// A new identity, by which the user is known from the first request on.
fn introduce(service: &Service, request: &impl Request) -> Key {
    let identity = format!("{:016x}{:016x}", request.random(), request.random());
    let key = Key::of_user(service, identity.as_bytes(), Reason::IdentityCookie);
    Key { issued: Some(identity), ..key }
}

/// The bucket of the call graph that the request belongs to.
fn correlated(service: &Service, request: &impl Request) -> Option<Key> {
    let bucket = |identity: &[u8]| service.bucketing.bucket(identity);
    service.correlation.iter().find_map(|correlation| match correlation {
        Correlation::Tracestate => {
            let bucket = trace::bucket(&request.header("tracestate")?)?;
            service.trust.source(request).then(|| Key::of(bucket, Reason::Tracestate))
        }
        Correlation::TraceId => {
            let parent = request.header("traceparent")?;
            Some(Key::of(bucket(trace::trace_id(&parent)?), Reason::TraceId))
        }
        Correlation::RequestId => {
            let id = trace::request_id(request.telling_header("x-request-id")?);
            Some(Key::of(bucket(&id), Reason::RequestId))
        }
    })
}

#[cfg(test)]
mod tests;
