//! Many Envoys as a source of evidence, read by their admin interfaces at the same time.

pub(crate) mod admin;
pub mod discovery;
mod exposition;
mod page;
mod scraper;

use std::sync::Arc;
use std::time::Duration;

pub use serin_core::config::prometheus::shown;
use serin_core::observation::aggregator::{Merge, Reading};
use serin_core::observation::health::Name;
use serin_core::observation::{Look, Snapshot};
use serin_core::ports::Source;
use serin_filter::names::ServiceName;
use tokio::time::Instant;

pub use self::admin::ScrapeError;
pub use self::discovery::Discovery;
use self::discovery::{Proxies, Proxy};
pub use self::exposition::{Names, Values};
pub use self::page::Page;
pub use self::scraper::{CATCH_UP, DEADLINE, Form, Scraper, Shown, Target};
use crate::sources::split_tracker::Told;

/// A page may be older than the look by this part of the time since the look before: so rollouts share it, and each loses little.
const SHARED: u32 = 4;

/// No page is older than this.
const OLDEST: Duration = Duration::from_millis(250);

/// Some Envoys, for the statistics of one service.
#[derive(Debug)]
pub struct Fleet {
    discovery: Discovery,
    scraper: Scraper,
    reader: Reader,
    /// Where the mesh splits.
    told: Option<Told>,
    /// The list of proxies that the targets are made from.
    listed: Proxies,
    targets: Vec<(Name, Arc<Target>)>,
    merge: Merge,
    began: Instant,
    looked: Instant,
}

/// How the statistics of one service are found in what a proxy shows.
#[derive(Debug)]
pub enum Reader {
    /// At its admin interface.
    Admin {
        /// The service.
        service: ServiceName,
        /// Name of the filter's configuration, as the listeners' `config_discovery` has it.
        filter: String,
    },
    /// At its page for Prometheus.
    Exposition(Names),
}

impl Reader {
    fn form(&self) -> Form {
        match self {
            Self::Admin { .. } => Form::Admin,
            Self::Exposition(_) => Form::Exposition,
        }
    }

    fn snapshot(&self, shown: &Shown) -> Snapshot {
        match (self, shown) {
            (Self::Admin { service, filter }, Shown::Admin(page)) => page.snapshot(service, filter),
            (Self::Exposition(names), Shown::Exposition(values)) => names.snapshot(values),
            // No target shows another form than it is asked for.
            _ => Snapshot::default(),
        }
    }
}

impl Fleet {
    /// Proxies that nobody has looked at yet.
    #[must_use]
    pub fn new(discovery: Discovery, scraper: Scraper, reader: Reader) -> Self {
        let now = Instant::now();
        Self {
            discovery,
            scraper,
            reader,
            told: None,
            listed: Proxies::from([]),
            targets: Vec::new(),
            merge: Merge::default(),
            began: now,
            looked: now,
        }
    }

    /// The same where the mesh splits.
    #[must_use]
    pub fn told(self, told: Told) -> Self {
        Self { told: Some(told), ..self }
    }

    /// Follows the list of proxies.
    async fn discover(&mut self) -> Option<String> {
        let warning = self.discovery.refresh().await;
        let listed = self.discovery.proxies();
        if !Arc::ptr_eq(listed, &self.listed) {
            self.listed = listed.clone();
            let form = self.reader.form();
            let target =
                |proxy: &Proxy| (proxy.name.clone(), self.scraper.target(&proxy.address, form));
            self.targets = listed.iter().map(target).collect();
            if let Some(told) = &mut self.told {
                told.retain(|name| listed.iter().any(|proxy| proxy.name == *name));
            }
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
        let note = self.told.as_ref().map(Told::note);
        for (name, pending) in pending {
            let reading = match pending.page().await {
                Ok(shown) => {
                    let mut snapshot = self.reader.snapshot(&shown);
                    if let (Some(told), Some(note)) = (&mut self.told, &note) {
                        told.infer(note, (self.began, at), &name, &mut snapshot);
                    }
                    Ok(Reading { at, snapshot })
                }
                Err(error) if alone => Err(error.of(&name)),
                Err(error) => Err(error.to_string()),
            };
            readings.push((name, reading));
        }
        self.looked = now;
        let look = self.merge.look(at, readings);
        look.warned(note.and_then(|note| note.warning()).or(warning))
    }
}

#[cfg(test)]
mod tests;
