//! The request data that selection reads, independent of the proxy.

/// A request with complete headers. Values need not be UTF-8.
pub trait Request {
    /// The value of the header with this lower-case name.
    fn header(&self, name: &str) -> Option<Vec<u8>>;
    /// The source address, as `address:port`.
    fn source(&self) -> Option<Vec<u8>>;
    /// Fresh random bits.
    fn random(&self) -> u64;

    /// The value of the header, unless empty.
    fn nonempty_header(&self, name: &str) -> Option<Vec<u8>> {
        self.header(name).filter(|value| !value.is_empty())
    }

    /// The value of the cookie with this name, unless empty.
    fn cookie(&self, name: &str) -> Option<Vec<u8>> {
        cookie(&self.header("cookie")?, name).filter(|value| !value.is_empty()).map(<[u8]>::to_vec)
    }
}

/// The first cookie of this name in a `cookie` header (RFC 6265, 4.2.1). Quotes are part of the
/// value.
fn cookie<'h>(header: &'h [u8], name: &str) -> Option<&'h [u8]> {
    header
        .split(|byte| *byte == b';')
        .find_map(|pair| pair.trim_ascii().strip_prefix(name.as_bytes())?.strip_prefix(b"="))
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
            self.headers.iter().find(|(other, _)| *other == name).map(|(_, value)| value.clone())
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
}
