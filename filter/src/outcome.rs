//! Classifies the outcome of a request as the caller saw it.

use serde::{Deserialize, Serialize};

use crate::blame::Blame;

/// Envoy's response flags (`CoreResponseFlag` in Envoy's `stream_info.h`, one bit each, in order).
mod flag {
    /// Downstream connection termination, downstream remote reset.
    pub(super) const DOWNSTREAM_RESET: u64 = 1 << 14 | 1 << 28;
    /// Upstream request timeout, stream idle timeout, maximum duration, overall request timeout.
    pub(super) const TIMEOUT: u64 = 1 << 2 | 1 << 16 | 1 << 19 | 1 << 22;
    /// Upstream connection failure.
    pub(super) const CONNECT: u64 = 1 << 5;
    /// Local reset, upstream remote reset, upstream connection termination, upstream protocol
    /// error (a connection closed in mid-body, on HTTP/1).
    pub(super) const RESET: u64 = 1 << 3 | 1 << 4 | 1 << 6 | 1 << 23;
    /// No healthy upstream, upstream overflow (circuit breaker).
    pub(super) const UNAVAILABLE: u64 = 1 << 1 | 1 << 7;
    /// No route found, no cluster found.
    pub(super) const UNROUTED: u64 = 1 << 8 | 1 << 24;
}

/// Response data of a stream that has ended.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ResponseInfo {
    /// Status of the response, if it started.
    pub status: Option<u64>,
    /// Envoy's response flags, one bit each.
    pub flags: u64,
    /// gRPC status, for gRPC requests only.
    pub grpc_status: Option<u64>,
}

/// The outcome of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// A response that does not count as a failure. 4xx is a client error, unless configured.
    Success,
    /// A failure of the version.
    Failure(Failure),
    /// The caller disconnected first. Its latency counts.
    Cancelled,
    /// A filter in the proxy rejected the request (authorization, rate limit, injected fault).
    LocalReply,
}

/// Kinds of failure of a version.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
#[repr(usize)]
pub enum Failure {
    /// An HTTP status, by default 5xx.
    Status,
    /// A gRPC status of a server error.
    Grpc,
    /// The upstream reset the stream or closed the connection, before or during the response.
    Reset,
    /// The proxy failed to connect to the upstream.
    Connect,
    /// A timeout of the route or the stream.
    Timeout,
    /// No healthy upstream, or an open circuit breaker.
    Unavailable,
    /// No route, or no such cluster.
    Unrouted,
}

impl Failure {
    /// All kinds, in the order of their discriminants.
    pub const ALL: [Self; 7] = [
        Self::Status,
        Self::Grpc,
        Self::Reset,
        Self::Connect,
        Self::Timeout,
        Self::Unavailable,
        Self::Unrouted,
    ];

    /// The value of the label `kind`.
    #[must_use]
    pub fn label(self) -> &'static str {
        match self {
            Self::Status => "status",
            Self::Grpc => "grpc",
            Self::Reset => "reset",
            Self::Connect => "connect",
            Self::Timeout => "timeout",
            Self::Unavailable => "unavailable",
            Self::Unrouted => "unrouted",
        }
    }
}

impl Outcome {
    /// Classifies a stream that has ended. Calls `from_upstream` only for an error response.
    #[must_use]
    pub fn classify(
        response: ResponseInfo,
        blame: &Blame,
        from_upstream: impl FnOnce() -> bool,
    ) -> Self {
        let ResponseInfo { status, grpc_status, flags } = response;
        if let Some(outcome) = Self::from_flags(flags) {
            return outcome;
        }
        let http_error = status.is_some_and(|status| status >= 400);
        let grpc_error = grpc_status.is_some_and(|code| code != 0);
        if (http_error || grpc_error) && !from_upstream() {
            Self::LocalReply
        } else if status.is_some_and(|status| blame.blames_status(status)) {
            Self::Failure(Failure::Status)
        } else if grpc_status.is_some_and(|code| blame.blames_grpc(code)) {
            Self::Failure(Failure::Grpc)
        } else {
            Self::Success
        }
    }

    /// The outcome of a stream that ended early.
    fn from_flags(flags: u64) -> Option<Self> {
        let has = |mask: u64| flags & mask != 0;
        if has(flag::DOWNSTREAM_RESET) {
            return Some(Self::Cancelled);
        }
        let failures = [
            (flag::TIMEOUT, Failure::Timeout),
            (flag::CONNECT, Failure::Connect),
            (flag::RESET, Failure::Reset),
            (flag::UNAVAILABLE, Failure::Unavailable),
            (flag::UNROUTED, Failure::Unrouted),
        ];
        let failure = failures.into_iter().find(|(mask, _)| has(*mask));
        failure.map(|(_, failure)| Self::Failure(failure))
    }

    /// Whether the request failed for lack of a cluster or of a healthy upstream.
    #[must_use]
    pub fn lacks_upstream(self) -> bool {
        matches!(self, Self::Failure(Failure::Unavailable | Failure::Unrouted))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn classify_http(status: u64, flags: u64) -> Outcome {
        classify(ResponseInfo { status: Some(status), flags, grpc_status: None })
    }

    fn classify(response: ResponseInfo) -> Outcome {
        Outcome::classify(response, &Blame::default(), || true)
    }

    /// Status and flags as Envoy 1.40 reports them.
    #[test]
    fn status_and_flags_determine_the_outcome() {
        for (case, status, flags, expected) in [
            ("success", 200, 0, Outcome::Success),
            ("not found", 404, 0, Outcome::Success),
            ("no route", 404, 0x100, Outcome::Failure(Failure::Unrouted)),
            ("stalled in mid-body", 200, 0x1_0000, Outcome::Failure(Failure::Timeout)),
            ("server error", 500, 0, Outcome::Failure(Failure::Status)),
            ("no healthy upstream", 503, 0x2, Outcome::Failure(Failure::Unavailable)),
            ("route timeout", 504, 0x4, Outcome::Failure(Failure::Timeout)),
            ("connection refused", 503, 0x20, Outcome::Failure(Failure::Connect)),
            ("reset before headers", 503, 0x40, Outcome::Failure(Failure::Reset)),
            ("overflow", 503, 0x80, Outcome::Failure(Failure::Unavailable)),
            ("retry limit exceeded", 503, 0x8040, Outcome::Failure(Failure::Reset)),
            ("no cluster", 503, 0x100_0000, Outcome::Failure(Failure::Unrouted)),
            ("reset in mid-body, HTTP/1", 200, 0x80_0000, Outcome::Failure(Failure::Reset)),
            ("reset in mid-body, HTTP/2", 200, 0x10, Outcome::Failure(Failure::Reset)),
            ("disconnect in mid-body", 200, 0x4000, Outcome::Cancelled),
            ("client reset its stream", 200, 0x1000_0000, Outcome::Cancelled),
        ] {
            assert_eq!(classify_http(status, flags), expected, "{case}");
        }
        let disconnected = ResponseInfo { status: None, flags: 0x4000, grpc_status: None };
        assert_eq!(classify(disconnected), Outcome::Cancelled, "disconnect before a response");
    }

    #[test]
    fn the_grpc_code_determines_the_outcome() {
        for (code, expected) in [
            (0, Outcome::Success),
            (5, Outcome::Success),
            (13, Outcome::Failure(Failure::Grpc)),
            (u64::MAX, Outcome::Success),
        ] {
            let response = ResponseInfo { status: Some(200), flags: 0, grpc_status: Some(code) };
            assert_eq!(classify(response), expected, "{code}");
        }
    }

    #[test]
    fn a_local_reply_is_not_a_failure() {
        let local = |status, flags, grpc_status| {
            let response = ResponseInfo { status: Some(status), flags, grpc_status };
            Outcome::classify(response, &Blame::default(), || false)
        };
        for status in [403, 429, 500, 503] {
            assert_eq!(local(status, 0, None), Outcome::LocalReply);
        }
        assert_eq!(local(200, 0, Some(14)), Outcome::LocalReply);
        assert_eq!(local(200, 0, Some(0)), Outcome::Success);
        assert_eq!(local(504, 4, None), Outcome::Failure(Failure::Timeout));
    }

    #[test]
    fn a_success_does_not_read_the_response_details() {
        let response = ResponseInfo { status: Some(200), flags: 0, grpc_status: Some(0) };
        let outcome = Outcome::classify(response, &Blame::default(), || unreachable!("read"));
        assert_eq!(outcome, Outcome::Success);
    }

    #[test]
    fn a_downstream_disconnect_takes_precedence_over_other_flags() {
        assert_eq!(classify_http(504, 0x4004), Outcome::Cancelled);
    }
}
