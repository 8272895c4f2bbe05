//! [`JobRef`]: a job as those see it who keep it alive.

use super::extension::{Expired, Extension};
use super::job::{self, Header};
use super::lane_state::LaneState;
use crate::sync::Ordering;
use std::borrow::Cow;
use std::marker::PhantomData;
use std::ops::Deref;
use std::ptr::NonNull;
use std::sync::Arc;

/// A job that is alive for `'a`: its header, and unlike a `&Header` what lies in front of it.
#[derive(Clone, Copy)]
pub(crate) struct JobRef<'a> {
    job: NonNull<Header>,
    alive: PhantomData<&'a Header>,
}

impl<'a> JobRef<'a> {
    /// # Safety
    ///
    /// `job` comes from [`allocate`](job::allocate), and is alive for `'a`.
    pub(crate) unsafe fn new(job: NonNull<Header>) -> Self {
        Self {
            job,
            alive: PhantomData,
        }
    }

    fn extension(self) -> Option<&'a Extension> {
        // SAFETY: by the contract of `new`.
        unsafe { job::extension(self.job) }
    }

    #[inline]
    pub(crate) fn label(self) -> Option<&'a Cow<'static, str>> {
        self.extension()?.label.as_ref()
    }

    /// When the job is not worth anything any more, in the clock's nanoseconds.
    #[inline]
    pub(crate) fn deadline(self) -> Option<u64> {
        self.extension()?.deadline
    }

    #[inline]
    pub(crate) fn lane(self) -> Option<&'a Arc<LaneState>> {
        self.extension()?.lane.as_ref()
    }

    pub(crate) fn must_run(self) -> bool {
        self.extension().is_some_and(|own| own.must_run)
    }

    /// Worker: the job starts now. Told to its caller should its deadline pass.
    pub(crate) fn set_started(self, now: u64) {
        if let Some(extension) = self.extension() {
            // ORDERING: Relaxed: a number for a message, no decision.
            extension.started_at.store(now, Ordering::Relaxed);
        }
    }

    /// How far it has got by `now`.
    pub(crate) fn progress(self, now: u64) -> Expired {
        let started_at = match self.extension() {
            Some(extension) => extension.started_at.load(Ordering::Relaxed),
            None => 0,
        };
        let start = if started_at == 0 { now } else { started_at };
        Expired {
            waited: start.saturating_sub(self.queued_at),
            ran: now.saturating_sub(start),
        }
    }
}

impl Deref for JobRef<'_> {
    type Target = Header;

    fn deref(&self) -> &Header {
        // SAFETY: by the contract of `new`.
        unsafe { self.job.as_ref() }
    }
}
