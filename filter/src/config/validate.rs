//! Validates a decoded configuration.

use std::ops::RangeInclusive;

use super::path::{FirstError, Path};
use super::rule::Rule;
use super::wire::{self, RuleAction, Sticky};
use super::{Config, ConfigError, Service, SplitMode, limit};
use crate::aa_test::AaTest;
use crate::authority::{self, AuthorityMap};
use crate::blame::{self, Blame};
use crate::bucket::Bucketing;
use crate::names::VersionName;
use crate::table::{BUCKETS, BucketRange, Table};
use crate::trust::{Network, Trust};

pub(super) fn config(wire: wire::Config) -> Result<Config, ConfigError> {
    let mut error = FirstError::default();
    let path = Path::ROOT.field("services");
    count(&path, wire.services.len(), 0..=limit::SERVICES, &mut error);
    unique(&path, wire.services.iter().map(|service| service.name.as_str()), &mut error);
    let versions = wire.services.iter().map(|service| service.versions.len()).sum();
    count(&path.field("*.versions"), versions, 0..=limit::TOTAL_VERSIONS, &mut error);

    let mut authorities = AuthorityMap::default();
    for index in 0..wire.services.len() {
        let path = path.index(index);
        register_authorities(
            &mut authorities,
            &wire.services,
            index,
            &path.field("authorities"),
            &mut error,
        );
    }
    let mut services = Vec::with_capacity(wire.services.len());
    for (index, wire) in wire.services.into_iter().enumerate() {
        services.push(service(wire, &path.index(index), &mut error));
    }
    error.into_result(Config { generation: wire.generation, services, authorities })
}

/// Adds the authorities of the service with this index.
fn register_authorities(
    authorities: &mut AuthorityMap,
    services: &[wire::Service],
    index: usize,
    path: &Path<'_>,
    error: &mut FirstError,
) {
    let Some(service) = services.get(index) else { return };
    count(path, service.authorities.len(), 1..=limit::ENTRIES, error);
    for (n, wire::Authority(pattern)) in service.authorities.iter().enumerate() {
        if let Some(reason) = authority::pattern_error(pattern) {
            value(path, pattern, reason, error);
        }
        let previous = authorities.insert(pattern, index);
        let value = pattern.clone();
        if previous == Some(index) {
            // Forms of one name, such as with a trailing dot, are no duplicates.
            let mut earlier = service.authorities.iter().take(n);
            if earlier.any(|wire::Authority(other)| other.eq_ignore_ascii_case(pattern)) {
                error.record(path, |path| ConfigError::Duplicate { path, value });
            }
        } else if let Some(other) = previous.and_then(|previous| services.get(previous)) {
            let other = other.name.clone();
            error.record(path, |path| ConfigError::AuthorityTaken { path, value, other });
        }
    }
}

fn service(wire: wire::Service, path: &Path<'_>, error: &mut FirstError) -> Service {
    let versions = path.field("versions");
    count(&versions, wire.versions.len(), 1..=limit::VERSIONS, error);
    unique(&versions, wire.versions.iter().map(|version| version.name.as_str()), error);
    unique(&versions, wire.versions.iter().map(|version| version.cluster.as_str()), error);
    range(&path.field("overdueMs"), wire.overdue_ms, limit::OVERDUE_MS, error);
    if let Some(name) = &wire.reveal {
        header(&path.field("reveal"), name, error);
    }
    sticky(&wire.sticky, &path.field("sticky"), error);

    let split_mode = split_mode(&wire, path, error);
    let trust = trust(wire.trust, &path.field("trust"), error);
    overrides(&wire.override_, &trust, &path.field("override"), error);
    Service {
        rules: rules(wire.rules, &wire.versions, &path.field("rules"), error),
        blame: blame(wire.failures, &path.field("failures"), error),
        tripwire: tripwire(wire.tripwire.as_ref(), &path.field("tripwire"), error),
        aa_test: aa_test(wire.aa_test, &path.field("aaTest"), error),
        name: wire.name,
        versions: wire.versions,
        split_mode,
        route: wire.route,
        sticky: wire.sticky,
        correlation: wire.correlation,
        bucketing: Bucketing::new(&wire.salt),
        trust,
        override_: wire.override_,
        reveal: wire.reveal,
        overdue_us: u64::from(wire.overdue_ms) * 1_000,
    }
}

fn split_mode(wire: &wire::Service, path: &Path<'_>, error: &mut FirstError) -> SplitMode {
    if wire.split == wire::Split::Filter {
        let path = path.field("buckets");
        return SplitMode::Filter(table(&wire.buckets, &wire.versions, &path, error));
    }
    for (field, given) in [
        ("buckets", !wire.buckets.is_empty()),
        ("sticky", !wire.sticky.is_empty()),
        ("correlation", !wire.correlation.is_empty()),
        ("rules", !wire.rules.is_empty()),
        ("override", wire.override_ != wire::Override::default()),
        ("tripwire", wire.tripwire.is_some()),
        ("aaTest", wire.aa_test.is_some()),
    ] {
        if given {
            let reason = "not allowed if the mesh splits";
            invalid(&path.field(field), reason, error);
        }
    }
    SplitMode::Mesh
}

fn table(
    buckets: &[wire::BucketRange],
    versions: &[wire::Version],
    path: &Path<'_>,
    error: &mut FirstError,
) -> Table {
    count(path, buckets.len(), 1..=limit::RANGES, error);
    let mut ranges = Vec::with_capacity(buckets.len());
    for (index, wire::BucketRange { version: name, count }) in buckets.iter().enumerate() {
        let version = version(name, versions, &path.index(index).field("version"), error);
        ranges.push(BucketRange { version, buckets: *count });
    }
    match Table::new(ranges) {
        Ok(table) => table,
        Err(cause) => {
            error.record(path, |path| ConfigError::InvalidTable { path, cause });
            Table::all(0)
        }
    }
}

fn version(
    name: &VersionName,
    versions: &[wire::Version],
    path: &Path<'_>,
    error: &mut FirstError,
) -> usize {
    let index = versions.iter().position(|version| version.name == *name);
    if index.is_none() {
        error.record(path, |path| ConfigError::UnknownVersion { path, value: name.clone() });
    }
    index.unwrap_or_default()
}

fn trust(wire: wire::Trust, path: &Path<'_>, error: &mut FirstError) -> Trust {
    let path_of_sources = path.field("sources");
    count(&path_of_sources, wire.sources.len(), 0..=limit::ENTRIES, error);
    let mut sources = Vec::with_capacity(wire.sources.len());
    for (index, source) in wire.sources.iter().enumerate() {
        let network = Network::parse(source);
        if network.is_none() {
            let reason = "not a network in CIDR notation, such as 10.0.0.0/8";
            value(&path_of_sources.index(index), source, reason, error);
        }
        sources.extend(network);
    }
    if wire.token.as_ref().is_some_and(|token| token.len() < 16) {
        let reason = "must have at least 16 characters";
        invalid(&path.field("token"), reason, error);
    }
    Trust { sources, token: wire.token }
}

fn overrides(wire: &wire::Override, trust: &Trust, path: &Path<'_>, error: &mut FirstError) {
    if *wire != wire::Override::default() && !trust.is_configured() {
        let reason = "requires trust.sources or trust.token";
        invalid(path, reason, error);
    }
    if let Some(name) = &wire.header {
        header(&path.field("header"), name, error);
    }
    if let Some(name) = &wire.cookie {
        cookie(&path.field("cookie"), name, error);
    }
}

fn sticky(sources: &[Sticky], path: &Path<'_>, error: &mut FirstError) {
    count(path, sources.len(), 0..=limit::ENTRIES, error);
    for (index, source) in sources.iter().enumerate() {
        let path = path.index(index);
        match source {
            Sticky::Header(name) => header(&path, name, error),
            Sticky::Cookie(name) => cookie(&path, name, error),
            Sticky::IdentityCookie(issued) => cookie(&path, &issued.name, error),
            Sticky::SourceAddress => {}
        }
    }
}

fn rules(
    rules: Vec<wire::Rule>,
    versions: &[wire::Version],
    path: &Path<'_>,
    error: &mut FirstError,
) -> Vec<Rule> {
    count(path, rules.len(), 0..=limit::ENTRIES, error);
    let mut valid = Vec::with_capacity(rules.len());
    for (index, wire::Rule { when, then }) in rules.into_iter().enumerate() {
        let path = path.index(index);
        let path_of_when = path.field("when");
        if when == wire::RuleMatch::default() {
            let reason = "needs at least one condition";
            invalid(&path_of_when, reason, error);
        }
        if let Some(named) = &when.header {
            header(&path_of_when.field("header.name"), &named.name, error);
        }
        if let Some(named) = &when.cookie {
            cookie(&path_of_when.field("cookie.name"), &named.name, error);
        }
        let version = match then {
            RuleAction::Bypass => None,
            RuleAction::Version(name) => {
                Some(version(&name, versions, &path.field("then.version"), error))
            }
        };
        valid.push(Rule { when, version });
    }
    valid
}

fn blame(wire: wire::Failures, path: &Path<'_>, error: &mut FirstError) -> Blame {
    let mut blame = Blame::default();
    if let Some(texts) = wire.status {
        let path = path.field("status");
        count(&path, texts.len(), 0..=limit::ENTRIES, error);
        let mut statuses = Vec::with_capacity(texts.len());
        for (index, text) in texts.iter().enumerate() {
            let range = blame::parse_statuses(text);
            if range.is_none() {
                let reason = "not a status from 400 to 599, a range such as 500-504, 4xx or 5xx";
                value(&path.index(index), text, reason, error);
            }
            statuses.extend(range);
        }
        blame.set_statuses(statuses);
    }
    if let Some(codes) = wire.grpc {
        let path = path.field("grpc");
        for (index, code) in codes.iter().enumerate() {
            range(&path.index(index), *code, 1..=blame::MAX_GRPC_CODE, error);
        }
        blame.set_grpc(&codes);
    }
    blame
}

fn tripwire(wire: Option<&wire::Tripwire>, path: &Path<'_>, error: &mut FirstError) -> Option<u32> {
    let tolerated_ppm = wire?.tolerated_ppm;
    range(&path.field("toleratedPpm"), tolerated_ppm, limit::TOLERATED_PPM, error);
    Some(tolerated_ppm)
}

fn aa_test(wire: Option<wire::AaTest>, path: &Path<'_>, error: &mut FirstError) -> Option<AaTest> {
    let wire::AaTest { salts, mut slices } = wire?;
    count(&path.field("salts"), salts.len(), 1..=limit::SALTS, error);
    count(&path.field("slices"), slices.len(), 1..=limit::SLICES, error);
    slices.push(BUCKETS);
    if slices.first() == Some(&0) || !slices.is_sorted_by(|a, b| a < b) {
        invalid(&path.field("slices"), "must be ascending, between 0 and 1000000", error);
    }
    Some(AaTest { salts: salts.iter().map(|salt| Bucketing::new(salt)).collect(), slices })
}

/// Whether `name` is a token (RFC 9110, 5.6.2), as names of headers and cookies are.
fn is_token(name: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
    (1..=128).contains(&name.len()) && name.bytes().all(allowed)
}

fn header(path: &Path<'_>, name: &str, error: &mut FirstError) {
    if !is_token(name) || name.bytes().any(|byte| byte.is_ascii_uppercase()) {
        value(path, name, "not a lower-case header name", error);
    }
}

fn cookie(path: &Path<'_>, name: &str, error: &mut FirstError) {
    if !is_token(name) {
        value(path, name, "not a cookie name", error);
    }
}

fn value(path: &Path<'_>, value: &str, reason: &'static str, error: &mut FirstError) {
    error.record(path, |path| ConfigError::InvalidValue { path, value: value.to_owned(), reason });
}

fn invalid(path: &Path<'_>, reason: &'static str, error: &mut FirstError) {
    error.record(path, |path| ConfigError::Invalid { path, reason });
}

fn count(path: &Path<'_>, count: usize, allowed: RangeInclusive<usize>, error: &mut FirstError) {
    if !allowed.contains(&count) {
        error.record(path, |path| ConfigError::EntryCount { path, count, allowed });
    }
}

fn range(path: &Path<'_>, value: u32, allowed: RangeInclusive<u32>, error: &mut FirstError) {
    if !allowed.contains(&value) {
        error.record(path, |path| ConfigError::OutOfRange { path, value, allowed });
    }
}

fn unique<'v>(path: &Path<'_>, values: impl Iterator<Item = &'v str>, error: &mut FirstError) {
    let values: Vec<&str> = values.collect();
    let repeated =
        |(index, value): &(usize, &&str)| values.iter().take(*index).any(|v| v == *value);
    if let Some((_, value)) = values.iter().enumerate().find(repeated) {
        error.record(path, |path| ConfigError::Duplicate { path, value: (*value).to_owned() });
    }
}
