//! Tests of the mesh double itself: it follows the objects, with real requests through a real
//! Envoy.

mod gateways;
mod plugins;
mod sidecars;
pub(crate) mod world;
