//! Checks the Host header, against DNS rebinding: a web page whose name resolves to this server
//! must not read from it in the name of its visitor.

use std::net::IpAddr;
use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::uri::Authority;
use axum::http::{StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

use super::ApiError;

/// The names by which clients may address the server, apart from IP addresses and `localhost`.
pub(super) type HostNames = Arc<[String]>;

/// Rejects a request for another name. An IP address can't be rebound.
pub(super) async fn check(
    State(names): State<HostNames>,
    request: Request,
    next: Next,
) -> Response {
    let host = request.headers().get(header::HOST).map(|host| host.to_str().unwrap_or_default());
    match host {
        Some(host) if !is_allowed(host, &names) => ApiError(
            StatusCode::FORBIDDEN,
            "unknown host name: allow it with `serin serve --host NAME`".to_owned(),
        )
        .into_response(),
        _ => next.run(request).await,
    }
}

fn is_allowed(host: &str, names: &[String]) -> bool {
    let Ok(authority) = host.parse::<Authority>() else { return false };
    let name = authority.host();
    let address = name.trim_start_matches('[').trim_end_matches(']');
    address.parse::<IpAddr>().is_ok()
        || name.eq_ignore_ascii_case("localhost")
        || names.iter().any(|allowed| name.eq_ignore_ascii_case(allowed))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_and_named_hosts_are_allowed() {
        let names = ["serin.example".to_owned()];
        for host in ["127.0.0.1:9290", "[::1]:9290", "10.0.0.7", "localhost", "Serin.example:80"] {
            assert!(is_allowed(host, &names), "{host}");
        }
        for host in ["evil.example", "serin.example.evil", "127.0.0.1.evil", "", "a b", "::1"] {
            assert!(!is_allowed(host, &names), "{host}");
        }
    }
}
