//! Reads the wire form from JSON, with the path of the field at fault in every error.
//!
//! By hand and not derived: derived deserializers of all these types would be half of the module, which every worker of every proxy
//! compiles and keeps in memory, and their errors know a line and a column of a text that nobody sees. The same code reads these
//! types where they are part of a rollout's specification.

use serde_json::{Map, Value};

use super::ConfigError;
use super::path::{Errors, Path};
use super::wire::{
    Authority, Buckets, Config, Correlation, Failures, IdentityCookie, Named, Override, Route,
    Rule, Service, Split, Sticky, Then, Tripwire, Trust, Version, Watch, When, overdue,
};
use crate::names::{Generation, ServiceName, VersionName};

/// Reads a whole value.
pub(super) fn read<T: Read>(value: &Value) -> Result<T, ConfigError> {
    let mut errors = Errors::default();
    let read = T::read(value, &Path::ROOT, &mut errors);
    match read {
        Some(read) => errors.or(read),
        None => errors.or(()).and(Err(ConfigError::Missing { path: String::new() })),
    }
}

/// What can be read from a JSON value. `None` only together with an error.
pub(super) trait Read: Sized {
    fn read(value: &Value, path: &Path<'_>, errors: &mut Errors) -> Option<Self>;
}

fn wrong<T>(path: &Path<'_>, errors: &mut Errors, wanted: &'static str) -> Option<T> {
    errors.add(path, |path| ConfigError::Type { path, wanted });
    None
}

/// A JSON object whose fields are known by name.
struct Object<'o, 'e> {
    fields: &'o Map<String, Value>,
    path: &'o Path<'o>,
    errors: &'e mut Errors,
}

impl<'o, 'e> Object<'o, 'e> {
    fn new(
        value: &'o Value,
        path: &'o Path<'o>,
        errors: &'e mut Errors,
        known: &'static str,
    ) -> Option<Self> {
        let Value::Object(fields) = value else { return wrong(path, errors, "an object") };
        if let Some(name) = fields
            .keys()
            .find(|name| known.split(' ').all(|field| field.trim_end_matches(',') != *name))
        {
            errors.add(&path.field(name), |path| ConfigError::UnknownField { path, known });
        }
        Some(Self { fields, path, errors })
    }

    fn optional<T: Read>(&mut self, name: &str) -> Option<T> {
        match self.fields.get(name) {
            None | Some(Value::Null) => None,
            Some(value) => T::read(value, &self.path.field(name), self.errors),
        }
    }

    fn or_default<T: Read + Default>(&mut self, name: &str) -> T {
        self.optional(name).unwrap_or_default()
    }

    fn required<T: Read>(&mut self, name: &str) -> Option<T> {
        let read = self.optional(name);
        if read.is_none() {
            self.errors.add(&self.path.field(name), |path| ConfigError::Missing { path });
        }
        read
    }
}

/// One of some words.
fn word<T: Copy>(
    value: &Value,
    path: &Path<'_>,
    errors: &mut Errors,
    words: &[(&str, T)],
    wanted: &'static str,
) -> Option<T> {
    let found = value.as_str().and_then(|text| words.iter().find(|(word, _)| *word == text));
    found.map_or_else(|| wrong(path, errors, wanted), |(_, meaning)| Some(*meaning))
}

impl Read for String {
    fn read(value: &Value, path: &Path<'_>, errors: &mut Errors) -> Option<Self> {
        value.as_str().map(str::to_owned).or_else(|| wrong(path, errors, "a text"))
    }
}

impl Read for u64 {
    fn read(value: &Value, path: &Path<'_>, errors: &mut Errors) -> Option<Self> {
        value.as_u64().or_else(|| wrong(path, errors, "a whole number from 0"))
    }
}

impl Read for u32 {
    fn read(value: &Value, path: &Path<'_>, errors: &mut Errors) -> Option<Self> {
        let number = u64::read(value, path, errors)?;
        Self::try_from(number).ok().or_else(|| wrong(path, errors, "a whole number below 2^32"))
    }
}

impl Read for bool {
    fn read(value: &Value, path: &Path<'_>, errors: &mut Errors) -> Option<Self> {
        value.as_bool().or_else(|| wrong(path, errors, "true or false"))
    }
}

impl<T: Read> Read for Vec<T> {
    fn read(value: &Value, path: &Path<'_>, errors: &mut Errors) -> Option<Self> {
        let Value::Array(items) = value else { return wrong(path, errors, "a list") };
        let mut read = Self::with_capacity(items.len());
        for (index, item) in items.iter().enumerate() {
            read.extend(T::read(item, &path.index(index), errors));
        }
        Some(read)
    }
}

impl Read for Generation {
    fn read(value: &Value, path: &Path<'_>, errors: &mut Errors) -> Option<Self> {
        u64::read(value, path, errors).map(Self)
    }
}

macro_rules! read_name {
    ($name:ident) => {
        impl Read for $name {
            fn read(value: &Value, path: &Path<'_>, errors: &mut Errors) -> Option<Self> {
                match String::read(value, path, errors)?.try_into() {
                    Ok(name) => Some(name),
                    Err(cause) => {
                        errors.add(path, |path| ConfigError::Name { path, cause });
                        None
                    }
                }
            }
        }
    };
}

read_name!(ServiceName);
read_name!(VersionName);

impl Read for Config {
    fn read(value: &Value, path: &Path<'_>, errors: &mut Errors) -> Option<Self> {
        let mut object = Object::new(value, path, errors, "schema, generation, services")?;
        Some(Self {
            schema: object.required("schema")?,
            generation: object.required("generation")?,
            services: object.required("services")?,
        })
    }
}

impl Read for Service {
    fn read(value: &Value, path: &Path<'_>, errors: &mut Errors) -> Option<Self> {
        const FIELDS: &str = "name, authorities, versions, split, route, sticky, correlation, salt, buckets, rules, trust, override, reveal, failures, overdueMs, tripwire, watch";
        let mut object = Object::new(value, path, errors, FIELDS)?;
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
            overdue_ms: object.optional("overdueMs").unwrap_or_else(overdue),
            tripwire: object.optional("tripwire"),
            watch: object.optional("watch"),
            name: name?,
        };
        Some(service)
    }
}

impl Read for Version {
    fn read(value: &Value, path: &Path<'_>, errors: &mut Errors) -> Option<Self> {
        let mut object = Object::new(value, path, errors, "name, cluster")?;
        Some(Self { name: object.required("name")?, cluster: object.required("cluster")? })
    }
}

impl Read for Split {
    fn read(value: &Value, path: &Path<'_>, errors: &mut Errors) -> Option<Self> {
        let words = [("filter", Self::Filter), ("mesh", Self::Mesh)];
        word(value, path, errors, &words, "filter or mesh")
    }
}

impl Read for Route {
    fn read(value: &Value, path: &Path<'_>, errors: &mut Errors) -> Option<Self> {
        let words =
            [("versionHeader", Self::VersionHeader), ("clusterHeader", Self::ClusterHeader)];
        word(value, path, errors, &words, "versionHeader or clusterHeader")
    }
}

impl Read for Buckets {
    fn read(value: &Value, path: &Path<'_>, errors: &mut Errors) -> Option<Self> {
        let mut object = Object::new(value, path, errors, "version, count")?;
        Some(Self { version: object.required("version")?, count: object.required("count")? })
    }
}

impl Read for Authority {
    fn read(value: &Value, path: &Path<'_>, errors: &mut Errors) -> Option<Self> {
        String::read(value, path, errors).map(Self)
    }
}

impl Read for Sticky {
    fn read(value: &Value, path: &Path<'_>, errors: &mut Errors) -> Option<Self> {
        const WANTED: &str =
            "{header: NAME}, {cookie: NAME}, {identityCookie: ...} or sourceAddress";
        match value {
            Value::String(word) if word == "sourceAddress" => Some(Self::SourceAddress),
            Value::Object(fields) if fields.len() == 1 => {
                const KNOWN: &str = "header, cookie, identityCookie";
                let mut object = Object::new(value, path, errors, KNOWN)?;
                let header = object.optional("header").map(Self::Header);
                let cookie = object.optional("cookie").map(Self::Cookie);
                let issued = object.optional("identityCookie").map(Self::IdentityCookie);
                header.or(cookie).or(issued)
            }
            _ => wrong(path, errors, WANTED),
        }
    }
}

impl Read for IdentityCookie {
    fn read(value: &Value, path: &Path<'_>, errors: &mut Errors) -> Option<Self> {
        let mut object = Object::new(value, path, errors, "name, maxAgeSeconds, secure")?;
        Some(Self {
            max_age_seconds: object.required("maxAgeSeconds")?,
            secure: object.or_default("secure"),
            name: object.required("name")?,
        })
    }
}

impl Read for Correlation {
    fn read(value: &Value, path: &Path<'_>, errors: &mut Errors) -> Option<Self> {
        let words = [
            ("tracestate", Self::Tracestate),
            ("traceId", Self::TraceId),
            ("requestId", Self::RequestId),
        ];
        word(value, path, errors, &words, "tracestate, traceId or requestId")
    }
}

impl Read for Rule {
    fn read(value: &Value, path: &Path<'_>, errors: &mut Errors) -> Option<Self> {
        let mut object = Object::new(value, path, errors, "when, then")?;
        Some(Self { when: object.required("when")?, then: object.required("then")? })
    }
}

impl Read for When {
    fn read(value: &Value, path: &Path<'_>, errors: &mut Errors) -> Option<Self> {
        const FIELDS: &str = "header, cookie, pathPrefix, method";
        let mut object = Object::new(value, path, errors, FIELDS)?;
        Some(Self {
            header: object.optional("header"),
            cookie: object.optional("cookie"),
            path_prefix: object.optional("pathPrefix"),
            method: object.optional("method"),
        })
    }
}

impl Read for Named {
    fn read(value: &Value, path: &Path<'_>, errors: &mut Errors) -> Option<Self> {
        let mut object = Object::new(value, path, errors, "name, value")?;
        Some(Self { name: object.required("name")?, value: object.optional("value") })
    }
}

impl Read for Then {
    fn read(value: &Value, path: &Path<'_>, errors: &mut Errors) -> Option<Self> {
        match value {
            Value::String(word) if word == "bypass" => Some(Self::Bypass),
            Value::Object(_) => {
                Object::new(value, path, errors, "version")?.required("version").map(Self::Version)
            }
            _ => wrong(path, errors, "{version: NAME} or bypass"),
        }
    }
}

impl Read for Trust {
    fn read(value: &Value, path: &Path<'_>, errors: &mut Errors) -> Option<Self> {
        let mut object = Object::new(value, path, errors, "sources, token")?;
        Some(Self { sources: object.or_default("sources"), token: object.optional("token") })
    }
}

impl Read for Override {
    fn read(value: &Value, path: &Path<'_>, errors: &mut Errors) -> Option<Self> {
        let mut object = Object::new(value, path, errors, "header, cookie")?;
        Some(Self { header: object.optional("header"), cookie: object.optional("cookie") })
    }
}

impl Read for Failures {
    fn read(value: &Value, path: &Path<'_>, errors: &mut Errors) -> Option<Self> {
        let mut object = Object::new(value, path, errors, "status, grpc")?;
        Some(Self { status: object.optional("status"), grpc: object.optional("grpc") })
    }
}

impl Read for Tripwire {
    fn read(value: &Value, path: &Path<'_>, errors: &mut Errors) -> Option<Self> {
        let mut object = Object::new(value, path, errors, "toleratedPpm")?;
        Some(Self { tolerated_ppm: object.required("toleratedPpm")? })
    }
}

impl Read for Watch {
    fn read(value: &Value, path: &Path<'_>, errors: &mut Errors) -> Option<Self> {
        let mut object = Object::new(value, path, errors, "salts, slices")?;
        // What is missing is none, and none is refused.
        let slices = object.optional("slices").unwrap_or_default();
        Some(Self { salts: object.or_default("salts"), slices })
    }
}

/// Where these types are part of something that serde reads.
macro_rules! deserialize {
    ($($type:ty),*) => {$(
        impl<'de> serde::Deserialize<'de> for $type {
            fn deserialize<D: serde::Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
                read(&Value::deserialize(from)?).map_err(serde::de::Error::custom)
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
    When,
    Trust,
    Override,
    Failures
);
