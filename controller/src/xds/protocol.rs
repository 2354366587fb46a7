//! One stream of the xDS protocol, state of the world: the proxy's subscriptions, the responses
//! due, and the proxy's state.
//!
//! A response carries one resource, and the next one follows the proxy's answer. So an answer
//! concerns one version of one resource, a slow proxy gets the newest version and skips the
//! others, and nothing accumulates for a proxy that does not answer. (A response may hold any
//! subset of resources for types such as ECDS.)

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use envoy_types::pb::google::protobuf::Any;
use thiserror::Error;

/// The only served type: the configuration of an extension. The server does not answer requests
/// for others.
pub const TYPE_URL: &str = "type.googleapis.com/envoy.config.core.v3.TypedExtensionConfig";

/// The most names in a stream's subscription.
pub const MAX_NAMES: usize = 64;
/// The longest name, in bytes; of a resource, a node or a group.
pub const MAX_NAME: usize = 256;
/// The kept part of a proxy's reason, in bytes.
const MAX_REASON: usize = 1_024;

/// A version of a resource.
#[derive(Debug, Clone, PartialEq)]
pub struct Resource {
    /// The name in the proxies' subscriptions.
    pub name: String,
    /// The version that proxies acknowledge. It changes with the contents.
    pub version: String,
    /// The message: a `TypedExtensionConfig` of that name.
    pub body: Any,
}

/// A published resource.
#[derive(Debug, Clone)]
pub struct Published {
    /// Higher than that of everything published before.
    pub revision: u64,
    /// The resource.
    pub resource: Arc<Resource>,
}

/// The published resources of a group, by name.
pub type Resources = BTreeMap<String, Published>;

/// The state that a stream reported of each subscribed resource.
pub type AckStates = BTreeMap<String, AckState>;

/// A proxy's state of a resource.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct AckState {
    /// The running version, as far as reported.
    pub acknowledged: Option<String>,
    /// The version that was sent since and is not running.
    pub rejected: Option<Rejection>,
}

/// A version that a proxy rejected.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rejection {
    /// The version.
    pub version: String,
    /// The proxy's reason; the first kilobyte.
    pub reason: String,
}

/// The relevant fields of a `DiscoveryRequest`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Request {
    /// The requested type.
    pub type_url: String,
    /// The version that the proxy accepted last.
    pub version: String,
    /// The nonce of the response that it answers; empty if there was none.
    pub nonce: String,
    /// All subscribed resources.
    pub names: Vec<String>,
    /// Why the proxy rejected that response.
    pub error: Option<String>,
}

/// The effect of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct RequestEffect {
    /// The ACK states have changed.
    pub changed: bool,
    /// The request only answers a response.
    pub is_answer: bool,
}

/// A request exceeds a limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("a stream may subscribe to {MAX_NAMES} names of {MAX_NAME} bytes")]
pub struct LimitExceeded;

/// A response to send.
#[derive(Debug, Clone)]
pub struct Response {
    /// The answer will have this nonce.
    pub nonce: String,
    /// The one resource in it.
    pub resource: Arc<Resource>,
}

/// The state of a stream.
#[derive(Debug, Default)]
pub struct Subscription {
    started: bool,
    subscriptions: BTreeMap<String, SubscribedResource>,
    responses: u64,
    /// The nonce of the last response; empty before the first.
    nonce: String,
    unanswered: Option<Arc<Resource>>,
}

#[derive(Debug, Default)]
struct SubscribedResource {
    /// The revision that was sent last.
    sent: Option<u64>,
    ack_state: AckState,
}

impl Subscription {
    /// Handles a request. If the proxy sent it before it read the last response, only its names
    /// count: the answer is to a response that no longer matters. (The names count because a proxy
    /// that drops a subscription and renews it needs the resource again.)
    ///
    /// # Errors
    /// The request exceeds a limit; nothing has changed.
    pub fn on_request(&mut self, request: &Request) -> Result<RequestEffect, LimitExceeded> {
        if request.type_url != TYPE_URL {
            return Ok(RequestEffect::default());
        }
        let names: BTreeSet<&String> = request.names.iter().collect();
        if names.len() > MAX_NAMES || names.iter().any(|name| name.len() > MAX_NAME) {
            return Err(LimitExceeded);
        }
        let answered = self.unanswered.take_if(|_| request.nonce == self.nonce);
        if let Some(resource) = &answered {
            self.on_answer(resource, request);
        }
        let resubscribed = !names.iter().copied().eq(self.subscriptions.keys());
        if resubscribed {
            self.subscriptions.retain(|name, _| names.contains(name));
            for name in names {
                self.subscriptions.entry(name.clone()).or_default();
            }
        }
        if !self.started {
            self.begin(&request.version);
        }
        let is_answer = answered.is_some() && !resubscribed;
        Ok(RequestEffect { changed: answered.is_some() || resubscribed, is_answer })
    }

    /// The next response, if any: of the published resources that the proxy was not sent, the one
    /// that has waited longest.
    pub fn next(&mut self, resources: &Resources) -> Option<Response> {
        if self.unanswered.is_some() {
            return None;
        }
        let due = self.subscriptions.iter_mut().filter_map(|(name, resource)| {
            let published = resources.get(name)?;
            (resource.sent != Some(published.revision)).then_some((resource, published))
        });
        let (subscribed, published) = due.min_by_key(|(resource, _)| resource.sent)?;
        subscribed.sent = Some(published.revision);
        self.responses += 1;
        self.nonce = self.responses.to_string();
        let resource = published.resource.clone();
        self.unanswered = Some(resource.clone());
        Some(Response { nonce: self.nonce.clone(), resource })
    }

    /// The proxy's state of each subscribed resource, as far as this stream has reported.
    #[must_use]
    pub fn ack_states(&self) -> AckStates {
        let states = self.subscriptions.iter();
        states.map(|(name, resource)| (name.clone(), resource.ack_state.clone())).collect()
    }

    /// A reconnecting proxy sends the version that it accepted: one for the type, ambiguous with
    /// several resources.
    fn begin(&mut self, version: &str) {
        self.started = true;
        let mut resources = self.subscriptions.values_mut();
        if let (Some(only), None) = (resources.next(), resources.next())
            && !version.is_empty()
        {
            only.ack_state.acknowledged = Some(truncate(version, MAX_NAME));
        }
    }

    fn on_answer(&mut self, resource: &Resource, request: &Request) {
        let Some(subscribed) = self.subscriptions.get_mut(&resource.name) else { return };
        let version = resource.version.clone();
        let reason = match &request.error {
            None if request.version == version => {
                subscribed.ack_state = AckState { acknowledged: Some(version), rejected: None };
                return;
            }
            None => {
                format!("no reason given; it has version {:?}", truncate(&request.version, 64))
            }
            Some(reason) => truncate(reason, MAX_REASON),
        };
        subscribed.ack_state.rejected = Some(Rejection { version, reason });
    }
}

fn truncate(text: &str, most: usize) -> String {
    text.get(..text.floor_char_boundary(most)).unwrap_or_default().to_owned()
}

#[cfg(test)]
mod tests;
