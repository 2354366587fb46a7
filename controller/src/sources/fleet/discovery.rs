//! Which proxies there are.

mod dns;
mod file;

use std::sync::Arc;

use serin_core::config::discovery::Whereabouts;
use serin_core::observation::health::Name;
use tokio::sync::watch;

use self::dns::Dns;
use self::file::File;

/// A proxy's admin interface.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Proxy {
    /// What the proxy is called.
    pub name: Name,
    /// Base address, such as `http://10.0.0.7:9901`.
    pub address: String,
}

/// A list of proxies, no two of one name.
pub type Proxies = Arc<[Proxy]>;

/// Knows the proxies, and follows changes.
#[derive(Debug)]
pub struct Discovery(Kind);

#[derive(Debug)]
enum Kind {
    Listed(Proxies),
    Dns(Dns),
    File(File),
    Followed { proxies: Proxies, changes: watch::Receiver<Listing> },
}

/// A list of proxies as somebody else keeps it up to date.
#[derive(Debug, Clone, Default)]
pub struct Listing {
    /// The list.
    pub proxies: Vec<Proxy>,
    /// What keeps it from being renewed, if anything does.
    pub warning: Option<String>,
}

impl Discovery {
    /// A discovery of what somebody else lists.
    #[must_use]
    pub fn follow(changes: watch::Receiver<Listing>) -> Self {
        Self(Kind::Followed { proxies: Proxies::from([]), changes })
    }

    /// A discovery that has not looked yet.
    #[must_use]
    pub fn new(whereabouts: Whereabouts) -> Self {
        Self(match whereabouts {
            Whereabouts::Lone(address) => {
                let name = Name::from(address.as_str());
                Kind::Listed(Arc::new([Proxy { name, address }]))
            }
            Whereabouts::Addresses(all) => Kind::Listed(listed(all.iter().map(|one| at(one)))),
            Whereabouts::Dns { host, port } => Kind::Dns(Dns::new(host, port)),
            Whereabouts::File(path) => Kind::File(File::new(path)),
        })
    }

    /// Follows what has changed. What keeps it from that, if anything does: then the last list is still in force.
    ///
    /// To drop the future before it ends loses nothing.
    pub async fn refresh(&mut self) -> Option<String> {
        match &mut self.0 {
            Kind::Listed(_) => None,
            Kind::Dns(dns) => dns.refresh().await,
            Kind::File(file) => file.refresh(),
            Kind::Followed { proxies, changes } => {
                let listing = changes.borrow_and_update();
                if proxies[..] != listing.proxies[..] {
                    *proxies = listed(listing.proxies.iter().cloned());
                }
                listing.warning.clone()
            }
        }
    }

    /// The proxies. It is the same list, and not only an equal one, until something has changed.
    #[must_use]
    pub fn proxies(&self) -> &Proxies {
        match &self.0 {
            Kind::Listed(proxies) => proxies,
            Kind::Dns(dns) => dns.proxies(),
            Kind::File(file) => file.proxies(),
            Kind::Followed { proxies, .. } => proxies,
        }
    }
}

/// A proxy that is called by its address.
fn at(address: &str) -> Proxy {
    Proxy { name: Name::from(address), address: format!("http://{address}") }
}

/// These by name, each once.
fn listed(proxies: impl Iterator<Item = Proxy>) -> Proxies {
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
        let mut discovery = Discovery::new(Whereabouts::Addresses(all));
        assert_eq!(discovery.refresh().await, None);
        assert_eq!(discovery.proxies()[..], [at("a:1"), at("b:1")]);
        assert_eq!(discovery.proxies()[0].address, "http://a:1");
    }
}
