//! For tests of what is built on this crate (feature `testing`).

pub mod conformance;
