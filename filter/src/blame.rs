//! Which answers are the version's fault. Pure.

use std::ops::RangeInclusive;

/// Sets of HTTP statuses and of gRPC status codes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Blame {
    statuses: Vec<RangeInclusive<u64>>,
    /// One bit for each code.
    grpc: u32,
}

/// Unknown, deadline exceeded, internal, unavailable and data loss: the codes that tell of the server whatever was asked of it
/// (the gRPC project's `statuscodes.md`).
const GRPC: u32 = 1 << 2 | 1 << 4 | 1 << 13 | 1 << 14 | 1 << 15;

/// The highest gRPC status code.
pub const MAX_GRPC: u32 = 16;

impl Default for Blame {
    fn default() -> Self {
        Self { statuses: vec![500..=599], grpc: GRPC }
    }
}

impl Blame {
    /// Blames these statuses instead.
    pub fn set_statuses(&mut self, statuses: Vec<RangeInclusive<u64>>) {
        self.statuses = statuses;
    }

    /// Blames these gRPC codes instead; those above [`MAX_GRPC`] do not exist.
    pub fn set_grpc(&mut self, codes: &[u32]) {
        self.grpc = codes.iter().fold(0, |set, code| set | 1_u32.checked_shl(*code).unwrap_or(0));
    }

    /// Whether this status is the version's fault.
    #[must_use]
    pub fn status(&self, status: u64) -> bool {
        self.statuses.iter().any(|range| range.contains(&status))
    }

    /// Whether this gRPC status is the version's fault.
    #[must_use]
    pub fn grpc(&self, code: u64) -> bool {
        u32::try_from(code).is_ok_and(|code| self.grpc.checked_shr(code).unwrap_or(0) & 1 == 1)
    }
}

/// Reads `429`, `500-504` or `5xx`; statuses are from 400 to 599.
#[must_use]
pub fn statuses(text: &str) -> Option<RangeInclusive<u64>> {
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
    fn by_default_the_codes_that_blame_the_server() {
        let blame = Blame::default();
        let grpc: Vec<u64> = (0..=40).filter(|code| blame.grpc(*code)).collect();
        assert_eq!(grpc, [2, 4, 13, 14, 15]);
        assert!([500, 503, 599].into_iter().all(|status| blame.status(status)));
        assert!(![200, 404, 499, 600].into_iter().any(|status| blame.status(status)));
        assert!(!blame.grpc(u64::MAX));
    }

    #[test]
    fn others_as_configured() {
        let mut blame = Blame::default();
        blame.set_statuses(["429", "502-504"].map(|text| statuses(text).unwrap()).into());
        blame.set_grpc(&[8, 40]);
        let statuses: Vec<u64> = (0..700).filter(|status| blame.status(*status)).collect();
        assert_eq!(statuses, [429, 502, 503, 504]);
        assert_eq!((0..64).filter(|code| blame.grpc(*code)).collect::<Vec<_>>(), [8]);
    }

    #[test]
    fn what_is_no_set_of_statuses() {
        assert_eq!(statuses("4xx"), Some(400..=499));
        for bad in ["", "-", "5XX", "200", "504-500", "500-600", "500-", "x"] {
            assert_eq!(statuses(bad), None, "{bad}");
        }
    }
}
