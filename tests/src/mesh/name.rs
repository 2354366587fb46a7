//! Names in the format of Istio.

/// The full name of a Service.
pub(super) fn service(name: &str, namespace: &str) -> String {
    format!("{name}.{namespace}.svc.cluster.local")
}

/// The full name of a host in an object of this namespace. Only a name without dots is completed.
pub(super) fn host(name: &str, namespace: &str) -> String {
    if name.contains('.') || name == "*" { name.to_owned() } else { service(name, namespace) }
}

/// The cluster of a host's port: of all its instances or of one subset.
pub(super) fn cluster(port: u16, subset: Option<&str>, host: &str) -> String {
    format!("outbound|{port}|{}|{host}", subset.unwrap_or_default())
}

/// The resource name of a plugin.
pub(super) fn plugin(name: &str, namespace: &str) -> String {
    format!("extensions.istio.io/wasmplugin/{namespace}.{name}")
}

/// All names of a host for callers in a namespace.
pub(super) fn domains(host: &str, namespace: &str) -> Vec<String> {
    let mut domains = vec![host.to_owned()];
    let parts = host.strip_suffix(".svc.cluster.local").and_then(|short| short.split_once('.'));
    if let Some((name, its)) = parts {
        domains.extend([format!("{name}.{its}"), format!("{name}.{its}.svc")]);
        if its == namespace {
            domains.push(name.to_owned());
        }
    }
    domains
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clusters_are_named_as_by_istio() {
        let reviews = host("reviews", "default");
        assert_eq!(
            cluster(9080, Some("v2"), &reviews),
            "outbound|9080|v2|reviews.default.svc.cluster.local"
        );
        assert_eq!(cluster(80, None, "example.com"), "outbound|80||example.com");
    }

    #[test]
    fn a_short_name_is_for_callers_of_the_same_namespace() {
        let reviews = host("reviews", "bookinfo");
        let all =
            ["reviews.bookinfo.svc.cluster.local", "reviews.bookinfo", "reviews.bookinfo.svc"];
        assert_eq!(domains(&reviews, "shop"), all);
        assert_eq!(domains(&reviews, "bookinfo"), [&all[..], &["reviews"]].concat());
        assert_eq!(domains("shop.example.com", "shop"), ["shop.example.com"]);
        // Istio does not complete a name that contains a dot.
        assert_eq!(host("reviews.bookinfo", "default"), "reviews.bookinfo");
    }
}
