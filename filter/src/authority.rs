//! Maps a request's authority to a service.

/// Authority patterns, each with the index of its service.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct AuthorityMap {
    /// Full names, with or without a port, sorted.
    exact: Vec<(Vec<u8>, usize)>,
    /// Suffixes with their leading dot, longest first.
    suffixes: Vec<(Vec<u8>, usize)>,
    /// The service of `*`.
    wildcard: Option<usize>,
}

impl AuthorityMap {
    /// Adds a pattern: `host` (any port), `host:port`, `*.suffix`, `*.suffix:port` or `*`.
    /// Returns the previous service of the same pattern.
    pub fn insert(&mut self, pattern: &str, service: usize) -> Option<usize> {
        let mut pattern = pattern.to_ascii_lowercase().into_bytes();
        normalize(&mut pattern);
        if pattern == b"*" {
            return self.wildcard.replace(service);
        }
        if let Some(suffix) = pattern.strip_prefix(b"*") {
            let previous = self.suffixes.iter().find(|(other, _)| other == suffix);
            let previous = previous.map(|(_, service)| *service);
            let index = self.suffixes.partition_point(|(other, _)| other.len() >= suffix.len());
            self.suffixes.insert(index, (suffix.to_vec(), service));
            return previous;
        }
        match self.search(&pattern) {
            Ok(index) => self.exact.get_mut(index).map(|(_, old)| std::mem::replace(old, service)),
            Err(index) => {
                self.exact.insert(index, (pattern, service));
                None
            }
        }
    }

    fn search(&self, name: &[u8]) -> Result<usize, usize> {
        self.exact.binary_search_by(|(other, _)| other.as_slice().cmp(name))
    }

    fn find_exact(&self, name: &[u8]) -> Option<usize> {
        self.exact.get(self.search(name).ok()?).map(|(_, service)| *service)
    }

    /// The service with the most specific pattern: full name with port, full name, longest
    /// suffix, `*`. Reads the authority only if a pattern needs it.
    #[must_use]
    pub fn find(&self, authority: impl FnOnce() -> Option<Vec<u8>>) -> Option<usize> {
        if self.exact.is_empty() && self.suffixes.is_empty() {
            return self.wildcard;
        }
        let mut authority = authority().unwrap_or_default();
        authority.make_ascii_lowercase();
        normalize(&mut authority);
        let host = without_port(&authority);
        let exact = self.find_exact(&authority).or_else(|| self.find_exact(host));
        // `*` matches at least one character.
        let matches =
            |name: &[u8], suffix: &[u8]| name.len() > suffix.len() && name.ends_with(suffix);
        let suffix = || {
            let mut suffixes = self.suffixes.iter();
            suffixes.find(|(suffix, _)| matches(&authority, suffix) || matches(host, suffix))
        };
        exact.or_else(|| suffix().map(|(_, service)| *service)).or(self.wildcard)
    }
}

/// Removes an empty port (RFC 3986, 3.2.3) and the dot of a name's root label (RFC 1034, 3.1).
fn normalize(authority: &mut Vec<u8>) {
    if authority.ends_with(b":") {
        authority.pop();
    }
    let host = without_port(authority).len();
    if authority.get(..host).is_some_and(|host| host.ends_with(b".")) {
        authority.remove(host - 1);
    }
}

/// Whether an authority has an empty port or the dot of the root label. Envoy's routes match it
/// only by `*`, or if the listener strips the dot.
#[must_use]
pub fn is_unusual(authority: &[u8]) -> bool {
    authority.ends_with(b":") || without_port(authority).ends_with(b".")
}

/// The authority without `:port`. An IPv6 address is in brackets.
pub(crate) fn without_port(authority: &[u8]) -> &[u8] {
    let digits = authority.iter().rev().take_while(|byte| byte.is_ascii_digit()).count();
    match authority.split_at_checked(authority.len().saturating_sub(digits)) {
        Some((host, port)) if !port.is_empty() => host.strip_suffix(b":").unwrap_or(authority),
        _ => authority,
    }
}

/// The reason why a pattern is invalid, or `None` for a valid one.
#[must_use]
pub fn pattern_error(pattern: &str) -> Option<&'static str> {
    let mut normalized = pattern.as_bytes().to_vec();
    normalize(&mut normalized);
    let name = normalized.strip_prefix(b"*.").unwrap_or(&normalized);
    let has_host = without_port(name).iter().any(|byte| *byte != b'.');
    if pattern == "*" {
        None
    } else if name.contains(&b'*') {
        Some("use * alone or as the first label, as in *.example.org")
    } else if !has_host || name.iter().any(|byte| !byte.is_ascii_graphic() || *byte == b'/') {
        Some("not a host name or address, with or without a port")
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

    fn find(authorities: &AuthorityMap, authority: &[u8]) -> Option<usize> {
        authorities.find(|| Some(authority.to_vec()))
    }

    #[test]
    fn the_most_specific_pattern_wins() {
        let mut authorities = AuthorityMap::default();
        for (service, pattern) in PATTERNS.iter().enumerate() {
            assert_eq!(authorities.insert(pattern, service), None, "{pattern}");
            assert_eq!(pattern_error(pattern), None);
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
            ("shop.example.", Some(0)),
            ("Shop.Example.:1", Some(0)),
            ("shop.example:", Some(0)),
            ("shop.example.:", Some(0)),
            ("shop.example.:8080", Some(1)),
            ("cart.eu.example.", Some(3)),
            ("cart.example.:9000", Some(4)),
            ("shop.example..", None),
            ("example.", None),
            (".", None),
        ] {
            assert_eq!(find(&authorities, authority.as_bytes()), service, "{authority}");
        }
        assert_eq!(find(&authorities, &[0xff, b':', b'8']), None);
        assert_eq!([authorities.insert("*", 9), authorities.insert("*", 8)], [None, Some(9)]);
        let replaced = ["SHOP.example.", "*.example"].map(|pattern| authorities.insert(pattern, 1));
        assert_eq!(replaced, [Some(0), Some(2)]);
        assert_eq!(authorities.find(|| None), Some(8));
    }

    #[test]
    fn an_authority_is_unusual_with_a_root_label_or_an_empty_port() {
        for unusual in ["a.", "a.:80", "a:", "a.:", "."] {
            assert!(is_unusual(unusual.as_bytes()), "{unusual}");
        }
        assert!(
            !["a", "a:80", "a.b:80", "[::]:80", "[::]", ""]
                .map(str::as_bytes)
                .iter()
                .any(|it| is_unusual(it))
        );
    }

    #[test]
    fn a_lone_wildcard_does_not_read_the_authority() {
        let mut authorities = AuthorityMap::default();
        assert_eq!(authorities.find(|| unreachable!("read")), None);
        authorities.insert("*", 3);
        assert_eq!(authorities.find(|| unreachable!("read")), Some(3));
    }

    #[test]
    fn invalid_patterns_have_a_reason() {
        for pattern in [
            "",
            ".",
            "..",
            "*.",
            "*..",
            "*.:80",
            "*.:",
            "*:",
            "*:80",
            "*..:80",
            ":80",
            ":",
            ".:80",
            "a*",
            "*a.example",
            "*.*",
            "a b",
            "http://shop",
            "\u{fc}",
        ] {
            assert!(pattern_error(pattern).is_some(), "{pattern}");
        }
        for pattern in ["*", "80", "a.", "a:", "a.:80", "*.a.", "*.a.:80", "[::]", "[::]:80"] {
            assert_eq!(pattern_error(pattern), None, "{pattern}");
        }
    }
}
