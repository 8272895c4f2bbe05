#![doc = include_str!("../README.md")]
#![deny(missing_docs, missing_debug_implementations)]
// The models compile the core alone: what only the shell calls seems unused there.
#![cfg_attr(offramp_loom, allow(dead_code))]
#![doc(test(attr(deny(warnings))))]

#[cfg(all(feature = "macros", not(offramp_loom)))]
#[doc(hidden)]
pub mod __private;
mod cancel;
mod clock;
mod core;
mod priority;
mod sync;

#[cfg(not(offramp_loom))]
mod activity;
#[cfg(not(offramp_loom))]
mod adapt;
#[cfg(not(offramp_loom))]
pub mod backend;
#[cfg(not(offramp_loom))]
mod builder;
#[cfg(not(offramp_loom))]
mod closure;
#[cfg(not(offramp_loom))]
pub mod compat;
#[cfg(not(offramp_loom))]
mod context;
#[cfg(not(offramp_loom))]
mod current;
#[cfg(not(offramp_loom))]
mod dedicated;
#[cfg(not(offramp_loom))]
pub mod defaults;
#[cfg(all(doctest, not(offramp_loom)))]
#[cfg(all(feature = "tokio", feature = "watch"))]
mod detector_doc;
#[cfg(not(offramp_loom))]
mod environment;
#[cfg(not(offramp_loom))]
mod error;
#[cfg(all(doctest, not(offramp_loom)))]
mod fairness_doc;
#[cfg(not(offramp_loom))]
mod fork;
#[cfg(all(feature = "fs", not(offramp_loom)))]
pub mod fs;
#[cfg(not(offramp_loom))]
mod future;
#[cfg(not(offramp_loom))]
mod handle;
#[cfg(not(offramp_loom))]
mod install;
#[cfg(not(offramp_loom))]
mod lane;
#[cfg(not(offramp_loom))]
mod misuse;
#[cfg(not(offramp_loom))]
mod offload;
#[cfg(not(offramp_loom))]
mod outcome;
#[cfg(not(offramp_loom))]
mod overstay;
#[cfg(not(offramp_loom))]
mod pool;
#[cfg(not(offramp_loom))]
mod saturation;
#[cfg(not(offramp_loom))]
mod scoped;
#[cfg(not(offramp_loom))]
mod shutdown;
#[cfg(not(offramp_loom))]
mod stats;
#[cfg(not(offramp_loom))]
mod submit;
#[cfg(not(offramp_loom))]
mod supervisor;
#[cfg(all(doctest, not(offramp_loom)))]
#[cfg(all(
    feature = "fs",
    feature = "futures-io",
    feature = "macros",
    feature = "tokio"
))]
mod swap_doc;
#[cfg(all(feature = "testing", not(offramp_loom)))]
pub mod testing;
#[cfg(all(feature = "tokio", not(offramp_loom)))]
mod tokio_runtime;
#[cfg(all(feature = "tracing", not(offramp_loom)))]
mod tracing_span;
#[cfg(not(offramp_loom))]
mod waiting;
#[cfg(all(feature = "watch", not(offramp_loom)))]
pub mod watch;

pub use crate::cancel::Stopped;
pub use crate::core::view::Job;
pub use crate::priority::Priority;
#[cfg(not(offramp_loom))]
pub use crate::{
    activity::RunningJob,
    adapt::{Blocking, BlockingIter, OffloadedIter, Pinned, Unblock, offload_iter},
    builder::{Builder, ConfigError},
    closure::{Plain, WithJob},
    context::ContextHook,
    current::{checkpoint, remaining},
    dedicated::{offload_dedicated, offload_dedicated_with},
    error::{OffloadError, Panicked, Refused},
    future::{AllOutcomes, Offloaded, OffloadedAll, offload_cpu_all, offload_io_all},
    handle::Handle,
    install::{AlreadyInstalled, install},
    lane::Lane,
    misuse::{Misuse, MisuseKind},
    offload::{Offload, Policy},
    outcome::Flatten,
    scoped::Scoped,
    shutdown::{Backlog, Report, Shutdown},
    stats::{Histogram, PoolStats, Stats},
};

#[cfg(all(feature = "macros", not(offramp_loom)))]
pub use offramp_macros::{offload_cpu, offload_io};

#[cfg(all(feature = "watch", not(offramp_loom)))]
pub use crate::watch::watch;

#[cfg(not(offramp_loom))]
use pool::Kind;

/// Runs a blocking call on the I/O pool.
///
/// For code that waits: files, sockets, sync clients, database drivers. The future is
/// lazy; see [`Offloaded`] for outcome, backpressure, cancellation and options.
///
/// # Cost
///
/// One allocation and a hand-over to another thread: a few microseconds, tens where that
/// thread has to be woken on another CPU. Starting a thread, on the calling one, costs
/// some 50 µs; it happens when all existing ones are busy.
///
/// ```
/// # futures::executor::block_on(async {
/// let text = offramp::offload_io(|| std::fs::read_to_string("Cargo.toml")).await??;
/// assert!(text.contains("offramp"));
/// # Ok::<_, Box<dyn std::error::Error>>(())
/// # }).unwrap();
/// ```
///
/// What is not `Send` cannot go to another thread:
///
/// ```compile_fail,E0277
/// let counter = std::rc::Rc::new(1);
/// let _ = offramp::offload_io(move || *counter);
/// ```
#[inline]
#[cfg(not(offramp_loom))]
#[track_caller]
pub fn offload_io<F, R>(f: F) -> Offloaded<F, R>
where
    F: FnOnce() -> R + Send + 'static,
    R: Send + 'static,
{
    Offloaded::new(Kind::Io, f)
}

/// Runs CPU-heavy code on the CPU pool.
///
/// The pool is rayon's: `par_iter` and `join` inside of `f` run on it. Jobs start in the
/// order of their submission, each at the bottom of a worker's stack, so that one which
/// holds a lock over a parallel section cannot meet another on its own stack. See
/// [`Offloaded`] for outcome, backpressure, cancellation and options.
///
/// Code that blocks belongs into [`fn@offload_io`]: here it would hold up a CPU's worth of
/// work.
///
/// ```
/// use rayon::prelude::*;
/// # futures::executor::block_on(async {
/// let sum = offramp::offload_cpu(|| (1..=1_000u64).into_par_iter().sum::<u64>()).await?;
/// assert_eq!(sum, 500_500);
/// # Ok::<_, offramp::OffloadError>(())
/// # }).unwrap();
/// ```
#[inline]
#[cfg(not(offramp_loom))]
#[track_caller]
pub fn offload_cpu<F, R>(f: F) -> Offloaded<F, R>
where
    F: FnOnce() -> R + Send + 'static,
    R: Send + 'static,
{
    Offloaded::new(Kind::Cpu, f)
}

/// [`fn@offload_io`] for a closure that sees its [`Job`], and can stop when it is cancelled.
///
/// A closure that returns [`Stopped`] resolves as [`OffloadError::Cancelled`].
///
/// ```
/// # futures::executor::block_on(async {
/// let copied = offramp::offload_io_with(|job| {
///     let mut copied = 0;
///     for _part in 0..3 {
///         job.checkpoint()?;
///         copied += 1;
///     }
///     Ok(copied)
/// });
/// assert_eq!(copied.await?, 3);
/// # Ok::<_, offramp::OffloadError>(())
/// # }).unwrap();
/// ```
#[cfg(not(offramp_loom))]
#[track_caller]
pub fn offload_io_with<F, R>(f: F) -> Offloaded<F, R, WithJob>
where
    F: FnOnce(&Job) -> Result<R, Stopped> + Send + 'static,
    R: Send + 'static,
{
    Offloaded::new(Kind::Io, f)
}

/// [`fn@offload_cpu`] for a closure that sees its [`Job`], and can stop when it is cancelled.
///
/// `Job` is `Sync`: hand it into parallel sections. A closure that returns [`Stopped`]
/// resolves as [`OffloadError::Cancelled`].
///
/// ```
/// use rayon::prelude::*;
/// # futures::executor::block_on(async {
/// let sum = offramp::offload_cpu_with(|job| {
///     (1..=1_000u64)
///         .into_par_iter()
///         .map(|n| job.checkpoint().map(|()| n))
///         .sum::<Result<u64, _>>()
/// });
/// assert_eq!(sum.await?, 500_500);
/// # Ok::<_, offramp::OffloadError>(())
/// # }).unwrap();
/// ```
#[cfg(not(offramp_loom))]
#[track_caller]
pub fn offload_cpu_with<F, R>(f: F) -> Offloaded<F, R, WithJob>
where
    F: FnOnce(&Job) -> Result<R, Stopped> + Send + 'static,
    R: Send + 'static,
{
    Offloaded::new(Kind::Cpu, f)
}
