//! A real Kubernetes API server with etcd behind it, for one test.
//!
//! No cluster: objects are stored, versioned, validated, authorized and watched, and nothing acts on them. The binaries are those in
//! `KUBEBUILDER_ASSETS`, or else what `make test-kubernetes` leaves in `target/tools/cluster/bin`. Mesh kinds are defined by the files in
//! `SERIN_CRDS`, which the mesh publishes, or else by definitions that take anything.

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

/// From the start of the processes to readiness; six seconds where nothing else runs.
const START: Duration = Duration::from_secs(90);

/// A server of its own. Both processes are killed when it is dropped.
pub struct ApiServer {
    processes: Processes,
    keys: Keys,
    admin: Client,
}

impl ApiServer {
    /// Starts one. `None` where there are no binaries, which is said on standard error: the test can't show anything there.
    ///
    /// # Panics
    /// When `KUBEBUILDER_ASSETS` has none, or the server does not become ready.
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

    /// May do everything.
    pub fn admin(&self) -> Client {
        self.admin.clone()
    }

    /// Sends a signal to the API server, such as STOP and CONT.
    pub fn signal(&self, signal: Signal) {
        self.processes.signal(signal);
    }

    /// Makes a service account that may do this in its namespace and nothing else, and gives what it logs in with. The namespace is made too
    /// if need be.
    ///
    /// # Panics
    /// When the server refuses.
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

    /// What a service account that is there logs in with.
    ///
    /// # Panics
    /// When it is not there.
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

    /// Makes a namespace, unless it is there.
    ///
    /// # Panics
    /// When the server refuses.
    pub async fn namespace(&self, name: &str) {
        let metadata = ObjectMeta { name: Some(name.to_owned()), ..Default::default() };
        let namespace = Namespace { metadata, ..Default::default() };
        let namespaces: Api<Namespace> = Api::all(self.admin());
        match namespaces.create(&PostParams::default(), &namespace).await {
            Err(Error::Api(status)) if status.is_already_exists() => {}
            other => made(other),
        }
    }

    /// Defines the kinds of Istio and the Gateway API that serin writes, and waits until they are served.
    ///
    /// # Panics
    /// When the server refuses.
    pub async fn define_mesh(&self) {
        crds::define(&self.admin).await;
    }

    /// Creates an object of any kind, and its namespace, and gives it as the server has it.
    ///
    /// # Panics
    /// When the server refuses.
    pub async fn create(&self, object: &Value) -> Value {
        if let Some(namespace) = object["metadata"]["namespace"].as_str() {
            self.namespace(namespace).await;
        }
        let api = objects(&self.admin, object);
        let made = api.create(&PostParams::default(), &dynamic(object)).await;
        json!(made.expect("the server takes the object"))
    }
}

/// A client that logs in so.
///
/// # Panics
/// When the configuration is invalid.
pub async fn client(kubeconfig: Kubeconfig) -> Client {
    let config = Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await;
    Client::try_from(config.expect("a configuration")).expect("a client")
}

/// The objects of an object's kind in its namespace.
///
/// # Panics
/// When it has no kind.
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

/// An object as the client takes it.
///
/// # Panics
/// When it has no metadata.
pub fn dynamic(object: &Value) -> DynamicObject {
    serde_json::from_value(object.clone()).expect("an object")
}

fn request(path: &str) -> Request<Vec<u8>> {
    Request::get(path).body(Vec::new()).expect("a request")
}

fn made<T>(made: Result<T, Error>) {
    made.map(|_| ()).expect("the server takes the object");
}

/// The root of the repository.
fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("..")
}
