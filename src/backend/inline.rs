//! No threads: jobs run where they are submitted.

use super::{Backend, Threads, Turns};
use std::sync::atomic::{AtomicUsize, Ordering};

/// Runs each job on the thread that submits it, before the submission returns: in the
/// first poll, or in `try_spawn`.
///
/// For tests, which then run in one order and on one thread, and for targets without
/// threads. Never for an event loop that serves anybody: every job blocks it.
///
/// All else is as on other backends: outcomes, panics, statistics, shutdown. A job
/// submitted inside of a job runs right there, on the same stack, so that very deep
/// recursion overflows it. By the time that there is something to cancel it is over;
/// [`must_run`](crate::Offloaded::must_run) changes nothing; a job whose deadline has
/// passed by its submission does not run. Where several threads submit at the same time
/// one may run the other's job in place of its own.
///
/// # Threads
///
/// None is needed, and none is started: neither for time-outs, because a job is over
/// before anybody waits for it, nor to log those that run for
/// [too long](crate::Builder::warn_after). Only
/// [`offload_dedicated`](crate::offload_dedicated), whose jobs never run inline, resolves
/// as [`NoThreads`](crate::OffloadError::NoThreads) where there are none, as does the other
/// pool unless it is inline, too. A target must have a clock (`std::time::Instant`).
///
/// # Inside of tokio
///
/// A job that runs in the poll of a task may use what `spawn_blocking` allows, but for
/// `Handle::block_on`, which panics on an event loop's thread.
///
/// ```
/// use offramp::{Offload, backend, offload_io};
/// use std::thread;
///
/// # futures::executor::block_on(async {
/// let offload = Offload::builder()
///     .io_backend(backend::Inline::new())
///     .cpu_backend(backend::Inline::new())
///     .build()?;
/// let job = offload_io(|| thread::current().id()).on(&offload);
/// assert_eq!(job.await?, thread::current().id());
/// # Ok::<_, Box<dyn std::error::Error>>(())
/// # }).unwrap();
/// ```
#[derive(Debug, Default)]
pub struct Inline {
    /// Submitters in a turn.
    present: AtomicUsize,
}

impl Inline {
    /// One backend for one pool.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }
}

impl Backend for Inline {
    /// Runs one job. Others that wait have been pushed by submitters who are on their way
    /// here, or were left behind together: then there is more.
    fn demand(&self, turns: &Turns) {
        // ORDERING: AcqRel, here and below, partner: each other and the Acquire load in
        // `threads`: who sees nobody here sees what the jobs did.
        self.present.fetch_add(1, Ordering::AcqRel);
        while let Some(turn) = turns.next() {
            let more = turn.more();
            run_blocking(|| turn.run());
            if !more {
                break;
            }
        }
        if self.present.fetch_sub(1, Ordering::AcqRel) == 1 {
            turns.left();
        }
    }

    fn close(&self, turns: &Turns) {
        if !turns.is_empty() {
            self.demand(turns);
        }
    }

    fn threads(&self) -> Threads {
        Threads {
            present: self.present.load(Ordering::Acquire),
            idle: 0,
        }
    }

    fn size(&self) -> Option<usize> {
        Some(1)
    }

    fn runs_inline(&self) -> bool {
        true
    }
}

#[cfg(feature = "tokio")]
use crate::tokio_runtime::run_blocking;

#[cfg(not(feature = "tokio"))]
fn run_blocking(f: impl FnOnce()) {
    f();
}
