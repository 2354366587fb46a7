//! Reads the statistics pages of many Envoys, each once for all rollouts that need it at about the
//! same time.
//!
//! A scrape runs in the background. A proxy that hangs delays a poll no longer than the poll's
//! timeout, and never has more than one pending request.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use tokio::sync::{Mutex as AsyncMutex, watch};
use tokio::time::{Instant, timeout_at};

use super::admin::{AdminClient, ScrapeError};
use super::exposition::{self, MetricValues};
use super::page::{self, AdminPage};
use crate::http::quote;

/// Timeout for a proxy that answered the last time. Envoy's admin interface runs in its main
/// thread and is quick even under load.
pub const SCRAPE_TIMEOUT: Duration = Duration::from_secs(1);

/// Timeout for a proxy that did not answer the last time: enough for one that has recovered.
pub const RECOVERY_TIMEOUT: Duration = Duration::from_millis(100);

/// The size limit of a page, in bytes. A query limits it to the filter's statistics: those of the
/// largest configuration have a third of it.
const MAX_PAGE_BYTES: usize = 16 << 20;

/// The most reads of the page in one scrape.
const MAX_READS: usize = 8;

/// The result of a scrape.
pub(super) type ScrapeResult = Result<Arc<StatsPage>, ScrapeError>;

/// A parsed page, by its format.
#[derive(Debug)]
pub enum StatsPage {
    /// The admin interface's format.
    Admin(AdminPage),
    /// The format for Prometheus.
    Exposition(MetricValues),
}

/// The format to request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum StatsFormat {
    /// The admin interface's format.
    Admin,
    /// The format for Prometheus.
    Exposition,
}

impl StatsFormat {
    fn path(self) -> &'static str {
        match self {
            Self::Admin => page::PATH,
            Self::Exposition => exposition::PATH,
        }
    }

    fn parse(self, text: &[u8]) -> Result<StatsPage, String> {
        match self {
            Self::Admin => {
                let invalid = |error: serde_json::Error| quote(error.to_string().as_bytes());
                AdminPage::parse(text).map(StatsPage::Admin).map_err(invalid)
            }
            Self::Exposition => exposition::parse(text).map(StatsPage::Exposition),
        }
    }
}

/// Reads pages. Clones share the results.
#[derive(Debug, Clone, Default)]
pub struct Scraper(Arc<Mutex<ScrapeTargets>>);

/// The targets in use, by address.
type ScrapeTargets = HashMap<(String, StatsFormat), Weak<ScrapeTarget>>;

/// An Envoy's statistics.
#[derive(Debug)]
pub struct ScrapeTarget {
    /// The running scrape holds it, so that scrapes do not overlap.
    admin: Arc<AsyncMutex<AdminClient>>,
    format: StatsFormat,
    last: Mutex<Option<LastScrape>>,
}

/// The last scrape, which may be under way.
#[derive(Debug)]
struct LastScrape {
    began: Instant,
    page: watch::Receiver<Option<ScrapeResult>>,
    /// Whether the previous scrape succeeded, if there was one.
    previous_succeeded: bool,
}

/// A page that is being read.
#[derive(Debug)]
pub struct PendingScrape {
    page: watch::Receiver<Option<ScrapeResult>>,
    deadline: Instant,
    timeout: Duration,
}

impl Scraper {
    /// The statistics at `address`, such as `http://127.0.0.1:9901`. Equal addresses share pages.
    #[must_use]
    pub fn target(&self, address: &str, format: StatsFormat) -> Arc<ScrapeTarget> {
        let key = (address.trim_end_matches('/').to_owned(), format);
        let mut targets = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(target) = targets.get(&key).and_then(Weak::upgrade) {
            return target;
        }
        // Unused targets must not accumulate.
        if targets.len() == targets.capacity() {
            targets.retain(|_, target| target.strong_count() > 0);
        }
        let target = Arc::new(ScrapeTarget {
            admin: Arc::new(AsyncMutex::new(AdminClient::at(&key.0, MAX_PAGE_BYTES))),
            format,
            last: Mutex::default(),
        });
        targets.insert(key, Arc::downgrade(&target));
        target
    }
}

impl ScrapeTarget {
    /// Starts a scrape, unless one is under way or the last one began after `fresh`. Does not wait
    /// for it.
    pub fn read(&self, fresh: Instant) -> PendingScrape {
        let now = Instant::now();
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        let (state, began) = match last.as_ref() {
            None => (None, now),
            Some(read) => (Some(read.page.borrow().as_ref().map(Result::is_ok)), read.began),
        };
        let previous_succeeded = match (&*last, state) {
            // A poll waits for it, or has waited.
            (Some(read), Some(None)) => return PendingScrape::new(read, now),
            (Some(read), Some(Some(_))) if began >= fresh => return PendingScrape::new(read, now),
            (_, state) => state.flatten().unwrap_or(true),
        };
        let (done, page) = watch::channel(None);
        let (admin, format) = (self.admin.clone(), self.format);
        tokio::spawn(async move {
            let scraped = scrape(&mut *admin.lock().await, format).await;
            done.send_replace(Some(scraped.map(Arc::new)));
        });
        let read = LastScrape { began: now, page, previous_succeeded };
        let pending = PendingScrape::new(&read, now);
        *last = Some(read);
        pending
    }
}

impl PendingScrape {
    fn new(read: &LastScrape, now: Instant) -> Self {
        let (deadline, timeout) = match read.previous_succeeded {
            true => (read.began + SCRAPE_TIMEOUT, SCRAPE_TIMEOUT),
            false => (now + RECOVERY_TIMEOUT, RECOVERY_TIMEOUT),
        };
        Self { page: read.page.clone(), deadline, timeout }
    }

    /// Waits for the page, at most until its deadline.
    ///
    /// # Errors
    /// The proxy can't be reached, is late, or answers with something else.
    pub async fn page(mut self) -> ScrapeResult {
        match timeout_at(self.deadline, self.page.wait_for(Option::is_some)).await {
            Ok(Ok(page)) => page.clone().unwrap_or(Err(ScrapeError::Timeout(self.timeout))),
            // The runtime ended the task.
            Ok(Err(_)) => Err(ScrapeError::Unreachable("the runtime ended the scrape".to_owned())),
            Err(_) => Err(ScrapeError::Timeout(self.timeout)),
        }
    }
}

/// Reads consistent statistics. Workers update counters while Envoy writes the page, and a request
/// counted without its latency would look slow. So the page is read until two reads agree; for a
/// proxy that never pauses, the last read counts.
async fn scrape(admin: &mut AdminClient, format: StatsFormat) -> Result<StatsPage, ScrapeError> {
    let mut last = admin.fetch(format.path()).await?.body;
    for _ in 1..MAX_READS {
        let next = admin.fetch(format.path()).await?.body;
        if next == last {
            break;
        }
        last = next;
    }
    format.parse(&last).map_err(|error| {
        ScrapeError::InvalidResponse(format!("something that is not a list of statistics: {error}"))
    })
}

#[cfg(test)]
mod tests;
