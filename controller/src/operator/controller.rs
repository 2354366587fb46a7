//! Watches the ServiceRollouts and runs a task for each.

use std::collections::HashMap;

use futures_util::{StreamExt, TryStreamExt};
use kube::api::DynamicObject;
use kube::runtime::events::Recorder;
use kube::runtime::watcher::{Config, Event};
use kube::runtime::{WatchStreamExt, watcher as watch_objects};
use kube::{Api, Resource, ResourceExt};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tracing::{Instrument, info_span, warn};

use super::mesh::ClusterContext;
use super::readiness::Readiness;
use super::reporter::RolloutReporter;
use crate::kubernetes::event_mapping::EventNote;
use crate::kubernetes::events::{publish_events, recorder};
use crate::kubernetes::objects::rollouts;
use crate::operator::reconciler::RolloutReconciler;
use crate::telemetry::operator::RolloutLabels;

/// The maximum number of Events of one object that wait for the API server.
const CHANNEL_CAPACITY: usize = 100;

/// Namespace and name.
type ObjectKey = (String, String);

/// Reconciles all objects of a namespace, or of all namespaces. Returns the reason when the watch
/// ends.
pub(crate) async fn run(
    cluster: ClusterContext,
    namespace: Option<String>,
    identity: String,
    readiness: Readiness,
    operator_events: mpsc::Sender<EventNote>,
) -> String {
    let resource = rollouts();
    let api: Api<DynamicObject> = match &namespace {
        Some(namespace) => Api::namespaced_with(cluster.client.clone(), namespace, &resource),
        None => Api::all_with(cluster.client.clone(), &resource),
    };
    let recorder = recorder(cluster.client.clone(), &identity);
    let (objects, tasks) = (HashMap::new(), JoinSet::new());
    let mut controller = RolloutController { cluster, identity, recorder, objects, tasks };
    let mut events = watch_objects(api, Config::default()).default_backoff().boxed();
    let mut listed = Vec::new();
    loop {
        match events.try_next().await {
            Ok(Some(event)) => {
                readiness.watch_recovered();
                controller.on_event(event, &mut listed);
            }
            Ok(None) => return "the watch of ServiceRollouts ended".to_owned(),
            Err(error) => {
                let (metrics, reason) = (&controller.cluster.metrics, "WatchFailed");
                metrics.error(reason);
                let error = error.to_string();
                if readiness.watch_failed(&error) {
                    let note = format!("the watch of ServiceRollouts fails: {error}");
                    warn!(namespace, reason, "{note}");
                    let note = EventNote { warning: true, reason, note };
                    if operator_events.try_send(note).is_err() {
                        metrics.error("EventDropped");
                    }
                }
            }
        }
    }
}

struct RolloutController {
    cluster: ClusterContext,
    identity: String,
    recorder: Recorder,
    objects: HashMap<ObjectKey, watch::Sender<Option<DynamicObject>>>,
    /// Aborted when this is dropped.
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
                let missing = |key: &&ObjectKey| !listed.contains(key);
                let missing: Vec<_> = self.objects.keys().filter(missing).cloned().collect();
                missing.iter().for_each(|key| self.on_deleted(key));
            }
        }
    }

    fn on_object(&mut self, object: DynamicObject) {
        while self.tasks.try_join_next().is_some() {}
        let key = key(&object);
        let phase = object.data.pointer("/status/phase").and_then(serde_json::Value::as_str);
        self.cluster.metrics.set_phase(&labels(&key), Some(phase.unwrap_or("Pending")));
        // The channel of an ended task is closed.
        let running = self.objects.get(&key).filter(|sender| !sender.is_closed());
        match running {
            Some(sender) => drop(sender.send_replace(Some(object))),
            None => self.spawn(key, object),
        }
    }

    fn spawn(&mut self, key: ObjectKey, object: DynamicObject) {
        let (client, resource) = (self.cluster.client.clone(), rollouts());
        let regarding = object.object_ref(&resource);
        let api = Api::namespaced_with(client, &key.0, &resource);
        let (notes, queue) = mpsc::channel(CHANNEL_CAPACITY);
        let metrics = self.cluster.metrics.clone();
        self.tasks.spawn(publish_events(self.recorder.clone(), regarding, metrics.clone(), queue));
        let reporter = RolloutReporter::new(labels(&key), metrics, notes);
        let (cluster, identity) = (self.cluster.clone(), self.identity.clone());
        let reconciler = RolloutReconciler { cluster, api, identity, reporter };
        let (sender, changes) = watch::channel(Some(object));
        let span = info_span!("reconciler", namespace = key.0, rollout = key.1);
        self.tasks.spawn(reconciler.run(changes).instrument(span));
        self.objects.insert(key, sender);
    }

    fn on_deleted(&mut self, key: &ObjectKey) {
        self.cluster.metrics.set_phase(&labels(key), None);
        if let Some(sender) = self.objects.remove(key) {
            sender.send_replace(None);
        }
    }
}

impl Drop for RolloutController {
    fn drop(&mut self) {
        self.cluster.metrics.clear_phases();
    }
}

fn labels((namespace, rollout): &ObjectKey) -> RolloutLabels {
    RolloutLabels { namespace: namespace.clone(), rollout: rollout.clone() }
}

fn key(object: &DynamicObject) -> ObjectKey {
    (object.namespace().unwrap_or_default(), object.name_any())
}
