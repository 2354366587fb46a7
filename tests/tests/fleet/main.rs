//! Rollouts at several Envoys that follow one file: observed by admin interfaces, or through a
//! Prometheus.

mod detour;
mod discovery;
mod prometheus;
mod proxies;
mod world;
