//! Jobs that go on: a thread for each.

use crate::cancel::Stopped;
use crate::closure::WithJob;
use crate::core::view::Job;
use crate::future::Offloaded;
use crate::pool::Kind;
#[cfg(doc)]
use crate::{Handle, Offload, OffloadError, Report, Stats, checkpoint};

/// Runs `f` on a thread of its own: for what goes on for hours, or for ever.
///
/// A server's accept loop, a file watcher, a consumer of a queue would occupy a thread of the I/O
/// pool for good. Otherwise it is a call like [`offload_io`](fn@crate::offload_io)'s: lazy,
/// cancelled by drop (`try_spawn` and [`detach`](Handle::detach) let it run), counted in
/// [`Stats::dedicated`], named in a shutdown's [`Report`]. A shutdown, and the end of the last
/// [`Offload`] handle, ask it to stop at its next [`checkpoint`].
///
/// There can be 1,024 of them at a time; more wait.
///
/// ```
/// use std::{thread, time::Duration};
///
/// # futures::executor::block_on(async {
/// let watcher = offramp::offload_dedicated(|| {
///     let mut rounds = 0;
///     while offramp::checkpoint().is_ok() {
///         rounds += 1;
///         thread::sleep(Duration::from_millis(1));
///     }
///     rounds
/// });
/// let handle = watcher.label("watcher").try_spawn()?;
/// handle.abort();
/// # let _ = handle.await;
/// # Ok::<_, Box<dyn std::error::Error>>(())
/// # }).unwrap();
/// ```
#[track_caller]
pub fn offload_dedicated<F, R>(f: F) -> Offloaded<F, R>
where
    F: FnOnce() -> R + Send + 'static,
    R: Send + 'static,
{
    Offloaded::new(Kind::Dedicated, f)
}

/// [`offload_dedicated`] for a closure that sees its [`Job`].
#[track_caller]
pub fn offload_dedicated_with<F, R>(f: F) -> Offloaded<F, R, WithJob>
where
    F: FnOnce(&Job) -> Result<R, Stopped> + Send + 'static,
    R: Send + 'static,
{
    Offloaded::new(Kind::Dedicated, f)
}
