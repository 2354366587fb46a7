//! Reads a page of an Envoy's admin interface.

use std::time::Duration;

use reqwest::header::DATE;
use thiserror::Error;

use crate::http::{self, root_cause};

/// A request that was not answered for this long never will be.
const TIMEOUT: Duration = Duration::from_secs(5);

/// A page is as long as there are services; longer than this it is none. In bytes.
const LONGEST: usize = 64 << 20;

/// Why a page could not be read.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[allow(missing_docs)] // the messages say it
pub enum ScrapeError {
    #[error("{0}")]
    Unreachable(String),
    #[error("no answer within {}", humantime::format_duration(*.0))]
    Late(Duration),
    #[error("answered {0}")]
    Garbage(String),
}

impl ScrapeError {
    /// The same as a sentence about the proxy at this address.
    #[must_use]
    pub fn of(&self, address: &str) -> String {
        let interface = format!("Envoy's admin interface at {address}");
        match self {
            Self::Unreachable(cause) => format!("{interface} can't be reached: {cause}"),
            Self::Late(_) => format!("{interface} can't be reached: {self}"),
            Self::Garbage(_) => format!("{interface} {self}"),
        }
    }
}

/// A page.
#[derive(Debug)]
pub(crate) struct Answer {
    /// When it was made, by the proxy's clock, in the form of HTTP.
    pub(crate) date: Option<String>,
    /// What is on it.
    pub(crate) body: Vec<u8>,
}

/// What reads pages.
pub(crate) fn client() -> Result<reqwest::Client, ScrapeError> {
    // Of thousands of proxies, one connection each is enough to keep.
    let client = http::client(TIMEOUT).no_proxy().pool_max_idle_per_host(1).build();
    client.map_err(|error| ScrapeError::Unreachable(root_cause(&error)))
}

/// Reads the page at this address.
pub(crate) async fn fetch(client: &reqwest::Client, url: &str) -> Result<Answer, ScrapeError> {
    let unreachable = |error: reqwest::Error| match error.is_timeout() {
        true => ScrapeError::Late(TIMEOUT),
        false => ScrapeError::Unreachable(root_cause(&error)),
    };
    let mut answer = client.get(url).send().await.map_err(unreachable)?;
    if !answer.status().is_success() {
        return Err(ScrapeError::Garbage(format!("with status {}", answer.status())));
    }
    let date = answer.headers().get(DATE).and_then(|date| date.to_str().ok()).map(str::to_owned);
    let mut body = Vec::new();
    while let Some(chunk) = answer.chunk().await.map_err(unreachable)? {
        if body.len() + chunk.len() > LONGEST {
            return Err(ScrapeError::Garbage("with more than any page has".to_owned()));
        }
        body.extend_from_slice(&chunk);
    }
    Ok(Answer { date, body })
}
