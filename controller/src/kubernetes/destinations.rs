//! Checks that a candidate's requests have a destination. Otherwise the mesh answers them with
//! errors, no proxy counts these as the candidate's, and serin does not roll back.
//!
//! The check reports a destination only if it is certainly missing. A destination that the
//! operator's account may not read may exist; so may an Istio host that is not a Service.

use kube::api::DynamicObject;
use kube::{Api, Client, ResourceExt};
use serde_json::Value;
use serin_core::config::mesh::{Backend, Destination};

use crate::kubernetes::fence::Fence;
use crate::kubernetes::objects::{ClusterError, ManagedObject, api_resource, list};

/// Checks the Service of a backend.
///
/// # Errors
/// The Service does not exist, or the API server can't be asked.
pub(crate) async fn check_service(
    client: &Client,
    fence: &Fence,
    namespace: &str,
    backend: &Backend,
) -> Result<(), ClusterError> {
    let namespace = backend.namespace.as_deref().unwrap_or(namespace);
    let resource = api_resource("", "v1", "Service");
    let (client, fence) = (client.clone(), fence.clone());
    let service = ManagedObject::new(client, &resource, namespace, &backend.name, fence);
    match service.read().await {
        Ok(_) | Err(ClusterError::Forbidden { .. }) => Ok(()),
        Err(missing @ ClusterError::Missing { .. }) => Err(not_found(missing.to_string())),
        Err(error) => Err(error),
    }
}

/// Checks the subset of a destination: a DestinationRule in the cluster has to define it.
///
/// # Errors
/// No DestinationRule defines it, or the API server can't be asked.
pub(crate) async fn check_subset(
    client: &Client,
    namespace: &str,
    destination: &Destination,
) -> Result<(), ClusterError> {
    let Some(subset) = &destination.subset else { return Ok(()) };
    let resource = api_resource("networking.istio.io", "v1", "DestinationRule");
    let rules: Api<DynamicObject> = Api::all_with(client.clone(), &resource);
    let rules = match list(&rules, &resource.kind).await {
        Ok(rules) => rules,
        // An operator of one namespace may not list DestinationRules of other namespaces.
        Err(ClusterError::Forbidden { .. }) => return Ok(()),
        Err(error) => return Err(error),
    };
    let host = qualified_host(&destination.host, namespace);
    let defines = |rule: &DynamicObject| {
        let spec = rule.data.get("spec").unwrap_or(&Value::Null);
        let rule_host = spec.get("host").and_then(Value::as_str).unwrap_or_default();
        covers(&qualified_host(rule_host, &rule.namespace().unwrap_or_default()), &host)
            && has_subset(spec, subset)
    };
    match rules.iter().any(defines) {
        true => Ok(()),
        false => Err(not_found(format!(
            "no DestinationRule defines the subset {subset} of {}: add it to that host's",
            destination.host
        ))),
    }
}

fn not_found(reason: String) -> ClusterError {
    ClusterError::DestinationMissing { reason }
}

fn has_subset(spec: &Value, subset: &str) -> bool {
    let subsets = spec.get("subsets").and_then(Value::as_array);
    let named = |entry: &Value| entry.get("name").and_then(Value::as_str) == Some(subset);
    subsets.is_some_and(|subsets| subsets.iter().any(named))
}

/// A host's name as Istio completes it, without the cluster's domain.
fn qualified_host(host: &str, namespace: &str) -> String {
    match host.split_once(".svc.") {
        Some((name, _)) => format!("{name}.svc"),
        None if host.contains(['.', '*']) => host.to_owned(),
        None => format!("{host}.{namespace}.svc"),
    }
}

fn covers(rule: &str, host: &str) -> bool {
    rule == host || rule.strip_prefix('*').is_some_and(|suffix| host.ends_with(suffix))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rule_covers_hosts_as_istio_completes_them() {
        let host = qualified_host("reviews", "shop");
        for (rule, namespace, expected) in [
            ("reviews", "shop", true),
            ("reviews", "istio-system", false),
            ("reviews.shop.svc.cluster.local", "istio-system", true),
            ("reviews.shop.svc.example.org", "istio-system", true),
            ("*.shop.svc.cluster.local", "istio-system", true),
            ("*", "istio-system", true),
            ("*.bank.svc.cluster.local", "istio-system", false),
            ("reviews.example.com", "shop", false),
        ] {
            assert_eq!(
                covers(&qualified_host(rule, namespace), &host),
                expected,
                "{rule} in {namespace}"
            );
        }
    }
}
