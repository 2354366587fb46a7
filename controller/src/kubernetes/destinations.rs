//! Whether that is there to which a candidate's requests would go. A mesh answers them with errors otherwise, and no proxy counts those as
//! the candidate's: nothing would take it back.
//!
//! Only what is sure to be missing is told. What this operator's account may not read may be there, and so may a host of Istio's that is no
//! Service.

use kube::api::{DynamicObject, ListParams};
use kube::{Api, Error, ResourceExt};
use serde_json::Value;
use serin_core::config::mesh::{Backend, Destination};
use tokio::time::timeout;

use crate::kubernetes::objects::{
    ClusterError, ManagedObject, TIMEOUT, api_resource, user_message,
};
use crate::operator::mesh::ClusterContext;
use crate::operator::reconcile_error::ReconcileError;
use crate::routers::weights::WeightedVersions;

/// Makes sure that the candidate's is there.
///
/// # Errors
/// It is not, or it can't be found out.
pub(crate) async fn check(
    cluster: &ClusterContext,
    namespace: &str,
    weighted: &WeightedVersions,
) -> Result<(), ReconcileError> {
    match weighted {
        WeightedVersions::VirtualService(versions) => {
            find_subset(cluster, namespace, &versions.candidate).await
        }
        WeightedVersions::Route(versions) => service(cluster, namespace, &versions.candidate).await,
    }
}

async fn service(
    cluster: &ClusterContext,
    namespace: &str,
    backend: &Backend,
) -> Result<(), ReconcileError> {
    let namespace = backend.namespace.as_deref().unwrap_or(namespace);
    let (client, fence) = (cluster.client.clone(), cluster.fence.clone());
    let service = ManagedObject::new(
        client,
        &api_resource("", "v1", "Service"),
        namespace,
        &backend.name,
        fence,
    );
    match service.read().await {
        Ok(_) | Err(ClusterError::Forbidden { .. }) => Ok(()),
        Err(missing @ ClusterError::Missing { .. }) => Err(not_found(missing.to_string())),
        Err(error) => Err(error.into()),
    }
}

/// A subset is what a DestinationRule says it is, wherever that may be.
async fn find_subset(
    cluster: &ClusterContext,
    namespace: &str,
    destination: &Destination,
) -> Result<(), ReconcileError> {
    let Some(subset) = &destination.subset else { return Ok(()) };
    let resource = api_resource("networking.istio.io", "v1", "DestinationRule");
    let rules: Api<DynamicObject> = Api::all_with(cluster.client.clone(), &resource);
    let what = || "DestinationRules".to_owned();
    let rules = match timeout(TIMEOUT, rules.list(&ListParams::default())).await {
        Ok(Ok(rules)) => rules,
        // An operator of one namespace sees no others.
        Ok(Err(Error::Api(status))) if status.code == 403 => return Ok(()),
        Ok(Err(error)) => return Err(user_message(&what(), &resource.kind, error).into()),
        Err(_) => return Err(ClusterError::Timeout { what: what() }.into()),
    };
    let host = qualified_host(&destination.host, namespace);
    let explains = |rule: &DynamicObject| {
        let spec = rule.data.get("spec").unwrap_or(&Value::Null);
        let its = spec.get("host").and_then(Value::as_str).unwrap_or_default();
        covers(&qualified_host(its, &rule.namespace().unwrap_or_default()), &host)
            && has_subset(spec, subset)
    };
    match rules.items.iter().any(explains) {
        true => Ok(()),
        false => Err(not_found(format!(
            "no DestinationRule explains the subset {subset} of {}: add it to that host's",
            destination.host
        ))),
    }
}

fn not_found(reason: String) -> ReconcileError {
    ReconcileError("DestinationMissing", reason)
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
    fn a_rule_is_about_hosts_as_istio_completes_them() {
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
