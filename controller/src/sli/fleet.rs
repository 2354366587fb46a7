//! Many Envoys as a source of evidence, read by their admin interfaces at the same time.

pub(crate) mod admin;
pub mod discovery;
mod page;
mod scraper;

use std::sync::Arc;
use std::time::Duration;

use serin_filter::names::ServiceName;
use tokio::time::Instant;

pub use self::admin::ScrapeError;
pub use self::discovery::Discovery;
use self::discovery::{Proxies, Proxy};
pub use self::page::Page;
pub use self::scraper::{CATCH_UP, DEADLINE, Scraper, Target};
use super::merge::{Merge, Reading};
use super::roster::Name;
use super::{Look, Source};

/// A page may be older than the look by this part of the time since the look before: so rollouts share it, and each loses little.
const SHARED: u32 = 4;

/// No page is older than this.
const OLDEST: Duration = Duration::from_millis(250);

/// Some Envoys, for the statistics of one service.
#[derive(Debug)]
pub struct Fleet {
    discovery: Discovery,
    scraper: Scraper,
    service: ServiceName,
    /// Name of the filter's configuration, as the listeners' `config_discovery` has it.
    filter: String,
    /// The list of proxies that the targets are made from.
    listed: Proxies,
    targets: Vec<(Name, Arc<Target>)>,
    merge: Merge,
    began: Instant,
    looked: Instant,
}

impl Fleet {
    /// Proxies that nobody has looked at yet.
    #[must_use]
    pub fn new(
        discovery: Discovery,
        scraper: Scraper,
        service: ServiceName,
        filter: String,
    ) -> Self {
        let now = Instant::now();
        Self {
            discovery,
            scraper,
            service,
            filter,
            listed: Proxies::from([]),
            targets: Vec::new(),
            merge: Merge::default(),
            began: now,
            looked: now,
        }
    }

    /// Follows the list of proxies.
    async fn discover(&mut self) -> Option<String> {
        let warning = self.discovery.refresh().await;
        let listed = self.discovery.proxies();
        if !Arc::ptr_eq(listed, &self.listed) {
            self.listed = listed.clone();
            let target = |proxy: &Proxy| (proxy.name.clone(), self.scraper.target(&proxy.address));
            self.targets = listed.iter().map(target).collect();
        }
        warning
    }
}

impl Source for Fleet {
    async fn look(&mut self) -> Look {
        let warning = self.discover().await;
        let now = Instant::now();
        let fresh = now - (now.duration_since(self.looked) / SHARED).min(OLDEST);
        // All are under way before any is waited for.
        let read = |(name, target): &(Name, Arc<Target>)| (name.clone(), target.read(fresh));
        let pending: Vec<_> = self.targets.iter().map(read).collect();
        let alone = pending.len() == 1;
        let mut readings = Vec::with_capacity(pending.len());
        let at = now.duration_since(self.began);
        for (name, pending) in pending {
            let reading = match pending.page().await {
                Ok(page) => {
                    Ok(Reading { at, snapshot: page.snapshot(&self.service, &self.filter) })
                }
                Err(error) if alone => Err(error.of(&name)),
                Err(error) => Err(error.to_string()),
            };
            readings.push((name, reading));
        }
        self.looked = now;
        let look = self.merge.look(at, readings);
        warned(look, warning)
    }
}

/// A look with what went wrong with the list of proxies.
fn warned(look: Look, warning: Option<String>) -> Look {
    match (look, warning) {
        (Look::Seen(mut seen), warning) => {
            seen.roster.warning = warning;
            Look::Seen(seen)
        }
        (Look::Unreachable { why }, Some(warning)) => {
            Look::Unreachable { why: format!("{why}; {warning}") }
        }
        (look, None) => look,
    }
}

#[cfg(test)]
mod tests;
