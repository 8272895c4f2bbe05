//! The detector of calls that block an event loop.

#[allow(dead_code, unused_imports)]
pub(crate) mod stack;
