//! `serin init envoy`: the shipped bootstraps, with names, addresses and paths of the user.

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::str::FromStr;

use clap::{Args, ValueEnum};
use serin_core::config::discovery::{DiscoveryConfig, host_and_port};
use serin_core::config::sink::SinkLocation;
use serin_core::config::source::SourceConfig;
use serin_core::spec::{Proxies, Spec};
use serin_filter::config::wire;

use super::super::{CliError, CliResult, ExitStatus};
use super::{scalar, substitute};
use crate::cli::spec_file;

const FILE: &str = include_str!("../../../../envoy/bootstrap.yaml");
const XDS: &str = include_str!("../../../../envoy/bootstrap-xds.yaml");
/// The rollout of the samples.
const ROLLOUT: &str = include_str!("../../../../envoy/rollout.yaml");
const CLUSTER_HEADER: &str = include_str!("../../../../envoy/routes-cluster-header.yaml");

/// Print a bootstrap for Envoy
///
/// With the filter, a route and a cluster for each version, and the rules for labels of the
/// statistics, each with a comment. Names, clusters and addresses come from ROLLOUT.yaml, if it is
/// given.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLE, after_long_help = EXAMPLE)]
pub(super) struct InitEnvoyArgs {
    /// The rollout
    #[arg(value_name = "ROLLOUT.yaml")]
    rollout: Option<PathBuf>,

    /// Source of the filter's configuration. (Default: that of the rollout, or a file)
    #[arg(long, value_enum)]
    mode: Option<ConfigMode>,

    /// Address on which Envoy listens for requests
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:10000")]
    listen: SocketAddr,

    /// Address of Envoy's admin interface. (Default: that of the rollout, or 127.0.0.1:9901)
    #[arg(long, value_name = "ADDRESS")]
    admin: Option<SocketAddr>,

    /// Address of a version, such as v2=10.0.0.7:8080; repeatable. (Default: 127.0.0.1:8001 and
    /// 127.0.0.1:8002)
    #[arg(long = "upstream", value_name = "VERSION=HOST:PORT")]
    upstreams: Vec<Upstream>,

    /// Directory of the filter's files, on Envoy's machine
    #[arg(long, value_name = "DIRECTORY", default_value = "/etc/envoy/serin")]
    directory: PathBuf,

    /// Address of serin's xDS server
    #[arg(long, value_name = "HOST:PORT", default_value = "127.0.0.1:9291")]
    xds_server: Host,

    /// Envoy's node.id, unique for each Envoy
    #[arg(long, value_name = "NAME", default_value = "edge-1")]
    node: String,

    /// Envoy's node.cluster, the group of the rollout. (Default: that of the rollout, or edge)
    #[arg(long, value_name = "NAME")]
    group: Option<String>,
}

const EXAMPLE: &str = "\
Example:
  serin init filter > /etc/envoy/serin/filter.json
  serin init envoy rollout.yaml --upstream v1=10.0.0.7:8080 --upstream v2=10.0.0.8:8080 > bootstrap.yaml";

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum ConfigMode {
    /// A file that serin rewrites: for one Envoy, or several on a machine
    File,
    /// serin's xDS server: for fleets
    Xds,
}

/// A host and a port.
#[derive(Debug, Clone)]
struct Host {
    name: String,
    port: u16,
}

/// The address of a version.
#[derive(Debug, Clone)]
struct Upstream {
    version: String,
    at: Host,
}

/// The parts of a rollout that the bootstrap depends on.
struct BootstrapSubject {
    service: String,
    /// Baseline and candidate.
    versions: [wire::Version; 2],
    route: wire::Route,
    admin: Option<SocketAddr>,
    place: Option<SinkLocation>,
}

impl InitEnvoyArgs {
    pub(super) fn execute(self) -> CliResult {
        print!("{}", self.bootstrap(&self.subject()?).map_err(CliError::invalid)?);
        Ok(ExitStatus::Success)
    }

    fn subject(&self) -> Result<BootstrapSubject, CliError> {
        let Some(path) = &self.rollout else {
            let sample = Spec::parse(ROLLOUT).map_err(CliError::invalid)?;
            let subject = BootstrapSubject::of(sample).map_err(CliError::invalid)?;
            return Ok(BootstrapSubject { place: None, ..subject });
        };
        BootstrapSubject::of(spec_file::read(path)?)
            .map_err(|reason| CliError::invalid(format!("{}: {reason}", path.display())))
    }

    fn bootstrap(&self, subject: &BootstrapSubject) -> Result<String, String> {
        let [baseline, candidate] = &subject.versions;
        let known = |name: &str| [baseline, candidate].iter().any(|v| v.name.as_str() == name);
        if let Some(other) = self.upstreams.iter().find(|upstream| !known(&upstream.version)) {
            return Err(format!(
                "--upstream {}: the versions are {} and {}",
                other.version, baseline.name, candidate.name
            ));
        }
        let sample = match self.mode(subject) {
            ConfigMode::File => FILE,
            ConfigMode::Xds => XDS,
        };
        let sample = match subject.route {
            wire::Route::VersionHeader => sample.to_owned(),
            wire::Route::ClusterHeader => with_routes(sample, CLUSTER_HEADER),
        };
        Ok(substitute(&sample, &self.pairs(subject)?))
    }

    /// Values of the samples, with the values of the user.
    fn pairs(&self, subject: &BootstrapSubject) -> Result<Vec<(&'static str, String)>, String> {
        let [_, candidate] = &subject.versions;
        let directory = self.directory.to_str().ok_or("--directory: not a path in UTF-8")?;
        let filter = match &subject.place {
            Some(SinkLocation::File(path)) => path.display().to_string(),
            _ => format!("{directory}/filter.json"),
        };
        let group = match (&self.group, &subject.place) {
            (Some(group), _) | (None, Some(SinkLocation::Group(group))) => group,
            _ => "edge",
        };
        let admin = self
            .admin
            .or(subject.admin)
            .map_or_else(|| Host { name: "127.0.0.1".to_owned(), port: 9901 }, Host::from);
        let mut pairs = vec![
            (
                "edge-1, cluster: edge ",
                format!("{}, cluster: {} ", scalar(&self.node), scalar(group)),
            ),
            ("127.0.0.1, port_value: 9901", admin.socket()),
            ("127.0.0.1, port_value: 10000", Host::from(self.listen).socket()),
            ("127.0.0.1, port_value: 9291", self.xds_server.socket()),
            (
                "- name: serin\n      connect_timeout",
                format!("- name: serin\n{}connect_timeout", self.xds_server.kind()),
            ),
            ("- name: shop\n", format!("- name: {}\n", scalar(&subject.service))),
            ("\"shop\"", format!("\"{}\"", subject.service)),
            ("version=\"v2\"", format!("version=\"{}\"", candidate.name)),
            ("exact: v2", format!("exact: {}", scalar(candidate.name.as_str()))),
            (
                "cp envoy/filter.json /etc/envoy/serin/filter.json     ",
                format!("serin init filter > {}", scalar(&filter)),
            ),
            ("envoy -c envoy/bootstrap.yaml", "envoy -c bootstrap.yaml".to_owned()),
            ("envoy -c envoy/bootstrap-xds.yaml", "envoy -c bootstrap.yaml".to_owned()),
            ("/etc/envoy/serin/filter.json", scalar(&filter)),
            ("/etc/envoy/serin/serin.wasm", scalar(&format!("{directory}/serin.wasm"))),
            ("/etc/envoy/serin", directory.to_owned()),
        ];
        let sampled = [
            ("shop-v1", "- name: shop-v1\n      ", "127.0.0.1, port_value: 8001"),
            ("shop-v2", "- name: shop-v2\n      ", "127.0.0.1, port_value: 8002"),
        ];
        for (version, (cluster, entry, address)) in subject.versions.iter().zip(sampled) {
            let name = scalar(&version.cluster);
            let upstream = self.upstreams.iter().find(|u| u.version == version.name.as_str());
            if let Some(Upstream { at, .. }) = upstream {
                pairs.push((entry, format!("- name: {name}\n{}", at.kind())));
                pairs.push((address, at.socket()));
            }
            pairs.push((cluster, name));
        }
        Ok(pairs)
    }

    fn mode(&self, subject: &BootstrapSubject) -> ConfigMode {
        self.mode.unwrap_or(match subject.place {
            Some(SinkLocation::Group(_)) => ConfigMode::Xds,
            _ => ConfigMode::File,
        })
    }
}

impl BootstrapSubject {
    fn of(spec: Spec) -> Result<Self, String> {
        let service = spec.service;
        let Proxies::Envoy(envoy) = spec.proxies else {
            return Err(
                "spec.envoy: missing; `serin init istio` is for proxies of a mesh".to_owned()
            );
        };
        let versions = service.versions.try_into();
        let admin = match envoy.source {
            SourceConfig::Admin(DiscoveryConfig::Single(address)) => listening(&address),
            _ => None,
        };
        Ok(Self {
            service: service.name.to_string(),
            versions: versions.map_err(|_| "not two versions")?,
            route: service.route,
            admin,
            place: Some(envoy.sink),
        })
    }
}

/// The listening address of an interface with this URL; `None` if its host is no IP address.
fn listening(url: &str) -> Option<SocketAddr> {
    let url = reqwest::Url::parse(url).ok()?;
    let address = url.host_str()?.trim_matches(['[', ']']).parse().ok()?;
    Some(SocketAddr::new(address, url.port_or_known_default()?))
}

/// The bootstrap with another `route_config`, which goes from that key to the clusters.
fn with_routes(bootstrap: &str, sample: &str) -> String {
    const BEGIN: &str = "                route_config:";
    const END: &str = "  clusters:";
    let routes = sample.lines().skip_while(|line| line.starts_with('#'));
    let routes = routes.map(|line| format!("                {line}"));
    let before = bootstrap.lines().take_while(|line| *line != BEGIN).map(str::to_owned);
    let after = bootstrap.lines().skip_while(|line| *line != END).map(str::to_owned);
    before.chain(routes).chain(after).map(|line| line + "\n").collect()
}

impl Host {
    /// As Envoy's `socket_address` has it.
    fn socket(&self) -> String {
        format!("{}, port_value: {}", scalar(&self.name), self.port)
    }

    /// What a cluster needs to find it, before its next field.
    fn kind(&self) -> &'static str {
        match self.name.parse::<IpAddr>() {
            Ok(_) => "      ",
            Err(_) => "      type: STRICT_DNS\n      ",
        }
    }
}

impl From<SocketAddr> for Host {
    fn from(address: SocketAddr) -> Self {
        Self { name: address.ip().to_string(), port: address.port() }
    }
}

impl FromStr for Host {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let (name, port) = host_and_port(text)
            .ok_or_else(|| format!("{text:?} is not a host and a port, such as 10.0.0.7:8080"))?;
        Ok(Self { name: name.trim_matches(['[', ']']).to_owned(), port })
    }
}

impl FromStr for Upstream {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let (version, at) = text
            .split_once('=')
            .ok_or("a version and its address are needed, such as v2=10.0.0.7:8080")?;
        Ok(Self { version: version.to_owned(), at: at.parse()? })
    }
}

#[cfg(test)]
mod tests;
