//! A chain: jobs that go to the inbox together, by one exchange.
//!
//! Linked like the inbox itself, newest first, so that the drain, which reverses it, finds them
//! in the order in which they were added.

use super::admission::Permit;
use super::job::Header;
use super::job_ref::JobRef;
use super::queue::Queue;
use crate::sync::planted;
use std::ptr::{self, NonNull};

/// Jobs that nobody else knows yet. It does not own them: dropped, it leaks them.
#[must_use]
pub(crate) struct Chain {
    newest: *mut Header,
    oldest: *mut Header,
}

impl Chain {
    pub(crate) const fn new() -> Self {
        Self {
            newest: ptr::null_mut(),
            oldest: ptr::null_mut(),
        }
    }

    /// Adds a job that comes after all others.
    ///
    /// # Safety
    ///
    /// The caller owns both sides of `job`, which is new, and hands its queue side over.
    pub(crate) unsafe fn add(&mut self, job: NonNull<Header>) {
        if self.oldest.is_null() {
            self.oldest = job.as_ptr();
        }
        let older = if planted("chain: each job alone") {
            ptr::null_mut()
        } else {
            self.newest
        };
        // SAFETY: not published yet, so the links are ours.
        unsafe {
            job.as_ref().links.with_mut(|links| (*links).next = older);
        }
        self.newest = job.as_ptr();
    }

    /// The job that was added last, out of the chain: its queue side is the caller's again.
    pub(crate) fn take_newest(&mut self) -> Option<NonNull<Header>> {
        let job = NonNull::new(self.newest)?;
        // The oldest one's link is not ours: a push that failed has written it.
        self.newest = if self.newest == self.oldest {
            self.oldest = ptr::null_mut();
            ptr::null_mut()
        } else {
            // SAFETY: by the contract of `add` it is alive, and its links are ours.
            unsafe { job.as_ref().links.with(|links| (*links).next) }
        };
        Some(job)
    }
}

impl Queue {
    /// Hands a chain over: all of its jobs, or none, in which case it comes back. The caller
    /// makes sure afterwards that a worker looks; once is enough, because whoever takes a job
    /// and leaves others sees to the next.
    ///
    /// # Safety
    ///
    /// The chain holds as many jobs as `permit` is for, of the same lane.
    pub(crate) unsafe fn push_all(&self, permit: Permit, chain: Chain) -> Result<(), Chain> {
        let (Some(newest), Some(oldest)) = (NonNull::new(chain.newest), NonNull::new(chain.oldest))
        else {
            return Ok(());
        };
        // SAFETY: by the contract of `add` they are ours.
        let pushed = unsafe { self.inbox.push_all(newest, oldest) };
        if pushed.is_err() {
            let permit = if planted("chain: refused, and room for one given back") {
                Permit(1)
            } else {
                permit
            };
            // SAFETY: still ours.
            self.cancel_permit(permit, unsafe { JobRef::new(newest) }.lane());
            return Err(chain);
        }
        Ok(())
    }
}
