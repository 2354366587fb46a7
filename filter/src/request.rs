//! What selection may ask of a request. The proxy answers in production (`stream`), a map in tests.

/// A request whose headers have arrived. Values are any bytes: nobody promises UTF-8.
pub trait Request {
    /// The value of the header with this lower-case name.
    fn header(&self, name: &str) -> Option<Vec<u8>>;
    /// The address it came from, as `address:port`.
    fn source(&self) -> Option<Vec<u8>>;
    /// Fresh random bits.
    fn random(&self) -> u64;

    /// The value of the header, if it says anything.
    fn telling_header(&self, name: &str) -> Option<Vec<u8>> {
        self.header(name).filter(|value| !value.is_empty())
    }

    /// The value of the cookie with this name, if it says anything.
    fn cookie(&self, name: &str) -> Option<Vec<u8>> {
        cookie(&self.header("cookie")?, name).filter(|value| !value.is_empty()).map(<[u8]>::to_vec)
    }
}

/// The first cookie of this name in the value of a `cookie` header (RFC 6265, 4.2.1; quotes are part of the value there).
fn cookie<'h>(header: &'h [u8], name: &str) -> Option<&'h [u8]> {
    header
        .split(|byte| *byte == b';')
        .find_map(|pair| pair.trim_ascii().strip_prefix(name.as_bytes())?.strip_prefix(b"="))
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// A request made of a list of headers.
    #[derive(Debug, Clone, Default)]
    pub(crate) struct Made {
        pub(crate) headers: Vec<(&'static str, Vec<u8>)>,
        pub(crate) source: Option<&'static str>,
        pub(crate) random: u64,
    }

    impl Made {
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

    impl Request for Made {
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
    fn cookies() {
        let request = Made::with("cookie", b"a=1; sid=x=y;b=; bad ;sid=2;\xff=3");
        for (name, value) in [
            ("a", Some(&b"1"[..])),
            ("sid", Some(b"x=y")),
            ("b", None),
            ("bad", None),
            ("si", None),
        ] {
            assert_eq!(request.cookie(name).as_deref(), value, "{name}");
        }
        assert_eq!(Made::default().cookie("a"), None);
    }
}
