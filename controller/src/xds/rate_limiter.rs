//! How many requests that nobody waited for a stream may make: enough for any proxy, too few to keep a server busy.

use std::time::{Duration, Instant};

/// That many at once.
const BURST: u32 = 100;
/// One more after this time: ten a second.
const EACH: Duration = Duration::from_millis(100);

/// What is left of it.
#[derive(Debug, Clone, Copy)]
pub struct Allowance {
    /// When all of it is there again.
    full: Instant,
}

impl Allowance {
    /// All of it.
    #[must_use]
    pub fn new(now: Instant) -> Self {
        Self { full: now }
    }

    /// Uses one up; `false` if none is left.
    pub fn take(&mut self, now: Instant) -> bool {
        let full = self.full.max(now) + EACH;
        let enough = full.duration_since(now) <= EACH * BURST;
        if enough {
            self.full = full;
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
        let mut allowance = Allowance::new(now);
        let taken =
            |allowance: &mut Allowance, now| (0..1_000).filter(|_| allowance.take(now)).count();
        assert_eq!(taken(&mut allowance, now), 100);
        assert_eq!(taken(&mut allowance, now + Duration::from_secs(1)), 10);
        assert_eq!(taken(&mut allowance, now + Duration::from_secs(60)), 100);
    }
}
