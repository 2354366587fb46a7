//! Everything about a configuration that its types do not say.

use std::ops::RangeInclusive;

use super::path::{Errors, Path};
use super::wire::{self, Sticky, Then};
use super::{Config, ConfigError, Service, Splitting, limit};
use crate::authority::{self, Authorities};
use crate::blame::{self, Blame};
use crate::bucket::Bucketing;
use crate::names::VersionName;
use crate::rule::Rule;
use crate::table::{BUCKETS, Run, Table};
use crate::trust::{Network, Trust};
use crate::watch::Watch;

pub(super) fn config(wire: wire::Config) -> Result<Config, ConfigError> {
    let mut errors = Errors::default();
    let path = Path::ROOT.field("services");
    count(&path, wire.services.len(), 0..=limit::SERVICES, &mut errors);
    unique(&path, wire.services.iter().map(|service| service.name.as_str()), &mut errors);
    let versions = wire.services.iter().map(|service| service.versions.len()).sum();
    count(&path.field("*.versions"), versions, 0..=limit::ALL_VERSIONS, &mut errors);

    let mut authorities = Authorities::default();
    for index in 0..wire.services.len() {
        let path = path.index(index);
        claim(&mut authorities, &wire.services, index, &path.field("authorities"), &mut errors);
    }
    let mut services = Vec::with_capacity(wire.services.len());
    for (index, wire) in wire.services.into_iter().enumerate() {
        services.push(service(wire, &path.index(index), &mut errors));
    }
    errors.or(Config { generation: wire.generation, services, authorities })
}

/// Enters the authorities of the service with this index.
fn claim(
    all: &mut Authorities,
    services: &[wire::Service],
    index: usize,
    path: &Path<'_>,
    errors: &mut Errors,
) {
    let Some(service) = services.get(index) else { return };
    count(path, service.authorities.len(), 1..=limit::ENTRIES, errors);
    for wire::Authority(pattern) in &service.authorities {
        if let Some(why) = authority::flaw(pattern) {
            value(path, pattern, why, errors);
        }
        if let Some(before) = all.insert(pattern, index).and_then(|before| services.get(before)) {
            let (value, other) = (pattern.clone(), before.name.clone());
            errors.add(path, |path| match other == service.name {
                true => ConfigError::Twice { path, value },
                false => ConfigError::Claimed { path, value, other },
            });
        }
    }
}

fn service(wire: wire::Service, path: &Path<'_>, errors: &mut Errors) -> Service {
    let versions = path.field("versions");
    count(&versions, wire.versions.len(), 1..=limit::VERSIONS, errors);
    unique(&versions, wire.versions.iter().map(|version| version.name.as_str()), errors);
    unique(&versions, wire.versions.iter().map(|version| version.cluster.as_str()), errors);
    range(&path.field("overdueMs"), wire.overdue_ms, limit::OVERDUE_MS, errors);
    if let Some(name) = &wire.reveal {
        header(&path.field("reveal"), name, errors);
    }
    sticky(&wire.sticky, &path.field("sticky"), errors);

    let splitting = splitting(&wire, path, errors);
    let trust = trust(wire.trust, &path.field("trust"), errors);
    overrides(&wire.override_, &trust, &path.field("override"), errors);
    Service {
        rules: rules(wire.rules, &wire.versions, &path.field("rules"), errors),
        blame: blame(wire.failures, &path.field("failures"), errors),
        tripwire: tripwire(wire.tripwire.as_ref(), &path.field("tripwire"), errors),
        watch: watch(wire.watch, &path.field("watch"), errors),
        name: wire.name,
        versions: wire.versions,
        splitting,
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

fn splitting(wire: &wire::Service, path: &Path<'_>, errors: &mut Errors) -> Splitting {
    if wire.split == wire::Split::Filter {
        let path = path.field("buckets");
        return Splitting::Filter(table(&wire.buckets, &wire.versions, &path, errors));
    }
    for (field, given) in [
        ("buckets", !wire.buckets.is_empty()),
        ("sticky", !wire.sticky.is_empty()),
        ("correlation", !wire.correlation.is_empty()),
        ("rules", !wire.rules.is_empty()),
        ("override", wire.override_ != wire::Override::default()),
        ("tripwire", wire.tripwire.is_some()),
        ("watch", wire.watch.is_some()),
    ] {
        if given {
            let why = "the mesh splits, so the filter can't: it only observes";
            senseless(&path.field(field), why, errors);
        }
    }
    Splitting::Mesh
}

fn table(
    buckets: &[wire::Buckets],
    versions: &[wire::Version],
    path: &Path<'_>,
    errors: &mut Errors,
) -> Table {
    count(path, buckets.len(), 1..=limit::RUNS, errors);
    let mut runs = Vec::with_capacity(buckets.len());
    for (index, wire::Buckets { version: name, count }) in buckets.iter().enumerate() {
        let version = version(name, versions, &path.index(index).field("version"), errors);
        runs.push(Run { version, buckets: *count });
    }
    match Table::new(runs) {
        Ok(table) => table,
        Err(cause) => {
            errors.add(path, |path| ConfigError::Table { path, cause });
            Table::all(0)
        }
    }
}

fn version(
    name: &VersionName,
    versions: &[wire::Version],
    path: &Path<'_>,
    errors: &mut Errors,
) -> usize {
    let index = versions.iter().position(|version| version.name == *name);
    if index.is_none() {
        errors.add(path, |path| ConfigError::UnknownVersion { path, value: name.clone() });
    }
    index.unwrap_or_default()
}

fn trust(wire: wire::Trust, path: &Path<'_>, errors: &mut Errors) -> Trust {
    let path_of_sources = path.field("sources");
    count(&path_of_sources, wire.sources.len(), 0..=limit::ENTRIES, errors);
    let mut sources = Vec::with_capacity(wire.sources.len());
    for (index, source) in wire.sources.iter().enumerate() {
        let network = Network::parse(source);
        if network.is_none() {
            let why = "a network is an address and the length of its prefix, such as 10.0.0.0/8";
            value(&path_of_sources.index(index), source, why, errors);
        }
        sources.extend(network);
    }
    if wire.token.as_ref().is_some_and(|token| token.len() < 16) {
        let why = "a secret of less than 16 characters can be guessed";
        senseless(&path.field("token"), why, errors);
    }
    Trust { sources, token: wire.token }
}

fn overrides(wire: &wire::Override, trust: &Trust, path: &Path<'_>, errors: &mut Errors) {
    if *wire != wire::Override::default() && !trust.is_possible() {
        let why = "nobody is trusted, so nobody can override: give trust.sources or trust.token";
        senseless(path, why, errors);
    }
    if let Some(name) = &wire.header {
        header(&path.field("header"), name, errors);
    }
    if let Some(name) = &wire.cookie {
        cookie(&path.field("cookie"), name, errors);
    }
}

fn sticky(sources: &[Sticky], path: &Path<'_>, errors: &mut Errors) {
    count(path, sources.len(), 0..=limit::ENTRIES, errors);
    for (index, source) in sources.iter().enumerate() {
        let path = path.index(index);
        match source {
            Sticky::Header(name) => header(&path, name, errors),
            Sticky::Cookie(name) => cookie(&path, name, errors),
            Sticky::IdentityCookie(issued) => cookie(&path, &issued.name, errors),
            Sticky::SourceAddress => {}
        }
    }
}

fn rules(
    rules: Vec<wire::Rule>,
    versions: &[wire::Version],
    path: &Path<'_>,
    errors: &mut Errors,
) -> Vec<Rule> {
    count(path, rules.len(), 0..=limit::ENTRIES, errors);
    let mut checked = Vec::with_capacity(rules.len());
    for (index, wire::Rule { when, then }) in rules.into_iter().enumerate() {
        let path = path.index(index);
        let path_of_when = path.field("when");
        if when == wire::When::default() {
            let why = "a rule without a condition would decide about every request";
            senseless(&path_of_when, why, errors);
        }
        if let Some(named) = &when.header {
            header(&path_of_when.field("header.name"), &named.name, errors);
        }
        if let Some(named) = &when.cookie {
            cookie(&path_of_when.field("cookie.name"), &named.name, errors);
        }
        let version = match then {
            Then::Bypass => None,
            Then::Version(name) => {
                Some(version(&name, versions, &path.field("then.version"), errors))
            }
        };
        checked.push(Rule { when, version });
    }
    checked
}

fn blame(wire: wire::Failures, path: &Path<'_>, errors: &mut Errors) -> Blame {
    let mut blame = Blame::default();
    if let Some(texts) = wire.status {
        let path = path.field("status");
        count(&path, texts.len(), 0..=limit::ENTRIES, errors);
        let mut statuses = Vec::with_capacity(texts.len());
        for (index, text) in texts.iter().enumerate() {
            let range = blame::statuses(text);
            if range.is_none() {
                let why = "a status is one from 400 to 599, a range such as 500-504, 4xx or 5xx";
                value(&path.index(index), text, why, errors);
            }
            statuses.extend(range);
        }
        blame.set_statuses(statuses);
    }
    if let Some(codes) = wire.grpc {
        let path = path.field("grpc");
        for (index, code) in codes.iter().enumerate() {
            range(&path.index(index), *code, 1..=blame::MAX_GRPC, errors);
        }
        blame.set_grpc(&codes);
    }
    blame
}

fn tripwire(wire: Option<&wire::Tripwire>, path: &Path<'_>, errors: &mut Errors) -> Option<u32> {
    let tolerated_ppm = wire?.tolerated_ppm;
    range(&path.field("toleratedPpm"), tolerated_ppm, limit::TOLERATED_PPM, errors);
    Some(tolerated_ppm)
}

fn watch(wire: Option<wire::Watch>, path: &Path<'_>, errors: &mut Errors) -> Option<Watch> {
    let wire::Watch { salts, mut slices } = wire?;
    count(&path.field("salts"), salts.len(), 1..=limit::SALTS, errors);
    count(&path.field("slices"), slices.len(), 1..=limit::SLICES, errors);
    slices.push(BUCKETS);
    if slices.first() == Some(&0) || !slices.is_sorted_by(|a, b| a < b) {
        senseless(
            &path.field("slices"),
            "they have to rise, from above 0 to below 1000000",
            errors,
        );
    }
    Some(Watch { salts: salts.iter().map(|salt| Bucketing::new(salt)).collect(), slices })
}

/// The characters of a header's or a cookie's name (RFC 9110, 5.6.2).
fn is_token(name: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
    (1..=128).contains(&name.len()) && name.bytes().all(allowed)
}

fn header(path: &Path<'_>, name: &str, errors: &mut Errors) {
    if !is_token(name) || name.bytes().any(|byte| byte.is_ascii_uppercase()) {
        value(path, name, "a header is named by its lower-case name", errors);
    }
}

fn cookie(path: &Path<'_>, name: &str, errors: &mut Errors) {
    if !is_token(name) {
        value(path, name, "no cookie can have this name", errors);
    }
}

fn value(path: &Path<'_>, value: &str, why: &'static str, errors: &mut Errors) {
    errors.add(path, |path| ConfigError::Value { path, value: value.to_owned(), why });
}

fn senseless(path: &Path<'_>, why: &'static str, errors: &mut Errors) {
    errors.add(path, |path| ConfigError::Senseless { path, why });
}

fn count(path: &Path<'_>, count: usize, allowed: RangeInclusive<usize>, errors: &mut Errors) {
    if !allowed.contains(&count) {
        errors.add(path, |path| ConfigError::Count { path, count, allowed });
    }
}

fn range(path: &Path<'_>, value: u32, allowed: RangeInclusive<u32>, errors: &mut Errors) {
    if !allowed.contains(&value) {
        errors.add(path, |path| ConfigError::Range { path, value, allowed });
    }
}

fn unique<'v>(path: &Path<'_>, values: impl Iterator<Item = &'v str>, errors: &mut Errors) {
    let values: Vec<&str> = values.collect();
    let twice = |(index, value): &(usize, &&str)| values.iter().take(*index).any(|v| v == *value);
    if let Some((_, value)) = values.iter().enumerate().find(twice) {
        errors.add(path, |path| ConfigError::Twice { path, value: (*value).to_owned() });
    }
}
