//! The API of the crate `blocking` 1.7: `use offramp::compat::blocking::{unblock, Unblock};`.
//!
//! Calls run on the I/O pool of the process-wide [`Offload`]. The
//! asynchronous traits of `futures-io` come with the feature `futures-io`.
//!
//! # What is different
//!
//! The pool:
//!
//! - It is limited as any [`Offload`]: by default to
//!   [`IO_MAX_THREADS`](crate::defaults::IO_MAX_THREADS) threads, not 500, and to
//!   [`MAX_PENDING`](crate::defaults::MAX_PENDING) calls that wait. One that is refused
//!   panics where it is awaited. `BLOCKING_MAX_THREADS` is not looked at: there are
//!   [`set_max_blocking_threads`], the builder, and `OFFRAMP_IO_MAX_THREADS`.
//! - Idle threads leave.
//!
//! [`unblock`] and [`Task`]:
//!
//! - A task that is dropped while it runs is seen by [`checkpoint`](crate::checkpoint).
//! - `Task` is a type of this crate with `detach`, `cancel` and `is_finished`; `fallible` and
//!   `metadata` of `async_task::Task` are not there.
//!
//! [`Unblock`]:
//!
//! - The type itself has the bound `T: Send + 'static`, which there only its methods and
//!   traits have.
//! - The capacity is 256 KiB, not 8 MiB, and 64 items, not 8,192.
//! - What was read ahead, or pulled, is kept by `with_mut`, `get_mut` and writes, and taken
//!   into account by relative seeks. There it is lost.
//! - What was written is written, and flushed, also if there was no flush before the drop.
//!   There it might be lost.
//! - An error of a write is not forgotten by `with_mut` and `get_mut`: it comes at the next
//!   write, flush or close.
//! - `into_inner` and `get_mut` do not flush what was written.
//! - A panic in `with_mut` goes on here with its own payload. There it is another one, with
//!   the message "`Unblock::with_mut()` operation has panicked: RecvError".
//! - After a panic in the value's methods, and after closing, reads, writes and seeks are
//!   errors ([`NotConnected`](std::io::ErrorKind::NotConnected)). There they panic.
//! - Each write is a call on the pool, which the next one waits for: collect small ones.

pub use crate::adapt::Unblock;

use crate::builder::MOST_THREADS;
use crate::error::OffloadError;
use crate::future::Offloaded;
use crate::handle::Submitted;
use crate::offload::Offload;
use crate::pool::Kind;
use std::fmt;
use std::future::{Future, poll_fn};
use std::num::NonZeroUsize;
use std::panic::{RefUnwindSafe, UnwindSafe};
use std::pin::Pin;
use std::task::{Context, Poll};

/// Starts `f` on the I/O pool, at once, and answers a future of its value.
///
/// ```
/// use offramp::compat::blocking::unblock;
///
/// # futures::executor::block_on(async {
/// let text = unblock(|| std::fs::read_to_string("Cargo.toml")).await?;
/// assert!(text.contains("offramp"));
/// # Ok::<_, std::io::Error>(())
/// # }).unwrap();
/// ```
#[track_caller]
pub fn unblock<T, F>(f: F) -> Task<T>
where
    F: FnOnce() -> T + Send + 'static,
    T: Send + 'static,
{
    Task {
        // A closure that is refused is dropped here.
        call: Offloaded::new(Kind::Io, f)
            .start()
            .map_err(|(_, reason)| reason),
    }
}

/// A call started by [`unblock`].
///
/// # Cancellation
///
/// Dropping it cancels: a closure that has not started is dropped, here. One that runs goes on.
///
/// # Panics
///
/// Awaiting it panics with what the closure panics with; and if the closure did not run,
/// because the pool is overloaded, shut down, or has no threads.
#[must_use = "tasks get cancelled when dropped, use `.detach()` to run them in the background"]
pub struct Task<T> {
    /// `Err`: it was refused.
    call: Result<Submitted<T>, OffloadError>,
}

// A panic leaves nothing half done in here: the closure is on another thread, and its value
// comes whole or not at all.
impl<T> UnwindSafe for Task<T> {}
impl<T> RefUnwindSafe for Task<T> {}

impl<T> Task<T> {
    /// Lets the call run without anybody waiting for it.
    pub fn detach(self) {
        if let Ok(call) = self.call {
            call.detach();
        }
    }

    /// Cancels the call, and waits until it is over: `None` if it never ran.
    ///
    /// # Panics
    ///
    /// With what the closure panics with.
    pub async fn cancel(self) -> Option<T> {
        let mut call = self.call.ok()?;
        call.abort();
        match poll_fn(|cx| poll(&mut call, cx)).await {
            Ok(value) => Some(value),
            Err(OffloadError::Panicked(panicked)) => panicked.resume(),
            Err(_) => None,
        }
    }

    /// Whether awaiting it would be ready at once.
    #[must_use]
    pub fn is_finished(&self) -> bool {
        self.call.as_ref().map_or(true, Submitted::is_finished)
    }
}

fn poll<T>(call: &mut Submitted<T>, cx: &mut Context<'_>) -> Poll<Result<T, OffloadError>> {
    match call.poll_here(cx.waker()) {
        Some(outcome) => Poll::Ready(outcome),
        None => Poll::Pending,
    }
}

impl<T> Future for Task<T> {
    type Output = T;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<T> {
        let outcome = match &mut self.call {
            Ok(call) => std::task::ready!(poll(call, cx)),
            Err(reason) => panic!("`unblock` could not run: {reason}"),
        };
        match outcome {
            Ok(value) => Poll::Ready(value),
            Err(OffloadError::Panicked(panicked)) => panicked.resume(),
            Err(error) => panic!("`unblock` could not run: {error}"),
        }
    }
}

impl<T> fmt::Debug for Task<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Task")
            .field("is_finished", &self.is_finished())
            .finish_non_exhaustive()
    }
}

/// Sets the most threads of the I/O pool, up to 1,024.
///
/// # Panics
///
/// If the process-wide [`Offload`] is misconfigured, or its I/O pool runs
/// on a [backend](crate::backend) whose size is not the crate's.
pub fn set_max_blocking_threads(threads: NonZeroUsize) {
    let resized = Offload::present().and_then(|offload| {
        let threads = threads.get().min(MOST_THREADS);
        offload.resize_io(threads)
    });
    if let Err(error) = resized {
        panic!("`set_max_blocking_threads`: {error}");
    }
}
