//! The clusters of the versions: whether they exist and have healthy endpoints.

use serde::Deserialize;
use serde_json::{Map, Value};
use serin_filter::config::wire;

use super::finding::{Check, Finding};

/// A cluster in `/clusters?format=json`.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct ClusterStatus {
    name: String,
    host_statuses: Vec<HostStatus>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct HostStatus {
    health_status: Map<String, Value>,
    stats: Vec<HostStat>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct HostStat {
    name: String,
    /// A number; absent if it is zero.
    value: Option<String>,
}

impl HostStatus {
    fn is_healthy(&self) -> bool {
        self.health_status.iter().all(|(what, state)| match what.as_str() {
            "eds_health_status" => matches!(state.as_str(), Some("HEALTHY" | "DEGRADED")),
            "failed_active_degraded_check" => true,
            _ => state != &Value::Bool(true),
        })
    }

    /// Whether all connections to it failed.
    fn is_unreachable(&self) -> bool {
        let count = |name: &str| -> u64 {
            let stat = self.stats.iter().find(|stat| stat.name == name);
            stat.and_then(|stat| stat.value.as_ref()?.parse().ok()).unwrap_or(0)
        };
        count("cx_total") > 0 && count("cx_connect_fail") >= count("cx_total")
    }
}

/// Checks the clusters of a service. A cluster that instances move to is empty before the rollout.
pub(super) fn check(
    service: &wire::Service,
    clusters: &[ClusterStatus],
    rolling: bool,
) -> Vec<Finding> {
    let versions = service.versions.iter().enumerate();
    let one = |(index, version): (usize, &wire::Version)| {
        let name = format!("{} (version {})", version.cluster, version.name);
        let found = clusters.iter().find(|cluster| cluster.name == version.cluster);
        match found {
            Some(cluster) => endpoints(&name, cluster, rolling && index > 0),
            None => Finding::fail(
                Check::Clusters,
                format!("the cluster {name} does not exist"),
                "add it to Envoy's clusters, or name the right one in spec.versions",
            ),
        }
    };
    versions.map(one).collect()
}

fn endpoints(name: &str, cluster: &ClusterStatus, filled_later: bool) -> Finding {
    let hosts = &cluster.host_statuses;
    let healthy = hosts.iter().filter(|host| host.is_healthy()).count();
    let unreached = hosts.iter().filter(|host| host.is_unreachable()).count();
    match (hosts.len(), healthy) {
        (0, _) if filled_later => {
            Finding::ok(Check::Clusters, format!("{name} is empty: instances move to it"))
        }
        (0, _) => Finding::fail(
            Check::Clusters,
            format!("{name} has no endpoint"),
            "add endpoints to it; if it has a host name, check that it resolves",
        ),
        (all, 0) => Finding::fail(
            Check::Clusters,
            format!("{name}: 0 of {all} endpoints are healthy"),
            "see /clusters of the admin interface for the cause: health checks, or outlier detection",
        ),
        (all, _) if unreached == all => Finding::fail(
            Check::Clusters,
            format!("{name}: all connections to its {all} endpoints failed"),
            "check that the version runs, and its address and port",
        ),
        (all, healthy) if healthy < all => Finding::warn(
            Check::Clusters,
            format!("{name}: {healthy} of {all} endpoints are healthy"),
            "see /clusters of the admin interface for the cause",
        ),
        (all, _) => {
            Finding::ok(Check::Clusters, format!("{name}: {all} of {all} endpoints are healthy"))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::finding::Level;
    use super::super::tests::{clusters, service};
    use super::*;

    fn levels(page: &str, rolling: bool) -> Vec<Level> {
        let found = check(&service(), &clusters(page), rolling);
        found.into_iter().map(|finding| finding.level).collect()
    }

    const PAGE: &str = include_str!("golden/clusters.json");

    #[test]
    fn clusters_of_a_real_envoy_are_healthy() {
        assert_eq!(levels(PAGE, false), [Level::Ok, Level::Ok]);
    }

    #[test]
    fn a_missing_or_empty_cluster_is_reported() {
        assert_eq!(
            levels(&PAGE.replace("\"shop-v2\"", "\"other\""), true),
            [Level::Ok, Level::Fail]
        );
        let empty = r#"{"cluster_statuses": [{"name": "shop-v1"}, {"name": "shop-v2"}]}"#;
        assert_eq!(levels(empty, false), [Level::Fail, Level::Fail]);
        assert_eq!(levels(empty, true), [Level::Fail, Level::Ok]);
    }

    #[test]
    fn unhealthy_endpoints_are_reported() {
        for ill in [
            r#""eds_health_status": "UNHEALTHY""#,
            r#""eds_health_status": "HEALTHY", "failed_outlier_check": true"#,
        ] {
            let ill = PAGE.replacen(r#""eds_health_status": "HEALTHY""#, ill, 1);
            // The page begins with the cluster of v2.
            assert_eq!(levels(&ill, false), [Level::Ok, Level::Fail], "{ill}");
        }
    }

    #[test]
    fn unreachable_endpoints_are_reported() {
        let host = |name: &str, fails: u32| {
            format!(
                r#"{{"name": "{name}", "host_statuses": [{{"stats": [
                {{"name": "cx_total", "value": "3"}}, {{"name": "cx_connect_fail", "value": "{fails}"}}]}}]}}"#
            )
        };
        let page =
            format!(r#"{{"cluster_statuses": [{}, {}]}}"#, host("shop-v1", 3), host("shop-v2", 2));
        assert_eq!(levels(&page, false), [Level::Fail, Level::Ok]);
    }
}
