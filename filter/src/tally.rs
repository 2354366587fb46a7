//! What happened since the last flush, per version, in plain memory.
//!
//! A host call costs about as much as everything else the filter does for a request, so counts are kept here and handed to the
//! proxy's statistics on each tick: the hot path makes none.

use crate::histogram;
use crate::outcome::{Failure, Outcome};
use crate::select::Reason;
use crate::stat::{CLASSES, Stat};

/// Counts of one version since the last flush.
#[derive(Debug, Clone)]
pub struct Tally {
    chosen: [u32; Reason::ALL.len()],
    misrouted: u32,
    elsewhere: u32,
    failures: [u32; Failure::ALL.len()],
    cancelled: u32,
    answers: [u32; CLASSES],
    /// Not cumulative: here one request is one increment.
    latency: [u32; histogram::BUCKETS],
    first_byte: [u32; histogram::BUCKETS],
    overdue: u32,
    local: u32,
    picked: u32,
    picked_failures: u32,
    changed: bool,
}

impl Default for Tally {
    fn default() -> Self {
        Self {
            chosen: [0; Reason::ALL.len()],
            misrouted: 0,
            elsewhere: 0,
            failures: [0; Failure::ALL.len()],
            cancelled: 0,
            answers: [0; CLASSES],
            latency: [0; histogram::BUCKETS],
            first_byte: [0; histogram::BUCKETS],
            overdue: 0,
            local: 0,
            picked: 0,
            picked_failures: 0,
            changed: false,
        }
    }
}

/// A request that a version served and that has ended.
#[derive(Debug, Clone, Copy)]
pub struct Served {
    /// What became of it.
    pub outcome: Outcome,
    /// Status of the answer, if one was begun.
    pub status: Option<u64>,
    /// From its headers to the headers of the answer, in microseconds.
    pub first_byte_us: Option<u64>,
    /// From its headers to its end, in microseconds.
    pub latency_us: u64,
    /// Whether somebody picked the version.
    pub picked: bool,
}

/// The status of an answer that made the connection another protocol's: how long that lasts is up to the caller.
const SWITCHING_PROTOCOLS: u64 = 101;

impl Tally {
    /// Counts a choice, when it is made: what was chosen but has not ended is in flight.
    pub fn choose(&mut self, reason: Reason) {
        self.changed = true;
        bump(&mut self.chosen, reason as usize);
    }

    /// Counts a request that was to go to this version and that another version's cluster served.
    pub fn misroute(&mut self) {
        self.changed = true;
        self.misrouted += 1;
    }

    /// Counts a request that was to go to this version and that no version's cluster served.
    pub fn lead_elsewhere(&mut self) {
        self.changed = true;
        self.elsewhere += 1;
    }

    /// Counts requests that wait for too long.
    pub fn overdue(&mut self, requests: u32) {
        self.changed |= requests > 0;
        self.overdue += requests;
    }

    /// Counts a request that this version served, once, when it has ended.
    pub fn serve(&mut self, served: Served) {
        self.changed = true;
        let failure = match served.outcome {
            Outcome::Failure(failure) => Some(failure),
            Outcome::Success | Outcome::Cancelled => None,
            Outcome::Local => {
                self.local += 1;
                return;
            }
        };
        if served.picked {
            self.picked += 1;
            self.picked_failures += u32::from(failure.is_some());
            return;
        }
        if let Some(failure) = failure {
            bump(&mut self.failures, failure as usize);
        }
        self.cancelled += u32::from(served.outcome == Outcome::Cancelled);
        if let Some(class) = served.status.and_then(|status| usize::try_from(status / 100).ok()) {
            bump(&mut self.answers, class.wrapping_sub(1));
        }
        let latency_us = match served.first_byte_us {
            Some(first_byte_us) if served.status == Some(SWITCHING_PROTOCOLS) => first_byte_us,
            _ => served.latency_us,
        };
        bump(&mut self.latency, histogram::bucket(latency_us));
        if let Some(first_byte_us) = served.first_byte_us {
            bump(&mut self.first_byte, histogram::bucket(first_byte_us));
        }
    }

    /// Hands what was counted to `increment`, as (statistic, by how much), and starts again from zero.
    pub fn drain(&mut self, mut increment: impl FnMut(Stat, u64)) {
        if !self.changed {
            return;
        }
        let counts = std::mem::take(self);
        let mut report = |stat, count: u64| {
            if count > 0 {
                increment(stat, count);
            }
        };
        for (reason, count) in Reason::ALL.into_iter().zip(counts.chosen) {
            report(Stat::Chosen(reason), count.into());
        }
        for (failure, count) in Failure::ALL.into_iter().zip(counts.failures) {
            report(Stat::Failures(failure), count.into());
        }
        for (class, count) in (1..).zip(counts.answers) {
            report(Stat::Answers(class), count.into());
        }
        let requests = cumulate(&counts.latency, |bucket, sum| {
            report(Stat::LatencyBucket(bucket), sum);
        });
        cumulate(&counts.first_byte, |bucket, sum| report(Stat::FirstByteBucket(bucket), sum));
        for (stat, count) in [
            (Stat::Requests, requests),
            (Stat::Misrouted, counts.misrouted.into()),
            (Stat::Unmatched, counts.elsewhere.into()),
            (Stat::Cancelled, counts.cancelled.into()),
            (Stat::Overdue, counts.overdue.into()),
            (Stat::Local, counts.local.into()),
            (Stat::Pinned, counts.picked.into()),
            (Stat::PinnedFailures, counts.picked_failures.into()),
        ] {
            report(stat, count);
        }
    }
}

fn bump(counts: &mut [u32], index: usize) {
    if let Some(count) = counts.get_mut(index) {
        *count += 1;
    }
}

/// Reports each bucket with the sum up to it, and returns the sum of all.
fn cumulate(buckets: &[u32], mut report: impl FnMut(usize, u64)) -> u64 {
    let mut sum = 0;
    for (bucket, count) in buckets.iter().enumerate() {
        sum += u64::from(*count);
        report(bucket, sum);
    }
    sum
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    const SERVED: Served = Served {
        outcome: Outcome::Success,
        status: Some(200),
        first_byte_us: Some(900),
        latency_us: 1_500,
        picked: false,
    };

    fn drain(mut tally: Tally) -> BTreeMap<Stat, u64> {
        let mut counted = BTreeMap::new();
        tally.drain(|stat, by| assert!(counted.insert(stat, by).is_none()));
        tally.drain(|_, _| panic!("drained twice"));
        counted
    }

    fn tally(requests: &[Served]) -> BTreeMap<Stat, u64> {
        let mut tally = Tally::default();
        requests.iter().for_each(|served| tally.serve(*served));
        let mut counted = drain(tally);
        counted
            .retain(|stat, _| !matches!(stat, Stat::LatencyBucket(_) | Stat::FirstByteBucket(_)));
        counted
    }

    #[test]
    fn each_request_counts_once() {
        let reset = Outcome::Failure(Failure::Reset);
        let failed = Served { outcome: reset, status: None, first_byte_us: None, ..SERVED };
        let cancelled = Served { outcome: Outcome::Cancelled, status: None, ..SERVED };
        let expected = [
            (Stat::Requests, 3),
            (Stat::Failures(Failure::Reset), 1),
            (Stat::Cancelled, 1),
            (Stat::Answers(2), 1),
        ];
        assert_eq!(tally(&[SERVED, failed, cancelled]), expected.into());
    }

    #[test]
    fn what_was_picked_or_refused_is_kept_apart() {
        let failed = Outcome::Failure(Failure::Status);
        let picked = Served { outcome: failed, status: Some(500), picked: true, ..SERVED };
        let local = Served { outcome: Outcome::Local, status: Some(403), ..SERVED };
        let expected = [(Stat::Pinned, 2), (Stat::PinnedFailures, 1), (Stat::Local, 1)];
        let requests = [picked, Served { picked: true, ..SERVED }, local];
        assert_eq!(tally(&requests), expected.into());
    }

    #[test]
    fn choices_and_where_they_led() {
        let mut tally = Tally::default();
        tally.choose(Reason::Header);
        tally.choose(Reason::Header);
        tally.choose(Reason::Random);
        tally.misroute();
        tally.lead_elsewhere();
        tally.overdue(0);
        tally.overdue(3);
        let expected = [
            (Stat::Chosen(Reason::Header), 2),
            (Stat::Chosen(Reason::Random), 1),
            (Stat::Misrouted, 1),
            (Stat::Unmatched, 1),
            (Stat::Overdue, 3),
        ];
        assert_eq!(drain(tally), expected.into());
    }

    #[test]
    fn odd_statuses_are_no_class() {
        for status in [None, Some(0), Some(99), Some(600), Some(u64::MAX)] {
            assert_eq!(tally(&[Served { status, ..SERVED }]), [(Stat::Requests, 1)].into());
        }
    }

    #[test]
    fn histograms_are_reported_cumulatively() {
        let mut tally = Tally::default();
        for latency_us in [90, 1_500, 1_501, u64::MAX] {
            tally.serve(Served { latency_us, first_byte_us: Some(90), ..SERVED });
        }
        let counted = drain(tally);
        let at = |us| counted[&Stat::LatencyBucket(histogram::bucket(us))];
        assert_eq!([at(0), at(1_250), at(1_500), at(2_000), at(u64::MAX)], [1, 1, 2, 3, 4]);
        assert_eq!(counted[&Stat::FirstByteBucket(0)], 4);
    }

    #[test]
    fn how_long_another_protocol_is_spoken_is_no_latency() {
        let mut tally = Tally::default();
        tally.serve(Served { status: Some(101), latency_us: u64::MAX, ..SERVED });
        let counted = drain(tally);
        assert_eq!(counted[&Stat::LatencyBucket(histogram::bucket(900))], 1);
    }
}
