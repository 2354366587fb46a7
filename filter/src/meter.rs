//! Measurements of one service in one worker: tallies, requests in flight, A/A test and tripwire.
//! Time is passed in.

use std::cell::Cell;
use std::rc::Rc;

use crate::aa_test::{NO_SLICES, SliceCounts, SliceMembership};
use crate::config::Service;
use crate::in_flight::{InFlight, StartInterval};
use crate::outcome::Outcome;
use crate::select::Reason;
use crate::tally::{ServedRequest, Tally};
use crate::tripwire::{BaselineRate, Tripwire};

/// The measurements of a service. Its methods take the service it was created for.
#[derive(Debug)]
pub struct Meter {
    /// By version.
    tallies: Vec<Tally>,
    /// By version.
    in_flight: Vec<InFlight>,
    /// Streams whose response has begun, by version, for [`ESTABLISHED_US`].
    beginning: Vec<InFlight>,
    tripwire: Option<Tripwire>,
    slice_counts: Option<SliceCounts>,
    bypassed: u32,
}

/// A request with a chosen version.
#[derive(Debug, Clone, Copy)]
pub struct AssignedRequest {
    version: usize,
    pinned: bool,
    slices: SliceMembership,
    /// `None` after the response, and for a pinned request.
    in_flight: Option<StartInterval>,
    was_overdue: bool,
}

/// Time after which a stream is a success for the tripwire, until it fails.
const ESTABLISHED_US: u64 = 1_000_000;

/// A request that was counted before its end.
#[derive(Debug, Clone, Copy)]
pub struct BegunStream {
    /// Index of the version that serves.
    served: usize,
    /// `None` if the tripwire ignores the stream.
    beginning: Option<StartInterval>,
}

impl AssignedRequest {
    /// Index of the version.
    #[must_use]
    pub fn version(&self) -> usize {
        self.version
    }

    /// Whether the tripwire ignores the request: it is pinned, or was a failure when overdue.
    fn ignored(&self) -> bool {
        self.pinned || self.was_overdue
    }

    /// The same request of a user in these slices.
    #[must_use]
    pub fn in_slices(self, slices: SliceMembership) -> Self {
        Self { slices, ..self }
    }
}

/// A request that has ended.
#[derive(Debug, Clone, Copy)]
pub struct CompletedRequest<'c> {
    /// The cluster of the route, if there was one.
    pub cluster: Option<&'c [u8]>,
    /// The outcome as the caller saw it.
    pub outcome: Outcome,
    /// Whether the filter cannot read the status of an RPC.
    pub unreadable: bool,
    /// Status of the response, if it started.
    pub status: Option<u64>,
    /// Microseconds from the request headers to the response headers, if the response started.
    pub first_byte_us: Option<u64>,
    /// Microseconds from the request headers to the end of the stream.
    pub latency_us: u64,
}

impl Meter {
    /// Counts of zero. The tripwire compares with this failure rate of the baseline.
    #[must_use]
    pub fn new(service: &Service, baseline: &Rc<Cell<BaselineRate>>) -> Self {
        let tripwire =
            |tolerated| Tripwire::new(tolerated, service.versions.len(), Rc::clone(baseline));
        let versions = service.versions.len();
        Self {
            tallies: vec![Tally::default(); versions],
            in_flight: vec![InFlight::new(service.overdue_us); versions],
            beginning: vec![InFlight::new(ESTABLISHED_US); versions],
            tripwire: service.tripwire.map(tripwire),
            slice_counts: service.aa_test.as_ref().map(SliceCounts::new),
            bypassed: 0,
        }
    }

    /// Counts a request to `version`. The caller must have called [`Meter::detect_overdue`] with
    /// the same time.
    pub fn start(
        &mut self,
        version: usize,
        reason: Reason,
        now_us: u64,
    ) -> Option<AssignedRequest> {
        self.tallies.get_mut(version)?.count_chosen(reason);
        let pinned = reason.is_pinned();
        let in_flight = self.in_flight.get_mut(version)?;
        let in_flight = (!pinned).then(|| in_flight.start(now_us));
        Some(AssignedRequest { version, pinned, slices: NO_SLICES, in_flight, was_overdue: false })
    }

    /// Counts a request that bypasses the filter.
    pub fn count_bypassed(&mut self) {
        self.bypassed += 1;
    }

    /// Marks a request as responded to, or as ended without a response. Idempotent.
    pub fn responded(&mut self, request: &mut AssignedRequest) {
        if let Some(start) = request.in_flight.take()
            && let Some(in_flight) = self.in_flight.get_mut(request.version)
        {
            request.was_overdue = in_flight.responded(start);
        }
    }

    /// Counts a request before its end: a stream, whose latency is the time to the first byte, or one
    /// that is slower than every boundary already. `None` if the request counts at its end. The
    /// caller must have called [`Meter::detect_overdue`] with the same time.
    pub fn begin(
        &mut self,
        service: &Service,
        assigned: Option<&AssignedRequest>,
        cluster: &[u8],
        [first_byte_us, latency_us, now_us]: [u64; 3],
    ) -> Option<BegunStream> {
        let served = service.versions.iter().position(|v| v.cluster.as_bytes() == cluster)?;
        self.count_deviation(assigned, Some(served));
        let pinned = assigned.is_some_and(|request| request.pinned);
        self.tallies.get_mut(served)?.count_request(latency_us, Some(first_byte_us), pinned);
        if let (Some(counts), Some(assigned)) = (&mut self.slice_counts, assigned) {
            counts.count(&assigned.slices, [1, 0]);
        }
        let observed = self.tripwire.is_some() && !assigned.is_some_and(AssignedRequest::ignored);
        let beginning = self.beginning.get_mut(served)?;
        let beginning = observed.then(|| beginning.start(now_us));
        Some(BegunStream { served, beginning })
    }

    /// Counts a completed request. Returns a version that the tripwire trips.
    ///
    /// Without a cluster, a routing failure counts for the chosen version. Any other response came
    /// from the proxy itself and counts for no version.
    #[must_use]
    pub fn complete(
        &mut self,
        service: &Service,
        mut assigned: Option<AssignedRequest>,
        begun: Option<BegunStream>,
        completed: &CompletedRequest<'_>,
    ) -> Option<usize> {
        if let Some(assigned) = &mut assigned {
            self.responded(assigned);
        }
        let pinned = assigned.is_some_and(|request| request.pinned);
        let CompletedRequest { outcome, status, first_byte_us, latency_us, .. } = *completed;
        let served = if let Some(begun) = begun {
            self.tallies.get_mut(begun.served)?.count_end(outcome, status, pinned);
            begun.served
        } else {
            let served = match completed.cluster {
                Some(cluster) => {
                    service.versions.iter().position(|v| v.cluster.as_bytes() == cluster)
                }
                None if outcome.lacks_upstream() => assigned.map(|request| request.version),
                None => return None,
            };
            self.count_deviation(assigned.as_ref(), served);
            let request = ServedRequest { outcome, status, first_byte_us, latency_us, pinned };
            self.tallies.get_mut(served?)?.count_served(request);
            served?
        };
        if completed.unreadable && !pinned && outcome == Outcome::Success {
            self.tallies.get_mut(served)?.count_unreadable();
        }
        let beginning = begun.and_then(|begun| begun.beginning);
        let established = beginning
            .zip(self.beginning.get_mut(served))
            .is_some_and(|(start, beginning)| beginning.responded(start));
        let failed = matches!(outcome, Outcome::Failure(_));
        let established_trips = established
            && self.tripwire.as_mut().is_some_and(|it| it.end_established(served, failed));
        if matches!(outcome, Outcome::Cancelled | Outcome::LocalReply) {
            return None;
        }
        if let (Some(counts), Some(AssignedRequest { slices, .. })) =
            (&mut self.slice_counts, assigned)
        {
            counts.count(&slices, [u32::from(begun.is_none()), u32::from(failed)]);
        }
        let ignored = assigned.as_ref().is_some_and(AssignedRequest::ignored);
        let observed = !ignored && !established;
        let trips = established_trips
            || observed && self.tripwire.as_mut().is_some_and(|it| it.observe(served, failed));
        trips.then_some(served)
    }

    /// Counts a request that the chosen version did not serve.
    fn count_deviation(&mut self, assigned: Option<&AssignedRequest>, served: Option<usize>) {
        if let Some(assigned) = assigned
            && served != Some(assigned.version)
            && let Some(tally) = self.tallies.get_mut(assigned.version)
        {
            if served.is_some() { tally.count_misrouted() } else { tally.count_unmatched() }
        }
    }

    /// Counts the requests that became overdue, and the streams that became established. Returns a
    /// version that the tripwire trips.
    #[must_use]
    pub fn detect_overdue(&mut self, now_us: u64) -> Option<usize> {
        let mut tripped = None;
        for (version, beginning) in self.beginning.iter_mut().enumerate() {
            let established = beginning.overdue(now_us);
            if let Some(tripwire) = &mut self.tripwire {
                (0..established).for_each(|_| tripwire.observe_established(version));
            }
        }
        for (version, in_flight) in self.in_flight.iter_mut().enumerate() {
            let overdue = in_flight.overdue(now_us);
            if let Some(tally) = self.tallies.get_mut(version) {
                tally.count_overdue(overdue);
            }
            let Some(tripwire) = &mut self.tripwire else { continue };
            if !tripwire.counts_overdue(version) {
                in_flight.ignore_overdue();
            } else if (0..overdue).any(|_| tripwire.observe(version, true)) {
                tripped = Some(version);
            }
        }
        tripped
    }

    /// The tallies, by version.
    pub fn tallies(&mut self) -> &mut [Tally] {
        &mut self.tallies
    }

    /// The counts of the A/A test, if there is one.
    pub fn slice_counts(&mut self) -> Option<&mut SliceCounts> {
        self.slice_counts.as_mut()
    }

    /// The number of bypassed requests since the last call.
    pub fn take_bypassed(&mut self) -> u64 {
        u64::from(std::mem::take(&mut self.bypassed))
    }
}

#[cfg(test)]
mod tests;
