//! serin on a real Istio, in a real cluster: the manifests of `envoy/kubernetes`, the tutorial of
//! `envoy/README.md`, and the shipped module, which the proxies pull from a registry. A rollout
//! with a healthy candidate and one with a faulty candidate use each way to split. The tests check
//! the callers' responses: only requests that hit the fault fail.

mod rollouts;
mod world;
