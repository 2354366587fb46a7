//! A real Kubernetes API server with etcd, for one test.
//!
//! It is not a cluster: the server stores, versions, validates, authorizes and watches objects,
//! and no controllers run. The binaries are in `KUBEBUILDER_ASSETS`, or else in
//! `target/tools/cluster/bin` after `make test-kubernetes`. The files in `SERIN_CRDS`, which the
//! mesh publishes, define the kinds of the mesh; without them, permissive definitions do.

mod crds;
mod keys;
pub mod manifests;
mod process;
pub mod relay;

use std::io::Write;
use std::path::PathBuf;
use std::time::Duration;

use hyper::Request;
use k8s_openapi::api::authentication::v1::{TokenRequest, TokenRequestSpec};
use k8s_openapi::api::core::v1::{Namespace, ServiceAccount};
use k8s_openapi::api::rbac::v1::{PolicyRule, Role, RoleBinding, RoleRef, Subject};
use kube::api::{ApiResource, DynamicObject, ObjectMeta, PostParams, TypeMeta};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::core::GroupVersionKind;
use kube::{Api, Client, Config, Error, Resource};
use rustix::process::Signal;
use serde_json::{Value, json};

use self::keys::Keys;
use self::process::Processes;
use crate::until;

/// The limit from the start of the processes to readiness, which takes six seconds on an idle
/// machine.
const START: Duration = Duration::from_secs(90);

/// A separate server. Drop kills both processes.
pub struct ApiServer {
    processes: Processes,
    keys: Keys,
    admin: Client,
}

impl ApiServer {
    /// Starts a server. Without binaries, prints a note to standard error and returns `None`: the
    /// test is skipped.
    ///
    /// # Panics
    /// `KUBEBUILDER_ASSETS` has no binaries, or the server does not become ready.
    pub async fn start() -> Option<Self> {
        let Some(binaries) = process::binaries() else {
            // Bypasses the capture of test output, so that a skipped test is visible.
            let note = "SKIPPED: no Kubernetes API server; `make test-kubernetes` builds one\n";
            std::io::stderr().write_all(note.as_bytes()).expect("standard error");
            return None;
        };
        let keys = Keys::generate();
        let mut processes = Processes::start(&binaries, &keys);
        let url = processes.url();
        let admin = client(keys.admin(&url)).await;
        until(START, "the API server is ready", async || {
            processes.check();
            admin.request_text(request("/readyz")).await
        })
        .await;
        Some(Self { processes, keys, admin })
    }

    /// A client with all rights.
    pub fn admin(&self) -> Client {
        self.admin.clone()
    }

    /// Sends a signal to the API server, such as STOP or CONT.
    pub fn signal(&self, signal: Signal) {
        self.processes.signal(signal);
    }

    /// Creates a service account with these rights in its namespace and no others, and returns its
    /// credentials. Creates the namespace if it is missing.
    ///
    /// # Panics
    /// The server rejects a write.
    pub async fn account(&self, namespace: &str, name: &str, rules: Vec<PolicyRule>) -> Kubeconfig {
        self.namespace(namespace).await;
        let metadata = ObjectMeta { name: Some(name.to_owned()), ..Default::default() };
        let accounts: Api<ServiceAccount> = Api::namespaced(self.admin(), namespace);
        let account = ServiceAccount { metadata: metadata.clone(), ..Default::default() };
        made(accounts.create(&PostParams::default(), &account).await);
        let role = Role { metadata: metadata.clone(), rules: Some(rules) };
        let roles: Api<Role> = Api::namespaced(self.admin(), namespace);
        made(roles.create(&PostParams::default(), &role).await);
        let binding = RoleBinding {
            metadata,
            role_ref: RoleRef {
                api_group: Role::group(&()).into_owned(),
                kind: Role::kind(&()).into_owned(),
                name: name.to_owned(),
            },
            subjects: Some(vec![Subject {
                kind: ServiceAccount::kind(&()).into_owned(),
                name: name.to_owned(),
                namespace: Some(namespace.to_owned()),
                ..Default::default()
            }]),
        };
        let bindings: Api<RoleBinding> = Api::namespaced(self.admin(), namespace);
        made(bindings.create(&PostParams::default(), &binding).await);
        self.login(namespace, name).await
    }

    /// The credentials of an existing service account.
    ///
    /// # Panics
    /// The service account does not exist.
    pub async fn login(&self, namespace: &str, name: &str) -> Kubeconfig {
        let accounts: Api<ServiceAccount> = Api::namespaced(self.admin(), namespace);
        let asked = TokenRequest {
            spec: TokenRequestSpec { audiences: vec![self.processes.url()], ..Default::default() },
            ..Default::default()
        };
        let token = accounts.create_token_request(name, &PostParams::default(), &asked).await;
        let token = token.expect("a token").status.expect("a token").token;
        self.keys.with_token(&self.processes.url(), &token)
    }

    /// Creates a namespace, unless it exists.
    ///
    /// # Panics
    /// The server rejects it.
    pub async fn namespace(&self, name: &str) {
        let metadata = ObjectMeta { name: Some(name.to_owned()), ..Default::default() };
        let namespace = Namespace { metadata, ..Default::default() };
        let namespaces: Api<Namespace> = Api::all(self.admin());
        match namespaces.create(&PostParams::default(), &namespace).await {
            Err(Error::Api(status)) if status.is_already_exists() => {}
            other => made(other),
        }
    }

    /// Defines the kinds of Istio and the Gateway API that serin writes, and waits until the
    /// server serves them.
    ///
    /// # Panics
    /// The server rejects a definition.
    pub async fn define_mesh(&self) {
        crds::define(&self.admin).await;
    }

    /// Creates an object of any kind and its namespace, and returns the stored object.
    ///
    /// # Panics
    /// The server rejects the object.
    pub async fn create(&self, object: &Value) -> Value {
        if let Some(namespace) = object["metadata"]["namespace"].as_str() {
            self.namespace(namespace).await;
        }
        let api = objects(&self.admin, object);
        let made = api.create(&PostParams::default(), &dynamic(object)).await;
        json!(made.expect("the server accepts the object"))
    }
}

/// A client with these credentials.
///
/// # Panics
/// The configuration is invalid.
pub async fn client(kubeconfig: Kubeconfig) -> Client {
    let config = Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await;
    Client::try_from(config.expect("a configuration")).expect("a client")
}

/// The API of an object's kind in its namespace.
///
/// # Panics
/// The object has no kind.
pub fn objects(client: &Client, object: &Value) -> Api<DynamicObject> {
    let text = |field: &str| object[field].as_str().expect("an object has a kind").to_owned();
    let types = TypeMeta { api_version: text("apiVersion"), kind: text("kind") };
    let kind = GroupVersionKind::try_from(&types).expect("an API version");
    let resource = ApiResource::from_gvk(&kind);
    match object["metadata"]["namespace"].as_str() {
        Some(namespace) => Api::namespaced_with(client.clone(), namespace, &resource),
        None => Api::all_with(client.clone(), &resource),
    }
}

/// Converts an object for the client.
///
/// # Panics
/// The object has no metadata.
pub fn dynamic(object: &Value) -> DynamicObject {
    serde_json::from_value(object.clone()).expect("an object")
}

fn request(path: &str) -> Request<Vec<u8>> {
    Request::get(path).body(Vec::new()).expect("a request")
}

fn made<T>(made: Result<T, Error>) {
    made.map(|_| ()).expect("the server accepts the object");
}

/// The root of the repository.
fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("..")
}
