//! One version at one proxy: its requests, from start to end.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use rand::RngExt;
use rand::rngs::SmallRng;
use serin_core::observation::Counters;
use serin_filter::histogram::{self, BOUNDARIES_US, BUCKETS};
use serin_filter::outcome::Failure;
use serin_filter::select::Reason;
use serin_filter::stat::Stat;

use super::latency::Buckets;
use super::sampling::{binomial, poisson};

/// The latency of an immediate failure.
const FAILS_AFTER_US: u64 = 1_000;

/// Requests up to this latency end when they begin, as far as polls can tell.
const PROMPT_US: u32 = 100_000;

/// The requests that begin in an interval.
pub(super) struct TimeSlice<'s> {
    /// Start and end, in seconds.
    pub(super) from: f64,
    pub(super) to: f64,
    /// The mean number of requests.
    pub(super) requests: f64,
    /// The share that fails immediately.
    pub(super) errors: f64,
    /// The share that times out, and after how many seconds.
    pub(super) timeouts: Option<(f64, f64)>,
    /// The latency of the others.
    pub(super) latency: &'s Buckets,
    /// Whether the version is faulty.
    pub(super) bad: bool,
}

/// The requests of one version at one proxy since the beginning.
#[derive(Debug, Clone)]
pub(super) struct SimulatedArm {
    /// The end of the simulated requests, in seconds.
    pub(super) served_until: f64,
    /// Requests served while the version was faulty.
    pub(super) met_bad: u64,
    begun: u64,
    ended: u64,
    failed: u64,
    timed_out: u64,
    buckets: [u64; BUCKETS],
    /// Requests in flight.
    pending: BinaryHeap<Reverse<PendingRequest>>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct PendingRequest {
    end_us: u64,
    bucket: usize,
    timed_out: bool,
}

impl SimulatedArm {
    pub(super) fn new() -> Self {
        Self {
            served_until: 0.0,
            met_bad: 0,
            begun: 0,
            ended: 0,
            failed: 0,
            timed_out: 0,
            buckets: [0; BUCKETS],
            pending: BinaryHeap::new(),
        }
    }

    pub(super) fn serve(&mut self, time_slice: &TimeSlice, rng: &mut SmallRng) {
        let requests = poisson(time_slice.requests, rng);
        self.begun += requests;
        self.met_bad += if time_slice.bad { requests } else { 0 };
        let failed = binomial(requests, time_slice.errors, rng);
        self.failed += failed;
        self.end(histogram::bucket(FAILS_AFTER_US), failed);
        let mut rest = requests - failed;
        if let Some((share, seconds)) = time_slice.timeouts {
            let timed_out = binomial(rest, share, rng);
            rest -= timed_out;
            let us = micros(seconds);
            for _ in 0..timed_out {
                let end_us = begin_us(time_slice, rng) + us;
                let bucket = histogram::bucket(us);
                self.pending.push(Reverse(PendingRequest { end_us, bucket, timed_out: true }));
            }
        }
        for _ in 0..rest {
            let bucket = time_slice.latency.draw(rng);
            let upper = BOUNDARIES_US.get(bucket).copied().unwrap_or(u32::MAX);
            if upper <= PROMPT_US {
                self.end(bucket, 1);
            } else {
                let end_us = begin_us(time_slice, rng) + u64::from(upper);
                self.pending.push(Reverse(PendingRequest { end_us, bucket, timed_out: false }));
            }
        }
        self.served_until = time_slice.to;
        self.end_pending();
    }

    fn end(&mut self, bucket: usize, requests: u64) {
        self.ended += requests;
        if let Some(count) = self.buckets.get_mut(bucket) {
            *count += requests;
        }
    }

    fn end_pending(&mut self) {
        let now = micros(self.served_until);
        while let Some(Reverse(PendingRequest { end_us, bucket, timed_out })) =
            self.pending.peek().copied()
            && end_us <= now
        {
            self.pending.pop();
            self.end(bucket, 1);
            self.timed_out += u64::from(timed_out);
        }
    }

    /// Requests that ended, and failures among them.
    pub(super) fn totals(&self) -> (u64, u64) {
        (self.ended, self.failed + self.timed_out)
    }

    /// The counters of a filter since the start.
    pub(super) fn counters(&self) -> Counters {
        let cumulative = self.buckets.iter().enumerate().scan(0, |below, (bucket, count)| {
            *below += count;
            Some((Stat::LatencyBucket(bucket), *below))
        });
        cumulative
            .chain([
                (Stat::Chosen(Reason::Header), self.begun),
                (Stat::Requests, self.ended),
                (Stat::Failures(Failure::Status), self.failed),
                (Stat::Failures(Failure::Timeout), self.timed_out),
            ])
            .collect()
    }
}

fn begin_us(time_slice: &TimeSlice, rng: &mut SmallRng) -> u64 {
    micros(time_slice.from + rng.random::<f64>() * (time_slice.to - time_slice.from))
}

#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // saturates
fn micros(seconds: f64) -> u64 {
    (seconds * 1e6) as u64
}
