//! The filter on a real Envoy, without a controller: each selection rule and each outcome,
//! verified by the filter's statistics and the version that served. `filter/README.md` lists the
//! tests.

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
mod redirects;
mod routing;
mod rpc;
mod rules;
mod scripted;
mod sticky;
mod streams;
mod tripwire;
mod world;
