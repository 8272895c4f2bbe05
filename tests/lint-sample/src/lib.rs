//! Async functions that block their event loop, and the same ones done right.

pub mod blocking;
pub mod offloaded;
pub mod sync_part;
