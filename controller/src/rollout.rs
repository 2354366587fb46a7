//! A rollout: what the user asked for ([`spec`]), the [`plan`] made of it, and the state [`machine`] that carries the plan out.
//!
//! Everything here is pure. Time and evidence come in, actions and events go out; [`crate::engine`] connects them to a proxy.

pub mod call;
pub mod event;
pub mod forecast;
pub mod freeze;
pub mod machine;
pub mod metric;
pub mod obstacle;
pub mod order;
pub mod plan;
pub mod spec;
