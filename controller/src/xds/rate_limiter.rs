//! Limits unsolicited requests of a stream: enough for any proxy, too few to keep a server busy.

use std::time::{Duration, Instant};

/// The size of a burst.
const BURST: u32 = 100;
/// The interval of one more request: ten a second.
const REFILL_INTERVAL: Duration = Duration::from_millis(100);

/// The remaining burst.
#[derive(Debug, Clone, Copy)]
pub struct RateLimiter {
    /// When the burst is complete again.
    full_at: Instant,
}

impl RateLimiter {
    /// A limiter with the complete burst.
    #[must_use]
    pub fn new(now: Instant) -> Self {
        Self { full_at: now }
    }

    /// Takes one request from the limit; `false` if none is left.
    pub fn try_acquire(&mut self, now: Instant) -> bool {
        let full = self.full_at.max(now) + REFILL_INTERVAL;
        let enough = full.duration_since(now) <= REFILL_INTERVAL * BURST;
        if enough {
            self.full_at = full;
        }
        enough
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_then_ten_a_second() {
        let now = Instant::now();
        let mut allowance = RateLimiter::new(now);
        let taken = |allowance: &mut RateLimiter, now| {
            (0..1_000).filter(|_| allowance.try_acquire(now)).count()
        };
        assert_eq!(taken(&mut allowance, now), 100);
        assert_eq!(taken(&mut allowance, now + Duration::from_secs(1)), 10);
        assert_eq!(taken(&mut allowance, now + Duration::from_secs(60)), 100);
    }
}
