//! When there is something new to be seen: once every proxy has been scraped again.

use std::collections::BTreeMap;
use std::time::Duration;

use serin_core::observation::health::ProxyName;

use super::INGESTION_DELAY;
use super::series::ScrapedInstances;

/// The longest that is waited while it is not known how often proxies are scraped: twice what is usual at the most, a minute.
const MAX_WAIT: Duration = Duration::from_secs(120);

/// The shortest time between two questions.
const MIN_POLL_INTERVAL: Duration = Duration::from_millis(250);

/// What was last seen of each proxy, and how far apart scrapes are.
#[derive(Debug, Default)]
pub(super) struct ScrapeCadence {
    /// When each was last scraped, in seconds since 1970.
    last_scrapes: BTreeMap<ProxyName, f64>,
    /// The longest time between the last two scrapes that were seen of any proxy.
    interval: Option<Duration>,
}

impl ScrapeCadence {
    /// Whether every proxy that was there at the last look, and still is, has been scraped since; or has had the time for it: one that is
    /// late does not hold up the others.
    pub(super) fn is_ready(&self, instances: &ScrapedInstances, waited: Duration) -> bool {
        let patience = self.interval.map_or(MAX_WAIT, |gap| gap * 3 / 2 + INGESTION_DELAY);
        let is_new = |(name, before): (&ProxyName, &f64)| {
            let now = instances.get(name).and_then(|instance| instance.scraped);
            now.is_none_or(|now| now > *before)
        };
        waited >= patience || self.last_scrapes.iter().all(is_new)
    }

    /// How long to wait before asking again, as of now in seconds since 1970: until the last of the proxies is due, if that is known.
    pub(super) fn poll_delay(&self, now: f64) -> Duration {
        let last = self.last_scrapes.values().copied().fold(0.0, f64::max);
        let due = self.interval.map_or(0.0, |gap| last + gap.as_secs_f64());
        Duration::try_from_secs_f64(due - now)
            .unwrap_or_default()
            .clamp(MIN_POLL_INTERVAL, MAX_WAIT)
    }

    /// Takes note of what is seen now. Whether any of it is new.
    pub(super) fn record(&mut self, instances: &ScrapedInstances) -> bool {
        let scraped: BTreeMap<ProxyName, f64> = instances
            .iter()
            .filter_map(|(name, instance)| Some((name.clone(), instance.scraped?)))
            .collect();
        let gaps = scraped.iter().filter_map(|(name, now)| {
            let gap = now - self.last_scrapes.get(name)?;
            Duration::try_from_secs_f64(gap).ok().filter(|gap| !gap.is_zero())
        });
        let gap = gaps.max();
        let came = scraped.keys().any(|name| !self.last_scrapes.contains_key(name));
        let went = self.last_scrapes.keys().any(|name| !scraped.contains_key(name));
        self.interval = gap.or(self.interval);
        self.last_scrapes = scraped;
        gap.is_some() || came || went || self.last_scrapes.is_empty()
    }

    /// What is older is unknown: the proxy has missed several scrapes.
    pub(super) fn stale_after(&self) -> Duration {
        self.interval.map_or(MAX_WAIT, |gap| gap * 4) + INGESTION_DELAY
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sources::prometheus::series::ScrapedInstance;

    fn scraped(all: &[(&str, f64)]) -> ScrapedInstances {
        let instance =
            |scraped| ScrapedInstance { scraped: Some(scraped), ..ScrapedInstance::default() };
        all.iter().map(|(name, at)| (ProxyName::from(*name), instance(*at))).collect()
    }

    #[test]
    fn a_look_waits_until_all_have_been_scraped_again_but_not_for_ever() {
        let mut pace = ScrapeCadence::default();
        let first = scraped(&[("a", 100.0), ("b", 105.0)]);
        assert!(pace.is_ready(&first, Duration::ZERO) && pace.record(&first));
        let half = scraped(&[("a", 115.0), ("b", 105.0)]);
        assert!(!pace.is_ready(&half, Duration::from_secs(60)), "who knows how often that is");
        let both = scraped(&[("a", 115.0), ("b", 120.0)]);
        assert!(pace.is_ready(&both, Duration::ZERO) && pace.record(&both));
        // The gap is known to be 15 s.
        assert_eq!(pace.poll_delay(122.0), Duration::from_secs(13));
        assert_eq!(pace.poll_delay(136.0), MIN_POLL_INTERVAL);
        let late = scraped(&[("a", 130.0), ("b", 120.0)]);
        assert!(!pace.is_ready(&late, Duration::from_secs(20)));
        assert!(pace.is_ready(&late, Duration::from_secs(24)) && pace.record(&late));
        assert!(!pace.record(&late), "nothing is new");
        assert!(pace.is_ready(&scraped(&[("a", 145.0)]), Duration::ZERO), "b is gone");
        assert_eq!(pace.stale_after(), Duration::from_secs(61));
    }
}
