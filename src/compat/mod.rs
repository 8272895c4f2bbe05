//! Shims with the signatures of other crates: change the `use` line, and the calls go
//! through the process-wide [`Offload`](crate::Offload).
//!
//! Like their originals they are eager, and a dropped handle does what theirs does. Each
//! module lists every difference.

#[cfg(feature = "tokio")]
mod link;
#[cfg(feature = "tokio")]
pub mod tokio;
pub mod tokio_rayon;
