//! Lanes: the FIFOs that jobs wait in, behind the scheduler's lock.
//!
//! Today every call shares one lane; which lane is served next is decided here
//! and nowhere else. A lane is an intrusive doubly linked list, so that a
//! cancelled job's shell leaves it in O(1).

use super::inbox::Inbox;
use super::job::{Header, Links, Place, free};
use crate::sync::planted;
use std::ptr::{self, NonNull};

/// What the scheduler's lock guards.
pub(crate) struct Lanes {
    shared: Lane,
    /// Drained from the inbox, newest first, on the way to `oldest_first`.
    newest_first: *mut Header,
    /// Reversed, on the way to the lanes. Filled only while `newest_first` is
    /// emptied, and emptied before the next drain: submission order is kept.
    oldest_first: *mut Header,
    /// Shells let go of since `take_released`.
    released: usize,
}

// SAFETY: the pointers are owned: a job's queue side belongs to the structure it
// is linked in, and jobs are `Send`.
unsafe impl Send for Lanes {}

/// A FIFO of jobs linked by `next` and `prev`.
struct Lane {
    first: *mut Header,
    last: *mut Header,
}

/// Access to the links of a job that is ours by the scheduler's lock.
///
/// # Safety
///
/// The caller holds the scheduler's lock and the queue side of `job` is alive.
unsafe fn links<R>(job: *mut Header, f: impl FnOnce(&mut Links) -> R) -> R {
    // SAFETY: by contract; the lock makes the access exclusive.
    unsafe { (*job).links.with_mut(|links| f(&mut *links)) }
}

impl Lane {
    const fn new() -> Self {
        Self {
            first: ptr::null_mut(),
            last: ptr::null_mut(),
        }
    }

    /// # Safety
    ///
    /// Lock held; `job` is in no list.
    unsafe fn append(&mut self, job: *mut Header) {
        let last = self.last;
        // SAFETY: by contract; `last` is linked here, so it is alive.
        unsafe {
            links(job, |job| {
                job.place = Place::Lane;
                job.prev = last;
                job.next = ptr::null_mut();
            });
            if last.is_null() {
                self.first = job;
            } else {
                links(last, |last| last.next = job);
            }
        }
        self.last = job;
    }

    /// # Safety
    ///
    /// Lock held; `job` is linked in this lane.
    unsafe fn unlink(&mut self, job: *mut Header) {
        // SAFETY: by contract; the neighbours are linked here too.
        unsafe {
            let (prev, next) = links(job, |job| {
                job.place = Place::Out;
                (job.prev, job.next)
            });
            if prev.is_null() {
                self.first = next;
            } else {
                links(prev, |prev| prev.next = next);
            }
            if next.is_null() {
                self.last = prev;
            } else {
                links(next, |next| next.prev = prev);
            }
        }
    }
}

impl Lanes {
    pub(crate) const fn new() -> Self {
        Self {
            shared: Lane::new(),
            newest_first: ptr::null_mut(),
            oldest_first: ptr::null_mut(),
            released: 0,
        }
    }

    /// The next job in turn, out of its lane. If `claim` finds it cancelled, its
    /// shell is left alone: its burial, done or to come, ends it.
    pub(crate) fn pop(&mut self) -> Option<NonNull<Header>> {
        let job = NonNull::new(self.shared.first)?;
        // SAFETY: `&mut self` is the lock; the first job is linked.
        unsafe { self.shared.unlink(job.as_ptr()) };
        Some(job)
    }

    /// Pops all, but those that `keep` wants, which stay in their order.
    pub(crate) fn retain(&mut self, mut keep: impl FnMut(NonNull<Header>) -> bool) {
        let mut kept = Lane::new();
        while let Some(job) = self.pop() {
            if keep(job) {
                // SAFETY: `&mut self` is the lock; just popped, and not claimed.
                unsafe { kept.append(job.as_ptr()) };
            }
        }
        self.shared = kept;
    }

    /// Nothing waits in the lanes or on the way to them.
    pub(crate) fn is_empty(&self) -> bool {
        self.shared.first.is_null() && self.newest_first.is_null() && self.oldest_first.is_null()
    }

    /// Moves jobs from the inbox to the lanes, in submission order, in at most
    /// `steps` steps (two for each job). What is left over is gone on with by the
    /// next call: a canceller does a bounded part, a worker all of it.
    pub(crate) fn drain(&mut self, inbox: &Inbox, steps: usize) {
        for _ in 0..steps {
            if !self.newest_first.is_null() {
                self.reverse_one();
            } else if !self.oldest_first.is_null() {
                self.link_one();
            } else {
                self.newest_first = inbox.drain();
                if self.newest_first.is_null() {
                    return;
                }
            }
        }
    }

    /// Seals the inbox and takes what it held.
    pub(crate) fn seal(&mut self, inbox: &Inbox) {
        self.drain(inbox, usize::MAX);
        self.newest_first = inbox.seal();
        self.drain(inbox, usize::MAX);
    }

    fn reverse_one(&mut self) {
        let job = self.newest_first;
        // SAFETY: `&mut self` is the lock; drained jobs are alive until linked.
        self.newest_first = unsafe {
            links(job, |job| {
                std::mem::replace(&mut job.next, self.oldest_first)
            })
        };
        self.oldest_first = job;
    }

    fn link_one(&mut self) {
        let job = self.oldest_first;
        // SAFETY: as in `reverse_one`; a buried job is in no graveyard any more.
        unsafe {
            let (next, place) = links(job, |job| (job.next, job.place));
            self.oldest_first = next;
            if place == Place::Buried {
                self.release(job);
            } else {
                self.shared.append(job);
            }
        }
    }

    /// Takes a cancelled job's shell, just out of the graveyard, out of its lane.
    ///
    /// # Safety
    ///
    /// The job is cancelled, was in the graveyard, and is in it no more.
    pub(crate) unsafe fn bury(&mut self, shell: *mut Header) {
        // SAFETY: `&mut self` is the lock; the queue side is alive until
        // `release`, which is called once: here, or when a buried one comes out.
        unsafe {
            match links(shell, |links| links.place) {
                Place::Inbox => links(shell, |links| links.place = Place::Buried),
                Place::Lane => {
                    self.shared.unlink(shell);
                    self.release(shell);
                }
                Place::Out => self.release(shell),
                Place::Buried => unreachable!("a shell was buried twice"),
            }
        }
    }

    /// A job that was never pushed was found cancelled: its burial, done or to come, ends
    /// it.
    ///
    /// # Safety
    ///
    /// The job is cancelled, in no list, and its queue side is the caller's.
    pub(crate) unsafe fn let_go(&mut self, shell: *mut Header) {
        // SAFETY: `&mut self` is the lock; see `bury`.
        unsafe {
            let place = links(shell, |links| {
                std::mem::replace(&mut links.place, Place::Out)
            });
            if place == Place::Buried && !planted("lanes: buried before it was let go") {
                self.release(shell);
            }
        }
    }

    /// Ends the queue side of a cancelled job.
    ///
    /// # Safety
    ///
    /// The shell is in no list and no graveyard.
    unsafe fn release(&mut self, shell: *mut Header) {
        self.released += 1;
        // SAFETY: by contract the queue side is ours; after `release_queue` answered
        // "the caller left before" we are the later side and free.
        unsafe {
            if (*shell).state.release_queue() {
                free(NonNull::new_unchecked(shell));
            }
        }
    }

    /// How many shells were let go of since the last call.
    pub(crate) fn take_released(&mut self) -> usize {
        std::mem::take(&mut self.released)
    }
}
