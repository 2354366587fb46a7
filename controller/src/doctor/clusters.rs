//! The clusters of the versions: there, with endpoints, and these well.

use serde::Deserialize;
use serde_json::{Map, Value};
use serin_filter::config::wire;

use super::finding::{Check, Finding};

/// A cluster, as `/clusters?format=json` has it.
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

    /// Whether it was tried, and never reached.
    fn is_unreachable(&self) -> bool {
        let count = |name: &str| -> u64 {
            let stat = self.stats.iter().find(|stat| stat.name == name);
            stat.and_then(|stat| stat.value.as_ref()?.parse().ok()).unwrap_or(0)
        };
        count("cx_total") > 0 && count("cx_connect_fail") >= count("cx_total")
    }
}

/// What there is to say of the clusters of a service. One that instances are moved to is empty before.
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
                format!("there is no cluster {name}"),
                "add it to Envoy's clusters, or name the right one in spec.versions",
            ),
        }
    };
    versions.map(one).collect()
}

fn endpoints(name: &str, cluster: &ClusterStatus, filled_later: bool) -> Finding {
    let hosts = &cluster.host_statuses;
    let well = hosts.iter().filter(|host| host.is_healthy()).count();
    let unreached = hosts.iter().filter(|host| host.is_unreachable()).count();
    match (hosts.len(), well) {
        (0, _) if filled_later => {
            Finding::ok(Check::Clusters, format!("{name} is empty: instances are moved to it"))
        }
        (0, _) => Finding::fail(
            Check::Clusters,
            format!("{name} has no endpoint"),
            "add endpoints to it; if it has a host name, see that it can be resolved",
        ),
        (all, 0) => Finding::fail(
            Check::Clusters,
            format!("{name}: none of {all} endpoints is well"),
            "see /clusters of the admin interface for what has failed: health checks, or outlier detection",
        ),
        (all, _) if unreached == all => Finding::fail(
            Check::Clusters,
            format!("{name}: no connection to any of {all} endpoints has worked"),
            "see that the version runs, and that its address and port are right",
        ),
        (all, well) if well < all => Finding::warn(
            Check::Clusters,
            format!("{name}: {well} of {all} endpoints are well"),
            "see /clusters of the admin interface for what has failed",
        ),
        (all, _) => Finding::ok(Check::Clusters, format!("{name}: {all} of {all} endpoints well")),
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
    fn clusters_of_a_real_envoy_are_well() {
        assert_eq!(levels(PAGE, false), [Level::Ok, Level::Ok]);
    }

    #[test]
    fn one_that_is_missing_or_empty_is_told() {
        assert_eq!(
            levels(&PAGE.replace("\"shop-v2\"", "\"other\""), true),
            [Level::Ok, Level::Fail]
        );
        let empty = r#"{"cluster_statuses": [{"name": "shop-v1"}, {"name": "shop-v2"}]}"#;
        assert_eq!(levels(empty, false), [Level::Fail, Level::Fail]);
        assert_eq!(levels(empty, true), [Level::Fail, Level::Ok]);
    }

    #[test]
    fn endpoints_that_are_not_well_are_told() {
        for ill in [
            r#""eds_health_status": "UNHEALTHY""#,
            r#""eds_health_status": "HEALTHY", "failed_outlier_check": true"#,
        ] {
            let ill = PAGE.replacen(r#""eds_health_status": "HEALTHY""#, ill, 1);
            // The page begins with that of v2.
            assert_eq!(levels(&ill, false), [Level::Ok, Level::Fail], "{ill}");
        }
    }

    #[test]
    fn endpoints_that_were_never_reached_are_told() {
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
