//! Fetching a job before its turn.
//!
//! Its submitter has written it last, so its cache lines are on another processor; and being
//! claimed, run and completed it is written at once. Fetched to be written while the job
//! before it runs, they are here by then, and need not be asked for a second time to write.

use super::job::Header;

/// The first two lines of `job`: the header and a small closure. Any address will do, null too.
#[inline(always)]
#[cfg(all(target_arch = "x86_64", not(offramp_loom), not(miri)))]
pub(super) fn for_writing(job: *const Header) {
    // SAFETY: it reads and writes no memory, as the program can tell, and does not fault.
    // Processors without the instruction take it for none.
    unsafe {
        std::arch::asm!(
            "prefetchw [{job}]",
            "prefetchw [{job} + 64]",
            job = in(reg) job,
            options(nostack, preserves_flags, readonly),
        );
    }
}

#[inline(always)]
#[cfg(not(all(target_arch = "x86_64", not(offramp_loom), not(miri))))]
pub(super) fn for_writing(_: *const Header) {}
