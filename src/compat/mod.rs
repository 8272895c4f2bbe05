//! Shims with the signatures of other crates: change the `use` line, and the calls go
//! through the process-wide [`Offload`](crate::Offload).
//!
//! Like their originals they are eager, and a dropped handle does what theirs does. Each
//! module lists every difference.

pub mod blocking;
#[cfg(feature = "tokio")]
mod link;
#[cfg(feature = "tokio")]
pub mod tokio;
pub mod tokio_rayon;

use crate::core::unwind::contain;
use crate::error::OffloadError;
use crate::future::Offloaded;
use crate::handle::Submitted;

/// Submits an eager call. A closure that is refused is dropped here.
fn start<F, R>(call: Offloaded<F, R>) -> Result<Submitted<R>, OffloadError>
where
    F: FnOnce() -> R + Send + 'static,
    R: Send + 'static,
{
    call.launch().map_err(|(closure, reason)| {
        contain(|| drop(closure));
        reason
    })
}
