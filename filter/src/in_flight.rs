//! Requests that wait for an answer, by age: a version that hangs shows before anything times out. Pure; time is passed in.
//!
//! A ring of start times: how many requests of each short stretch of the recent past still wait. When a stretch is older than the
//! limit, what still waits in it is overdue, once; the ring keeps no more than the limit's worth of stretches, so its size does not
//! depend on the traffic.

/// Stretches that make up the limit: the resolution is an eighth of it.
const PARTS: u8 = 8;
/// The stretch that has just begun is none of them.
const SLOTS: u8 = PARTS + 1;

/// The waiting requests of one version.
#[derive(Debug, Clone)]
pub struct InFlight {
    /// Microseconds.
    stretch: u64,
    /// Number of the oldest stretch that is not yet overdue.
    oldest: u64,
    /// Requests waiting, by the number of the stretch they began in, modulo the length.
    waiting: [u32; SLOTS as usize],
}

/// When a request began; what [`InFlight::answered`] needs to know of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Began(u64);

impl InFlight {
    /// Nobody waits. A request is overdue after `limit_us` microseconds and at most a quarter more.
    #[must_use]
    pub fn new(limit_us: u64) -> Self {
        Self {
            stretch: (limit_us / u64::from(PARTS)).max(1),
            oldest: 0,
            waiting: [0; SLOTS as usize],
        }
    }

    /// A request begins. [`InFlight::overdue`] must have been called with the same time: the ring turns there.
    #[must_use]
    pub fn begin(&mut self, now_us: u64) -> Began {
        let number = now_us / self.stretch;
        *self.slot(number) += 1;
        Began(number)
    }

    /// A request is answered, or has ended without. Returns whether it was told of as overdue before.
    pub fn answered(&mut self, began: Began) -> bool {
        let told = began.0 < self.oldest;
        if !told {
            let waiting = self.slot(began.0);
            *waiting = waiting.saturating_sub(1);
        }
        told
    }

    /// How many requests have become overdue since the last call.
    #[must_use]
    pub fn overdue(&mut self, now_us: u64) -> u32 {
        // The stretch must be over, and the limit after that.
        let recent = (now_us / self.stretch).saturating_sub(PARTS.into());
        let passed = recent.saturating_sub(self.oldest).min(SLOTS.into());
        let overdue = (0..passed).map(|n| std::mem::take(self.slot(self.oldest + n))).sum();
        self.oldest = self.oldest.max(recent);
        overdue
    }

    #[allow(clippy::cast_possible_truncation, clippy::indexing_slicing)] // a remainder of SLOTS
    fn slot(&mut self, number: u64) -> &mut u32 {
        &mut self.waiting[(number % u64::from(SLOTS)) as usize]
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use proptest::prelude::*;

    use super::*;

    const LIMIT: u64 = 800;

    #[test]
    fn who_is_not_answered_in_time_is_overdue_once() {
        let mut in_flight = InFlight::new(LIMIT);
        let answered = in_flight.begin(50);
        let late = in_flight.begin(60);
        assert!(!in_flight.answered(answered));
        assert_eq!([850, 899, 900, 901, 5_000].map(|now| in_flight.overdue(now)), [0, 0, 1, 0, 0]);
        assert!(in_flight.answered(late));
        let next = in_flight.begin(5_000);
        assert_eq!(in_flight.overdue(5_700), 0);
        assert!(!in_flight.answered(next));
        assert_eq!(in_flight.overdue(u64::MAX), 0);
    }

    proptest! {
        /// Against a list of all requests: told once, after the limit, and by a quarter later.
        #[test]
        fn everyone_is_told_of_once(
            events in prop::collection::vec((0_u64..200, prop::option::of(0_usize..40)), 1..300)
        ) {
            let mut in_flight = InFlight::new(LIMIT);
            let mut waiting: HashMap<usize, (u64, Began)> = HashMap::new();
            let (mut now, mut told) = (0, 0);
            let mut expected_least = 0;
            let mut expected_most = 0;
            for (index, (pause, answered)) in events.into_iter().enumerate() {
                now += pause;
                told += in_flight.overdue(now);
                if let Some((begun, began)) = answered.and_then(|back| waiting.remove(&index.checked_sub(back)?)) {
                    in_flight.answered(began);
                    expected_least += u32::from(now - begun >= LIMIT + LIMIT / 4);
                    expected_most += u32::from(now - begun >= LIMIT);
                }
                let began = in_flight.begin(now);
                waiting.insert(index, (now, began));
                let late = |age: u64| waiting.values().map(|(begun, _)| u32::from(now - begun >= age)).sum::<u32>();
                prop_assert!(told >= expected_least + late(LIMIT + LIMIT / 4));
                prop_assert!(told <= expected_most + late(LIMIT));
            }
        }
    }
}
