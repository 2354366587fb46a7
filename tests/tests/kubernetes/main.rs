//! serin's edits to a mesh's objects, on a real Kubernetes API server.

mod acceptance;
mod conflicts;
mod install;
mod mesh;
mod operator;
mod plugin;
mod rights;
mod rules;
mod samples;
mod tutorial;
mod weights;
mod world;
