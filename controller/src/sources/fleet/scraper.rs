//! Reads the statistics pages of many Envoys, each once for all rollouts that want it at about the same time.
//!
//! A reading goes on in the background whoever waits for it, so a proxy that hangs holds up nobody for longer than he is willing to
//! wait, and never has more than one request to answer.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use tokio::sync::{Mutex as AsyncMutex, watch};
use tokio::time::{Instant, timeout_at};

use super::admin::{AdminClient, ScrapeError};
use super::exposition::{self, MetricValues};
use super::page::{self, AdminPage};

/// How long a proxy may take to answer that has answered before. Envoy's admin interface runs in its main thread and is quick even under
/// load.
pub const SCRAPE_TIMEOUT: Duration = Duration::from_secs(1);

/// How long a proxy is waited for that has not answered last time: enough for one that is well again.
pub const RECOVERY_TIMEOUT: Duration = Duration::from_millis(100);

/// How often the page is read for one reading at the most.
const MAX_READS: usize = 8;

/// What came of reading a page.
pub(super) type ScrapeResult = Result<Arc<StatsPage>, ScrapeError>;

/// What a proxy shows, by where it is asked.
#[derive(Debug)]
pub enum StatsPage {
    /// By its admin interface.
    Admin(AdminPage),
    /// As Prometheus sees it.
    Exposition(MetricValues),
}

/// Where a proxy is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum StatsFormat {
    /// At its admin interface.
    Admin,
    /// At the page for Prometheus.
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
                AdminPage::parse(text).map(StatsPage::Admin).map_err(|error| error.to_string())
            }
            Self::Exposition => exposition::parse(text).map(StatsPage::Exposition),
        }
    }
}

/// Reads pages. Clones share what they read.
#[derive(Debug, Clone, Default)]
pub struct Scraper(Arc<Mutex<ScrapeTargets>>);

/// The targets in use, by address.
type ScrapeTargets = HashMap<(String, StatsFormat), Weak<ScrapeTarget>>;

/// An Envoy's statistics.
#[derive(Debug)]
pub struct ScrapeTarget {
    /// Whoever reads has it; no two do at a time.
    admin: Arc<AsyncMutex<AdminClient>>,
    format: StatsFormat,
    last: Mutex<Option<LastScrape>>,
}

/// The last reading, which may be under way.
#[derive(Debug)]
struct LastScrape {
    began: Instant,
    page: watch::Receiver<Option<ScrapeResult>>,
    /// Whether the one before was answered, if there was one.
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
    /// The statistics at `address`, such as `http://127.0.0.1:9901`. Whoever asks for the same shares the pages.
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
            admin: Arc::new(AsyncMutex::new(AdminClient::at(&key.0))),
            format,
            last: Mutex::default(),
        });
        targets.insert(key, Arc::downgrade(&target));
        target
    }
}

impl ScrapeTarget {
    /// Has the page read, unless it is being read already or was read after `fresh`. Does not wait for it.
    pub fn read(&self, fresh: Instant) -> PendingScrape {
        let now = Instant::now();
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        let (state, began) = match last.as_ref() {
            None => (None, now),
            Some(read) => (Some(read.page.borrow().as_ref().map(Result::is_ok)), read.began),
        };
        let previous_succeeded = match (&*last, state) {
            // Somebody is waiting for it, or has waited.
            (Some(read), Some(None)) => return PendingScrape::new(read, now),
            (Some(read), Some(Some(_))) if began >= fresh => return PendingScrape::new(read, now),
            (_, state) => state.flatten().unwrap_or(true),
        };
        let (done, page) = watch::channel(None);
        let (admin, form) = (self.admin.clone(), self.format);
        tokio::spawn(async move {
            let scraped = scrape(&mut *admin.lock().await, form).await;
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

    /// Waits for the page, but not beyond its deadline.
    ///
    /// # Errors
    /// The proxy can't be reached, is late, or answers something else.
    pub async fn page(mut self) -> ScrapeResult {
        match timeout_at(self.deadline, self.page.wait_for(Option::is_some)).await {
            Ok(Ok(page)) => page.clone().unwrap_or(Err(ScrapeError::Timeout(self.timeout))),
            // The task that reads was ended with the runtime.
            Ok(Err(_)) => Err(ScrapeError::Unreachable("the reading was given up".to_owned())),
            Err(_) => Err(ScrapeError::Timeout(self.timeout)),
        }
    }
}

/// Reads the statistics, all as of one moment: workers add to them while the page is written, and a request that is counted while its
/// latency is not would look slow. So the page is read until two readings agree; a proxy that is never still is taken as last read.
async fn scrape(admin: &mut AdminClient, form: StatsFormat) -> Result<StatsPage, ScrapeError> {
    let mut last = admin.fetch(form.path()).await?.body;
    for _ in 1..MAX_READS {
        let next = admin.fetch(form.path()).await?.body;
        if next == last {
            break;
        }
        last = next;
    }
    form.parse(&last).map_err(|error| {
        ScrapeError::InvalidResponse(format!("something that is not a list of statistics: {error}"))
    })
}

#[cfg(test)]
mod tests;
