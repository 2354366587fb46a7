//! The shipped files with a test's ports and directory.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use serde_json::json;

use super::{Setup, filter};
use crate::ports;

/// The directory in the samples.
const DIRECTORY: &str = "/etc/envoy/serin";

/// Envoy's ports, which stay the same over restarts.
#[derive(Clone, Copy, Debug)]
pub(super) struct Ports {
    pub(super) admin: u16,
    pub(super) listener: u16,
}

/// Installs the shipped files in `directory` and returns Envoy's ports.
pub(super) fn install(setup: &Setup, directory: &Path) -> Ports {
    let path = directory.to_str().expect("a temporary directory in UTF-8");
    let (mut bootstrap, ports) = setup.bootstrap.clone().unwrap_or_else(|| with_ports(setup));
    bootstrap = replace(&bootstrap, DIRECTORY, path);
    if let Some(followed) = &setup.followed {
        let own = filter_path(directory).display().to_string();
        bootstrap = replace(&bootstrap, &own, &followed.display().to_string());
    }
    if setup.endpoint_files {
        for (version, upstream) in ["v1", "v2"].into_iter().zip(setup.upstreams) {
            bootstrap = with_endpoints_file(&bootstrap, directory, version, upstream);
        }
    }
    if let Some(sample) = setup.routes {
        bootstrap = with_routes(&bootstrap, &shipped(sample));
    }
    for (from, to) in &setup.replacements {
        bootstrap = replace(&bootstrap, from, to);
    }
    write(&bootstrap_path(directory), &bootstrap);
    let mut filter = replace(&shipped("filter.json"), DIRECTORY, path);
    for (from, to) in &setup.filter_replacements {
        filter = replace(&filter, from, to);
    }
    if let Some(text) = &setup.configuration {
        filter = filter::with_configuration(&filter, text);
    }
    write(&filter_path(directory), &filter);

    for (name, text) in &setup.more_files {
        write(&directory.join(name), text);
    }

    install_module(setup.module, directory);
    ports
}

/// The shipped module.
pub(crate) const SHIPPED: &str = "serin.wasm";

/// Installs a module of `target` in `directory`.
pub(crate) fn install_module(name: &str, directory: &Path) {
    let module = root().join("target").join(name);
    let module = match name {
        SHIPPED => std::env::var_os("SERIN_WASM").map_or(module, PathBuf::from),
        _ => module,
    };
    std::fs::copy(&module, module_path(directory)).unwrap_or_else(|error| {
        panic!("no module, run `make wasm`: {}: {error}", module.display())
    });
}

/// The shipped bootstrap with free ports, in front of the upstreams.
fn with_ports(setup: &Setup) -> (String, Ports) {
    let ports = Ports { admin: ports::free(), listener: ports::free() };
    let [v1, v2] = setup.upstreams.map(|address| address.port());
    let sample = if setup.xds.is_some() { "bootstrap-xds.yaml" } else { "bootstrap.yaml" };
    let mut bootstrap = shipped(sample);
    let fixed = [(9901, ports.admin), (10000, ports.listener), (8001, v1), (8002, v2)];
    let xds = setup.xds.map(|server| (9291, server.port()));
    for (sample, port) in fixed.into_iter().chain(xds) {
        let port_value = |port| format!("port_value: {port} ");
        bootstrap = replace(&bootstrap, &port_value(sample), &port_value(port));
    }
    (bootstrap, ports)
}

pub(crate) fn bootstrap_path(directory: &Path) -> PathBuf {
    directory.join("bootstrap.yaml")
}

pub(super) fn filter_path(directory: &Path) -> PathBuf {
    directory.join("filter.json")
}

pub(super) fn endpoints_path(directory: &Path, version: &str) -> PathBuf {
    directory.join(format!("shop-{version}.json"))
}

pub(crate) fn module_path(directory: &Path) -> PathBuf {
    directory.join("serin.wasm")
}

/// The root of the repository.
pub(crate) fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the crate is in the repository")
}

fn shipped(name: &str) -> String {
    let path = root().join("envoy").join(name);
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// The bootstrap with a cluster that follows an endpoints file, which starts with the cluster's
/// endpoint.
fn with_endpoints_file(
    bootstrap: &str,
    directory: &Path,
    version: &str,
    upstream: SocketAddr,
) -> String {
    let path = endpoints_path(directory, version);
    write_endpoints(&path, version, &[upstream]);
    let port = upstream.port();
    let fixed = format!(
        "load_assignment:
        cluster_name: shop-{version}
        endpoints:
          - lb_endpoints:
              - endpoint: {{ address: {{ socket_address: {{ address: 127.0.0.1, port_value: {port} }} }} }}"
    );
    let followed = format!(
        "type: EDS
      eds_cluster_config: {{ eds_config: {{ resource_api_version: V3, path_config_source: {{ path: {} }} }} }}",
        path.display()
    );
    replace(bootstrap, &fixed, &followed)
}

/// The bootstrap with another `route_config`: replaces the text from that key to the clusters.
fn with_routes(bootstrap: &str, sample: &str) -> String {
    const BEGIN: &str = "\n                route_config:";
    const END: &str = "\n  clusters:";
    let place = bootstrap.find(BEGIN).zip(bootstrap.find(END));
    let (begin, end) = place.expect("the shipped bootstrap has routes and clusters");
    let indented: String = sample.lines().map(|line| format!("\n                {line}")).collect();
    [&bootstrap[..begin], &indented, &bootstrap[end..]].concat()
}

/// Fails if a sample has changed, so that no test runs with an unintended setup.
fn replace(text: &str, from: &str, to: &str) -> String {
    assert!(
        text.contains(from),
        "the shipped file has no `{from}` to be replaced by `{to}`:\n{text}"
    );
    text.replace(from, to)
}

fn write(path: &Path, text: &str) {
    std::fs::write(path, text).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
}

/// Replaces the file with the endpoints of a version.
///
/// # Panics
/// The file can't be written.
pub(crate) fn write_endpoints(file: &PathBuf, version: &str, addresses: &[SocketAddr]) {
    let endpoints: Vec<_> = addresses
        .iter()
        .map(|address| {
            let address =
                json!({ "address": address.ip().to_string(), "port_value": address.port() });
            json!({ "endpoint": { "address": { "socket_address": address } } })
        })
        .collect();
    let assignment = json!({
        "@type": "type.googleapis.com/envoy.config.endpoint.v3.ClusterLoadAssignment",
        "cluster_name": format!("shop-{version}"),
        "endpoints": [{ "lb_endpoints": endpoints }],
    });
    let next = file.with_extension("next");
    std::fs::write(&next, json!({ "resources": [assignment] }).to_string()).expect("a file");
    std::fs::rename(next, file).expect("the file can be replaced");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[should_panic(
        expected = "the shipped file has no `timeout: 99s` to be replaced by `timeout: 1s`"
    )]
    fn a_replacement_that_matches_nothing_is_an_error() {
        let upstreams = [ports::local(1), ports::local(2)];
        let setup = Setup::new(upstreams[0], upstreams[1]).replace("timeout: 99s", "timeout: 1s");
        install(&setup, tempfile::tempdir().expect("a directory").path());
    }
}
