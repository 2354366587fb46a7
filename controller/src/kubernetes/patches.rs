//! Patches of the mesh's objects: the fields that serin owns, and their changes.
//!
//! The objects are the user's. Serin owns the weights of two entries in some routes
//! ([`virtual_service`], [`http_route`]), one plugin's configuration ([`wasm_plugin`]), or the
//! replicas of two Deployments ([`deployment`]). All other fields, known or not, stay as they were
//! read, so no object is deserialized into a type that would lose fields. A change is a value,
//! [`Edits`]; this module talks to no API server.

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
