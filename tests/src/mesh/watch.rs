//! Watches the objects on the server.

use std::sync::Arc;

use futures_util::StreamExt;
use kube::api::{ApiResource, DynamicObject};
use kube::core::GroupVersionKind;
use kube::runtime::reflector::{self, Store};
use kube::runtime::{WatchStreamExt, watcher};
use kube::{Api, Client};
use tokio::task::JoinSet;

use super::Shared;

/// Group, version and kind of every watched object, in versions that meshes have served for years.
const KINDS: [(&str, &str, &str); 6] = [
    ("", "v1", "Service"),
    ("networking.istio.io", "v1beta1", "DestinationRule"),
    ("networking.istio.io", "v1beta1", "VirtualService"),
    ("extensions.istio.io", "v1alpha1", "WasmPlugin"),
    ("gateway.networking.k8s.io", "v1", "HTTPRoute"),
    ("gateway.networking.k8s.io", "v1", "GRPCRoute"),
];

/// The latest state of all objects.
pub(super) struct Objects {
    stores: Vec<(&'static str, Store<DynamicObject>)>,
}

impl Objects {
    /// Starts to watch all kinds. A kind that the server lacks has no objects until the server
    /// serves it.
    pub(super) fn watch(client: &Client, shared: &Arc<Shared>, tasks: &mut JoinSet<()>) -> Self {
        let follow = |(group, version, kind): (&str, &str, &'static str)| {
            let resource = ApiResource::from_gvk(&GroupVersionKind::gvk(group, version, kind));
            let writer = reflector::store::Writer::new(resource.clone());
            let store = writer.as_reader();
            let api = Api::<DynamicObject>::all_with(client.clone(), &resource);
            let events = watcher(api, watcher::Config::default()).default_backoff();
            let events = reflector::reflector(writer, events);
            let shared = shared.clone();
            tasks.spawn(events.for_each(move |_| {
                shared.changed.notify_one();
                std::future::ready(())
            }));
            (kind, store)
        };
        Self { stores: KINDS.into_iter().map(follow).collect() }
    }

    /// The objects of one kind, the oldest first, as Istio orders them.
    pub(super) fn of(&self, kind: &str) -> Vec<Arc<DynamicObject>> {
        let stores = self.stores.iter().filter(|(its, _)| *its == kind);
        let mut objects: Vec<_> = stores.flat_map(|(_, store)| store.state()).collect();
        objects.sort_by(|one, other| {
            let key = |object: &DynamicObject| {
                let metadata = &object.metadata;
                (
                    metadata.creation_timestamp.clone(),
                    metadata.name.clone(),
                    metadata.namespace.clone(),
                )
            };
            key(one).cmp(&key(other))
        });
        objects
    }
}
