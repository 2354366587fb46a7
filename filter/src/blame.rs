//! Which responses count as failures of the version.

use std::ops::RangeInclusive;

/// HTTP statuses and gRPC codes that count as failures.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Blame {
    statuses: Vec<RangeInclusive<u64>>,
    /// One bit per code.
    grpc: u32,
}

/// UNKNOWN, DEADLINE_EXCEEDED, INTERNAL, UNAVAILABLE and DATA_LOSS: server errors that do not
/// depend on the request (the gRPC project's `statuscodes.md`).
const DEFAULT_GRPC: u32 = 1 << 2 | 1 << 4 | 1 << 13 | 1 << 14 | 1 << 15;

/// The highest gRPC status code.
pub const MAX_GRPC_CODE: u32 = 16;

impl Default for Blame {
    fn default() -> Self {
        Self { statuses: vec![500..=599], grpc: DEFAULT_GRPC }
    }
}

impl Blame {
    /// Replaces the statuses.
    pub fn set_statuses(&mut self, statuses: Vec<RangeInclusive<u64>>) {
        self.statuses = statuses;
    }

    /// Replaces the gRPC codes. Codes above [`MAX_GRPC_CODE`] do not exist.
    pub fn set_grpc(&mut self, codes: &[u32]) {
        self.grpc = codes.iter().fold(0, |set, code| set | 1_u32.checked_shl(*code).unwrap_or(0));
    }

    /// Whether this HTTP status counts as a failure.
    #[must_use]
    pub fn blames_status(&self, status: u64) -> bool {
        self.statuses.iter().any(|range| range.contains(&status))
    }

    /// Whether this gRPC code counts as a failure.
    #[must_use]
    pub fn blames_grpc(&self, code: u64) -> bool {
        u32::try_from(code).is_ok_and(|code| self.grpc.checked_shr(code).unwrap_or(0) & 1 == 1)
    }
}

/// Parses `429`, `500-504`, `4xx` or `5xx`. Statuses are from 400 to 599.
#[must_use]
pub fn parse_statuses(text: &str) -> Option<RangeInclusive<u64>> {
    let (from, to) = match text {
        "4xx" => (400, 499),
        "5xx" => (500, 599),
        _ => {
            let (from, to) = text.split_once('-').unwrap_or((text, text));
            (from.parse().ok()?, to.parse().ok()?)
        }
    };
    (from <= to && from >= 400 && to <= 599).then_some(from..=to)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn server_errors_are_failures_by_default() {
        let blame = Blame::default();
        let grpc: Vec<u64> = (0..=40).filter(|code| blame.blames_grpc(*code)).collect();
        assert_eq!(grpc, [2, 4, 13, 14, 15]);
        assert!([500, 503, 599].into_iter().all(|status| blame.blames_status(status)));
        assert!(![200, 404, 499, 600].into_iter().any(|status| blame.blames_status(status)));
        assert!(!blame.blames_grpc(u64::MAX));
    }

    #[test]
    fn configured_codes_replace_the_defaults() {
        let mut blame = Blame::default();
        blame.set_statuses(["429", "502-504"].map(|text| parse_statuses(text).unwrap()).into());
        blame.set_grpc(&[8, 40]);
        let statuses: Vec<u64> = (0..700).filter(|status| blame.blames_status(*status)).collect();
        assert_eq!(statuses, [429, 502, 503, 504]);
        assert_eq!((0..64).filter(|code| blame.blames_grpc(*code)).collect::<Vec<_>>(), [8]);
    }

    #[test]
    fn invalid_status_ranges_are_rejected() {
        assert_eq!(parse_statuses("4xx"), Some(400..=499));
        for bad in ["", "-", "5XX", "200", "504-500", "500-600", "500-", "x"] {
            assert_eq!(parse_statuses(bad), None, "{bad}");
        }
    }
}
