//! The two processes of a server.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

use super::keys::Keys;
use super::root;
use crate::ports;

const BINARIES: &str = "target/tools/cluster/bin";

/// The directory of `kube-apiserver` and `etcd`, if any.
///
/// # Panics
/// The directory is configured but lacks the binaries: a requested suite must not skip itself.
pub(super) fn binaries() -> Option<PathBuf> {
    let complete =
        |path: &Path| path.join("kube-apiserver").is_file() && path.join("etcd").is_file();
    match std::env::var_os("KUBEBUILDER_ASSETS") {
        None => Some(root().join(BINARIES)).filter(|path| complete(path)),
        Some(path) => {
            let path = PathBuf::from(path);
            assert!(complete(&path), "no kube-apiserver and etcd in {}", path.display());
            Some(path)
        }
    }
}

/// The processes. Drop kills them.
pub(super) struct Processes {
    /// The server first: it logs errors when etcd ends.
    children: [(&'static str, Child); 2],
    directory: TempDir,
    port: u16,
}

impl Processes {
    pub(super) fn start(binaries: &Path, keys: &Keys) -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        keys.write(directory.path());
        let port = ports::free();
        let etcd = format!("http://127.0.0.1:{}", ports::free());
        let peer = format!("http://127.0.0.1:{}", ports::free());
        let run = |name, arguments: &[String]| {
            let log = File::create(directory.path().join(name).with_extension("log"));
            let mut command = Command::new(binaries.join(name));
            command.args(arguments).current_dir(&directory).stdin(Stdio::null());
            command.stdout(Stdio::null()).stderr(log.expect("a log"));
            (name, command.spawn().unwrap_or_else(|error| panic!("{name}: {error}")))
        };
        let second = run("etcd", &etcd_arguments(&etcd, &peer));
        let first = run("kube-apiserver", &server_arguments(&etcd, port));
        Self { children: [first, second], directory, port }
    }

    /// The URL of the server.
    pub(super) fn url(&self) -> String {
        format!("https://127.0.0.1:{}", self.port)
    }

    /// Sends a signal to the API server.
    pub(super) fn signal(&self, signal: Signal) {
        let [(_, server), _] = &self.children;
        let id = Pid::from_child(server);
        kill_process(id, signal).expect("the process is a child");
    }

    /// # Panics
    /// A process has ended. The message has the end of its log.
    pub(super) fn check(&mut self) {
        for (name, child) in &mut self.children {
            let Some(status) = child.try_wait().expect("a child can be waited for") else {
                continue;
            };
            let log = self.directory.path().join(*name).with_extension("log");
            let log = std::fs::read_to_string(log).unwrap_or_default();
            let lines: Vec<_> = log.lines().rev().take(5).collect();
            panic!("{name} has ended ({status}): {}", lines.join("\n"));
        }
    }
}

impl Drop for Processes {
    fn drop(&mut self) {
        for (_, child) in &mut self.children {
            // A process that has ended needs no kill.
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

fn etcd_arguments(url: &str, peer: &str) -> Vec<String> {
    let arguments = [
        "--name=test",
        "--data-dir=etcd.data",
        // The data needs no durability.
        "--unsafe-no-fsync",
        &format!("--listen-client-urls={url}"),
        &format!("--advertise-client-urls={url}"),
        &format!("--listen-peer-urls={peer}"),
        &format!("--initial-advertise-peer-urls={peer}"),
        &format!("--initial-cluster=test={peer}"),
    ];
    arguments.map(str::to_owned).to_vec()
}

fn server_arguments(etcd: &str, port: u16) -> Vec<String> {
    let arguments = [
        &format!("--etcd-servers={etcd}"),
        "--bind-address=127.0.0.1",
        "--advertise-address=127.0.0.1",
        &format!("--secure-port={port}"),
        "--endpoint-reconciler-type=none",
        "--service-cluster-ip-range=10.0.0.0/24",
        "--tls-cert-file=server.crt",
        "--tls-private-key-file=server.key",
        "--client-ca-file=ca.crt",
        &format!("--service-account-issuer=https://127.0.0.1:{port}"),
        "--service-account-signing-key-file=accounts.key",
        "--service-account-key-file=accounts.pub",
        "--authorization-mode=RBAC",
        // This plugin needs tokens from a controller, which does not run here.
        "--disable-admission-plugins=ServiceAccount",
    ];
    arguments.map(str::to_owned).to_vec()
}
