//! Decides whether a request is trusted: by its source network or by a token.

use std::net::{IpAddr, SocketAddr};

use crate::request::Request;

/// A network in CIDR notation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Network {
    v4: bool,
    bits: u128,
    mask: u128,
}

impl Network {
    /// Parses `10.0.0.0/8` or `fd00::/8`.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let (address, length) = text.split_once('/')?;
        let (v4, bits) = bits(address.parse().ok()?);
        let length: u32 = length.parse().ok()?;
        let length = if v4 { length.checked_add(96)? } else { length };
        let mask = match 128_u32.checked_sub(length)? {
            128 => 0,
            rest => u128::MAX << rest,
        };
        Some(Self { v4, bits: bits & mask, mask })
    }

    fn contains(&self, address: IpAddr) -> bool {
        let (v4, bits) = bits(address);
        v4 == self.v4 && bits & self.mask == self.bits
    }
}

/// Whether an address is IPv4, and its bits, right-aligned.
fn bits(address: IpAddr) -> (bool, u128) {
    match address {
        IpAddr::V4(address) => (true, u32::from(address).into()),
        IpAddr::V6(address) => (false, address.into()),
    }
}

/// Networks and a token that make a request trusted. By default, no request is.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Trust {
    /// Trusted source networks.
    pub sources: Vec<Network>,
    /// Secret that a trusted request contains.
    pub token: Option<String>,
}

impl Trust {
    /// Whether any request can be trusted.
    #[must_use]
    pub fn is_configured(&self) -> bool {
        !self.sources.is_empty() || self.token.is_some()
    }

    /// Whether the source of the request is in a trusted network.
    #[must_use]
    pub fn accepts_source(&self, request: &impl Request) -> bool {
        !self.sources.is_empty()
            && request
                .source()
                .as_deref()
                .and_then(parse_address)
                .is_some_and(|address| self.sources.iter().any(|network| network.contains(address)))
    }

    /// Compares with the token, in constant time.
    #[must_use]
    pub fn accepts_token(&self, offered: &[u8]) -> bool {
        self.token.as_ref().is_some_and(|token| {
            let difference = token.bytes().zip(offered).fold(0, |sum, (a, b)| sum | (a ^ b));
            token.len() == offered.len() && difference == 0
        })
    }
}

/// Parses `address:port` or an address. Converts IPv4-mapped IPv6 addresses to IPv4.
#[must_use]
pub fn parse_address(source: &[u8]) -> Option<IpAddr> {
    let source = std::str::from_utf8(source).ok()?;
    let with_port = source.parse::<SocketAddr>().map(|address| address.ip());
    with_port.or_else(|_| source.parse()).ok().map(|address| address.to_canonical())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::request::tests::FakeRequest;

    #[test]
    fn only_sources_in_a_trusted_network_are_accepted() {
        let sources = ["10.0.0.0/8", "fd00::/8", "192.0.2.7/32"];
        let sources = sources.map(|network| Network::parse(network).unwrap()).to_vec();
        let trust = Trust { sources, token: None };
        let from =
            |source: &'static str| trust.accepts_source(&FakeRequest::default().from(source));
        assert!(
            ["10.1.2.3:4", "[fd00::1]:80", "192.0.2.7:1", "10.0.0.1", "[::ffff:10.0.0.1]:5"]
                .into_iter()
                .all(from)
        );
        assert!(
            !["11.0.0.1:1", "192.0.2.8:1", "", "nonsense", "[fe80::1]:80"].into_iter().any(from)
        );
        assert!(!trust.accepts_source(&FakeRequest::default()));
        assert!(!Trust::default().accepts_source(&FakeRequest::default().from("10.1.2.3:4")));
    }

    #[test]
    fn networks_contain_the_addresses_of_their_prefix() {
        let all = Network::parse("0.0.0.0/0").unwrap();
        assert!(all.contains([255, 1, 2, 3].into()) && !all.contains("::1".parse().unwrap()));
        assert!(Network::parse("::/0").unwrap().contains("ff::".parse().unwrap()));
        let odd = Network::parse("10.128.7.7/9").unwrap();
        assert!(odd.contains([10, 200, 0, 1].into()) && !odd.contains([10, 127, 0, 1].into()));
        for bad in [
            "",
            "10.0.0.0",
            "10.0.0.0/",
            "10.0.0.0/33",
            "::/129",
            "a/8",
            "10.0.0.0/-1",
            "1.1.1.1/4294967295",
        ] {
            assert_eq!(Network::parse(bad), None, "{bad}");
        }
    }

    #[test]
    fn only_the_exact_token_is_accepted() {
        let trust = Trust { sources: vec![], token: Some("secret".to_owned()) };
        assert!(trust.accepts_token(b"secret"));
        for wrong in [&b""[..], b"secre", b"secrets", b"Secret", b"\xff"] {
            assert!(!trust.accepts_token(wrong), "{wrong:?}");
        }
        assert!(!Trust::default().accepts_token(b""));
    }
}
