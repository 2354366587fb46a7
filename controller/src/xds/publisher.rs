//! Where a configuration is published for a group of proxies, and where to look what they made of it.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use tokio::sync::watch;

use super::protocol::{Resource, Resources, Standings};
use crate::xds::registry::{Fleet, Member, Proxy};

/// What the server serves, and knows of its proxies. Clones are the same one.
#[derive(Debug, Clone, Default)]
pub struct Publisher {
    shared: Arc<Mutex<Shared>>,
}

#[derive(Debug, Default)]
struct Shared {
    fleet: Fleet,
    signals: HashMap<String, Signals>,
}

/// Who waits for news of a group.
#[derive(Debug)]
struct Signals {
    resources: watch::Sender<Arc<Resources>>,
    proxies: watch::Sender<()>,
}

impl Publisher {
    /// Puts a resource in force for a group, in place of the one of that name: it is sent to every proxy of the group that wants it, now or when it
    /// comes. To publish the same again does nothing.
    pub fn publish(&self, group: &str, resource: Resource) {
        let mut shared = self.lock();
        if shared.fleet.publish(group, resource) {
            let resources = shared.fleet.resources(group);
            shared.signals(group).resources.send_replace(resources);
        }
    }

    /// The proxies of a group, by name: those connected, and those that went in the last hour.
    #[must_use]
    pub fn proxies(&self, group: &str) -> Vec<Proxy> {
        let mut shared = self.lock();
        shared.fleet.forget(Instant::now());
        shared.fleet.proxies(group)
    }

    /// Changes when a proxy of this group comes, goes, acknowledges or rejects.
    #[must_use]
    pub fn changes(&self, group: &str) -> watch::Receiver<()> {
        self.lock().signals(group).proxies.subscribe()
    }

    /// A proxy has opened a stream.
    pub(super) fn join(&self, group: &str, node: &str) -> Membership {
        let mut shared = self.lock();
        let member = shared.fleet.join(group, node, Instant::now());
        let signals = shared.signals(group);
        signals.proxies.send_replace(());
        let resources = signals.resources.subscribe();
        Membership { publisher: self.clone(), member, resources }
    }

    fn lock(&self) -> MutexGuard<'_, Shared> {
        // Nothing is left half done in there.
        self.shared.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Shared {
    fn signals(&mut self, group: &str) -> &mut Signals {
        self.signals.entry(group.to_owned()).or_insert_with(|| Signals {
            resources: watch::Sender::new(self.fleet.resources(group)),
            proxies: watch::Sender::default(),
        })
    }

    /// Forgets proxies, and groups of which nothing is left.
    fn tidy(&mut self) {
        self.fleet.forget(Instant::now());
        let fleet = &self.fleet;
        self.signals.retain(|group, signals| {
            signals.resources.receiver_count() + signals.proxies.receiver_count() > 0
                || !fleet.is_empty(group)
        });
    }
}

/// A stream of a proxy in its group; dropped when it ends.
#[derive(Debug)]
pub(super) struct Membership {
    publisher: Publisher,
    member: Member,
    resources: watch::Receiver<Arc<Resources>>,
}

impl Membership {
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
    pub(super) fn record(&self, standings: Standings) {
        let mut shared = self.publisher.lock();
        shared.fleet.record(&self.member, standings);
        shared.signals(self.member.group()).proxies.send_replace(());
    }
}

impl Drop for Membership {
    fn drop(&mut self) {
        let mut shared = self.publisher.lock();
        shared.fleet.leave(&self.member, Instant::now());
        shared.signals(self.member.group()).proxies.send_replace(());
        shared.tidy();
    }
}
