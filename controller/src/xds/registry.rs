//! The resources published for each group of proxies, and the state of each proxy.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::protocol::{AckState, AckStates, Published, Resource, Resources};

/// How long serin remembers a proxy that has disconnected.
pub const RETENTION: Duration = Duration::from_secs(3_600);
/// The most disconnected proxies that serin remembers, of all groups.
pub const MAX_RETAINED_PROXIES: usize = 10_000;

/// The known state of a proxy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProxyStatus {
    /// Its `node.id`.
    pub node: String,
    /// Its streams; 0 if disconnected. More than one if several of its filters have a stream each,
    /// if it reconnected before the disconnect was noticed, or if several proxies have the same
    /// `node.id`.
    pub streams: usize,
    /// When it connected or disconnected.
    pub since: Instant,
    /// Its state of each resource that it subscribes, or subscribed, to. If its streams disagree
    /// on the running version, nothing is acknowledged.
    pub resources: AckStates,
}

impl ProxyStatus {
    /// Whether it is connected.
    #[must_use]
    pub fn connected(&self) -> bool {
        self.streams > 0
    }
}

/// A stream of a proxy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StreamKey {
    group: String,
    node: String,
    stream: u64,
}

impl StreamKey {
    /// Its group.
    #[must_use]
    pub fn group(&self) -> &str {
        &self.group
    }
}

/// All groups.
#[derive(Debug, Default)]
pub struct ProxyRegistry {
    groups: BTreeMap<String, ProxyGroup>,
    /// The revision of the last publication.
    revision: u64,
    /// Streams so far.
    streams: u64,
    /// Disconnects in order of time. The proxies may have reconnected since.
    gone: VecDeque<(Instant, String, String)>,
}

#[derive(Debug, Default)]
struct ProxyGroup {
    resources: Arc<Resources>,
    proxies: BTreeMap<String, ProxyRecord>,
}

#[derive(Debug)]
struct ProxyRecord {
    streams: BTreeMap<u64, AckStates>,
    /// The state at the disconnect.
    last: AckStates,
    since: Instant,
}

impl ProxyRegistry {
    /// Publishes a resource for a group, replacing the one of that name. `false` if it is
    /// unchanged.
    pub fn publish(&mut self, group: &str, resource: Resource) -> bool {
        let group = self.groups.entry(group.to_owned()).or_default();
        if group.resources.get(&resource.name).is_some_and(|it| *it.resource == resource) {
            return false;
        }
        self.revision += 1;
        let published = Published { revision: self.revision, resource: Arc::new(resource) };
        let name = published.resource.name.clone();
        Arc::make_mut(&mut group.resources).insert(name, published);
        true
    }

    /// The published resources of a group.
    #[must_use]
    pub fn resources(&self, group: &str) -> Arc<Resources> {
        self.groups.get(group).map(|group| group.resources.clone()).unwrap_or_default()
    }

    /// A proxy has opened a stream.
    pub fn join(&mut self, group: &str, node: &str, now: Instant) -> StreamKey {
        self.streams += 1;
        let stream = self.streams;
        let record =
            self.groups.entry(group.to_owned()).or_default().proxies.entry(node.to_owned());
        let record = record.or_insert_with(|| ProxyRecord {
            streams: BTreeMap::new(),
            last: AckStates::new(),
            since: now,
        });
        if record.streams.is_empty() {
            record.since = now;
        }
        record.streams.insert(stream, AckStates::new());
        StreamKey { group: group.to_owned(), node: node.to_owned(), stream }
    }

    /// The complete state that a stream has reported.
    pub fn record(&mut self, key: &StreamKey, states: AckStates) {
        let stream = self.proxy_record(key).and_then(|record| record.streams.get_mut(&key.stream));
        if let Some(stream) = stream {
            *stream = states;
        }
    }

    /// A stream has ended.
    pub fn leave(&mut self, key: &StreamKey, now: Instant) {
        let Some(record) = self.proxy_record(key) else { return };
        let Some(states) = record.streams.remove(&key.stream) else { return };
        if record.streams.is_empty() {
            record.last = states;
            record.since = now;
            self.gone.push_back((now, key.group.clone(), key.node.clone()));
        }
    }

    /// Forgets disconnected proxies: those beyond the time limit, and the oldest beyond the number
    /// limit.
    pub fn forget(&mut self, now: Instant) {
        while let Some((since, group, node)) =
            self.gone.pop_front_if(|(since, ..)| now.saturating_duration_since(*since) > RETENTION)
        {
            self.drop_if_gone(since, &group, &node);
        }
        while self.gone.len() > MAX_RETAINED_PROXIES {
            let Some((since, group, node)) = self.gone.pop_front() else { return };
            self.drop_if_gone(since, &group, &node);
        }
    }

    /// The group has no proxies and no resources.
    #[must_use]
    pub fn is_empty(&self, group: &str) -> bool {
        let group = self.groups.get(group);
        group.is_none_or(|group| group.resources.is_empty() && group.proxies.is_empty())
    }

    /// The proxies of a group, by name.
    #[must_use]
    pub fn proxies(&self, group: &str) -> Vec<ProxyStatus> {
        let proxies = self.groups.get(group).into_iter().flat_map(|group| &group.proxies);
        proxies.map(|(node, record)| record.status(node)).collect()
    }

    fn proxy_record(&mut self, key: &StreamKey) -> Option<&mut ProxyRecord> {
        self.groups.get_mut(&key.group)?.proxies.get_mut(&key.node)
    }

    fn drop_if_gone(&mut self, since: Instant, name: &str, node: &str) {
        let Some(group) = self.groups.get_mut(name) else { return };
        if group.proxies.get(node).is_some_and(|it| it.streams.is_empty() && it.since == since) {
            group.proxies.remove(node);
        }
        if self.is_empty(name) {
            self.groups.remove(name);
        }
    }
}

impl ProxyRecord {
    fn status(&self, node: &str) -> ProxyStatus {
        let mut resources =
            if self.streams.is_empty() { self.last.clone() } else { BTreeMap::new() };
        for (name, state) in self.streams.values().flatten() {
            resources
                .entry(name.clone())
                .and_modify(|merged| merge_ack_state(merged, state))
                .or_insert_with(|| state.clone());
        }
        ProxyStatus {
            node: node.to_owned(),
            streams: self.streams.len(),
            since: self.since,
            resources,
        }
    }
}

fn merge_ack_state(merged: &mut AckState, other: &AckState) {
    if merged.acknowledged != other.acknowledged {
        merged.acknowledged = None;
    }
    if merged.rejected.is_none() {
        merged.rejected.clone_from(&other.rejected);
    }
}

#[cfg(test)]
mod tests;
