//! Detects overdue requests while they are in flight, before any timeout. Time is passed in.
//!
//! A ring counts the requests in flight by the interval in which they started. An interval older
//! than the limit leaves the ring, and its remaining requests are overdue. The size of the ring
//! does not depend on the traffic.

/// Intervals per limit: the resolution is an eighth of the limit.
const INTERVALS: u8 = 8;
/// The current interval has a slot of its own.
const SLOTS: u8 = INTERVALS + 1;

/// The requests of one version that are in flight.
#[derive(Debug, Clone)]
pub struct InFlight {
    interval_us: u64,
    /// Number of the oldest interval that is not overdue.
    oldest: u64,
    /// Number of the interval before which overdue requests are ignored.
    ignored: u64,
    /// Requests by the number of their start interval, modulo `SLOTS`.
    requests: [u32; SLOTS as usize],
}

/// The interval in which a request started, for [`InFlight::responded`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StartInterval(u64);

impl InFlight {
    /// No request in flight. A request becomes overdue between `limit_us` and 1.25 times that.
    #[must_use]
    pub fn new(limit_us: u64) -> Self {
        Self {
            interval_us: (limit_us / u64::from(INTERVALS)).max(1),
            oldest: 0,
            ignored: 0,
            requests: [0; SLOTS as usize],
        }
    }

    /// Adds a request. The caller must have called [`InFlight::overdue`] with the same time, which
    /// advances the ring.
    #[must_use]
    pub fn start(&mut self, now_us: u64) -> StartInterval {
        let number = now_us / self.interval_us;
        *self.slot(number) += 1;
        StartInterval(number)
    }

    /// Removes a request that has a response or has ended. Returns whether it was overdue, unless
    /// ignored.
    pub fn responded(&mut self, start: StartInterval) -> bool {
        let overdue = start.0 < self.oldest;
        if !overdue {
            let requests = self.slot(start.0);
            *requests = requests.saturating_sub(1);
        }
        overdue && start.0 >= self.ignored
    }

    /// Ignores the requests that are overdue until now.
    pub fn ignore_overdue(&mut self) {
        self.ignored = self.oldest;
    }

    /// The number of requests that became overdue since the last call.
    #[must_use]
    pub fn overdue(&mut self, now_us: u64) -> u32 {
        // The limit starts at the end of the interval.
        let oldest = (now_us / self.interval_us).saturating_sub(INTERVALS.into());
        let expired = oldest.saturating_sub(self.oldest).min(SLOTS.into());
        let overdue = (0..expired).map(|n| std::mem::take(self.slot(self.oldest + n))).sum();
        self.oldest = self.oldest.max(oldest);
        overdue
    }

    #[allow(clippy::cast_possible_truncation, clippy::indexing_slicing)] // a remainder of SLOTS
    fn slot(&mut self, number: u64) -> &mut u32 {
        &mut self.requests[(number % u64::from(SLOTS)) as usize]
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use proptest::prelude::*;

    use super::*;

    const LIMIT: u64 = 800;

    #[test]
    fn a_request_without_a_response_is_overdue_once() {
        let mut in_flight = InFlight::new(LIMIT);
        let in_time = in_flight.start(50);
        let late = in_flight.start(60);
        assert!(!in_flight.responded(in_time));
        assert_eq!([850, 899, 900, 901, 5_000].map(|now| in_flight.overdue(now)), [0, 0, 1, 0, 0]);
        assert!(in_flight.responded(late));
        let next = in_flight.start(5_000);
        assert_eq!(in_flight.overdue(5_700), 0);
        assert!(!in_flight.responded(next));
        assert_eq!(in_flight.overdue(u64::MAX), 0);
    }

    #[test]
    fn an_ignored_request_is_not_overdue_at_its_end() {
        let mut in_flight = InFlight::new(LIMIT);
        let [early, late] = [50, 850].map(|now| {
            assert_eq!(in_flight.overdue(now), 0);
            in_flight.start(now)
        });
        assert_eq!(in_flight.overdue(900), 1);
        in_flight.ignore_overdue();
        assert_eq!(in_flight.overdue(1_700), 1);
        assert_eq!([early, late].map(|start| in_flight.responded(start)), [false, true]);
    }

    proptest! {
        /// Compares with a list of all requests: each is overdue once, within the resolution.
        #[test]
        fn overdue_requests_match_a_reference_model(
            events in prop::collection::vec((0_u64..200, prop::option::of(0_usize..40)), 1..300)
        ) {
            let mut in_flight = InFlight::new(LIMIT);
            let mut open: HashMap<usize, (u64, StartInterval)> = HashMap::new();
            let (mut now, mut overdue) = (0, 0);
            let (mut at_least, mut at_most) = (0, 0);
            for (index, (pause, responded)) in events.into_iter().enumerate() {
                now += pause;
                overdue += in_flight.overdue(now);
                let closed = responded.and_then(|back| open.remove(&index.checked_sub(back)?));
                if let Some((start, interval)) = closed {
                    in_flight.responded(interval);
                    at_least += u32::from(now - start >= LIMIT + LIMIT / 4);
                    at_most += u32::from(now - start >= LIMIT);
                }
                let interval = in_flight.start(now);
                open.insert(index, (now, interval));
                let older = |age: u64| {
                    open.values().map(|(start, _)| u32::from(now - start >= age)).sum::<u32>()
                };
                prop_assert!(overdue >= at_least + older(LIMIT + LIMIT / 4));
                prop_assert!(overdue <= at_most + older(LIMIT));
            }
        }
    }
}
