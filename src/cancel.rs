//! How running code learns that it should stop: [`Job`], [`checkpoint`].

use crate::core::job::Job;
use std::cell::Cell;
use std::error::Error;
use std::fmt;
use std::io;
use std::ptr;

/// The proof that a checkpoint said "stop".
///
/// Only [`checkpoint`] and [`Job::checkpoint`] make one. A closure of a `_with`
/// form that returns it resolves as [`OffloadError::Cancelled`](crate::OffloadError::Cancelled). For code that
/// has error types of its own it converts into [`OffloadError`](crate::OffloadError) and
/// [`io::Error`] (kind [`Other`](io::ErrorKind::Other), so that no reader retries
/// it).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stopped(());

impl Stopped {
    pub(crate) fn new() -> Self {
        Self(())
    }
}

impl fmt::Display for Stopped {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the job was asked to stop: its caller cancelled it")
    }
}

impl Error for Stopped {}

impl From<Stopped> for io::Error {
    fn from(stopped: Stopped) -> Self {
        Self::other(stopped)
    }
}

impl Job {
    /// Whether the caller has dropped its future or aborted its handle.
    ///
    /// One relaxed load: cheap enough for an inner loop.
    #[must_use]
    pub fn is_cancelled(&self) -> bool {
        self.header().state.is_cancel_requested()
    }

    /// Stops here, by `?`, if the job [is cancelled](Self::is_cancelled).
    ///
    /// # Errors
    ///
    /// [`Stopped`] if the job is to stop.
    pub fn checkpoint(&self) -> Result<(), Stopped> {
        if self.is_cancelled() {
            Err(Stopped::new())
        } else {
            Ok(())
        }
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
            .finish()
    }
}

thread_local! {
    /// The I/O job that this thread runs.
    static CURRENT: Cell<*const Job> = const { Cell::new(ptr::null()) };
}

/// Stops here, by `?`, if the I/O job that runs on this thread is cancelled.
///
/// For code deep inside of an I/O job, whose signatures need not change:
/// anywhere else (on an event loop, in a thread of your own, in a CPU job) it
/// answers `Ok`. A CPU job looks at its [`Job`] instead, because a rayon thread may
/// be running a piece of another job.
///
/// # Errors
///
/// [`Stopped`] if the job's caller has dropped its future or aborted its handle.
pub fn checkpoint() -> Result<(), Stopped> {
    // In a thread-local's destructor ours may be gone: no job runs then.
    let job = CURRENT.try_with(Cell::get).unwrap_or(ptr::null());
    if job.is_null() {
        return Ok(());
    }
    // SAFETY: set by `enter` for the time that the job runs on this thread.
    unsafe { &*job }.checkpoint()
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
