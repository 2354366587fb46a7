//! A URL as a provider of metrics.
//!
//! A specification names the URL, so the request must not give its author more than the process
//! itself offers: redirects are not followed, proxies of the environment are not used, and private
//! addresses are refused unless the process allows them. The client resolves a name once and
//! connects to the checked addresses, so a second DNS answer can't lead elsewhere.

use std::error::Error as StdError;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use reqwest::header::{CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue};
use reqwest::redirect::Policy;
use reqwest::{Response, Url};
use serin_core::ports::MetricProvider;
use serin_core::rollout::metric::{
    HeaderSource, MetricError, MetricErrorReason, TemplateVariables, WebHeader, WebMethod, WebQuery,
};
use serin_filter::names::VersionName;
use thiserror::Error;
use tokio::net::lookup_host;

use crate::files::{self, MAX_SECRET_BYTES};
use crate::http::{self, quote, root_cause};

/// The size limit of an answer, in bytes.
const MAX_RESPONSE_BYTES: usize = 1 << 20;

/// The policy of this process.
static ALLOW_PRIVATE: AtomicBool = AtomicBool::new(false);

/// Allows web metrics of this process to connect to private addresses.
pub(crate) fn allow_private_addresses() {
    ALLOW_PRIVATE.store(true, Ordering::Relaxed);
}

/// The addresses that a metric may connect to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AddressPolicy {
    /// Public addresses.
    Public,
    /// All addresses.
    Any,
}

impl AddressPolicy {
    /// The policy of this process.
    pub(super) fn of_process() -> Self {
        if ALLOW_PRIVATE.load(Ordering::Relaxed) { Self::Any } else { Self::Public }
    }

    fn allows(self, address: IpAddr) -> bool {
        self == Self::Any || is_public(address)
    }
}

/// The policy forbids all addresses of a host.
#[derive(Debug, Error)]
#[error(
    "{host} has the address {address}, which is not public; --allow-private-addresses allows it"
)]
struct ForbiddenAddress {
    host: String,
    address: IpAddr,
}

/// Resolves names to the addresses that the policy allows.
struct CheckedResolver(AddressPolicy);

impl Resolve for CheckedResolver {
    fn resolve(&self, name: Name) -> Resolving {
        let policy = self.0;
        Box::pin(async move {
            let all: Vec<SocketAddr> = lookup_host((name.as_str(), 0)).await?.collect();
            let (allowed, forbidden): (Vec<_>, Vec<_>) =
                all.into_iter().partition(|address| policy.allows(address.ip()));
            match forbidden.first() {
                Some(address) if allowed.is_empty() => {
                    let (host, address) = (name.as_str().to_owned(), address.ip());
                    Err(ForbiddenAddress { host, address }.into())
                }
                _ => Ok(Box::new(allowed.into_iter()) as Addrs),
            }
        })
    }
}

/// One metric that is a number in the JSON answer of a URL.
#[derive(Debug)]
pub struct WebMetric {
    /// The client, or the error that left it unbuilt.
    client: Result<reqwest::Client, String>,
    query: WebQuery,
    policy: AddressPolicy,
}

impl WebMetric {
    /// A metric that has not been sampled.
    #[must_use]
    pub fn new(query: WebQuery, policy: AddressPolicy) -> Self {
        let client = http::client(query.timeout)
            .redirect(Policy::none())
            .no_proxy()
            .dns_resolver(Arc::new(CheckedResolver(policy)))
            .build()
            .map_err(|error| root_cause(&error));
        Self { client, query, policy }
    }

    async fn send(
        &self,
        url: &str,
        variables: TemplateVariables<'_>,
        version: &VersionName,
    ) -> Result<Response, MetricError> {
        let unreachable = |cause: &str| {
            let message = format!("{url} can't be reached: {cause}");
            MetricError::new(MetricErrorReason::Unreachable, message)
        };
        let client = self.client.as_ref().map_err(|cause| unreachable(cause))?;
        let target = Url::parse(url).map_err(|error| unreachable(&error.to_string()))?;
        self.check_literal(&target)?;
        let request = match &self.query.method {
            WebMethod::Get => client.get(target),
            WebMethod::Post(body) => client
                .post(target)
                .header(CONTENT_TYPE, "application/json")
                .body(body.render(variables, version)),
        };
        let request = request.headers(headers(&self.query.headers)?);
        request.send().await.map_err(|error| self.failed(url, &error))
    }

    /// Checks a host that is an IP address: the client connects to it without the resolver.
    fn check_literal(&self, url: &Url) -> Result<(), MetricError> {
        let host = url.host_str().unwrap_or_default();
        match host.trim_matches(['[', ']']).parse() {
            Ok(address) if !self.policy.allows(address) => {
                let error = ForbiddenAddress { host: host.to_owned(), address };
                Err(MetricError::new(MetricErrorReason::Forbidden, error.to_string()))
            }
            _ => Ok(()),
        }
    }

    fn failed(&self, url: &str, error: &reqwest::Error) -> MetricError {
        let mut cause = Some(error as &(dyn StdError + 'static));
        while let Some(error) = cause {
            if error.is::<ForbiddenAddress>() {
                return MetricError::new(MetricErrorReason::Forbidden, error.to_string());
            }
            cause = error.source();
        }
        if error.is_timeout() {
            let timeout = humantime::format_duration(self.query.timeout);
            let message = format!("{url} did not answer within {timeout}");
            return MetricError::new(MetricErrorReason::Timeout, message);
        }
        let message = format!("{url} can't be reached: {}", root_cause(error));
        MetricError::new(MetricErrorReason::Unreachable, message)
    }

    async fn body(&self, url: &str, answer: Response) -> Result<Vec<u8>, MetricError> {
        let body = http::body(answer, MAX_RESPONSE_BYTES).await;
        body.map_err(|error| self.failed(url, &error))?.ok_or_else(|| {
            let message = format!("{url} answered with more than {MAX_RESPONSE_BYTES} bytes");
            MetricError::new(MetricErrorReason::InvalidResponse, message)
        })
    }
}

impl MetricProvider for WebMetric {
    async fn value(
        &self,
        variables: TemplateVariables<'_>,
        version: &VersionName,
    ) -> Result<f64, MetricError> {
        let url = self.query.url.render(variables, version);
        let answer = self.send(&url, variables, version).await?;
        let status = answer.status();
        if status.is_redirection() {
            let message =
                format!("{url} answered with the redirect {status}, which is not followed");
            return Err(MetricError::new(MetricErrorReason::Rejected, message));
        }
        let body = self.body(&url, answer).await?;
        if !status.is_success() {
            let message = format!("{url} answered with status {status}: {}", quote(&body));
            return Err(MetricError::new(MetricErrorReason::Rejected, message));
        }
        let document = serde_json::from_slice(&body).map_err(|_| {
            let message = format!("{url} answered with invalid JSON: {}", quote(&body));
            MetricError::new(MetricErrorReason::InvalidResponse, message)
        })?;
        let path = &self.query.json_path;
        path.number(&document).map_err(|reason| {
            let problem = match reason {
                MetricErrorReason::NoValue => "selects no value",
                MetricErrorReason::SeveralValues => "selects several values; one is needed",
                _ => "selects a value that is not a finite number",
            };
            let message = format!("{} {problem} in the answer of {url}", path.as_str());
            MetricError::new(reason, format!("{message}: {}", quote(&body)))
        })
    }
}

fn headers(all: &[WebHeader]) -> Result<HeaderMap, MetricError> {
    let mut headers = HeaderMap::new();
    for WebHeader { key, value } in all {
        let secret = |message: String| MetricError::new(MetricErrorReason::Secret, message);
        let value = match value {
            HeaderSource::Text(text) => text.clone(),
            HeaderSource::File(path) => files::read_text(path, MAX_SECRET_BYTES)
                .map_err(|error| secret(format!("the header {key}: {}: {error}", path.display())))?
                .trim()
                .to_owned(),
        };
        let invalid = || secret(format!("the header {key} can't have this value"));
        let name = HeaderName::try_from(key).map_err(|_| invalid())?;
        let mut value = HeaderValue::from_str(&value).map_err(|_| invalid())?;
        value.set_sensitive(true);
        headers.insert(name, value);
    }
    Ok(headers)
}

/// Returns true for addresses that are routed in the public Internet.
fn is_public(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => is_public_v4(address),
        IpAddr::V6(address) => is_public_v6(address),
    }
}

/// By the IANA IPv4 Special-Purpose Address Registry.
fn is_public_v4(address: Ipv4Addr) -> bool {
    let is_special = match address.octets() {
        [0 | 10 | 127 | 224..=255, ..] | [169, 254, ..] | [192, 168, ..] => true,
        // Shared address space, private, IETF protocol assignments, benchmarks.
        [100, 64..=127, ..] | [172, 16..=31, ..] | [192, 0, 0, _] | [198, 18 | 19, ..] => true,
        _ => false,
    };
    !is_special
}

/// By the IANA IPv6 Special-Purpose Address Registry: global unicast (2000::/3) alone. An address
/// with an IPv4 address in it is as public as that.
fn is_public_v6(address: Ipv6Addr) -> bool {
    let embedded = |high: u16, low: u16| {
        let ([a, b], [c, d]) = (high.to_be_bytes(), low.to_be_bytes());
        is_public_v4(Ipv4Addr::new(a, b, c, d))
    };
    match address.segments() {
        // IPv4-mapped, NAT64, 6to4.
        [0, 0, 0, 0, 0, 0xffff, high, low] | [0x64, 0xff9b, 0, 0, 0, 0, high, low] => {
            embedded(high, low)
        }
        [0x2002, high, low, ..] => embedded(high, low),
        // IETF protocol assignments, Teredo among them.
        [0x2001, 0..=0x1ff, ..] => false,
        [first, ..] => first & 0xe000 == 0x2000,
    }
}

#[cfg(test)]
mod tests;
