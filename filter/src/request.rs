//! The request data that selection reads, independent of the proxy.

/// A request with complete headers. Values need not be UTF-8.
pub trait Request {
    /// The value of the header with this lower-case name, unless empty. The lines of a repeated
    /// header are joined by commas (RFC 9110, 5.2).
    fn header(&self, name: &str) -> Option<Vec<u8>>;
    /// The first line of the header, which may be empty.
    fn first_line(&self, name: &str) -> Option<Vec<u8>>;
    /// The source address, as `address:port`.
    fn source(&self) -> Option<Vec<u8>>;
    /// Fresh random bits.
    fn random(&self) -> u64;

    /// The value of the cookie with this name, unless empty. Reads the lines after the first only
    /// if the first lacks the cookie.
    fn cookie(&self, name: &str) -> Option<Vec<u8>> {
        let first = self.first_line("cookie")?;
        let cookie = |line: &[u8]| cookie(line, name).map(<[u8]>::to_vec);
        cookie(&first).or_else(|| further_lines(&self.header("cookie")?, &first).find_map(cookie))
    }

    /// The `cookie` header without the cookies of this name, or `None` if there is none. Other
    /// cookies are kept byte for byte. The lines become one, separated as cookies.
    fn without_cookie(&self, name: &str) -> Option<Vec<u8>> {
        let (first, all) = (self.first_line("cookie")?, self.header("cookie")?);
        let (mut others, mut removed) = (Vec::with_capacity(all.len()), false);
        for line in std::iter::once(&first[..]).chain(further_lines(&all, &first)) {
            let (rest, found) = without_pairs(line, name);
            removed |= found;
            if !rest.is_empty() {
                others.extend_from_slice(if others.is_empty() { b"" } else { b"; " });
                others.extend_from_slice(&rest);
            }
        }
        removed.then_some(others)
    }
}

/// The lines of a repeated `cookie` header after the first. A comma joins them. Clients send commas
/// in cookies too (against RFC 6265, 4.1.1), so that a line begins only where a `name=` follows.
fn further_lines<'h>(header: &'h [u8], first: &[u8]) -> impl Iterator<Item = &'h [u8]> {
    let mut rest = header.strip_prefix(first).and_then(|rest| rest.strip_prefix(b","));
    std::iter::from_fn(move || {
        let text = rest?;
        let begins_line =
            |(index, _): &(usize, &u8)| text.get(index + 1..).is_some_and(begins_with_name);
        let comma = text.iter().enumerate().filter(|(_, byte)| **byte == b',').find(begins_line);
        let (line, next) = match comma.and_then(|(index, _)| text.split_at_checked(index)) {
            Some((line, next)) => (line, next.get(1..)),
            None => (text, None),
        };
        rest = next;
        Some(line)
    })
}

/// Whether a token (RFC 9110, 5.6.2) and `=` follow.
fn begins_with_name(text: &[u8]) -> bool {
    let is_token = |byte: &u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(byte);
    let text = text.trim_ascii_start();
    let length = text.iter().take_while(|byte| is_token(byte)).count();
    length > 0 && text.get(length) == Some(&b'=')
}

/// The line without the cookies of this name, each with one separator, and whether there were any.
fn without_pairs(line: &[u8], name: &str) -> (Vec<u8>, bool) {
    let mut rest = Vec::with_capacity(line.len());
    let (mut removed, mut removed_first) = (false, false);
    for (index, pair) in line.split(|byte| *byte == b';').enumerate() {
        if value(pair.trim_ascii(), name).is_some() {
            removed = true;
            removed_first |= index == 0;
        } else if index > 0 && removed_first {
            // The first pair that is kept is not preceded by a separator.
            removed_first = false;
            rest.extend_from_slice(pair.trim_ascii_start());
        } else {
            rest.extend_from_slice(if index > 0 { b";" } else { b"" });
            rest.extend_from_slice(pair);
        }
    }
    (rest, removed)
}

/// The first cookie of this name in a line (RFC 6265, 4.2.1), unless empty. Quotes are part of the
/// value.
fn cookie<'h>(line: &'h [u8], name: &str) -> Option<&'h [u8]> {
    pairs(line).find_map(|pair| value(pair, name)).filter(|value| !value.is_empty())
}

fn pairs(line: &[u8]) -> impl Iterator<Item = &[u8]> {
    line.split(|byte| *byte == b';').map(<[u8]>::trim_ascii)
}

fn value<'h>(pair: &'h [u8], name: &str) -> Option<&'h [u8]> {
    pair.strip_prefix(name.as_bytes())?.strip_prefix(b"=")
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// A request with these headers.
    #[derive(Debug, Clone, Default)]
    pub(crate) struct FakeRequest {
        pub(crate) headers: Vec<(&'static str, Vec<u8>)>,
        pub(crate) source: Option<&'static str>,
        pub(crate) random: u64,
    }

    impl FakeRequest {
        pub(crate) fn with(name: &'static str, value: impl AsRef<[u8]>) -> Self {
            Self::default().and(name, value)
        }

        pub(crate) fn and(mut self, name: &'static str, value: impl AsRef<[u8]>) -> Self {
            self.headers.push((name, value.as_ref().to_vec()));
            self
        }

        pub(crate) fn from(mut self, source: &'static str) -> Self {
            self.source = Some(source);
            self
        }
    }

    impl Request for FakeRequest {
        fn header(&self, name: &str) -> Option<Vec<u8>> {
            let lines = self.headers.iter().filter(|(other, _)| *other == name);
            let lines: Vec<&[u8]> = lines.map(|(_, value)| value.as_slice()).collect();
            Some(lines.join(&b","[..])).filter(|value| !value.is_empty())
        }

        fn first_line(&self, name: &str) -> Option<Vec<u8>> {
            let line = self.headers.iter().find(|(other, _)| *other == name);
            line.map(|(_, value)| value.clone())
        }

        fn source(&self) -> Option<Vec<u8>> {
            self.source.map(|source| source.as_bytes().to_vec())
        }

        fn random(&self) -> u64 {
            self.random
        }
    }

    #[test]
    fn the_first_nonempty_cookie_of_a_name_is_found() {
        let request = FakeRequest::with("cookie", b"a=1; sid=x=y;b=; bad ;sid=2;\xff=3");
        for (name, value) in [
            ("a", Some(&b"1"[..])),
            ("sid", Some(b"x=y")),
            ("b", None),
            ("bad", None),
            ("si", None),
        ] {
            assert_eq!(request.cookie(name).as_deref(), value, "{name}");
        }
        assert_eq!(FakeRequest::default().cookie("a"), None);
    }

    #[test]
    fn a_cookie_is_found_in_every_line() {
        let request = FakeRequest::with("cookie", "a=1,2; c=").and("cookie", "b=3; d=4");
        let request = request.and("cookie", "c=5");
        for (name, value) in [("a", Some("1,2")), ("b", Some("3")), ("c", Some("5")), ("e", None)] {
            let value = value.map(|value| value.as_bytes().to_vec());
            assert_eq!(request.cookie(name), value, "{name}");
        }
        let request = FakeRequest::with("cookie", "a=1").and("cookie", "b=1,2; c=3,x y=4");
        assert_eq!(request.cookie("b").as_deref(), Some(&b"1,2"[..]));
        assert_eq!(request.cookie("c").as_deref(), Some(&b"3,x y=4"[..]));
    }

    #[test]
    fn all_cookies_of_a_name_are_removed() {
        for (lines, rest) in [
            (&[&b"a=1; sid=2;b=\xff; sid=3;"[..]][..], Some(&b"a=1;b=\xff;"[..])),
            (&[b"sid=2"], Some(b"")),
            (&[b"sid=2; sid=3"], Some(b"")),
            (&[b"a=1;b=2;sid=3"], Some(b"a=1;b=2")),
            (&[b"sid=3; a=1;b=2"], Some(b"a=1;b=2")),
            (&[b"sid=3;sid=4;a=1 ;  b=2; "], Some(b"a=1 ;  b=2; ")),
            (&[b"a=1;; sid=3 ;;b"], Some(b"a=1;;;b")),
            (&[b"sid=1", b"b=1,2; c=3,,4;d", b"sid=5"], Some(b"b=1,2; c=3,,4;d")),
            (&[b"a=1", b"b=1,2", b"sid=3", b" c=4"], Some(b"a=1; b=1,2;  c=4")),
            (&[b"a=1", b"b=1,sid"], None),
            (&[b"a=1,2", b"sid=3; b=4", b"sid=5"], Some(b"a=1,2; b=4")),
            (&[b"a=sid=2; xsid=1; sidx=2"], None),
            (&[b""], None),
            (&[], None),
        ] {
            let request =
                lines.iter().fold(FakeRequest::default(), |all, line| all.and("cookie", line));
            assert_eq!(request.without_cookie("sid").as_deref(), rest);
        }
    }

    #[test]
    fn the_lines_of_a_repeated_header_are_one_value() {
        let request = FakeRequest::with("x-id", "a").and("x-id", "b").and("x-empty", "");
        assert_eq!(request.header("x-id").as_deref(), Some(&b"a,b"[..]));
        assert_eq!(request.header("x-empty"), None);
        assert_eq!(request.first_line("x-empty"), Some(vec![]));
    }
}
