//! Discovery by DNS: all addresses of a name.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use tokio::net::lookup_host;
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout};

use super::{ProxyEndpoints, at, listed};
use crate::sources::fleet::SCRAPE_TIMEOUT;

/// How long an answer stays valid.
const REFRESH_INTERVAL: Duration = Duration::from_secs(30);

/// Retry interval after a failed query.
const RETRY_INTERVAL: Duration = Duration::from_secs(5);

/// Resolves a name regularly, in the background: the resolver may be slow.
#[derive(Debug)]
pub(super) struct DnsDiscovery {
    host: String,
    port: u16,
    proxies: ProxyEndpoints,
    lookup: Option<JoinHandle<io::Result<Vec<SocketAddr>>>>,
    next_lookup: Instant,
    warning: Option<String>,
}

impl DnsDiscovery {
    pub(super) fn new(host: String, port: u16) -> Self {
        let (proxies, next_lookup) = (ProxyEndpoints::from([]), Instant::now());
        Self { host, port, proxies, lookup: None, next_lookup, warning: None }
    }

    pub(super) fn proxies(&self) -> &ProxyEndpoints {
        &self.proxies
    }

    pub(super) async fn refresh(&mut self) -> Option<String> {
        if self.lookup.is_none() && Instant::now() >= self.next_lookup {
            let name = (self.host.clone(), self.port);
            self.lookup = Some(tokio::spawn(async move {
                Ok(lookup_host((name.0.as_str(), name.1)).await?.collect())
            }));
        }
        if let Some(lookup) = &mut self.lookup {
            // Without any proxies, waiting is the only option.
            let max_wait = if self.proxies.is_empty() { SCRAPE_TIMEOUT } else { Duration::ZERO };
            if let Ok(answer) = timeout(max_wait, lookup).await {
                self.lookup = None;
                self.on_answer(answer.unwrap_or_else(|error| Err(error.into())));
            } else if self.proxies.is_empty() {
                return Some(self.problem("no answer yet"));
            }
        }
        self.warning.clone()
    }

    fn on_answer(&mut self, answer: io::Result<Vec<SocketAddr>>) {
        let problem = match answer {
            Ok(addresses) if !addresses.is_empty() => {
                let proxies = listed(addresses.iter().map(|address| at(&address.to_string())));
                if proxies != self.proxies {
                    self.proxies = proxies;
                }
                None
            }
            Ok(_) => Some("it has no address".to_owned()),
            Err(error) => Some(error.to_string()),
        };
        self.next_lookup =
            Instant::now() + if problem.is_none() { REFRESH_INTERVAL } else { RETRY_INTERVAL };
        self.warning = problem.map(|what| self.problem(&what));
    }

    fn problem(&self, what: &str) -> String {
        let Self { host, port, .. } = self;
        let last = if self.proxies.is_empty() { "" } else { "; its last addresses stay in force" };
        format!("spec.envoy.proxies.dns: {host}:{port} can't be resolved: {what}{last}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn addresses(all: &[&str]) -> io::Result<Vec<SocketAddr>> {
        Ok(all.iter().map(|address| address.parse().unwrap()).collect())
    }

    #[tokio::test]
    async fn the_last_answer_stays_in_force() {
        let mut dns = DnsDiscovery::new("edge".to_owned(), 9901);
        dns.on_answer(addresses(&["10.0.0.2:9901", "[fd00::1]:9901", "10.0.0.2:9901"]));
        let names = |dns: &DnsDiscovery| {
            dns.proxies().iter().map(|p| p.name.to_string()).collect::<Vec<_>>()
        };
        assert_eq!(
            (names(&dns), &dns.warning),
            (vec!["10.0.0.2:9901".to_owned(), "[fd00::1]:9901".to_owned()], &None)
        );
        let first = dns.proxies().clone();
        for nothing in [addresses(&[]), Err(io::Error::other("no resolver"))] {
            dns.on_answer(nothing);
            assert!(std::sync::Arc::ptr_eq(&first, dns.proxies()));
            let warning = dns.warning.clone().unwrap();
            assert!(
                warning.starts_with("spec.envoy.proxies.dns: edge:9901 can't be resolved: "),
                "{warning}"
            );
            assert!(warning.ends_with("; its last addresses stay in force"), "{warning}");
        }
        dns.on_answer(addresses(&["10.0.0.3:9901"]));
        assert_eq!((names(&dns), &dns.warning), (vec!["10.0.0.3:9901".to_owned()], &None));
    }

    #[tokio::test]
    async fn a_name_is_resolved() {
        let mut dns = DnsDiscovery::new("localhost".to_owned(), 9901);
        assert_eq!(dns.refresh().await, None);
        assert!(dns.proxies().iter().any(|proxy| proxy.address == "http://127.0.0.1:9901"));
    }

    #[tokio::test]
    async fn an_unknown_name_has_no_proxies() {
        let mut dns = DnsDiscovery::new("unknown.invalid".to_owned(), 9901);
        let warning = dns.refresh().await.unwrap();
        assert!(
            warning.starts_with("spec.envoy.proxies.dns: unknown.invalid:9901 can't be resolved: "),
            "{warning}"
        );
        assert!(dns.proxies().is_empty());
    }
}
