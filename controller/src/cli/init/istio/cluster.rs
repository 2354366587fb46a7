//! Istio's names of clusters.

use serde_json::{Value, json};

/// The parts of a name such as `outbound|9080|v2|reviews.bookinfo.svc.cluster.local`.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct IstioCluster<'n> {
    port: u16,
    subset: Option<&'n str>,
    /// The full name of the host.
    pub(super) host: &'n str,
}

impl<'n> IstioCluster<'n> {
    /// # Errors
    /// The name is not one of Istio's.
    pub(super) fn parse(name: &'n str) -> Result<Self, String> {
        let mut parts = name.split('|');
        let parsed = (|| {
            let parts = [parts.next()?, parts.next()?, parts.next()?, parts.next()?];
            let ["outbound", port, subset, host] = parts else { return None };
            let subset = Some(subset).filter(|subset| !subset.is_empty());
            Some(Self { port: port.parse().ok()?, subset, host })
        })();
        parsed.filter(|cluster| !cluster.host.is_empty()).ok_or_else(|| {
            format!(
                "spec.versions: the cluster {name:?} is not one of Istio's, such as outbound|80|v2|shop.default.svc.cluster.local"
            )
        })
    }

    /// Its subset in a DestinationRule, by the usual label.
    pub(super) fn subset(&self) -> Option<Value> {
        let subset = self.subset?;
        Some(json!({ "name": subset, "labels": { "version": subset } }))
    }

    /// Its destination in a VirtualService.
    pub(super) fn destination(&self) -> Value {
        let (host, port) = (self.host, json!({ "number": self.port }));
        match self.subset {
            Some(subset) => json!({ "host": host, "subset": subset, "port": port }),
            None => json!({ "host": host, "port": port }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_parsed() {
        let name = "outbound|9080|v2|reviews.bookinfo.svc.cluster.local";
        let cluster = IstioCluster::parse(name).unwrap();
        let host = "reviews.bookinfo.svc.cluster.local";
        assert_eq!(cluster, IstioCluster { port: 9080, subset: Some("v2"), host });
        let expected = json!({"host": host, "subset": "v2", "port": {"number": 9080}});
        assert_eq!(cluster.destination(), expected);
        let whole = IstioCluster::parse("outbound|80||shop.example.com").unwrap();
        assert_eq!(whole, IstioCluster { port: 80, subset: None, host: "shop.example.com" });
        assert_eq!(whole.subset(), None);
        for other in ["shop-v2", "inbound|80||shop", "outbound|http||shop", "outbound|80|v2|"] {
            let error = IstioCluster::parse(other).unwrap_err();
            assert!(error.contains(other) && error.contains("not one of Istio's"), "{error}");
        }
    }
}
