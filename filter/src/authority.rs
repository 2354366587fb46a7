//! Which service a request is for, by its authority. Pure.

/// Patterns of authorities, each leading to a service by index.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Authorities {
    /// Whole names, with or without a port, in order.
    exact: Vec<(Vec<u8>, usize)>,
    /// What names end with, the dot included; the longest first.
    suffixes: Vec<(Vec<u8>, usize)>,
    /// Whose everything else is.
    any: Option<usize>,
}

impl Authorities {
    /// Adds a pattern: `host` (on every port), `host:port`, `*.suffix`, `*.suffix:port` or `*`. Returns the service that had it.
    pub fn insert(&mut self, pattern: &str, service: usize) -> Option<usize> {
        let pattern = pattern.to_ascii_lowercase().into_bytes();
        if pattern == b"*" {
            return self.any.replace(service);
        }
        if let Some(suffix) = pattern.strip_prefix(b"*") {
            let before = self.suffixes.iter().find(|(other, _)| other == suffix);
            let before = before.map(|(_, service)| *service);
            let place = self.suffixes.partition_point(|(other, _)| other.len() >= suffix.len());
            self.suffixes.insert(place, (suffix.to_vec(), service));
            return before;
        }
        match self.place(&pattern) {
            Ok(place) => self.exact.get_mut(place).map(|(_, old)| std::mem::replace(old, service)),
            Err(place) => {
                self.exact.insert(place, (pattern, service));
                None
            }
        }
    }

    fn place(&self, name: &[u8]) -> Result<usize, usize> {
        self.exact.binary_search_by(|(other, _)| other.as_slice().cmp(name))
    }

    fn whole(&self, name: &[u8]) -> Option<usize> {
        self.exact.get(self.place(name).ok()?).map(|(_, service)| *service)
    }

    /// The service with the most exact pattern for the authority: the whole name with its port, the whole name, the longest suffix,
    /// everything. The authority is asked for only if it matters.
    #[must_use]
    pub fn find(&self, authority: impl FnOnce() -> Option<Vec<u8>>) -> Option<usize> {
        if self.exact.is_empty() && self.suffixes.is_empty() {
            return self.any;
        }
        let mut authority = authority().unwrap_or_default();
        authority.make_ascii_lowercase();
        let host = without_port(&authority);
        let whole = self.whole(&authority).or_else(|| self.whole(host));
        // Something has to stand for the star.
        let below =
            |name: &[u8], suffix: &[u8]| name.len() > suffix.len() && name.ends_with(suffix);
        let suffix = || {
            let mut suffixes = self.suffixes.iter();
            suffixes.find(|(suffix, _)| below(&authority, suffix) || below(host, suffix))
        };
        whole.or_else(|| suffix().map(|(_, service)| *service)).or(self.any)
    }
}

/// The authority without `:port`. The colons of an IPv6 address are within brackets.
pub(crate) fn without_port(authority: &[u8]) -> &[u8] {
    let digits = authority.iter().rev().take_while(|byte| byte.is_ascii_digit()).count();
    match authority.split_at_checked(authority.len().saturating_sub(digits)) {
        Some((host, port)) if !port.is_empty() => host.strip_suffix(b":").unwrap_or(authority),
        _ => authority,
    }
}

/// Why a pattern can't be one.
#[must_use]
pub fn flaw(pattern: &str) -> Option<&'static str> {
    let name = pattern.strip_prefix("*.").unwrap_or(pattern);
    if pattern == "*" {
        None
    } else if name.is_empty() || name.contains('*') {
        Some("a star stands for everything (*) or for the first labels (*.example.org)")
    } else if name.bytes().any(|byte| !byte.is_ascii_graphic() || byte == b'/') {
        Some("an authority is a host name or address, with a port or without one")
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PATTERNS: [&str; 7] = [
        "shop.example",
        "Shop.Example:8080",
        "*.example",
        "*.eu.example",
        "*.example:9000",
        "[::1]",
        "10.0.0.1",
    ];

    fn find(authorities: &Authorities, authority: &[u8]) -> Option<usize> {
        authorities.find(|| Some(authority.to_vec()))
    }

    #[test]
    fn the_most_exact_pattern_counts() {
        let mut authorities = Authorities::default();
        for (service, pattern) in PATTERNS.iter().enumerate() {
            assert_eq!(authorities.insert(pattern, service), None, "{pattern}");
            assert_eq!(flaw(pattern), None);
        }
        for (authority, service) in [
            ("shop.example", Some(0)),
            ("SHOP.example:1", Some(0)),
            ("shop.example:8080", Some(1)),
            ("cart.example", Some(2)),
            ("cart.example:7", Some(2)),
            ("cart.eu.example:7", Some(3)),
            ("cart.example:9000", Some(4)),
            ("[::1]:80", Some(5)),
            ("[::1]", Some(5)),
            ("10.0.0.1:80", Some(6)),
            (".example", None),
            ("example", None),
            ("", None),
            ("80", None),
            (":80", None),
        ] {
            assert_eq!(find(&authorities, authority.as_bytes()), service, "{authority}");
        }
        assert_eq!(find(&authorities, &[0xff, b':', b'8']), None);
        assert_eq!([authorities.insert("*", 9), authorities.insert("*", 8)], [None, Some(9)]);
        let again = ["SHOP.example", "*.example"].map(|pattern| authorities.insert(pattern, 1));
        assert_eq!(again, [Some(0), Some(2)]);
        assert_eq!(authorities.find(|| None), Some(8));
    }

    #[test]
    fn who_has_everything_is_not_asked_for_the_authority() {
        let mut authorities = Authorities::default();
        assert_eq!(authorities.find(|| unreachable!("nobody wants it")), None);
        authorities.insert("*", 3);
        assert_eq!(authorities.find(|| unreachable!("nobody wants it")), Some(3));
    }

    #[test]
    fn flaws() {
        for pattern in ["", "*.", "a*", "*a.example", "*.*", "a b", "http://shop", "\u{fc}"] {
            assert!(flaw(pattern).is_some(), "{pattern}");
        }
    }
}
