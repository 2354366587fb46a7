//! serin on a real Istio, in a real cluster: the manifests of `envoy/kubernetes`, the tutorial of `envoy/README.md`, and the shipped module,
//! which the proxies pull from a registry. Each way to split goes through a rollout that succeeds and one whose candidate is at fault. The
//! judge is what callers saw: no request fails but those that met the fault.

mod rollouts;
mod world;
