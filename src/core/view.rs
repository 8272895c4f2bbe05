//! [`Job`]: a running job as its closure sees it.

use super::job::Header;
use super::job_ref::JobRef;
use std::ptr::NonNull;

/// A running job as its closure sees it.
///
/// The `_with` forms hand a `&Job` to the closure. It is `Sync`: hand it into
/// parallel sections, where the pool's threads may each look at it.
pub struct Job {
    header: NonNull<Header>,
    /// Whatever it is that runs the job; the core only hands it through.
    origin: *const (),
}

impl Job {
    /// # Safety
    ///
    /// The job is claimed, and the view is gone before it is completed.
    pub(crate) unsafe fn new(header: NonNull<Header>, origin: *const ()) -> Self {
        Self { header, origin }
    }

    pub(crate) fn origin(&self) -> *const () {
        self.origin
    }

    pub(crate) fn header(&self) -> JobRef<'_> {
        // SAFETY: by the contract of `new`.
        unsafe { JobRef::new(self.header) }
    }
}

// SAFETY: through a `&Job` only the atomic state word, the extension, which never changes
// but for an atomic, and the origin, which is shared by all threads, can be reached.
unsafe impl Sync for Job {}
