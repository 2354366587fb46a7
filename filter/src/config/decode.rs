//! Decodes the wire format from JSON. Every error has the path of its field.
//!
//! Derived deserializers would double the Wasm module, which every worker compiles and keeps in
//! memory, and would report a line and a column in place of a path. The controller uses the same
//! decoder where these types are part of a rollout's specification.

use serde_json::{Map, Value};

use super::ConfigError;
use super::path::{FirstError, Path};
use super::wire::{
    AaTest, Authority, BucketRange, Config, Correlation, Failures, IdentityCookie, KeyValueMatch,
    Override, Route, Rule, RuleAction, RuleMatch, Service, Split, Sticky, Tripwire, Trust, Version,
    default_overdue_ms,
};
use crate::names::{Generation, ServiceName, VersionName};

/// Decodes a value.
pub(super) fn decode<T: FromJson>(value: &Value) -> Result<T, ConfigError> {
    let mut error = FirstError::default();
    match T::from_json(value, &Path::ROOT, &mut error) {
        Some(decoded) => error.into_result(decoded),
        None => error.into_result(()).and(Err(ConfigError::Missing { path: String::new() })),
    }
}

/// A type that is decoded from a JSON value. Returns `None` only after recording an error.
pub(super) trait FromJson: Sized {
    fn from_json(value: &Value, path: &Path<'_>, error: &mut FirstError) -> Option<Self>;
}

fn type_error<T>(path: &Path<'_>, error: &mut FirstError, expected: &'static str) -> Option<T> {
    error.record(path, |path| ConfigError::WrongType { path, expected });
    None
}

/// A JSON object with a fixed set of fields.
struct Object<'o, 'e> {
    fields: &'o Map<String, Value>,
    path: &'o Path<'o>,
    error: &'e mut FirstError,
}

impl<'o, 'e> Object<'o, 'e> {
    fn new(
        value: &'o Value,
        path: &'o Path<'o>,
        error: &'e mut FirstError,
        known: &'static str,
    ) -> Option<Self> {
        let Value::Object(fields) = value else { return type_error(path, error, "an object") };
        if let Some(name) = fields
            .keys()
            .find(|name| known.split(' ').all(|field| field.trim_end_matches(',') != *name))
        {
            error.record(&path.field(name), |path| ConfigError::UnknownField { path, known });
        }
        Some(Self { fields, path, error })
    }

    fn optional<T: FromJson>(&mut self, name: &str) -> Option<T> {
        match self.fields.get(name) {
            None | Some(Value::Null) => None,
            Some(value) => T::from_json(value, &self.path.field(name), self.error),
        }
    }

    fn or_default<T: FromJson + Default>(&mut self, name: &str) -> T {
        self.optional(name).unwrap_or_default()
    }

    fn required<T: FromJson>(&mut self, name: &str) -> Option<T> {
        let decoded = self.optional(name);
        if decoded.is_none() {
            self.error.record(&self.path.field(name), |path| ConfigError::Missing { path });
        }
        decoded
    }
}

/// Decodes the name of an enum variant.
fn variant<T: Copy>(
    value: &Value,
    path: &Path<'_>,
    error: &mut FirstError,
    variants: &[(&str, T)],
    expected: &'static str,
) -> Option<T> {
    let found = value.as_str().and_then(|text| variants.iter().find(|(name, _)| *name == text));
    found.map_or_else(|| type_error(path, error, expected), |(_, variant)| Some(*variant))
}

impl FromJson for String {
    fn from_json(value: &Value, path: &Path<'_>, error: &mut FirstError) -> Option<Self> {
        value.as_str().map(str::to_owned).or_else(|| type_error(path, error, "a string"))
    }
}

impl FromJson for u64 {
    fn from_json(value: &Value, path: &Path<'_>, error: &mut FirstError) -> Option<Self> {
        value.as_u64().or_else(|| type_error(path, error, "a non-negative integer"))
    }
}

impl FromJson for u32 {
    fn from_json(value: &Value, path: &Path<'_>, error: &mut FirstError) -> Option<Self> {
        let number = u64::from_json(value, path, error)?;
        Self::try_from(number).ok().or_else(|| type_error(path, error, "an integer below 2^32"))
    }
}

impl FromJson for bool {
    fn from_json(value: &Value, path: &Path<'_>, error: &mut FirstError) -> Option<Self> {
        value.as_bool().or_else(|| type_error(path, error, "true or false"))
    }
}

impl<T: FromJson> FromJson for Vec<T> {
    fn from_json(value: &Value, path: &Path<'_>, error: &mut FirstError) -> Option<Self> {
        let Value::Array(items) = value else { return type_error(path, error, "a list") };
        let mut decoded = Self::with_capacity(items.len());
        for (index, item) in items.iter().enumerate() {
            decoded.extend(T::from_json(item, &path.index(index), error));
        }
        Some(decoded)
    }
}

impl FromJson for Generation {
    fn from_json(value: &Value, path: &Path<'_>, error: &mut FirstError) -> Option<Self> {
        u64::from_json(value, path, error).map(Self)
    }
}

macro_rules! name_from_json {
    ($name:ident) => {
        impl FromJson for $name {
            fn from_json(value: &Value, path: &Path<'_>, error: &mut FirstError) -> Option<Self> {
                match String::from_json(value, path, error)?.try_into() {
                    Ok(name) => Some(name),
                    Err(cause) => {
                        error.record(path, |path| ConfigError::InvalidName { path, cause });
                        None
                    }
                }
            }
        }
    };
}

name_from_json!(ServiceName);
name_from_json!(VersionName);

impl FromJson for Config {
    fn from_json(value: &Value, path: &Path<'_>, error: &mut FirstError) -> Option<Self> {
        let mut object = Object::new(value, path, error, "schema, generation, services")?;
        Some(Self {
            schema: object.required("schema")?,
            generation: object.required("generation")?,
            services: object.required("services")?,
        })
    }
}

impl FromJson for Service {
    fn from_json(value: &Value, path: &Path<'_>, error: &mut FirstError) -> Option<Self> {
        const FIELDS: &str = "name, authorities, versions, split, route, sticky, correlation, salt, buckets, rules, trust, override, reveal, failures, overdueMs, tripwire, aaTest";
        let mut object = Object::new(value, path, error, FIELDS)?;
        let name = object.required("name");
        let service = Self {
            authorities: object.required("authorities").unwrap_or_default(),
            versions: object.required("versions").unwrap_or_default(),
            split: object.or_default("split"),
            route: object.or_default("route"),
            sticky: object.or_default("sticky"),
            correlation: object.or_default("correlation"),
            salt: object.or_default("salt"),
            buckets: object.or_default("buckets"),
            rules: object.or_default("rules"),
            trust: object.or_default("trust"),
            override_: object.or_default("override"),
            reveal: object.optional("reveal"),
            failures: object.or_default("failures"),
            overdue_ms: object.optional("overdueMs").unwrap_or_else(default_overdue_ms),
            tripwire: object.optional("tripwire"),
            aa_test: object.optional("aaTest"),
            name: name?,
        };
        Some(service)
    }
}

impl FromJson for Version {
    fn from_json(value: &Value, path: &Path<'_>, error: &mut FirstError) -> Option<Self> {
        let mut object = Object::new(value, path, error, "name, cluster")?;
        Some(Self { name: object.required("name")?, cluster: object.required("cluster")? })
    }
}

impl FromJson for Split {
    fn from_json(value: &Value, path: &Path<'_>, error: &mut FirstError) -> Option<Self> {
        let variants = [("filter", Self::Filter), ("mesh", Self::Mesh)];
        variant(value, path, error, &variants, "filter or mesh")
    }
}

impl FromJson for Route {
    fn from_json(value: &Value, path: &Path<'_>, error: &mut FirstError) -> Option<Self> {
        let variants =
            [("versionHeader", Self::VersionHeader), ("clusterHeader", Self::ClusterHeader)];
        variant(value, path, error, &variants, "versionHeader or clusterHeader")
    }
}

impl FromJson for BucketRange {
    fn from_json(value: &Value, path: &Path<'_>, error: &mut FirstError) -> Option<Self> {
        let mut object = Object::new(value, path, error, "version, count")?;
        Some(Self { version: object.required("version")?, count: object.required("count")? })
    }
}

impl FromJson for Authority {
    fn from_json(value: &Value, path: &Path<'_>, error: &mut FirstError) -> Option<Self> {
        String::from_json(value, path, error).map(Self)
    }
}

impl FromJson for Sticky {
    fn from_json(value: &Value, path: &Path<'_>, error: &mut FirstError) -> Option<Self> {
        const EXPECTED: &str =
            "{header: NAME}, {cookie: NAME}, {identityCookie: ...} or sourceAddress";
        match value {
            Value::String(word) if word == "sourceAddress" => Some(Self::SourceAddress),
            Value::Object(fields) if fields.len() == 1 => {
                const KNOWN: &str = "header, cookie, identityCookie";
                let mut object = Object::new(value, path, error, KNOWN)?;
                let header = object.optional("header").map(Self::Header);
                let cookie = object.optional("cookie").map(Self::Cookie);
                let issued = object.optional("identityCookie").map(Self::IdentityCookie);
                header.or(cookie).or(issued)
            }
            _ => type_error(path, error, EXPECTED),
        }
    }
}

impl FromJson for IdentityCookie {
    fn from_json(value: &Value, path: &Path<'_>, error: &mut FirstError) -> Option<Self> {
        let mut object = Object::new(value, path, error, "name, maxAgeSeconds, secure")?;
        Some(Self {
            max_age_seconds: object.required("maxAgeSeconds")?,
            secure: object.or_default("secure"),
            name: object.required("name")?,
        })
    }
}

impl FromJson for Correlation {
    fn from_json(value: &Value, path: &Path<'_>, error: &mut FirstError) -> Option<Self> {
        let variants = [
            ("tracestate", Self::Tracestate),
            ("traceId", Self::TraceId),
            ("requestId", Self::RequestId),
        ];
        variant(value, path, error, &variants, "tracestate, traceId or requestId")
    }
}

impl FromJson for Rule {
    fn from_json(value: &Value, path: &Path<'_>, error: &mut FirstError) -> Option<Self> {
        let mut object = Object::new(value, path, error, "when, then")?;
        Some(Self { when: object.required("when")?, then: object.required("then")? })
    }
}

impl FromJson for RuleMatch {
    fn from_json(value: &Value, path: &Path<'_>, error: &mut FirstError) -> Option<Self> {
        const FIELDS: &str = "header, cookie, pathPrefix, method";
        let mut object = Object::new(value, path, error, FIELDS)?;
        Some(Self {
            header: object.optional("header"),
            cookie: object.optional("cookie"),
            path_prefix: object.optional("pathPrefix"),
            method: object.optional("method"),
        })
    }
}

impl FromJson for KeyValueMatch {
    fn from_json(value: &Value, path: &Path<'_>, error: &mut FirstError) -> Option<Self> {
        let mut object = Object::new(value, path, error, "name, value")?;
        Some(Self { name: object.required("name")?, value: object.optional("value") })
    }
}

impl FromJson for RuleAction {
    fn from_json(value: &Value, path: &Path<'_>, error: &mut FirstError) -> Option<Self> {
        match value {
            Value::String(word) if word == "bypass" => Some(Self::Bypass),
            Value::Object(_) => {
                Object::new(value, path, error, "version")?.required("version").map(Self::Version)
            }
            _ => type_error(path, error, "{version: NAME} or bypass"),
        }
    }
}

impl FromJson for Trust {
    fn from_json(value: &Value, path: &Path<'_>, error: &mut FirstError) -> Option<Self> {
        let mut object = Object::new(value, path, error, "sources, token")?;
        Some(Self { sources: object.or_default("sources"), token: object.optional("token") })
    }
}

impl FromJson for Override {
    fn from_json(value: &Value, path: &Path<'_>, error: &mut FirstError) -> Option<Self> {
        let mut object = Object::new(value, path, error, "header, cookie")?;
        Some(Self { header: object.optional("header"), cookie: object.optional("cookie") })
    }
}

impl FromJson for Failures {
    fn from_json(value: &Value, path: &Path<'_>, error: &mut FirstError) -> Option<Self> {
        let mut object = Object::new(value, path, error, "status, grpc")?;
        Some(Self { status: object.optional("status"), grpc: object.optional("grpc") })
    }
}

impl FromJson for Tripwire {
    fn from_json(value: &Value, path: &Path<'_>, error: &mut FirstError) -> Option<Self> {
        let mut object = Object::new(value, path, error, "toleratedPpm")?;
        Some(Self { tolerated_ppm: object.required("toleratedPpm")? })
    }
}

impl FromJson for AaTest {
    fn from_json(value: &Value, path: &Path<'_>, error: &mut FirstError) -> Option<Self> {
        let mut object = Object::new(value, path, error, "salts, slices")?;
        // Validation rejects an empty list.
        let slices = object.optional("slices").unwrap_or_default();
        Some(Self { salts: object.or_default("salts"), slices })
    }
}

/// For types that are part of a structure decoded by serde.
macro_rules! deserialize {
    ($($type:ty),*) => {$(
        impl<'de> serde::Deserialize<'de> for $type {
            fn deserialize<D: serde::Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
                decode(&Value::deserialize(from)?).map_err(serde::de::Error::custom)
            }
        }
    )*};
}

deserialize!(
    Config,
    Service,
    Version,
    Route,
    Authority,
    Sticky,
    Correlation,
    Rule,
    RuleMatch,
    Trust,
    Override,
    Failures
);
