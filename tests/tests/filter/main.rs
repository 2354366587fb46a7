//! The filter on a real Envoy, without a controller: every rule by which it selects and every outcome it tells apart, by what it counted
//! and by who answered. The table of what is shown where is in `filter/README.md`.

mod authority;
mod configuration;
mod correlation;
mod failure;
mod grpc;
mod headers;
mod image;
mod local;
mod outcome;
mod overrides;
mod readme;
mod routing;
mod rules;
mod sticky;
mod streams;
mod tripwire;
mod world;
