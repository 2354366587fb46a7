//! The filter's configuration for many proxies, over gRPC (xDS, state of the world).
//!
//! A proxy asks for its filter's configuration by name (ECDS), on a stream of its own or over ADS, and belongs to the group that its
//! `node.cluster` names. What is published for the group is sent to it, and what it makes of that is kept: a step of a rollout counts when
//! every proxy has acknowledged it, and one that rejects it is named with its reason. A proxy that comes back is given the present state; while
//! serin is gone, proxies keep what they have.
//!
//! - [`protocol`]: what one stream is owed, and what it has said. Pure.
//! - [`registry`]: what is published, and where each proxy stands. Pure.
//! - [`rate_limiter`]: how much a stream may ask. Pure.
//! - [`template`]: the message for a configuration, in the likeness of the file that serin ships.
//! - [`publisher`]: where others publish, and look.
//! - [`server`], [`tls`]: the gRPC shell.

pub mod protocol;
pub mod publisher;
pub mod rate_limiter;
pub mod registry;
pub mod server;
mod service;
pub mod template;
pub mod tls;
