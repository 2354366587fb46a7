//! Where things are, as plain data: what a specification says and adapters are made from.

pub mod discovery;
pub mod mesh;
pub mod prometheus;
pub mod sink;
pub mod source;
