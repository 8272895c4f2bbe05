//! tokio's [`spawn_blocking`](::tokio::task::spawn_blocking) through this crate's I/O
//! pool (feature `tokio`).
//!
//! ```diff
//! -use tokio::task::{self, JoinHandle};
//! +use offramp::compat::tokio::{self as task, JoinHandle};
//! ```
//!
//! As in tokio the closure starts without an await, `tokio::runtime::Handle::current()`
//! works inside of it, dropping the [`JoinHandle`] detaches, a panic is a [`JoinError`], and
//! an abort prevents what has not started yet.
//!
//! # Differences
//!
//! | | tokio | here |
//! |---|---|---|
//! | threads | the runtime's, up to 512 | those of the process-wide [`Offload`], or of the one in [`scoped`](Offload::scoped) |
//! | outside of a runtime | panics | works; `Handle::current()` then panics in the closure |
//! | a full queue | grows without bound | beyond [`max_pending`](crate::Builder::max_pending) waiting jobs (under [`Policy::Reject`](crate::Policy::Reject): [`capacity`](crate::Builder::capacity)) the handle resolves as a `JoinError` whose `is_cancelled` is true; the closure is dropped by the call |
//! | no thread can be started | `spawn_blocking` panics | resolves as such an error; so do a pool that is shut down, a forked child, and a misconfigured default |
//! | abort before the start | the handle resolves when its turn comes | it resolves at once, and the closure is dropped by the one who aborts |
//! | abort of a running closure | has no effect | [`checkpoint`](crate::checkpoint()) says so in the closure; the handle gives its value, as in tokio |
//! | the runtime's end | drops what has not started, and waits for the rest | has no effect: the pool's own [shutdown](Offload::shutdown) has |
//! | `block_on` of the handle inside of a job | can hang a pool whose threads all wait | at worst a `JoinError`, [`WouldDeadlock`](OffloadError::WouldDeadlock) |
//! | inside of a job with a deadline | none | the deadline is inherited, as is the lane |
//! | a paused clock | waits for every blocking task | waits while a handle of it is there |
//! | `id` of handles and errors | an `Id` | missing, because only tokio can make one |
//! | `spawn_blocking` of a runtime's `Handle`, a `LocalSet`, a `JoinSet` | there | missing |
//! | `JoinError`'s texts | with the task's id | without |
//! | `JoinError` in an `io::Error` | a text | the error itself |
//!
//! [`Offload`]: crate::Offload
//! [`Offload::scoped`]: crate::Offload::scoped

use super::link::{Abort, Link};
#[cfg(doc)]
use crate::Offload;
use crate::error::OffloadError;
use crate::future::Offloaded;
use crate::handle::Submitted;
use crate::pool::Kind;
use parking_lot::Mutex;
use std::any::Any;
use std::error::Error;
use std::fmt;
use std::future::Future;
use std::io;
use std::mem;
use std::panic::{RefUnwindSafe, UnwindSafe};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

/// Runs `f` on a thread where blocking is fine, starting now.
///
/// Costs what [`offload_io`](fn@crate::offload_io) does.
///
/// ```
/// use offramp::compat::tokio as task;
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let manifest = task::spawn_blocking(|| std::fs::read_to_string("Cargo.toml")).await??;
/// assert!(manifest.contains("offramp"));
/// # Ok(())
/// # }
/// ```
#[track_caller]
pub fn spawn_blocking<F, R>(f: F) -> JoinHandle<R>
where
    F: FnOnce() -> R + Send + 'static,
    R: Send + 'static,
{
    let held = match super::start(Offloaded::new(Kind::Io, f)) {
        Ok(call) => Held::Own(call),
        Err(reason) => Held::Refused(reason),
    };
    JoinHandle {
        held: Mutex::new(held),
        share: Link::new,
    }
}

/// Waits for a call of [`spawn_blocking`]; see
/// tokio's [`JoinHandle`](::tokio::task::JoinHandle).
///
/// Dropping it lets the call run; its result is then dropped on the pool's thread.
///
/// # Panics
///
/// When polled after it was ready.
pub struct JoinHandle<T> {
    held: Mutex<Held<T>>,
    /// [`Link::new`], whose bounds tokio's handle does not have.
    share: fn(Submitted<T>) -> Arc<Link<T>>,
}

enum Held<T> {
    Own(Submitted<T>),
    Shared(Arc<Link<T>>),
    Refused(OffloadError),
    Over,
}

impl<T> JoinHandle<T> {
    /// Cancels the call if it has not started: its closure is dropped here. One that runs
    /// goes on, and sees it at its next [`checkpoint`](crate::checkpoint()).
    ///
    /// Costs two small allocations, as the first [`abort_handle`](Self::abort_handle) does.
    pub fn abort(&self) {
        if let Some(link) = self.link() {
            link.abort();
        }
    }

    /// Whether awaiting would be ready at once.
    pub fn is_finished(&self) -> bool {
        match &*self.held.lock() {
            Held::Own(call) => call.is_finished(),
            Held::Shared(link) => link.is_finished(),
            Held::Refused(_) | Held::Over => true,
        }
    }

    /// A handle that can abort the call from anywhere, also when this one is gone.
    #[must_use = "abort handles do nothing unless `.abort` is called"]
    pub fn abort_handle(&self) -> AbortHandle {
        AbortHandle {
            call: self.link().and_then(|link| link.erased()),
        }
    }

    /// `None`: there is nothing to abort.
    fn link(&self) -> Option<Arc<Link<T>>> {
        let mut held = self.held.lock();
        match mem::replace(&mut *held, Held::Over) {
            Held::Own(call) => {
                let link = (self.share)(call);
                *held = Held::Shared(Arc::clone(&link));
                Some(link)
            }
            Held::Shared(link) => {
                *held = Held::Shared(Arc::clone(&link));
                Some(link)
            }
            none => {
                *held = none;
                None
            }
        }
    }
}

impl<T> Unpin for JoinHandle<T> {}
impl<T> UnwindSafe for JoinHandle<T> {}
impl<T> RefUnwindSafe for JoinHandle<T> {}

impl<T> Future for JoinHandle<T> {
    type Output = Result<T, JoinError>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        // As tokio's does, so that a task which finds all of them ready yields in between.
        let coop = ready!(::tokio::task::coop::poll_proceed(cx));
        let held = self.get_mut().held.get_mut();
        let output = match held {
            Held::Own(call) => call.poll(cx.waker()),
            Held::Shared(link) => link.poll(cx.waker()),
            Held::Refused(_) => match mem::replace(held, Held::Over) {
                Held::Refused(reason) => Some(Err(reason)),
                _ => None,
            },
            Held::Over => panic!("`JoinHandle` polled after it was ready"),
        };
        let Some(output) = output else {
            return Poll::Pending;
        };
        *held = Held::Over;
        coop.made_progress();
        Poll::Ready(output.map_err(|error| JoinError { error }))
    }
}

impl<T> Drop for JoinHandle<T> {
    fn drop(&mut self) {
        match mem::replace(self.held.get_mut(), Held::Over) {
            Held::Own(call) => call.detach(),
            Held::Shared(link) => link.leave(),
            Held::Refused(_) | Held::Over => {}
        }
    }
}

impl<T> fmt::Debug for JoinHandle<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("JoinHandle")
            .field("is_finished", &self.is_finished())
            .finish_non_exhaustive()
    }
}

/// Aborts a call of [`spawn_blocking`]; see
/// tokio's [`AbortHandle`](::tokio::task::AbortHandle).
///
/// It keeps neither the call going nor its result: one whose [`JoinHandle`] is gone is
/// dropped by the pool's thread when the closure returns. Dropping it aborts nothing.
#[derive(Clone)]
pub struct AbortHandle {
    /// `None`: it was over from the start.
    call: Option<Arc<dyn Abort>>,
}

impl AbortHandle {
    /// As [`JoinHandle::abort`].
    pub fn abort(&self) {
        if let Some(call) = &self.call {
            call.abort();
        }
    }

    /// Whether the call is over.
    pub fn is_finished(&self) -> bool {
        self.call.as_ref().is_none_or(|call| call.is_finished())
    }
}

impl UnwindSafe for AbortHandle {}
impl RefUnwindSafe for AbortHandle {}

impl fmt::Debug for AbortHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AbortHandle")
            .field("is_finished", &self.is_finished())
            .finish_non_exhaustive()
    }
}

/// Why a call of [`spawn_blocking`] has no value; see
/// tokio's [`JoinError`](::tokio::task::JoinError).
pub struct JoinError {
    error: OffloadError,
}

/// What a half-swapped code base has a mapping for already.
impl From<JoinError> for OffloadError {
    fn from(error: JoinError) -> Self {
        error.error
    }
}

impl JoinError {
    /// Whether the closure did not panic: it was aborted before it started, or not taken by
    /// the pool. Which of these, [`offload_error`](Self::offload_error) tells.
    pub fn is_cancelled(&self) -> bool {
        !self.is_panic()
    }

    /// Whether the closure panicked.
    pub fn is_panic(&self) -> bool {
        matches!(self.error, OffloadError::Panicked(_))
    }

    /// What the closure panicked with.
    ///
    /// # Panics
    ///
    /// If it did not.
    #[track_caller]
    pub fn into_panic(self) -> Box<dyn Any + Send + 'static> {
        self.try_into_panic()
            .expect("the reason of this `JoinError` is not a panic")
    }

    /// What the closure panicked with.
    ///
    /// # Errors
    ///
    /// The error itself if it did not.
    pub fn try_into_panic(self) -> Result<Box<dyn Any + Send + 'static>, JoinError> {
        match self.error {
            OffloadError::Panicked(panicked) => Ok(panicked.into_payload()),
            error => Err(Self { error }),
        }
    }

    /// The reason in this crate's terms. Not in tokio's.
    pub fn offload_error(&self) -> &OffloadError {
        &self.error
    }
}

impl fmt::Display for JoinError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.error {
            OffloadError::Panicked(panicked) => match panicked.message() {
                Some(message) => write!(f, "task panicked with message {message:?}"),
                None => f.write_str("task panicked"),
            },
            OffloadError::Cancelled => f.write_str("task was cancelled"),
            reason => write!(f, "task was cancelled: {reason}"),
        }
    }
}

impl fmt::Debug for JoinError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.error {
            OffloadError::Panicked(panicked) => match panicked.message() {
                Some(message) => write!(f, "JoinError::Panic({message:?}, ...)"),
                None => f.write_str("JoinError::Panic(...)"),
            },
            reason => write!(f, "JoinError::Cancelled({reason:?})"),
        }
    }
}

impl Error for JoinError {}

/// Of the kind [`Other`](io::ErrorKind::Other), as tokio's.
impl From<JoinError> for io::Error {
    fn from(error: JoinError) -> Self {
        Self::other(error)
    }
}
