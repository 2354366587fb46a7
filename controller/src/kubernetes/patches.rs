//! The mesh's objects in Kubernetes: what in them is serin's, and how it is changed.
//!
//! The objects are the user's. In them serin owns the weights of two entries in some routes ([`virtual_service`], [`http_route`]), one
//! plugin's configuration ([`wasm_plugin`]), or how many replicas two Deployments have ([`deployment`]); everything else, known or not, stays as it was read. So nothing here is deserialized into
//! types that would lose what they don't know: an object is read field by field, and what shall change becomes [`Edits`]. Nothing here talks
//! to an API server either: who does gives what it read and writes what it gets.

pub mod acceptance;
pub mod deployment;
mod edits;
mod field;
mod find;
pub mod http_route;
mod routes;
pub mod virtual_service;
pub mod wasm_plugin;

pub use edits::Edits;
pub use field::FieldError;
pub use routes::{Drift, RolloutRoute, RolloutRoutes};

#[cfg(test)]
mod tests;
