//! Requests after which the connection can carry another protocol. The status of the response
//! decides, whatever content types the request and the response have.

/// A request that can open a tunnel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tunnel {
    /// Any request with a body can be an upgrade.
    Upgrade,
    /// CONNECT.
    Connect,
}

impl Tunnel {
    /// The tunnel that a request with this method and a body can open.
    #[must_use]
    pub fn of(method: Option<&[u8]>) -> Self {
        if method == Some(b"CONNECT") { Self::Connect } else { Self::Upgrade }
    }

    /// Whether a response with this status and a body opens the tunnel.
    #[must_use]
    pub fn is_open(self, status: &[u8]) -> bool {
        status == b"101" || self == Self::Connect && status.starts_with(b"2")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_method_and_the_status_determine_a_tunnel() {
        for (method, status, open) in [
            (Some("GET"), "101", true),
            (Some("POST"), "200", false),
            (Some("CONNECT"), "200", true),
            (Some("CONNECT"), "204", true),
            (Some("CONNECT"), "101", true),
            (Some("CONNECT"), "403", false),
            (Some("connect"), "200", false),
            (None, "200", false),
            (None, "", false),
        ] {
            let tunnel = Tunnel::of(method.map(str::as_bytes));
            assert_eq!(tunnel.is_open(status.as_bytes()), open, "{method:?} {status}");
        }
    }
}
