//! Where a configuration is published for a group of proxies, and where to look what they made of it.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use tokio::sync::watch;

use super::protocol::{AckStates, Resource, Resources};
use crate::xds::registry::{ProxyRegistry, ProxyStatus, StreamKey};

/// What the server serves, and knows of its proxies. Clones are the same one.
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
    /// Puts a resource in force for a group, in place of the one of that name: it is sent to every proxy of the group that wants it, now or when it
    /// comes. To publish the same again does nothing.
    pub fn publish(&self, group: &str, resource: Resource) {
        let mut shared = self.lock();
        if shared.registry.publish(group, resource) {
            let resources = shared.registry.resources(group);
            shared.signal(group).send_replace(resources);
        }
    }

    /// The proxies of a group, by name: those connected, and those that went in the last hour.
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
        // Nothing is left half done in there.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl PublisherState {
    fn signal(&mut self, group: &str) -> &watch::Sender<Arc<Resources>> {
        self.signals
            .entry(group.to_owned())
            .or_insert_with(|| watch::Sender::new(self.registry.resources(group)))
    }

    /// Forgets proxies, and groups of which nothing is left.
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
    /// What is in force for it.
    pub(super) fn resources(&mut self) -> Arc<Resources> {
        self.resources.borrow_and_update().clone()
    }

    /// Waits until something else is. To drop the future before it ends loses nothing.
    pub(super) async fn changed(&mut self) {
        if self.resources.changed().await.is_err() {
            // There is no sender any more, which can't be as long as there is a receiver.
            std::future::pending::<()>().await;
        }
    }

    /// What has been said on it, all told.
    pub(super) fn record(&self, standings: AckStates) {
        let mut shared = self.publisher.lock();
        shared.registry.record(&self.stream, standings);
    }
}

impl Drop for StreamRegistration {
    fn drop(&mut self) {
        let mut shared = self.publisher.lock();
        shared.registry.leave(&self.stream, Instant::now());
        shared.cleanup();
    }
}
