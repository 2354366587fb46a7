//! The source of the list of proxies.

use std::path::PathBuf;

/// The source of the list of proxies.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DiscoveryConfig {
    /// One proxy, by the base address of its admin interface.
    Single(String),
    /// These addresses, each as `host:port`.
    Addresses(Vec<String>),
    /// All addresses of a DNS name.
    Dns {
        /// The name.
        host: String,
        /// The port at each address.
        port: u16,
    },
    /// A file in the format of Prometheus' `file_sd`: groups of targets, as JSON or YAML.
    File(PathBuf),
}

/// The host and the port of `host:port`; `None` for other text.
#[must_use]
pub fn host_and_port(text: &str) -> Option<(&str, u16)> {
    let (host, port) = text.rsplit_once(':')?;
    let port = port.parse().ok().filter(|port| *port > 0)?;
    let url = url::Url::parse(&format!("http://{text}")).ok()?;
    // A path, a user or a query makes it a URL.
    let plain = url.path() == "/" && url.query().is_none() && url.fragment().is_none();
    let anonymous = url.username().is_empty() && url.password().is_none();
    (plain && anonymous && !text.ends_with('/')).then_some((host, port))
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
}
