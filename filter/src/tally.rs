//! Counts of one version between flushes.
//!
//! A host call is expensive, so requests increment counts in memory and each tick flushes them to
//! the proxy's statistics.

use crate::histogram;
use crate::outcome::{Failure, Outcome};
use crate::select::Reason;
use crate::stat::{CLASSES, Stat};

/// Counts of one version since the last flush.
#[derive(Debug, Clone)]
pub struct Tally {
    chosen: [u32; Reason::ALL.len()],
    misrouted: u32,
    unmatched: u32,
    failures: [u32; Failure::ALL.len()],
    cancelled: u32,
    responses: [u32; CLASSES],
    /// Not cumulative until drained.
    latency: [u32; histogram::BUCKETS],
    first_byte: [u32; histogram::BUCKETS],
    overdue: u32,
    unreadable: u32,
    local_replies: u32,
    pinned: u32,
    pinned_failures: u32,
    dirty: bool,
}

impl Default for Tally {
    fn default() -> Self {
        Self {
            chosen: [0; Reason::ALL.len()],
            misrouted: 0,
            unmatched: 0,
            failures: [0; Failure::ALL.len()],
            cancelled: 0,
            responses: [0; CLASSES],
            latency: [0; histogram::BUCKETS],
            first_byte: [0; histogram::BUCKETS],
            overdue: 0,
            unreadable: 0,
            local_replies: 0,
            pinned: 0,
            pinned_failures: 0,
            dirty: false,
        }
    }
}

/// A completed request that a version served.
#[derive(Debug, Clone, Copy)]
pub struct ServedRequest {
    /// The outcome as the caller saw it.
    pub outcome: Outcome,
    /// Status of the response, if it started.
    pub status: Option<u64>,
    /// Microseconds from the request headers to the response headers.
    pub first_byte_us: Option<u64>,
    /// Microseconds from the request headers to the end of the stream.
    pub latency_us: u64,
    /// Whether an override or a rule pinned the version.
    pub pinned: bool,
}

/// Status of an upgrade. The caller determines the duration of an upgraded connection.
const SWITCHING_PROTOCOLS: u64 = 101;

impl Tally {
    /// Counts a request for which the filter chose this version, at its start.
    pub fn count_chosen(&mut self, reason: Reason) {
        self.dirty = true;
        increment(&mut self.chosen, reason as usize);
    }

    /// Counts a request that another version's cluster served instead.
    pub fn count_misrouted(&mut self) {
        self.dirty = true;
        self.misrouted += 1;
    }

    /// Counts a request that a cluster of no version served instead.
    pub fn count_unmatched(&mut self) {
        self.dirty = true;
        self.unmatched += 1;
    }

    /// Counts overdue requests.
    pub fn count_overdue(&mut self, requests: u32) {
        self.dirty |= requests > 0;
        self.overdue += requests;
    }

    /// Counts an RPC whose status is unreadable.
    pub fn count_unreadable(&mut self) {
        self.dirty = true;
        self.unreadable += 1;
    }

    /// Counts a completed request that this version served.
    pub fn count_served(&mut self, served: ServedRequest) {
        self.dirty = true;
        if served.outcome == Outcome::LocalReply {
            self.local_replies += 1;
            return;
        }
        let latency_us = match served.first_byte_us {
            Some(first_byte_us) if served.status == Some(SWITCHING_PROTOCOLS) => first_byte_us,
            _ => served.latency_us,
        };
        self.count_request(latency_us, served.first_byte_us, served.pinned);
        self.count_end(served.outcome, served.status, served.pinned);
    }

    /// Counts a request that this version serves, before its end.
    pub fn count_request(&mut self, latency_us: u64, first_byte_us: Option<u64>, pinned: bool) {
        self.dirty = true;
        if pinned {
            self.pinned += 1;
            return;
        }
        increment(&mut self.latency, histogram::bucket(latency_us));
        if let Some(first_byte_us) = first_byte_us {
            increment(&mut self.first_byte, histogram::bucket(first_byte_us));
        }
    }

    /// Counts the end of a request that is counted already.
    pub fn count_end(&mut self, outcome: Outcome, status: Option<u64>, pinned: bool) {
        self.dirty = true;
        let failure = match outcome {
            Outcome::Failure(failure) => Some(failure),
            Outcome::Success | Outcome::Cancelled | Outcome::LocalReply => None,
        };
        if pinned {
            self.pinned_failures += u32::from(failure.is_some());
            return;
        }
        if let Some(failure) = failure {
            increment(&mut self.failures, failure as usize);
        }
        self.cancelled += u32::from(outcome == Outcome::Cancelled);
        if let Some(class) = status.and_then(|status| usize::try_from(status / 100).ok()) {
            increment(&mut self.responses, class.wrapping_sub(1));
        }
    }

    /// Passes each statistic and its increment to `report`, and resets the counts.
    pub fn drain(&mut self, mut report: impl FnMut(Stat, u64)) {
        if !self.dirty {
            return;
        }
        let counts = std::mem::take(self);
        let mut report = |stat, count: u64| {
            if count > 0 {
                report(stat, count);
            }
        };
        for (reason, count) in Reason::ALL.into_iter().zip(counts.chosen) {
            report(Stat::Chosen(reason), count.into());
        }
        for (failure, count) in Failure::ALL.into_iter().zip(counts.failures) {
            report(Stat::Failures(failure), count.into());
        }
        for (class, count) in (1..).zip(counts.responses) {
            report(Stat::Responses(class), count.into());
        }
        let requests = cumulate(&counts.latency, |bucket, sum| {
            report(Stat::LatencyBucket(bucket), sum);
        });
        cumulate(&counts.first_byte, |bucket, sum| report(Stat::FirstByteBucket(bucket), sum));
        for (stat, count) in [
            (Stat::Requests, requests),
            (Stat::Misrouted, counts.misrouted.into()),
            (Stat::Unmatched, counts.unmatched.into()),
            (Stat::Cancelled, counts.cancelled.into()),
            (Stat::Overdue, counts.overdue.into()),
            (Stat::Unreadable, counts.unreadable.into()),
            (Stat::LocalReplies, counts.local_replies.into()),
            (Stat::Pinned, counts.pinned.into()),
            (Stat::PinnedFailures, counts.pinned_failures.into()),
        ] {
            report(stat, count);
        }
    }
}

fn increment(counts: &mut [u32], index: usize) {
    if let Some(count) = counts.get_mut(index) {
        *count += 1;
    }
}

/// Reports the cumulative count of each bucket and returns the total.
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

    const SERVED: ServedRequest = ServedRequest {
        outcome: Outcome::Success,
        status: Some(200),
        first_byte_us: Some(900),
        latency_us: 1_500,
        pinned: false,
    };

    fn drain(mut tally: Tally) -> BTreeMap<Stat, u64> {
        let mut counts = BTreeMap::new();
        tally.drain(|stat, count| assert!(counts.insert(stat, count).is_none()));
        tally.drain(|_, _| panic!("drained twice"));
        counts
    }

    fn tally(requests: &[ServedRequest]) -> BTreeMap<Stat, u64> {
        let mut tally = Tally::default();
        requests.iter().for_each(|served| tally.count_served(*served));
        let mut counts = drain(tally);
        counts.retain(|stat, _| !matches!(stat, Stat::LatencyBucket(_) | Stat::FirstByteBucket(_)));
        counts
    }

    #[test]
    fn each_request_is_counted_once() {
        let reset = Outcome::Failure(Failure::Reset);
        let failed = ServedRequest { outcome: reset, status: None, first_byte_us: None, ..SERVED };
        let cancelled = ServedRequest { outcome: Outcome::Cancelled, status: None, ..SERVED };
        let expected = [
            (Stat::Requests, 3),
            (Stat::Failures(Failure::Reset), 1),
            (Stat::Cancelled, 1),
            (Stat::Responses(2), 1),
        ];
        assert_eq!(tally(&[SERVED, failed, cancelled]), expected.into());
    }

    #[test]
    fn pinned_requests_and_local_replies_are_counted_separately() {
        let failed = Outcome::Failure(Failure::Status);
        let pinned = ServedRequest { outcome: failed, status: Some(500), pinned: true, ..SERVED };
        let local_reply =
            ServedRequest { outcome: Outcome::LocalReply, status: Some(403), ..SERVED };
        let expected = [(Stat::Pinned, 2), (Stat::PinnedFailures, 1), (Stat::LocalReplies, 1)];
        let requests = [pinned, ServedRequest { pinned: true, ..SERVED }, local_reply];
        assert_eq!(tally(&requests), expected.into());
    }

    #[test]
    fn routing_deviations_count_for_the_chosen_version() {
        let mut tally = Tally::default();
        tally.count_chosen(Reason::Header);
        tally.count_chosen(Reason::Header);
        tally.count_chosen(Reason::Random);
        tally.count_misrouted();
        tally.count_unmatched();
        tally.count_overdue(0);
        tally.count_overdue(3);
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
    fn statuses_out_of_range_have_no_class() {
        for status in [None, Some(0), Some(99), Some(600), Some(u64::MAX)] {
            assert_eq!(tally(&[ServedRequest { status, ..SERVED }]), [(Stat::Requests, 1)].into());
        }
    }

    #[test]
    fn histograms_are_reported_cumulatively() {
        let mut tally = Tally::default();
        for latency_us in [90, 1_500, 1_501, u64::MAX] {
            tally.count_served(ServedRequest { latency_us, first_byte_us: Some(90), ..SERVED });
        }
        let counts = drain(tally);
        let at = |us| counts[&Stat::LatencyBucket(histogram::bucket(us))];
        assert_eq!([at(0), at(1_250), at(1_500), at(2_000), at(u64::MAX)], [1, 1, 2, 3, 4]);
        assert_eq!(counts[&Stat::FirstByteBucket(0)], 4);
    }

    #[test]
    fn a_stream_is_counted_when_it_begins_and_its_failure_when_it_ends() {
        let mut stream = Tally::default();
        stream.count_request(900, Some(900), false);
        stream.count_request(900, Some(900), true);
        let begun = drain(std::mem::take(&mut stream));
        assert_eq!((begun[&Stat::Requests], begun[&Stat::Pinned]), (1, 1));
        assert_eq!(begun[&Stat::LatencyBucket(histogram::bucket(900))], 1);
        assert_eq!(begun[&Stat::FirstByteBucket(histogram::bucket(900))], 1);
        for pinned in [false, true] {
            stream.count_end(Outcome::Failure(Failure::Reset), Some(200), pinned);
            stream.count_end(Outcome::Cancelled, Some(200), pinned);
        }
        let expected = [
            (Stat::Failures(Failure::Reset), 1),
            (Stat::PinnedFailures, 1),
            (Stat::Cancelled, 1),
            (Stat::Responses(2), 2),
        ];
        assert_eq!(drain(stream), expected.into());
    }

    #[test]
    fn the_latency_of_an_upgrade_is_its_time_to_first_byte() {
        let mut tally = Tally::default();
        tally.count_served(ServedRequest { status: Some(101), latency_us: u64::MAX, ..SERVED });
        let counts = drain(tally);
        assert_eq!(counts[&Stat::LatencyBucket(histogram::bucket(900))], 1);
    }
}
