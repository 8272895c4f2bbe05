//! Gets blocking and CPU-heavy work off the event loop of async Rust.
#![deny(missing_docs, missing_debug_implementations)]
#![doc(test(attr(deny(warnings))))]

mod cancel;
mod core;
mod sync;

#[cfg(not(offramp_loom))]
pub mod backend;
#[cfg(not(offramp_loom))]
mod builder;
#[cfg(not(offramp_loom))]
mod clock;
#[cfg(not(offramp_loom))]
pub mod defaults;
#[cfg(not(offramp_loom))]
mod environment;
#[cfg(not(offramp_loom))]
mod error;
#[cfg(not(offramp_loom))]
mod future;
#[cfg(not(offramp_loom))]
mod handle;
#[cfg(not(offramp_loom))]
mod offload;
#[cfg(not(offramp_loom))]
mod pool;
#[cfg(not(offramp_loom))]
mod saturation;
#[cfg(not(offramp_loom))]
mod stats;

pub use crate::cancel::{Stopped, checkpoint};
pub use crate::core::job::Job;
#[cfg(not(offramp_loom))]
pub use crate::{
    builder::{Builder, ConfigError},
    error::{OffloadError, Panicked, Refused},
    future::{Flatten, Offloaded, Plain, WithJob},
    handle::Handle,
    offload::{AlreadyInstalled, Offload, Policy, Shutdown, install},
    stats::{Histogram, PoolStats, Stats},
};

#[cfg(not(offramp_loom))]
use pool::Kind;

/// Runs a blocking call on the I/O pool.
#[cfg(not(offramp_loom))]
pub fn offload_io<F, R>(f: F) -> Offloaded<F, R>
where
    F: FnOnce() -> R + Send + 'static,
    R: Send + 'static,
{
    Offloaded::new(Kind::Io, f)
}

/// Runs CPU-heavy code on the CPU pool.
#[cfg(not(offramp_loom))]
pub fn offload_cpu<F, R>(f: F) -> Offloaded<F, R>
where
    F: FnOnce() -> R + Send + 'static,
    R: Send + 'static,
{
    Offloaded::new(Kind::Cpu, f)
}

/// Runs a blocking call on the I/O pool that sees its [`Job`].
#[cfg(not(offramp_loom))]
pub fn offload_io_with<F, R>(f: F) -> Offloaded<F, R, WithJob>
where
    F: FnOnce(&Job) -> Result<R, Stopped> + Send + 'static,
    R: Send + 'static,
{
    Offloaded::new(Kind::Io, f)
}

/// Runs CPU-heavy code on the CPU pool that sees its [`Job`].
#[cfg(not(offramp_loom))]
pub fn offload_cpu_with<F, R>(f: F) -> Offloaded<F, R, WithJob>
where
    F: FnOnce(&Job) -> Result<R, Stopped> + Send + 'static,
    R: Send + 'static,
{
    Offloaded::new(Kind::Cpu, f)
}
