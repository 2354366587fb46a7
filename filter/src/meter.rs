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

impl AssignedRequest {
    /// Index of the version.
    #[must_use]
    pub fn version(&self) -> usize {
        self.version
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

    /// Counts a completed request. Returns a version that the tripwire trips.
    ///
    /// Without a cluster, a routing failure counts for the chosen version. Any other response came
    /// from the proxy itself and counts for no version.
    #[must_use]
    pub fn complete(
        &mut self,
        service: &Service,
        mut assigned: Option<AssignedRequest>,
        completed: &CompletedRequest<'_>,
    ) -> Option<usize> {
        if let Some(assigned) = &mut assigned {
            self.responded(assigned);
        }
        let served = match completed.cluster {
            Some(cluster) => service.versions.iter().position(|v| v.cluster.as_bytes() == cluster),
            None if completed.outcome.lacks_upstream() => assigned.map(|request| request.version),
            None => return None,
        };
        if let Some(assigned) = assigned
            && served != Some(assigned.version)
        {
            let tally = self.tallies.get_mut(assigned.version)?;
            if served.is_some() { tally.count_misrouted() } else { tally.count_unmatched() }
        }
        let served = served?;
        self.tallies.get_mut(served)?.count_served(ServedRequest {
            outcome: completed.outcome,
            status: completed.status,
            first_byte_us: completed.first_byte_us,
            latency_us: completed.latency_us,
            pinned: assigned.is_some_and(|request| request.pinned),
        });
        let failed = match completed.outcome {
            Outcome::Success => false,
            Outcome::Failure(_) => true,
            Outcome::Cancelled | Outcome::LocalReply => return None,
        };
        if let (Some(counts), Some(AssignedRequest { slices, .. })) =
            (&mut self.slice_counts, assigned)
        {
            counts.count(&slices, failed);
        }
        // The tripwire already observed an overdue request, and ignores pinned ones.
        let ignored = |request: AssignedRequest| request.pinned || request.was_overdue;
        let trips =
            !assigned.is_some_and(ignored) && self.tripwire.as_mut()?.observe(served, failed);
        trips.then_some(served)
    }

    /// Counts the requests that became overdue. Returns a version that the tripwire trips.
    #[must_use]
    pub fn detect_overdue(&mut self, now_us: u64) -> Option<usize> {
        let mut tripped = None;
        for (version, in_flight) in self.in_flight.iter_mut().enumerate() {
            let overdue = in_flight.overdue(now_us);
            if let Some(tally) = self.tallies.get_mut(version) {
                tally.count_overdue(overdue);
            }
            if let Some(tripwire) = &mut self.tripwire
                && (0..overdue).any(|_| tripwire.observe(version, true))
            {
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
