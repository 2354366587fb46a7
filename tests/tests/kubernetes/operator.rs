//! `serin operator` as it is shipped, with the rights that its manifests give it, on a real API server: it moves real traffic through a real
//! Envoy, to which the objects of the mesh are carried by the stand-in for one.

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
