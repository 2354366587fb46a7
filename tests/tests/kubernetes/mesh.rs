//! The double of the mesh on its own: it does what the objects say, with real requests through a real Envoy.

mod gateways;
mod plugins;
mod sidecars;
pub(crate) mod world;
