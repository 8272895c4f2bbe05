//! Waiting from inside: what a pool's own thread does while its job waits for another.
//!
//! A pool whose threads all wait for jobs that wait for a thread hangs. So a call that is
//! waited for by `wait`, on a thread of its own pool, runs right there; and whoever blocks
//! otherwise lends its turn, so that another worker may come, within a bound.

use crate::backend::Turns;
use crate::clock;
use crate::core::queue::Kept;
use crate::core::view::Job;
use crate::current;
use crate::error::OffloadError;
use crate::future::Offloaded;
use crate::pool::Kind;
use std::cell::RefCell;
use std::collections::VecDeque;
use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Wake, Waker};
use std::thread::{self, Thread};

/// Jobs that were not pushed: the one that waits for them runs them on its own stack.
#[derive(Default)]
pub(crate) struct Inline {
    jobs: RefCell<VecDeque<Kept>>,
}

impl Inline {
    pub(crate) fn keep(&self, job: Kept) {
        self.jobs.borrow_mut().push_back(job);
    }

    /// Runs the next one here. `false`: there is none.
    pub(crate) fn run_next(&self, turns: &Turns) -> bool {
        let next = self.jobs.borrow_mut().pop_front();
        let Some(kept) = next else {
            return false;
        };
        if let Some(job) = turns.pool().queue.claim(kept) {
            turns.run(job, clock::now(), true, false);
        }
        true
    }
}

/// Wakes a thread that sleeps in `block_on`.
struct Sleeper {
    thread: Thread,
    woken: AtomicBool,
}

impl Wake for Sleeper {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        // ORDERING: Release, partner: the Acquire swap in `block_on`.
        if !self.woken.swap(true, Ordering::Release) {
            self.thread.unpark();
        }
    }
}

/// Polls `future` on this thread; in between it calls `idle`, and sleeps when that answers
/// `false`.
fn poll_here<F: Future>(future: F, mut idle: impl FnMut() -> bool) -> F::Output {
    let sleeper = Arc::new(Sleeper {
        thread: thread::current(),
        woken: AtomicBool::new(false),
    });
    let waker = Waker::from(Arc::clone(&sleeper));
    let mut cx = Context::from_waker(&waker);
    let mut future = pin!(future);
    loop {
        if let Poll::Ready(output) = future.as_mut().poll(&mut cx) {
            return output;
        }
        // ORDERING: Acquire, partner: the Release swap in `wake_by_ref`.
        while !sleeper.woken.swap(false, Ordering::Acquire) {
            if !idle() {
                thread::park();
            }
        }
    }
}

/// Blocks this thread until `future` is over.
pub(crate) fn block_on<F: Future>(future: F) -> F::Output {
    poll_here(future, || false)
}

/// Blocks this thread until `future` is over, as [`Job::block_on`] does if a job runs here.
pub(crate) fn block_on_lending<F: Future>(future: F) -> F::Output {
    match current::turns_of_job() {
        Some(turns) => block_on_in_job(&turns, future),
        None => block_on(future),
    }
}

/// [`Job::block_on`] of a job in a turn of `turns`.
fn block_on_in_job<F: Future>(turns: &Turns, future: F) -> F::Output {
    let inline = Inline::default();
    let _rest = Rest {
        inline: &inline,
        turns,
    };
    let _waits = current::enter_wait(Some(&inline));
    poll_here(future, || inline.run_next(turns))
}

impl Job {
    /// Blocks this job until `future` is over.
    ///
    /// For the async call in the midst of sync code. The job lends its turn meanwhile:
    /// the I/O pool may run another job, in a thread more than its maximum if need be
    /// ([`io_extra_threads`](crate::Builder::io_extra_threads)), so that jobs that wait for
    /// jobs do not hang it. Where that bound is reached, and in a CPU job that is the last
    /// one not waiting, the calls that `future` makes to the same pool run right here, one
    /// after the other, while it is pending; one of them that waits for another part of
    /// `future` then waits for ever.
    ///
    /// Dropping the job's own future does not end the wait; `future` may look at
    /// [`is_cancelled`](Self::is_cancelled).
    ///
    /// # Panics
    ///
    /// With what `future` panics.
    pub fn block_on<F: Future>(&self, future: F) -> F::Output {
        block_on_in_job(self.turns(), future)
    }

    /// Runs `f` on the I/O pool and blocks this job until it is over: for the part of a
    /// CPU job that waits.
    ///
    /// A blocked CPU job still occupies its thread, but `f` does not: it counts, and is
    /// limited, as what it is. It inherits the job's deadline. In an I/O job `f` runs right
    /// here.
    ///
    /// # Errors
    ///
    /// As for [`offload_io`](fn@crate::offload_io); [`ShutDown`](OffloadError::ShutDown) also
    /// if the last handle to the pools is gone.
    pub fn io<F, R>(&self, f: F) -> Result<R, OffloadError>
    where
        F: FnOnce() -> R + Send + 'static,
        R: Send + 'static,
    {
        let offload = self.turns().pool().offload();
        let offload = offload.ok_or(OffloadError::ShutDown)?;
        let call = Offloaded::new(Kind::Io, f).on(&offload);
        call.inherit(self).wait()
    }
}

/// What was kept and never waited for runs before its keeper goes on, also in a panic.
struct Rest<'a> {
    inline: &'a Inline,
    turns: &'a Turns,
}

impl Drop for Rest<'_> {
    fn drop(&mut self) {
        while self.inline.run_next(self.turns) {}
    }
}
