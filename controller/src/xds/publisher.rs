//! Publishes configurations for groups of proxies, and reports the proxies' states.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use tokio::sync::watch;

use super::protocol::{AckStates, Resource, Resources};
use crate::xds::registry::{ProxyRegistry, ProxyStatus, StreamKey};

/// The published resources, and the states of the proxies. Clones share them.
#[derive(Debug, Clone, Default)]
pub struct Publisher {
    state: Arc<Mutex<PublisherState>>,
}

#[derive(Debug, Default)]
struct PublisherState {
    registry: ProxyRegistry,
    /// The resources of each group, for its streams.
    signals: HashMap<String, watch::Sender<Arc<Resources>>>,
}

impl Publisher {
    /// Publishes a resource for a group, replacing the one of that name. Every subscribed proxy of
    /// the group gets it, now or when it connects. Publishing the same resource again does
    /// nothing.
    pub fn publish(&self, group: &str, resource: Resource) {
        let mut shared = self.lock();
        if shared.registry.publish(group, resource) {
            let resources = shared.registry.resources(group);
            shared.signal(group).send_replace(resources);
        }
    }

    /// The proxies of a group, by name: the connected ones, and those that disconnected within the
    /// last hour.
    #[must_use]
    pub fn proxies(&self, group: &str) -> Vec<ProxyStatus> {
        let mut shared = self.lock();
        shared.registry.forget(Instant::now());
        shared.registry.proxies(group)
    }

    /// A proxy has opened a stream.
    pub(super) fn join(&self, group: &str, node: &str) -> StreamRegistration {
        let mut shared = self.lock();
        let stream = shared.registry.join(group, node, Instant::now());
        let resources = shared.signal(group).subscribe();
        StreamRegistration { publisher: self.clone(), stream, resources }
    }

    fn lock(&self) -> MutexGuard<'_, PublisherState> {
        // A panic leaves no update half done.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl PublisherState {
    fn signal(&mut self, group: &str) -> &watch::Sender<Arc<Resources>> {
        self.signals
            .entry(group.to_owned())
            .or_insert_with(|| watch::Sender::new(self.registry.resources(group)))
    }

    /// Forgets disconnected proxies, and empty groups.
    fn cleanup(&mut self) {
        self.registry.forget(Instant::now());
        let fleet = &self.registry;
        self.signals
            .retain(|group, signals| signals.receiver_count() > 0 || !fleet.is_empty(group));
    }
}

/// A stream of a proxy in its group; dropped when it ends.
#[derive(Debug)]
pub(super) struct StreamRegistration {
    publisher: Publisher,
    stream: StreamKey,
    resources: watch::Receiver<Arc<Resources>>,
}

impl StreamRegistration {
    /// The published resources of the group.
    pub(super) fn resources(&mut self) -> Arc<Resources> {
        self.resources.borrow_and_update().clone()
    }

    /// Waits for a change. Cancel-safe.
    pub(super) async fn changed(&mut self) {
        if self.resources.changed().await.is_err() {
            // The sender lives as long as the receiver.
            std::future::pending::<()>().await;
        }
    }

    /// The complete state that the stream has reported.
    pub(super) fn record(&self, states: AckStates) {
        let mut shared = self.publisher.lock();
        shared.registry.record(&self.stream, states);
    }
}

impl Drop for StreamRegistration {
    fn drop(&mut self) {
        let mut shared = self.publisher.lock();
        shared.registry.leave(&self.stream, Instant::now());
        shared.cleanup();
    }
}
