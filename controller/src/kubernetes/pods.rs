//! The proxies of a rollout: the pods that run the filter, followed by a watch.

use std::collections::BTreeMap;
use std::sync::Arc;

use futures_util::{StreamExt, TryStreamExt};
use k8s_openapi::api::core::v1::Pod;
use kube::runtime::watcher::{self, Event};
use kube::runtime::{WatchStreamExt, watcher as watch_objects};
use kube::{Api, Client, ResourceExt};
use serin_core::observation::health::ProxyName;
use serin_core::spec::Pods;
use tokio::sync::watch;
use tracing::warn;

use crate::sources::fleet::discovery::{ProxyEndpoint, ProxyList};
use crate::telemetry::operator::OperatorMetrics;

/// Follows the pods until the list has no receiver.
pub(crate) async fn follow(
    client: Client,
    namespace: &str,
    pods: &Pods,
    port: u16,
    listing: watch::Sender<ProxyList>,
    metrics: Arc<OperatorMetrics>,
) {
    let namespace = pods.namespace.as_deref().unwrap_or(namespace);
    let api: Api<Pod> = Api::namespaced(client, namespace);
    let selector: Vec<_> =
        pods.labels.iter().map(|(name, value)| format!("{name}={value}")).collect();
    let config = watcher::Config::default().labels(&selector.join(","));
    let mut events = watch_objects(api, config).default_backoff().boxed();
    let mut known = PodProxies::default();
    loop {
        let event = tokio::select! {
            event = events.try_next() => event,
            () = listing.closed() => return,
        };
        match event {
            Ok(Some(event)) => known.on_event(event, port),
            Ok(None) => return,
            Err(error) => {
                let reason = "PodWatchFailed";
                metrics.error(reason);
                let warning = Some(format!("the watch of pods fails: {error}"));
                if listing.borrow().warning != warning {
                    warn!(pods = namespace, reason, "{error}");
                }
                listing.send_modify(|listing| listing.warning = warning);
                continue;
            }
        }
        if let Some(proxies) = known.proxies() {
            listing.send_replace(ProxyList { proxies, warning: None });
        }
    }
}

/// The known pods.
#[derive(Debug, Default)]
struct PodProxies {
    proxies: BTreeMap<String, Option<ProxyEndpoint>>,
    /// The pods of an incomplete list.
    relisted: Option<BTreeMap<String, Option<ProxyEndpoint>>>,
}

impl PodProxies {
    fn on_event(&mut self, event: Event<Pod>, port: u16) {
        match event {
            Event::Apply(pod) => drop(self.proxies.insert(pod.name_any(), proxy(&pod, port))),
            Event::Delete(pod) => drop(self.proxies.remove(&pod.name_any())),
            Event::Init => self.relisted = Some(BTreeMap::new()),
            Event::InitApply(pod) => {
                let renewed = self.relisted.get_or_insert_default();
                renewed.insert(pod.name_any(), proxy(&pod, port));
            }
            Event::InitDone => self.proxies = self.relisted.take().unwrap_or_default(),
        }
    }

    /// The proxies, by name; `None` during a new list.
    fn proxies(&self) -> Option<Vec<ProxyEndpoint>> {
        let listed = || self.proxies.values().flatten().cloned().collect();
        self.relisted.is_none().then(listed)
    }
}

/// The proxy in a pod; `None` unless the pod runs and is not about to end.
fn proxy(pod: &Pod, port: u16) -> Option<ProxyEndpoint> {
    let status = pod.status.as_ref()?;
    let address = status.pod_ip.as_deref().filter(|address| !address.is_empty())?;
    let runs = status.phase.as_deref() == Some("Running");
    // An IPv6 address is written in brackets.
    let host = if address.contains(':') { format!("[{address}]") } else { address.to_owned() };
    (runs && pod.metadata.deletion_timestamp.is_none()).then(|| ProxyEndpoint {
        name: ProxyName::from(pod.name_any()),
        address: format!("http://{host}:{port}"),
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn pod(name: &str, phase: &str, ip: Option<&str>) -> Pod {
        let pod = json!({"metadata": {"name": name}, "status": {"phase": phase, "podIP": ip}});
        serde_json::from_value(pod).unwrap()
    }

    fn names(known: &PodProxies) -> Vec<String> {
        let proxies = known.proxies().unwrap();
        proxies.iter().map(|proxy| proxy.address.clone()).collect()
    }

    #[test]
    fn running_pods_are_proxies() {
        let mut known = PodProxies::default();
        known.on_event(Event::Init, 15_090);
        known.on_event(Event::InitApply(pod("b", "Running", Some("10.0.0.2"))), 15_090);
        assert_eq!(known.proxies(), None);
        known.on_event(Event::InitApply(pod("a", "Running", Some("fd00::1"))), 15_090);
        known.on_event(Event::InitDone, 15_090);
        assert_eq!(names(&known), ["http://[fd00::1]:15090", "http://10.0.0.2:15090"]);
        known.on_event(Event::Apply(pod("c", "Pending", None)), 15_090);
        known.on_event(Event::Apply(pod("a", "Succeeded", Some("fd00::1"))), 15_090);
        assert_eq!(names(&known), ["http://10.0.0.2:15090"]);
        let mut ending = pod("b", "Running", Some("10.0.0.2"));
        ending.metadata.deletion_timestamp =
            serde_json::from_value(json!("2026-01-01T00:00:00Z")).unwrap();
        known.on_event(Event::Apply(ending), 15_090);
        assert!(names(&known).is_empty());
    }

    #[test]
    fn a_new_list_replaces_the_old_one() {
        let mut known = PodProxies::default();
        known.on_event(Event::Apply(pod("a", "Running", Some("10.0.0.1"))), 1);
        known.on_event(Event::Init, 1);
        known.on_event(Event::InitApply(pod("b", "Running", Some("10.0.0.2"))), 1);
        known.on_event(Event::InitDone, 1);
        assert_eq!(names(&known), ["http://10.0.0.2:1"]);
    }
}
