//! A rollout: what the user asked for ([`spec`](crate::spec)), the [`plan`] made of it, and the state [`machine`] that carries the plan out.
//!
//! Everything here is pure. Time and evidence come in, actions and events go out; `serin::engine` connects them to a proxy.

pub mod blocker;
pub mod call;
pub mod command;
pub mod event;
pub mod forecast;
pub mod freeze;
pub mod machine;
pub mod metric;
pub mod plan;
