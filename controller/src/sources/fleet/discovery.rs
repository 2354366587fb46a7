//! Discovery of proxies.

mod dns;
mod file;

use std::sync::Arc;

use serin_core::config::discovery::DiscoveryConfig;
use serin_core::observation::health::ProxyName;
use tokio::sync::watch;

use self::dns::DnsDiscovery;
use self::file::FileDiscovery;

/// A proxy's admin interface.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProxyEndpoint {
    /// The proxy's name.
    pub name: ProxyName,
    /// Base address, such as `http://10.0.0.7:9901`.
    pub address: String,
}

/// A list of proxies with distinct names.
pub type ProxyEndpoints = Arc<[ProxyEndpoint]>;

/// Discovers proxies, and follows changes.
#[derive(Debug)]
pub struct ProxyDiscovery(DiscoverySource);

#[derive(Debug)]
enum DiscoverySource {
    Static(ProxyEndpoints),
    Dns(DnsDiscovery),
    File(FileDiscovery),
    Watched { proxies: ProxyEndpoints, changes: watch::Receiver<ProxyList> },
}

/// A list of proxies that another task keeps up to date.
#[derive(Debug, Clone, Default)]
pub struct ProxyList {
    /// The list.
    pub proxies: Vec<ProxyEndpoint>,
    /// The problem that keeps the list from being renewed, if any.
    pub warning: Option<String>,
}

impl ProxyDiscovery {
    /// A discovery that follows another task's list.
    #[must_use]
    pub fn follow(changes: watch::Receiver<ProxyList>) -> Self {
        Self(DiscoverySource::Watched { proxies: ProxyEndpoints::from([]), changes })
    }

    /// A discovery that has not run yet.
    #[must_use]
    pub fn new(discovery: DiscoveryConfig) -> Self {
        Self(match discovery {
            DiscoveryConfig::Single(address) => {
                let name = ProxyName::from(address.as_str());
                DiscoverySource::Static(Arc::new([ProxyEndpoint { name, address }]))
            }
            DiscoveryConfig::Addresses(all) => {
                DiscoverySource::Static(listed(all.iter().map(|one| at(one))))
            }
            DiscoveryConfig::Dns { host, port } => {
                DiscoverySource::Dns(DnsDiscovery::new(host, port))
            }
            DiscoveryConfig::File(path) => DiscoverySource::File(FileDiscovery::new(path)),
        })
    }

    /// Updates the list. Returns the problem, if any; then the last list stays in force.
    ///
    /// Cancel-safe.
    pub async fn refresh(&mut self) -> Option<String> {
        match &mut self.0 {
            DiscoverySource::Static(_) => None,
            DiscoverySource::Dns(dns) => dns.refresh().await,
            DiscoverySource::File(file) => file.refresh(),
            DiscoverySource::Watched { proxies, changes } => {
                let listing = changes.borrow_and_update();
                if proxies[..] != listing.proxies[..] {
                    *proxies = listed(listing.proxies.iter().cloned());
                }
                listing.warning.clone()
            }
        }
    }

    /// Waits until a list that another task keeps names a proxy.
    pub async fn discovered(&mut self) {
        if let DiscoverySource::Watched { changes, .. } = &mut self.0 {
            // The other task may have ended; then no proxy will be found.
            let _ = changes.wait_for(|listing| !listing.proxies.is_empty()).await;
        }
    }

    /// The proxies. The list is the same `Arc` until it changes.
    #[must_use]
    pub fn proxies(&self) -> &ProxyEndpoints {
        match &self.0 {
            DiscoverySource::Static(proxies) => proxies,
            DiscoverySource::Dns(dns) => dns.proxies(),
            DiscoverySource::File(file) => file.proxies(),
            DiscoverySource::Watched { proxies, .. } => proxies,
        }
    }
}

/// A proxy named by its address.
fn at(address: &str) -> ProxyEndpoint {
    ProxyEndpoint { name: ProxyName::from(address), address: format!("http://{address}") }
}

/// The proxies sorted by name, without duplicates.
fn listed(proxies: impl Iterator<Item = ProxyEndpoint>) -> ProxyEndpoints {
    let mut proxies: Vec<_> = proxies.collect();
    proxies.sort_by(|one, other| one.name.cmp(&other.name));
    proxies.dedup_by(|one, other| one.name == other.name);
    proxies.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_list_names_each_proxy_once() {
        let all = ["b:1", "a:1", "b:1"].map(str::to_owned).to_vec();
        let mut discovery = ProxyDiscovery::new(DiscoveryConfig::Addresses(all));
        assert_eq!(discovery.refresh().await, None);
        assert_eq!(discovery.proxies()[..], [at("a:1"), at("b:1")]);
        assert_eq!(discovery.proxies()[0].address, "http://a:1");
    }
}
