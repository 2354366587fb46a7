//! Reads the statistics pages of many Envoys, each once for all rollouts that want it at about the same time.
//!
//! A reading goes on in the background whoever waits for it, so a proxy that hangs holds up nobody for longer than he is willing to
//! wait, and never has more than one request to answer.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use tokio::sync::{Mutex as AsyncMutex, watch};
use tokio::time::{Instant, timeout_at};

use super::admin::{Admin, ScrapeError};
use super::exposition::{self, Values};
use super::page::{self, Page};

/// How long a proxy may take to answer that has answered before. Envoy's admin interface runs in its main thread and is quick even under
/// load.
pub const DEADLINE: Duration = Duration::from_secs(1);

/// How long a proxy is waited for that has not answered last time: enough for one that is well again.
pub const CATCH_UP: Duration = Duration::from_millis(100);

/// How often the page is read for one reading at the most.
const READINGS: usize = 8;

/// What came of reading a page.
pub(super) type Scraped = Result<Arc<Shown>, ScrapeError>;

/// What a proxy shows, by where it is asked.
#[derive(Debug)]
pub enum Shown {
    /// By its admin interface.
    Admin(Page),
    /// As Prometheus sees it.
    Exposition(Values),
}

/// Where a proxy is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Form {
    /// At its admin interface.
    Admin,
    /// At the page for Prometheus.
    Exposition,
}

impl Form {
    fn path(self) -> &'static str {
        match self {
            Self::Admin => page::PATH,
            Self::Exposition => exposition::PATH,
        }
    }

    fn parse(self, text: &[u8]) -> Result<Shown, String> {
        match self {
            Self::Admin => Page::parse(text).map(Shown::Admin).map_err(|error| error.to_string()),
            Self::Exposition => exposition::parse(text).map(Shown::Exposition),
        }
    }
}

/// Reads pages. Clones share what they read.
#[derive(Debug, Clone, Default)]
pub struct Scraper(Arc<Mutex<Targets>>);

/// Those that somebody wants, by address.
type Targets = HashMap<(String, Form), Weak<Target>>;

/// An Envoy's statistics.
#[derive(Debug)]
pub struct Target {
    /// Whoever reads has it; no two do at a time.
    admin: Arc<AsyncMutex<Admin>>,
    form: Form,
    last: Mutex<Option<Read>>,
}

/// The last reading, which may be under way.
#[derive(Debug)]
struct Read {
    began: Instant,
    page: watch::Receiver<Option<Scraped>>,
    /// Whether the one before was answered, if there was one.
    trusted: bool,
}

/// A page that is being read.
#[derive(Debug)]
pub struct Pending {
    page: watch::Receiver<Option<Scraped>>,
    deadline: Instant,
    patience: Duration,
}

impl Scraper {
    /// The statistics at `address`, such as `http://127.0.0.1:9901`. Whoever asks for the same shares the pages.
    #[must_use]
    pub fn target(&self, address: &str, form: Form) -> Arc<Target> {
        let key = (address.trim_end_matches('/').to_owned(), form);
        let mut targets = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(target) = targets.get(&key).and_then(Weak::upgrade) {
            return target;
        }
        // Those that nobody wants any more must not pile up.
        if targets.len() == targets.capacity() {
            targets.retain(|_, target| target.strong_count() > 0);
        }
        let target = Arc::new(Target {
            admin: Arc::new(AsyncMutex::new(Admin::at(&key.0))),
            form,
            last: Mutex::default(),
        });
        targets.insert(key, Arc::downgrade(&target));
        target
    }
}

impl Target {
    /// Has the page read, unless it is being read already or was read after `fresh`. Does not wait for it.
    pub fn read(&self, fresh: Instant) -> Pending {
        let now = Instant::now();
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        let (state, began) = match last.as_ref() {
            None => (None, now),
            Some(read) => (Some(read.page.borrow().as_ref().map(Result::is_ok)), read.began),
        };
        let trusted = match (&*last, state) {
            // Somebody is waiting for it, or has waited.
            (Some(read), Some(None)) => return Pending::new(read, now),
            (Some(read), Some(Some(_))) if began >= fresh => return Pending::new(read, now),
            (_, state) => state.flatten().unwrap_or(true),
        };
        let (done, page) = watch::channel(None);
        let (admin, form) = (self.admin.clone(), self.form);
        tokio::spawn(async move {
            let scraped = scrape(&mut *admin.lock().await, form).await;
            done.send_replace(Some(scraped.map(Arc::new)));
        });
        let read = Read { began: now, page, trusted };
        let pending = Pending::new(&read, now);
        *last = Some(read);
        pending
    }
}

impl Pending {
    fn new(read: &Read, now: Instant) -> Self {
        let (deadline, patience) = match read.trusted {
            true => (read.began + DEADLINE, DEADLINE),
            false => (now + CATCH_UP, CATCH_UP),
        };
        Self { page: read.page.clone(), deadline, patience }
    }

    /// Waits for the page, but not beyond its deadline.
    ///
    /// # Errors
    /// The proxy can't be reached, is late, or answers something else.
    pub async fn page(mut self) -> Scraped {
        match timeout_at(self.deadline, self.page.wait_for(Option::is_some)).await {
            Ok(Ok(page)) => page.clone().unwrap_or(Err(ScrapeError::Late(self.patience))),
            // The task that reads was ended with the runtime.
            Ok(Err(_)) => Err(ScrapeError::Unreachable("the reading was given up".to_owned())),
            Err(_) => Err(ScrapeError::Late(self.patience)),
        }
    }
}

/// Reads the statistics, all as of one moment: workers add to them while the page is written, and a request that is counted while its
/// latency is not would look slow. So the page is read until two readings agree; a proxy that is never still is taken as last read.
async fn scrape(admin: &mut Admin, form: Form) -> Result<Shown, ScrapeError> {
    let mut last = admin.fetch(form.path()).await?.body;
    for _ in 1..READINGS {
        let next = admin.fetch(form.path()).await?.body;
        if next == last {
            break;
        }
        last = next;
    }
    form.parse(&last).map_err(|error| {
        ScrapeError::Garbage(format!("something that is not a list of statistics: {error}"))
    })
}

#[cfg(test)]
mod tests;
