//! What one worker measures of one service: tallies, waiting requests, and the tripwire that they feed. Pure; time is passed in.

use crate::config::Service;
use crate::in_flight::{Began, InFlight};
use crate::outcome::Outcome;
use crate::select::Reason;
use crate::tally::{Served, Tally};
use crate::tripwire::Tripwire;
use crate::watch::{NOWHERE, Places, Watched};

/// The measurements of a service, of which methods get the configuration they were made for.
#[derive(Debug)]
pub struct Meter {
    /// By version.
    tallies: Vec<Tally>,
    /// By version.
    in_flight: Vec<InFlight>,
    tripwire: Option<Tripwire>,
    watched: Option<Watched>,
    bypassed: u32,
}

/// A request for which a version was chosen.
#[derive(Debug, Clone, Copy)]
pub struct Chosen {
    version: usize,
    picked: bool,
    places: Places,
    /// What is known of its waiting; nothing of a request that somebody picked.
    waiting: Option<Began>,
    /// Whether it waited too long for its answer to begin.
    waited_too_long: bool,
}

impl Chosen {
    /// With the user at these places in what is watched.
    #[must_use]
    pub fn at(self, places: Places) -> Self {
        Self { places, ..self }
    }
}

/// How a request ended.
#[derive(Debug, Clone, Copy)]
pub struct Ended<'c> {
    /// The cluster that served, if routing got that far.
    pub cluster: Option<&'c [u8]>,
    /// What became of it.
    pub outcome: Outcome,
    /// Status of the answer, if one was begun.
    pub status: Option<u64>,
    /// From its headers to those of the answer, in microseconds, if one was begun.
    pub first_byte_us: Option<u64>,
    /// From its headers to its end, in microseconds.
    pub latency_us: u64,
}

impl Meter {
    /// Nothing measured yet.
    #[must_use]
    pub fn new(service: &Service) -> Self {
        let versions = service.versions.len();
        Self {
            tallies: vec![Tally::default(); versions],
            in_flight: vec![InFlight::new(service.overdue_us); versions],
            tripwire: service.tripwire.map(|tolerated| Tripwire::new(tolerated, versions)),
            watched: service.watch.as_ref().map(Watched::new),
            bypassed: 0,
        }
    }

    /// A request goes to `version`. Overdue ones must have been looked for at the same time.
    pub fn choose(&mut self, version: usize, reason: Reason, now_us: u64) -> Option<Chosen> {
        self.tallies.get_mut(version)?.choose(reason);
        let picked = reason.is_picked();
        let in_flight = self.in_flight.get_mut(version)?;
        let waiting = (!picked).then(|| in_flight.begin(now_us));
        Some(Chosen { version, picked, places: NOWHERE, waiting, waited_too_long: false })
    }

    /// A request is left alone.
    pub fn bypass(&mut self) {
        self.bypassed += 1;
    }

    /// The answer to a request begins, or it has ended without one. Only the first call for a request counts.
    pub fn answered(&mut self, chosen: &mut Chosen) {
        if let Some(began) = chosen.waiting.take()
            && let Some(in_flight) = self.in_flight.get_mut(chosen.version)
        {
            chosen.waited_too_long = in_flight.answered(began);
        }
    }

    /// A request has ended. What no cluster served is the chosen version's if that is why it failed; else the proxy answered by itself,
    /// which tells of no version. Returns a version that is to be cut off.
    #[must_use]
    pub fn end(
        &mut self,
        service: &Service,
        mut chosen: Option<Chosen>,
        ended: &Ended<'_>,
    ) -> Option<usize> {
        if let Some(chosen) = &mut chosen {
            self.answered(chosen);
        }
        let served = match ended.cluster {
            Some(cluster) => service.versions.iter().position(|v| v.cluster.as_bytes() == cluster),
            None if ended.outcome.is_for_want_of_a_cluster() => chosen.map(|chosen| chosen.version),
            None => return None,
        };
        if let Some(chosen) = chosen
            && served != Some(chosen.version)
        {
            let tally = self.tallies.get_mut(chosen.version)?;
            if served.is_some() { tally.misroute() } else { tally.lead_elsewhere() }
        }
        let served = served?;
        self.tallies.get_mut(served)?.serve(Served {
            outcome: ended.outcome,
            status: ended.status,
            first_byte_us: ended.first_byte_us,
            latency_us: ended.latency_us,
            picked: chosen.is_some_and(|chosen| chosen.picked),
        });
        let failed = match ended.outcome {
            Outcome::Success => false,
            Outcome::Failure(_) => true,
            Outcome::Cancelled | Outcome::Local => return None,
        };
        if let (Some(watched), Some(Chosen { places, .. })) = (&mut self.watched, chosen) {
            watched.count(&places, failed);
        }
        // Who waited too long has been held against the version then; what somebody picked tells of that request.
        let aside = |chosen: Chosen| chosen.picked || chosen.waited_too_long;
        let cut_off = !chosen.is_some_and(aside) && self.tripwire.as_mut()?.observe(served, failed);
        cut_off.then_some(served)
    }

    /// Counts what has become overdue by now, and returns a version that is to be cut off for it.
    #[must_use]
    pub fn look_for_overdue(&mut self, now_us: u64) -> Option<usize> {
        let mut cut_off = None;
        for (version, in_flight) in self.in_flight.iter_mut().enumerate() {
            let overdue = in_flight.overdue(now_us);
            if let Some(tally) = self.tallies.get_mut(version) {
                tally.overdue(overdue);
            }
            if let Some(tripwire) = &mut self.tripwire
                && (0..overdue).any(|_| tripwire.observe(version, true))
            {
                cut_off = Some(version);
            }
        }
        cut_off
    }

    /// The tallies, by version.
    pub fn tallies(&mut self) -> &mut [Tally] {
        &mut self.tallies
    }

    /// What is watched, if anything is.
    pub fn watched(&mut self) -> Option<&mut Watched> {
        self.watched.as_mut()
    }

    /// Requests left alone since the last call.
    pub fn take_bypassed(&mut self) -> u64 {
        u64::from(std::mem::take(&mut self.bypassed))
    }
}

#[cfg(test)]
mod tests;
