//! Addresses and credentials as plain data: parsed from a specification, used by adapters.

pub mod discovery;
pub mod mesh;
pub mod prometheus;
pub mod sink;
pub mod source;
