//! Calls that may be over as soon as they are submitted.
//!
//! On one CPU the thread that is woken for a lone job takes the CPU from its submitter, as a rule,
//! and gives it back when the job is done. A waker left with that job would be called while its own task is
//! being polled, and runtimes answer that by waking another thread for it. So such a
//! call looks for its output first, and leaves a waker if there is none.
//!
//! With a second CPU the look comes too early, and the other CPU has gone to sleep by the time that the waker
//! is called.

use crate::pool::Pool;
use std::cell::Cell;

/// So many calls of one thread in a row may be over at once. The next one leaves its waker, so that
/// a task which makes one after the other does not keep its runtime's others waiting.
const MOST: u32 = 16;

thread_local! {
    static IN_A_ROW: Cell<u32> = const { Cell::new(0) };
}

/// Whether the call that is made now should look for its output before it leaves a waker.
#[inline]
pub(crate) fn is_likely(pool: &Pool) -> bool {
    if pool.is_inline {
        return true;
    }
    if !pool.is_on_one_cpu || pool.queue.pending() > 0 {
        return false;
    }
    let in_a_row = IN_A_ROW.get();
    if in_a_row >= MOST {
        IN_A_ROW.set(0);
    }
    in_a_row < MOST
}

/// It has looked, and was over or not.
pub(crate) fn looked(pool: &Pool, is_over: bool) {
    if !pool.is_inline {
        IN_A_ROW.set(if is_over { IN_A_ROW.get() + 1 } else { 0 });
    }
}

/// Whether this thread, and those that it starts, run on one CPU. With a quota of one they may run on
/// several.
#[cfg(target_os = "linux")]
pub(crate) fn is_on_one_cpu() -> bool {
    // SAFETY: a plain bit set, filled by the call; `CPU_COUNT` reads no more than it.
    unsafe {
        let mut cpus = std::mem::zeroed::<libc::cpu_set_t>();
        libc::sched_getaffinity(0, size_of_val(&cpus), &raw mut cpus) == 0
            && libc::CPU_COUNT(&cpus) == 1
    }
}

#[cfg(not(target_os = "linux"))]
pub(crate) fn is_on_one_cpu() -> bool {
    std::thread::available_parallelism().is_ok_and(|cpus| cpus.get() == 1)
}
