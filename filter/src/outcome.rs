//! What became of a request, as the caller saw it. Pure.

use serde::{Deserialize, Serialize};

use crate::blame::Blame;

/// Envoy's response flags that say who ended a stream (`CoreResponseFlag` in Envoy's `stream_info.h`: one bit each, in order).
mod flag {
    /// The client closed its connection, or reset its stream.
    pub(super) const CLIENT_GONE: u64 = 1 << 14 | 1 << 28;
    /// The route's timeout, the longest time without a byte, the longest stream, the longest request.
    pub(super) const TIMEOUT: u64 = 1 << 2 | 1 << 16 | 1 << 19 | 1 << 22;
    /// The connection to the upstream was refused or timed out.
    pub(super) const CONNECT: u64 = 1 << 5;
    /// Local reset, upstream remote reset, connection termination, protocol error (which a close in mid-body is on HTTP/1).
    pub(super) const RESET: u64 = 1 << 3 | 1 << 4 | 1 << 6 | 1 << 23;
    /// No healthy upstream, overflow of the circuit breaker.
    pub(super) const UNAVAILABLE: u64 = 1 << 1 | 1 << 7;
    /// No route, no such cluster.
    pub(super) const UNROUTED: u64 = 1 << 8 | 1 << 24;
}

/// The facts of a stream that has ended.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Facts {
    /// Status of the response, if one was begun.
    pub status: Option<u64>,
    /// Envoy's response flags, one bit each.
    pub flags: u64,
    /// The gRPC status, of a gRPC request that got one.
    pub grpc_status: Option<u64>,
}

/// What became of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// Answered. 4xx is an answer: it tells of the request, not of the version.
    Success,
    /// The version's fault.
    Failure(Failure),
    /// The caller went away first. That is not the version's fault, but the time it waited counts.
    Cancelled,
    /// The proxy refused it by itself (not authorised, rate limited, a fault injected): no version has seen it.
    Local,
}

/// The ways in which a version can fail a caller.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
#[repr(usize)]
pub enum Failure {
    /// A status that blames the version, by default 500 and above.
    Status,
    /// A gRPC status that blames the server.
    Grpc,
    /// The connection was reset or closed, before or amid the answer.
    Reset,
    /// No connection could be made.
    Connect,
    /// No answer in the route's time.
    Timeout,
    /// The proxy had no instance to send it to: none healthy, or a full circuit breaker.
    Unavailable,
    /// The proxy had no route for it, or the route led to no cluster.
    Unrouted,
}

impl Failure {
    /// Every way to fail, in the order of their numbers.
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
    /// Classifies a stream that has ended. Whether a version gave the answer is asked only if it was a bad one.
    #[must_use]
    pub fn of(facts: Facts, blame: &Blame, by_a_version: impl FnOnce() -> bool) -> Self {
        let Facts { status, grpc_status, .. } = facts;
        if let Some(outcome) = Self::flagged(facts.flags) {
            return outcome;
        }
        let bad = status.is_some_and(|status| status >= 400);
        let bad_grpc = grpc_status.is_some_and(|code| code != 0);
        if (bad || bad_grpc) && !by_a_version() {
            Self::Local
        } else if status.is_some_and(|status| blame.status(status)) {
            Self::Failure(Failure::Status)
        } else if grpc_status.is_some_and(|code| blame.grpc(code)) {
            Self::Failure(Failure::Grpc)
        } else {
            Self::Success
        }
    }

    /// The outcome of a stream that somebody cut short.
    fn flagged(flags: u64) -> Option<Self> {
        let has = |some: u64| flags & some != 0;
        if has(flag::CLIENT_GONE) {
            return Some(Self::Cancelled);
        }
        let failures = [
            (flag::TIMEOUT, Failure::Timeout),
            (flag::CONNECT, Failure::Connect),
            (flag::RESET, Failure::Reset),
            (flag::UNAVAILABLE, Failure::Unavailable),
            (flag::UNROUTED, Failure::Unrouted),
        ];
        let failure = failures.into_iter().find(|(some, _)| has(*some));
        failure.map(|(_, failure)| Self::Failure(failure))
    }

    /// Whether the request failed because there was no cluster, or no instance of it, to serve it.
    #[must_use]
    pub fn is_for_want_of_a_cluster(self) -> bool {
        matches!(self, Self::Failure(Failure::Unavailable | Failure::Unrouted))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(status: u64, flags: u64) -> Outcome {
        outcome(Facts { status: Some(status), flags, grpc_status: None })
    }

    fn outcome(facts: Facts) -> Outcome {
        Outcome::of(facts, &Blame::default(), || true)
    }

    /// Status and flags as Envoy 1.40 reports them.
    #[test]
    fn http() {
        for (case, status, flags, expected) in [
            ("answered", 200, 0, Outcome::Success),
            ("not found", 404, 0, Outcome::Success),
            ("no route", 404, 0x100, Outcome::Failure(Failure::Unrouted)),
            ("stalled in mid-body", 200, 0x1_0000, Outcome::Failure(Failure::Timeout)),
            ("server error", 500, 0, Outcome::Failure(Failure::Status)),
            ("no healthy upstream", 503, 0x2, Outcome::Failure(Failure::Unavailable)),
            ("route timeout", 504, 0x4, Outcome::Failure(Failure::Timeout)),
            ("refused", 503, 0x20, Outcome::Failure(Failure::Connect)),
            ("reset before headers", 503, 0x40, Outcome::Failure(Failure::Reset)),
            ("overflow", 503, 0x80, Outcome::Failure(Failure::Unavailable)),
            ("retries ran out", 503, 0x8040, Outcome::Failure(Failure::Reset)),
            ("no cluster", 503, 0x100_0000, Outcome::Failure(Failure::Unrouted)),
            ("reset in mid-body, HTTP/1", 200, 0x80_0000, Outcome::Failure(Failure::Reset)),
            ("reset in mid-body, HTTP/2", 200, 0x10, Outcome::Failure(Failure::Reset)),
            ("client gone in mid-body", 200, 0x4000, Outcome::Cancelled),
            ("client reset its stream", 200, 0x1000_0000, Outcome::Cancelled),
        ] {
            assert_eq!(of(status, flags), expected, "{case}");
        }
        let gone = Facts { status: None, flags: 0x4000, grpc_status: None };
        assert_eq!(outcome(gone), Outcome::Cancelled, "client gone before an answer");
    }

    #[test]
    fn grpc() {
        for (code, expected) in [
            (0, Outcome::Success),
            (5, Outcome::Success),
            (13, Outcome::Failure(Failure::Grpc)),
            (u64::MAX, Outcome::Success),
        ] {
            let facts = Facts { status: Some(200), flags: 0, grpc_status: Some(code) };
            assert_eq!(outcome(facts), expected, "{code}");
        }
    }

    #[test]
    fn a_refusal_of_the_proxy_itself_is_nobodys_fault() {
        let local = |status, flags, grpc_status| {
            let facts = Facts { status: Some(status), flags, grpc_status };
            Outcome::of(facts, &Blame::default(), || false)
        };
        for status in [403, 429, 500, 503] {
            assert_eq!(local(status, 0, None), Outcome::Local);
        }
        assert_eq!(local(200, 0, Some(14)), Outcome::Local);
        assert_eq!(local(200, 0, Some(0)), Outcome::Success);
        assert_eq!(local(504, 4, None), Outcome::Failure(Failure::Timeout));
    }

    #[test]
    fn a_good_answer_needs_no_question() {
        let facts = Facts { status: Some(200), flags: 0, grpc_status: Some(0) };
        let outcome = Outcome::of(facts, &Blame::default(), || unreachable!("not asked"));
        assert_eq!(outcome, Outcome::Success);
    }

    #[test]
    fn a_caller_that_went_away_first_is_not_a_failure_whatever_else_is_flagged() {
        assert_eq!(of(504, 0x4004), Outcome::Cancelled);
    }
}
