//! The objects of the kind, each with a task that looks after it.

use std::collections::HashMap;

use futures_util::{StreamExt, TryStreamExt};
use kube::api::DynamicObject;
use kube::runtime::watcher::{Config, Event};
use kube::runtime::{WatchStreamExt, watcher as watch_objects};
use kube::{Api, Resource, ResourceExt};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;

use super::mesh::ClusterContext;
use crate::kubernetes::events::publish_events;
use crate::kubernetes::objects::rollouts;
use crate::operator::reconciler::RolloutReconciler;

/// Events of one object that may wait to be told.
const CHANNEL_CAPACITY: usize = 100;

/// Namespace and name.
type ObjectKey = (String, String);

/// Looks after all objects of a namespace, or of all. Ends only with its future.
pub(crate) async fn run(
    cluster: ClusterContext,
    namespace: Option<String>,
    identity: String,
) -> String {
    let resource = rollouts();
    let api: Api<DynamicObject> = match &namespace {
        Some(namespace) => Api::namespaced_with(cluster.client.clone(), namespace, &resource),
        None => Api::all_with(cluster.client.clone(), &resource),
    };
    let mut roll =
        RolloutController { cluster, identity, objects: HashMap::new(), tasks: JoinSet::new() };
    let mut events = watch_objects(api, Config::default()).default_backoff().boxed();
    let mut listed = Vec::new();
    let mut told = None;
    loop {
        match events.try_next().await {
            Ok(Some(event)) => {
                told = None;
                roll.on_event(event, &mut listed);
            }
            Ok(None) => return "the watch of ServiceRollouts has ended".to_owned(),
            Err(error) => {
                let error = error.to_string();
                if told.as_ref() != Some(&error) {
                    eprintln!("serin: ServiceRollouts can't be watched: {error}");
                    told = Some(error);
                }
            }
        }
    }
}

struct RolloutController {
    cluster: ClusterContext,
    identity: String,
    objects: HashMap<ObjectKey, watch::Sender<Option<DynamicObject>>>,
    /// Ended with this.
    tasks: JoinSet<()>,
}

impl RolloutController {
    fn on_event(&mut self, event: Event<DynamicObject>, listed: &mut Vec<ObjectKey>) {
        match event {
            Event::Apply(object) => self.on_object(object),
            Event::Delete(object) => self.on_deleted(&key(&object)),
            Event::Init => listed.clear(),
            Event::InitApply(object) => {
                listed.push(key(&object));
                self.on_object(object);
            }
            Event::InitDone => {
                let missing = |known: &&ObjectKey| !listed.contains(known);
                let missing: Vec<_> = self.objects.keys().filter(missing).cloned().collect();
                missing.iter().for_each(|key| self.on_deleted(key));
            }
        }
    }

    fn on_object(&mut self, object: DynamicObject) {
        while self.tasks.try_join_next().is_some() {}
        let key = key(&object);
        // Whoever looked after it may have ended.
        let known = self.objects.get(&key).filter(|seen| !seen.is_closed());
        match known {
            Some(seen) => drop(seen.send_replace(Some(object))),
            None => self.spawn(key, object),
        }
    }

    fn spawn(&mut self, key: ObjectKey, object: DynamicObject) {
        let (client, resource) = (self.cluster.client.clone(), rollouts());
        let about = object.object_ref(&resource);
        let api = Api::namespaced_with(client.clone(), &key.0, &resource);
        let (announcements, waiting) = mpsc::channel(CHANNEL_CAPACITY);
        self.tasks.spawn(publish_events(client, about, self.identity.clone(), waiting));
        let (cluster, identity) = (self.cluster.clone(), self.identity.clone());
        let reconciler = RolloutReconciler { cluster, api, identity, events: announcements };
        let (seen, changes) = watch::channel(Some(object));
        self.tasks.spawn(reconciler.run(changes));
        self.objects.insert(key, seen);
    }

    fn on_deleted(&mut self, key: &ObjectKey) {
        if let Some(seen) = self.objects.remove(key) {
            seen.send_replace(None);
        }
    }
}

fn key(object: &DynamicObject) -> ObjectKey {
    (object.namespace().unwrap_or_default(), object.name_any())
}
