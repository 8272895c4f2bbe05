//! `tokio_rayon::{spawn, spawn_fifo}` through this crate's CPU pool.
//!
//! ```diff
//! -use tokio_rayon::spawn;
//! +use offramp::compat::tokio_rayon::spawn;
//! ```
//!
//! As in `tokio-rayon` 2 the closure starts without an await, awaiting gives its value and
//! goes on with its panic, and dropping the handle lets it run.
//!
//! # Differences
//!
//! | | `tokio-rayon` | here |
//! |---|---|---|
//! | threads | rayon's global pool | the CPU pool of the process-wide [`Offload`], or of the one in [`scoped`](Offload::scoped): a rayon pool, too |
//! | `spawn` inside of the pool | the last one starts first | in the order of the calls, as with `spawn_fifo` |
//! | where a worker waits for a parallel section | another closure may start on its stack | none does |
//! | a full queue | grows without bound | beyond [`max_pending`](crate::Builder::max_pending) waiting jobs (under [`Policy::Reject`](crate::Policy::Reject): [`capacity`](crate::Builder::capacity)) the closure is dropped by the call, and awaiting panics with the reason |
//! | no thread can be started | panics at the call | awaiting panics; so it does after a shutdown of the pool, in a forked child, and with a misconfigured default |
//! | `block_on` of the handle inside of a job | can hang the pool | at worst it panics, where the last thread of the pool would wait |
//! | a result whose destructor panics, after the handle is gone | the pool's panic handler is called, or the process aborts | ends there |
//! | inside of a job with a deadline | none | calls that I/O jobs make inherit it; awaiting panics if it passes first |
//! | `AsyncThreadPool`, the module `rayon` | there | missing: for a pool of your own, [`backend::Rayon`](crate::backend::Rayon) |
//!
//! [`Offload`]: crate::Offload
//! [`Offload::scoped`]: crate::Offload::scoped

#[cfg(doc)]
use crate::Offload;
use crate::error::OffloadError;
use crate::future::Offloaded;
use crate::handle::Submitted;
use crate::pool::Kind;
use std::fmt;
use std::future::Future;
use std::mem;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

/// Runs `func` on the CPU pool, starting now.
///
/// Costs what [`offload_cpu`](fn@crate::offload_cpu) does.
///
/// ```
/// # futures::executor::block_on(async {
/// let sum = offramp::compat::tokio_rayon::spawn(|| (1..=100).sum::<u32>()).await;
/// assert_eq!(sum, 5050);
/// # });
/// ```
#[track_caller]
pub fn spawn<F, R>(func: F) -> AsyncRayonHandle<R>
where
    F: FnOnce() -> R + Send + 'static,
    R: Send + 'static,
{
    let call = match super::start(Offloaded::new(Kind::Cpu, func)) {
        Ok(call) => Call::Submitted(call),
        Err(reason) => Call::Refused(reason),
    };
    AsyncRayonHandle { call }
}

/// The same as [`spawn`].
#[track_caller]
pub fn spawn_fifo<F, R>(func: F) -> AsyncRayonHandle<R>
where
    F: FnOnce() -> R + Send + 'static,
    R: Send + 'static,
{
    spawn(func)
}

/// Waits for the value of a [`spawn`]ed closure.
///
/// Dropping it lets the closure run; its result is then dropped on the pool's thread.
///
/// # Panics
///
/// With the closure's panic; with the reason, if the pool did not run it; when polled after
/// it was ready.
#[must_use]
pub struct AsyncRayonHandle<T> {
    call: Call<T>,
}

enum Call<T> {
    Submitted(Submitted<T>),
    Refused(OffloadError),
    Over,
}

impl<T> Unpin for AsyncRayonHandle<T> {}

impl<T> Future for AsyncRayonHandle<T> {
    type Output = T;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<T> {
        let call = &mut self.get_mut().call;
        let output = match call {
            Call::Submitted(call) => match call.poll(cx.waker()) {
                Some(output) => Poll::Ready(output),
                None => Poll::Pending,
            },
            _ => match mem::replace(call, Call::Over) {
                Call::Refused(reason) => Poll::Ready(Err(reason)),
                _ => panic!("`AsyncRayonHandle` polled after it was ready"),
            },
        };
        let output = ready!(output);
        *call = Call::Over;
        match output {
            Ok(value) => Poll::Ready(value),
            Err(OffloadError::Panicked(panicked)) => panicked.resume(),
            Err(reason) => panic!("the closure has no value: {reason}"),
        }
    }
}

impl<T> Drop for AsyncRayonHandle<T> {
    fn drop(&mut self) {
        if let Call::Submitted(call) = mem::replace(&mut self.call, Call::Over) {
            call.detach();
        }
    }
}

impl<T> fmt::Debug for AsyncRayonHandle<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let is_finished = match &self.call {
            Call::Submitted(call) => call.is_finished(),
            Call::Refused(_) | Call::Over => true,
        };
        f.debug_struct("AsyncRayonHandle")
            .field("is_finished", &is_finished)
            .finish_non_exhaustive()
    }
}
