//! `serin operator` as shipped, with the rights of its manifests, on a real API server: it shifts
//! real traffic through a real Envoy, which the mesh double configures by the objects.

mod crash;
mod deployments;
mod life;
mod meddling;
mod missing;
mod objects;
mod observability;
mod prometheus;
mod rollouts;
pub(crate) mod world;
