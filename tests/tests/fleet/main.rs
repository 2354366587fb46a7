//! Rollouts at several Envoys that follow one file: read one by one, or through a Prometheus.

mod detour;
mod discovery;
mod prometheus;
mod proxies;
mod world;
