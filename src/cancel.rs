//! How running code learns that it should stop: [`Job`], [`checkpoint`].

use crate::clock;
use crate::core::job::{Expired, Job};
use std::cell::Cell;
use std::error::Error;
use std::fmt;
use std::io;
use std::ptr;
use std::time::{Duration, Instant};

/// The proof that a checkpoint said "stop".
///
/// Only [`checkpoint`] and [`Job::checkpoint`] make one. A closure of a `_with`
/// form that returns it resolves as
/// [`OffloadError::Cancelled`](crate::OffloadError::Cancelled), or as
/// [`DeadlineExceeded`](crate::OffloadError::DeadlineExceeded) if that was the reason. For
/// code that has error types of its own it converts into
/// [`OffloadError`](crate::OffloadError) and [`io::Error`] (kind
/// [`Other`](io::ErrorKind::Other), so that no reader retries it).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stopped {
    /// `None`: cancelled by its caller.
    expired: Option<Expired>,
}

impl Stopped {
    pub(crate) fn expired(self) -> Option<Expired> {
        self.expired
    }
}

impl fmt::Display for Stopped {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.expired {
            None => "the job was asked to stop: its caller cancelled it",
            Some(_) => "the job was asked to stop: its deadline has passed",
        })
    }
}

impl Error for Stopped {}

impl From<Stopped> for io::Error {
    fn from(stopped: Stopped) -> Self {
        Self::other(stopped)
    }
}

impl Job {
    /// Whether the job is to stop: its caller has dropped its future or aborted its
    /// handle, or its deadline has passed.
    ///
    /// One relaxed load, cheap enough for an inner loop; with a deadline also a look at the
    /// clock.
    #[must_use]
    pub fn is_cancelled(&self) -> bool {
        self.checkpoint().is_err()
    }

    /// Stops here, by `?`, if the job [is to stop](Self::is_cancelled).
    ///
    /// # Errors
    ///
    /// [`Stopped`] if the job is to stop.
    pub fn checkpoint(&self) -> Result<(), Stopped> {
        if let Some(deadline) = self.header().deadline() {
            let now = clock::now();
            if now >= deadline {
                let expired = Some(self.header().progress(now));
                return Err(Stopped { expired });
            }
        }
        if self.header().state.is_cancel_requested() {
            return Err(Stopped { expired: None });
        }
        Ok(())
    }

    /// When the job's time is over: what [`timeout`](crate::Offloaded::timeout) or
    /// [`deadline`](crate::Offloaded::deadline) said, or an enclosing job's if that is
    /// earlier.
    #[must_use]
    pub fn deadline(&self) -> Option<Instant> {
        clock::instant(self.header().deadline()?)
    }

    /// How much of the job's time is left: what to give to a sync library as its own
    /// time-out. Zero if its deadline has passed, `None` if it has none.
    #[must_use]
    pub fn remaining(&self) -> Option<Duration> {
        let deadline = self.header().deadline()?;
        Some(Duration::from_nanos(deadline.saturating_sub(clock::now())))
    }

    /// The label given with [`label`](crate::Offloaded::label).
    #[must_use]
    pub fn label(&self) -> Option<&str> {
        self.header().label().map(|label| &**label)
    }
}

impl fmt::Debug for Job {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Job")
            .field("label", &self.label())
            .field("is_cancelled", &self.is_cancelled())
            .field("remaining", &self.remaining())
            .finish()
    }
}

thread_local! {
    /// The I/O job that this thread runs.
    static CURRENT: Cell<*const Job> = const { Cell::new(ptr::null()) };
}

/// Stops here, by `?`, if the I/O job that runs on this thread is to stop.
///
/// For code deep inside of an I/O job, whose signatures need not change:
/// anywhere else (on an event loop, in a thread of your own, in a CPU job) it
/// answers `Ok`. A CPU job looks at its [`Job`] instead, because a rayon thread may
/// be running a piece of another job.
///
/// # Errors
///
/// [`Stopped`] if the job's caller has dropped its future or aborted its handle, or its
/// deadline has passed.
pub fn checkpoint() -> Result<(), Stopped> {
    with_current(Job::checkpoint).unwrap_or(Ok(()))
}

/// How much time the I/O job that runs on this thread has left, see [`Job::remaining`].
/// `None` anywhere else.
#[must_use]
pub fn remaining() -> Option<Duration> {
    with_current(Job::remaining).flatten()
}

/// The deadline that calls made by the I/O job on this thread inherit.
pub(crate) fn inherited_deadline() -> Option<u64> {
    with_current(|job| job.header().deadline()).flatten()
}

fn with_current<R>(f: impl FnOnce(&Job) -> R) -> Option<R> {
    // In a thread-local's destructor ours may be gone: no job runs then.
    let job = CURRENT.try_with(Cell::get).unwrap_or(ptr::null());
    // SAFETY: set by `enter` for the time that the job runs on this thread.
    unsafe { job.as_ref() }.map(f)
}

/// Makes `job` the one that [`checkpoint`] asks, until the guard is dropped.
pub(crate) fn enter(job: &Job) -> Entered {
    let before = CURRENT
        .try_with(|current| current.replace(job))
        .unwrap_or(ptr::null());
    Entered { before }
}

pub(crate) struct Entered {
    before: *const Job,
}

impl Drop for Entered {
    fn drop(&mut self) {
        let _ = CURRENT.try_with(|current| current.set(self.before));
    }
}
