//! How running code learns that it should stop: [`Job`] and [`Stopped`].

use crate::clock;
use crate::core::extension::Expired;
use crate::core::view::Job;
use std::error::Error;
use std::fmt;
use std::time::{Duration, Instant};

/// The proof that a checkpoint said "stop".
///
/// Only [`checkpoint`](crate::checkpoint()) and [`Job::checkpoint`] make one (and the calls of
/// a [`Blocking`](crate::Blocking) that cannot have their value). A closure of a `_with`
/// form that returns it resolves as
/// [`OffloadError::Cancelled`](crate::OffloadError::Cancelled), or as
/// [`DeadlineExceeded`](crate::OffloadError::DeadlineExceeded) if that was the reason. For
/// code that has error types of its own it converts into
/// [`OffloadError`](crate::OffloadError) and, with that inside,
/// [`io::Error`](std::io::Error) (kind [`Other`](std::io::ErrorKind::Other), so that no
/// reader retries it).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stopped {
    pub(crate) reason: Reason,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Reason {
    /// By its caller.
    Cancelled,
    Expired(Expired),
    Poisoned,
    Taken,
    WouldDeadlock,
}

impl Stopped {
    const CANCELLED: Self = Self::of(Reason::Cancelled);
    pub(crate) const POISONED: Self = Self::of(Reason::Poisoned);
    pub(crate) const TAKEN: Self = Self::of(Reason::Taken);
    pub(crate) const WOULD_DEADLOCK: Self = Self::of(Reason::WouldDeadlock);

    const fn of(reason: Reason) -> Self {
        Self { reason }
    }
}

impl fmt::Display for Stopped {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.reason {
            Reason::Cancelled => "the job was asked to stop: its caller cancelled it",
            Reason::Expired(_) => "the job was asked to stop: its deadline has passed",
            Reason::Poisoned => "the job could not have its value: an earlier one panicked",
            Reason::Taken => "the job could not have its value: it has been taken",
            Reason::WouldDeadlock => "the job could not have its value: its caller has it",
        })
    }
}

impl Error for Stopped {}

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
                let progress = self.header().progress(now);
                return Err(Stopped::of(Reason::Expired(progress)));
            }
        }
        if self.header().state.is_cancel_requested() || self.is_asked_by_its_pool() {
            return Err(Stopped::CANCELLED);
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

/// The core alone knows no pools.
#[cfg(offramp_loom)]
impl Job {
    fn is_asked_by_its_pool(&self) -> bool {
        false
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
