//! The filter's configuration for many proxies, over gRPC (xDS, state of the world).
//!
//! A proxy subscribes to its filter's configuration by name (ECDS), on a stream of its own or over
//! ADS. Its `node.cluster` names its group. The server sends it the resources published for the
//! group and records its answers: a step of a rollout is live when every proxy has acknowledged
//! it, and a proxy that rejects it is reported with its reason. A reconnecting proxy gets the
//! present state; while serin is down, proxies keep their configuration.
//!
//! - [`protocol`]: the state of one stream. Pure.
//! - [`registry`]: the published resources, and the state of each proxy. Pure.
//! - [`rate_limiter`]: the limit of a stream's requests. Pure.
//! - [`template`]: the message for a configuration, based on the file that serin ships.
//! - [`publisher`]: the interface to publish and to read states.
//! - [`server`], [`tls`]: the gRPC shell.

pub mod protocol;
pub mod publisher;
pub mod rate_limiter;
pub mod registry;
pub mod server;
mod service;
pub mod template;
pub mod tls;
