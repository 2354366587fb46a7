//! Rules of the kind that an API server checks: an invalid object is refused when it is applied,
//! with the path of the field. The operator checks all of them and more.

use serde_json::{Value, json};

/// Bounds, without which an API server refuses rules as too expensive: the most versions, the
/// longest name of one, and the longest weight.
const BOUNDS: [(&str, &str, u32); 4] = [
    ("/properties/versions", "maxItems", 64),
    ("/properties/versions/items/properties/name", "maxLength", 63),
    ("/properties/strategy/properties/trafficShifting/properties/steps", "maxItems", 100),
    (
        "/properties/strategy/properties/trafficShifting/properties/steps/items/properties/weight",
        "maxLength",
        24,
    ),
];

/// A rule in the Common Expression Language.
struct Rule {
    /// The schema that the rule is a part of, as a pointer from the one of `spec`.
    at: &'static str,
    /// The invalid field, within that schema. Empty: the object itself.
    field: &'static str,
    rule: &'static str,
    message: &'static str,
}

const fn rule(
    at: &'static str,
    field: &'static str,
    rule: &'static str,
    message: &'static str,
) -> Rule {
    Rule { at, field, rule, message }
}

const STRATEGY: &str = "/properties/strategy";
const STEPS: &str = "/properties/strategy/properties/trafficShifting";
const ISTIO: &str = "/properties/istio";
const PODS: [&str; 2] =
    ["/properties/istio/properties/proxies", "/properties/gatewayApi/properties/proxies"];

const RULES: [Rule; 17] = [
    rule(
        "",
        "",
        "has(self.istio) != has(self.gatewayApi)",
        "exactly one of istio and gatewayApi is required",
    ),
    rule(
        "",
        ".candidate",
        "self.versions.exists(v, v.name == self.candidate)",
        "is not in spec.versions",
    ),
    rule(
        "",
        ".versions",
        "self.versions.all(v, self.versions.exists_one(other, other.name == v.name))",
        "two versions have the same name",
    ),
    rule(
        "",
        ".versions",
        "!has(self.istio) || self.versions.all(v, has(v.destination) && !has(v.backend))",
        "spec.istio requires a destination in each version, and no backend",
    ),
    rule(
        "",
        ".versions",
        "!has(self.gatewayApi) || self.versions.all(v, has(v.backend) && !has(v.destination))",
        "spec.gatewayApi requires a backend in each version, and no destination",
    ),
    rule(
        "",
        ".versions",
        "self.versions.all(v, has(v.deployment)) || !self.versions.exists(v, has(v.deployment))",
        "set the deployment of all versions or of none",
    ),
    rule(
        "",
        ".versions",
        "!has(self.scale) || !self.scale || self.versions.all(v, has(v.deployment))",
        "spec.scale requires a deployment in each version",
    ),
    rule(
        "",
        ".istio.port",
        "!has(self.istio) || has(self.istio.port) || self.versions.all(v, has(v.cluster) || \
         !has(v.destination) || has(v.destination.port))",
        "missing; the name of an Istio cluster contains the port at which clients call the service",
    ),
    rule(
        "",
        ".strategy",
        "!has(self.compatibility) || self.compatibility != 'breaking' || \
         has(self.strategy.blueGreen)",
        "compatibility: breaking requires blueGreen, which switches all users at once",
    ),
    rule(
        "",
        ".override",
        "!has(self.strategy.blueGreen) || has(self.override) && (has(self.override.header) || \
         has(self.override.cookie))",
        "blueGreen requires a header or a cookie that requests the preview",
    ),
    rule(
        STRATEGY,
        "",
        "[has(self.trafficShifting), has(self.canary), has(self.blueGreen), has(self.rolling)]\
         .filter(present, present).size() == 1",
        "exactly one of trafficShifting, canary, blueGreen and rolling is required",
    ),
    rule(
        STEPS,
        ".steps",
        "self.steps.size() > 0 && \
         double(self.steps[self.steps.size() - 1].weight.replace('%', '').trim()) == 100.0",
        "list at least one step, the last with 100%",
    ),
    rule(
        ISTIO,
        ".virtualService",
        "has(self.virtualService) == (self.mode == 'mesh')",
        "mode mesh requires the VirtualService whose weights change; mode filter supports none",
    ),
    rule(
        ISTIO,
        ".plugin",
        "self.mode == 'filter' || !has(self.plugin)",
        "not supported with mode mesh, which changes no WasmPlugin",
    ),
    rule(
        ISTIO,
        ".drift",
        "self.mode == 'mesh' || !has(self.drift)",
        "not supported with mode filter, where routes have no weights",
    ),
    rule(
        PODS[0],
        "",
        "!has(self.port) || !has(self.prometheus)",
        "set only one of port and prometheus",
    ),
    rule(
        PODS[1],
        "",
        "!has(self.port) || !has(self.prometheus)",
        "set only one of port and prometheus",
    ),
];

/// Adds the rules to the schema of `spec`.
pub(super) fn with_rules(mut spec: Value) -> Value {
    let mut set = |at: &str, keyword: &str, value: Value| {
        if let Some(schema) = spec.pointer_mut(at).and_then(Value::as_object_mut) {
            schema.insert(keyword.to_owned(), value);
        }
    };
    for (at, keyword, most) in BOUNDS {
        set(at, keyword, json!(most));
    }
    for pods in PODS {
        set(&format!("{pods}/properties/matchLabels"), "minProperties", json!(1));
    }
    for place in ["", STRATEGY, STEPS, ISTIO, PODS[0], PODS[1]] {
        let rules = RULES.iter().filter(|rule| rule.at == place).map(Rule::value);
        set(place, "x-kubernetes-validations", rules.collect());
    }
    spec
}

impl Rule {
    fn value(&self) -> Value {
        let mut value = json!({ "rule": self.rule, "message": self.message });
        if let Some(fields) = value.as_object_mut().filter(|_| !self.field.is_empty()) {
            fields.insert("fieldPath".to_owned(), self.field.into());
        }
        value
    }
}

#[cfg(test)]
mod tests {
    use serin_core::spec::definition::schema;

    use super::*;

    #[test]
    fn every_rule_and_bound_has_its_schema() {
        let spec = with_rules(schema());
        for Rule { at, rule, .. } in &RULES {
            let rules = spec.pointer(&format!("{at}/x-kubernetes-validations"));
            let rules = rules.and_then(Value::as_array).expect(at);
            assert!(rules.iter().any(|found| found["rule"] == *rule), "{rule}");
        }
        for (at, keyword, most) in BOUNDS {
            assert_eq!(spec.pointer(at).expect(at)[keyword], json!(most), "{at}");
        }
        for pods in PODS {
            let labels = spec.pointer(&format!("{pods}/properties/matchLabels")).expect(pods);
            assert_eq!(labels["minProperties"], 1);
        }
    }
}
