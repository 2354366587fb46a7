//! One stream of the xDS protocol, state of the world: what the proxy has subscribed to, what it is owed, and what it said to what it got.
//!
//! A response carries one resource, and the next is sent when the proxy has answered: so an answer is about one version of one resource, a proxy that
//! is behind gets the newest and nothing in between, and nothing piles up for one that does not answer. (Of the types that need not be sent as a
//! whole, ECDS among them, a response may hold any part.)

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use envoy_types::pb::google::protobuf::Any;
use thiserror::Error;

/// The only type that is served: the configuration of an extension. Requests for others are not answered.
pub const TYPE_URL: &str = "type.googleapis.com/envoy.config.core.v3.TypedExtensionConfig";

/// The most names that a stream may subscribe to.
pub const MAX_NAMES: usize = 64;
/// The longest name, in bytes; of a resource, a node or a group.
pub const MAX_NAME: usize = 256;
/// What is kept of a proxy's reason, in bytes.
const MAX_REASON: usize = 1_024;

/// A version of a resource.
#[derive(Debug, Clone, PartialEq)]
pub struct Resource {
    /// By which proxies ask for it.
    pub name: String,
    /// What proxies acknowledge. Another one for other contents.
    pub version: String,
    /// The message: a `TypedExtensionConfig` of that name.
    pub body: Any,
}

/// A resource that is in force.
#[derive(Debug, Clone)]
pub struct Published {
    /// Higher than that of everything published before.
    pub revision: u64,
    /// What is sent.
    pub resource: Arc<Resource>,
}

/// The resources in force for a group, by name.
pub type Resources = BTreeMap<String, Published>;

/// What a stream said of each resource that it subscribed to.
pub type AckStates = BTreeMap<String, AckState>;

/// Where a proxy stands with a resource.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct AckState {
    /// The version that it runs, as far as it has said.
    pub acknowledged: Option<String>,
    /// The version that it was sent since and does not run.
    pub rejected: Option<Rejection>,
}

/// A version that a proxy can't run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rejection {
    /// The version.
    pub version: String,
    /// What the proxy says about it; the first kilobyte.
    pub reason: String,
}

/// What counts of a `DiscoveryRequest`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Request {
    /// The type that it is about.
    pub type_url: String,
    /// The version that the proxy accepted last.
    pub version: String,
    /// Of the response that it answers; empty if there was none.
    pub nonce: String,
    /// All resources that it wants.
    pub names: Vec<String>,
    /// Why it did not take that response.
    pub error: Option<String>,
}

/// What came of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct RequestEffect {
    /// The standings have changed.
    pub changed: bool,
    /// It does nothing but answer a response.
    pub is_answer: bool,
}

/// A request asks for more than anybody may.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("a stream may subscribe to {MAX_NAMES} names of {MAX_NAME} bytes")]
pub struct LimitExceeded;

/// What is to be sent.
#[derive(Debug, Clone)]
pub struct Response {
    /// Which the answer will bear.
    pub nonce: String,
    /// The one resource in it.
    pub resource: Arc<Resource>,
}

/// The state of a stream.
#[derive(Debug, Default)]
pub struct Subscription {
    started: bool,
    wanted: BTreeMap<String, SubscribedResource>,
    responses: u64,
    /// Of the last response; empty before the first.
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
    /// Takes a request in. Of one that was sent before the last response was read only the names count: its answer is about a response that no
    /// longer matters. (The names do: a proxy that stops to want a resource and wants it again at once has to be sent it again.)
    ///
    /// # Errors
    /// It asks for too much; nothing has changed.
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
        let resubscribed = !names.iter().copied().eq(self.wanted.keys());
        if resubscribed {
            self.wanted.retain(|name, _| names.contains(name));
            for name in names {
                self.wanted.entry(name.clone()).or_default();
            }
        }
        if !self.started {
            self.begin(&request.version);
        }
        let is_answer = answered.is_some() && !resubscribed;
        Ok(RequestEffect { changed: answered.is_some() || resubscribed, is_answer })
    }

    /// What is to be sent now, if anything: of the resources in force that the proxy has not been sent, the one that has waited longest.
    pub fn next(&mut self, resources: &Resources) -> Option<Response> {
        if self.unanswered.is_some() {
            return None;
        }
        let due = self.wanted.iter_mut().filter_map(|(name, wanted)| {
            let published = resources.get(name)?;
            (wanted.sent != Some(published.revision)).then_some((wanted, published))
        });
        let (wanted, published) = due.min_by_key(|(wanted, _)| wanted.sent)?;
        wanted.sent = Some(published.revision);
        self.responses += 1;
        self.nonce = self.responses.to_string();
        let resource = published.resource.clone();
        self.unanswered = Some(resource.clone());
        Some(Response { nonce: self.nonce.clone(), resource })
    }

    /// Where the proxy stands with each resource that it wants, as far as it has said on this stream.
    #[must_use]
    pub fn ack_states(&self) -> AckStates {
        let standing = |(name, wanted): (&String, &SubscribedResource)| {
            (name.clone(), wanted.ack_state.clone())
        };
        self.wanted.iter().map(standing).collect()
    }

    /// A reconnecting proxy names the version that it accepted: one for the type, ambiguous with several
    /// resources.
    fn begin(&mut self, version: &str) {
        self.started = true;
        let mut wanted = self.wanted.values_mut();
        if let (Some(only), None) = (wanted.next(), wanted.next())
            && !version.is_empty()
        {
            only.ack_state.acknowledged = Some(truncate(version, MAX_NAME));
        }
    }

    fn on_answer(&mut self, resource: &Resource, request: &Request) {
        let Some(wanted) = self.wanted.get_mut(&resource.name) else { return };
        let version = resource.version.clone();
        let reason = match &request.error {
            None if request.version == version => {
                wanted.ack_state = AckState { acknowledged: Some(version), rejected: None };
                return;
            }
            None => {
                format!("it gives no reason; it has version {:?}", truncate(&request.version, 64))
            }
            Some(reason) => truncate(reason, MAX_REASON),
        };
        wanted.ack_state.rejected = Some(Rejection { version, reason });
    }
}

fn truncate(text: &str, most: usize) -> String {
    text.get(..text.floor_char_boundary(most)).unwrap_or_default().to_owned()
}

#[cfg(test)]
mod tests;
