//! Estimates when Prometheus has new data: once it has scraped every proxy again.

use std::collections::BTreeMap;
use std::time::Duration;

use serin_core::observation::health::ProxyName;

use super::INGESTION_DELAY;
use super::series::ScrapedInstances;

/// The longest wait while the scrape interval is unknown: twice the usual maximum of a minute.
const MAX_WAIT: Duration = Duration::from_secs(120);

/// The shortest time between two queries.
const MIN_POLL_INTERVAL: Duration = Duration::from_millis(250);

/// The last scrape of each proxy, and the interval between scrapes.
#[derive(Debug, Default)]
pub(super) struct ScrapeCadence {
    /// The time of each proxy's last scrape, in seconds since 1970.
    last_scrapes: BTreeMap<ProxyName, f64>,
    /// The longest time between the last two observed scrapes of any proxy.
    interval: Option<Duration>,
}

impl ScrapeCadence {
    /// Whether every proxy of the last poll that still exists was scraped since, or had time to
    /// be: a late proxy does not delay the others.
    pub(super) fn is_ready(&self, instances: &ScrapedInstances, waited: Duration) -> bool {
        let timeout = self.interval.map_or(MAX_WAIT, |interval| interval * 3 / 2 + INGESTION_DELAY);
        let is_new = |(name, before): (&ProxyName, &f64)| {
            let now = instances.get(name).and_then(|instance| instance.scraped);
            now.is_none_or(|now| now > *before)
        };
        waited >= timeout || self.last_scrapes.iter().all(is_new)
    }

    /// How long to wait before the next query, as of now in seconds since 1970: until the last of
    /// the proxies is due, if the interval is known.
    pub(super) fn poll_delay(&self, now: f64) -> Duration {
        let last = self.last_scrapes.values().copied().fold(0.0, f64::max);
        let due = self.interval.map_or(0.0, |interval| last + interval.as_secs_f64());
        Duration::try_from_secs_f64(due - now)
            .unwrap_or_default()
            .clamp(MIN_POLL_INTERVAL, MAX_WAIT)
    }

    /// Records the present scrapes. Returns whether any is new.
    pub(super) fn record(&mut self, instances: &ScrapedInstances) -> bool {
        let scraped: BTreeMap<ProxyName, f64> = instances
            .iter()
            .filter_map(|(name, instance)| Some((name.clone(), instance.scraped?)))
            .collect();
        let intervals = scraped.iter().filter_map(|(name, now)| {
            let interval = now - self.last_scrapes.get(name)?;
            Duration::try_from_secs_f64(interval).ok().filter(|interval| !interval.is_zero())
        });
        let interval = intervals.max();
        let is_added = scraped.keys().any(|name| !self.last_scrapes.contains_key(name));
        let is_removed = self.last_scrapes.keys().any(|name| !scraped.contains_key(name));
        self.interval = interval.or(self.interval);
        self.last_scrapes = scraped;
        interval.is_some() || is_added || is_removed || self.last_scrapes.is_empty()
    }

    /// Older data is stale: the proxy has missed several scrapes.
    pub(super) fn stale_after(&self) -> Duration {
        self.interval.map_or(MAX_WAIT, |interval| interval * 4) + INGESTION_DELAY
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
    fn a_poll_waits_for_all_scrapes_but_not_forever() {
        let mut cadence = ScrapeCadence::default();
        let first = scraped(&[("a", 100.0), ("b", 105.0)]);
        assert!(cadence.is_ready(&first, Duration::ZERO) && cadence.record(&first));
        let half = scraped(&[("a", 115.0), ("b", 105.0)]);
        assert!(!cadence.is_ready(&half, Duration::from_secs(60)), "the interval is unknown");
        let both = scraped(&[("a", 115.0), ("b", 120.0)]);
        assert!(cadence.is_ready(&both, Duration::ZERO) && cadence.record(&both));
        // The interval is known to be 15 s.
        assert_eq!(cadence.poll_delay(122.0), Duration::from_secs(13));
        assert_eq!(cadence.poll_delay(136.0), MIN_POLL_INTERVAL);
        let late = scraped(&[("a", 130.0), ("b", 120.0)]);
        assert!(!cadence.is_ready(&late, Duration::from_secs(20)));
        assert!(cadence.is_ready(&late, Duration::from_secs(24)) && cadence.record(&late));
        assert!(!cadence.record(&late), "nothing is new");
        assert!(cadence.is_ready(&scraped(&[("a", 145.0)]), Duration::ZERO), "b is gone");
        assert_eq!(cadence.stale_after(), Duration::from_secs(61));
    }
}
