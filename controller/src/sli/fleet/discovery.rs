//! Which proxies there are.

mod dns;
mod file;

use std::path::PathBuf;
use std::sync::Arc;

use tokio::sync::watch;

use self::dns::Dns;
use self::file::File;
use crate::sli::roster::Name;

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

/// Where the list of proxies comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Whereabouts {
    /// One proxy, by the base address of its admin interface.
    Lone(String),
    /// These, each as `host:port`.
    Addresses(Vec<String>),
    /// All addresses of a name.
    Dns {
        /// The name.
        host: String,
        /// The port at each of its addresses.
        port: u16,
    },
    /// A file such as Prometheus' `file_sd` takes: groups of targets, as JSON or YAML.
    File(PathBuf),
}

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

/// The host and the port of `host:port`, if it is that.
#[must_use]
pub fn host_and_port(text: &str) -> Option<(&str, u16)> {
    let (host, port) = text.rsplit_once(':')?;
    let port = port.parse().ok().filter(|port| *port > 0)?;
    let url = reqwest::Url::parse(&format!("http://{text}")).ok()?;
    // A path, a user or a query would make it something else.
    let plain = url.path() == "/" && url.query().is_none() && url.fragment().is_none();
    let nobody = url.username().is_empty() && url.password().is_none();
    (plain && nobody && !text.ends_with('/')).then_some((host, port))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_a_host_and_a_port() {
        for (good, host) in [
            ("10.0.0.7:9901", "10.0.0.7"),
            ("edge-1:80", "edge-1"),
            ("[::1]:9901", "[::1]"),
            ("edge.prod.svc.cluster.local:1", "edge.prod.svc.cluster.local"),
        ] {
            assert_eq!(host_and_port(good).map(|(host, _)| host), Some(host), "{good}");
        }
        for bad in [
            "",
            "edge",
            "edge:",
            ":9901",
            "edge:0",
            "edge:99999",
            "a:b@edge:1",
            "edge:1/x",
            "::1:9901",
            "http://edge:1",
            "ed ge:1",
        ] {
            assert_eq!(host_and_port(bad), None, "{bad:?}");
        }
    }

    #[tokio::test]
    async fn a_list_names_each_proxy_once() {
        let all = ["b:1", "a:1", "b:1"].map(str::to_owned).to_vec();
        let mut discovery = Discovery::new(Whereabouts::Addresses(all));
        assert_eq!(discovery.refresh().await, None);
        assert_eq!(discovery.proxies()[..], [at("a:1"), at("b:1")]);
        assert_eq!(discovery.proxies()[0].address, "http://a:1");
    }
}
