//! How long a submitter is held up: the time of each single submission, by many threads at once.
//!
//! The tail is what this is about: with a lock in front of the queue, a submitter waits for a lock holder that has
//! lost its CPU, and an event loop waits with it. So the clock is the wall's. That counts the times, too, at which the
//! submitter itself loses its CPU in the middle of a submission, which is nobody's fault: the subject `nothing`, which
//! allocates and frees a closure in the place of submitting it, shows how much that is on this machine. The thread's
//! own CPU clock would leave it out, and with it every wait for a lock; it is a cell of its own, and not judged.
//!
//! A look at the clock costs some 20 ns (the wall's), or 150 (the thread's: a system call), of which half is in
//! each time.

use std::hint::black_box;
use std::sync::Barrier;
use std::thread;
use std::time::Instant;

use hdrhistogram::Histogram;

use crate::pools::Pool;
use crate::sample::{Mark, Push, Sample};

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Clock {
    Wall,
    /// CPU time of the thread.
    Cpu,
}

const SUBMITTERS: usize = 16;
/// Of each submitter in a round: enough for 32 beyond the 99.99th percentile.
const BATCHES: u64 = 200;
/// Submitted one after the other, then awaited, so that the queue does not grow for ever.
const BATCH: u64 = 100;
/// A second: what takes longer is counted as that.
const LONGEST: u64 = 1_000_000_000;

pub(crate) fn round<P: Pool>(pool: &P, clock: Clock) -> Sample {
    let together = Barrier::new(SUBMITTERS);
    let mark = Mark::now();
    let submitter = || {
        together.wait();
        match clock {
            Clock::Wall => submit(pool, &Instant::now, |from: Instant| {
                from.elapsed().as_nanos() as u64
            }),
            Clock::Cpu => submit(pool, &thread_time, |from| {
                thread_time().saturating_sub(from)
            }),
        }
    };
    let all = thread::scope(|scope| {
        let threads: Vec<_> = (0..SUBMITTERS).map(|_| scope.spawn(submitter)).collect();
        let mut all = empty();
        for thread in threads {
            let times = thread.join().expect("no submitter panics");
            all.add(times).expect("the same bounds");
        }
        all
    });
    let mut sample = mark.sample(SUBMITTERS as u64 * BATCHES * BATCH);
    sample.push = Some(Push {
        median: all.value_at_quantile(0.5),
        p99: all.value_at_quantile(0.99),
        p9999: all.value_at_quantile(0.9999),
        worst: all.max(),
    });
    sample
}

fn empty() -> Histogram<u64> {
    Histogram::new_with_bounds(1, LONGEST, 3).expect("valid bounds")
}

fn submit<P: Pool, T>(pool: &P, now: &impl Fn() -> T, since: impl Fn(T) -> u64) -> Histogram<u64> {
    let mut times = empty();
    let mut started = Vec::with_capacity(BATCH as usize);
    for _ in 0..BATCHES {
        for input in 0..BATCH {
            let from = now();
            let one = pool.start(move || black_box(input) + 1);
            times.saturating_record(since(from));
            started.push(one);
        }
        let last = started.pop().expect("a batch has jobs");
        started.drain(..).for_each(P::detach);
        assert_eq!(P::value(pollster::block_on(last)), BATCH);
    }
    times
}

/// In ns.
#[cfg(unix)]
fn thread_time() -> u64 {
    let mut time = libc::timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    // SAFETY: the pointer is to a `timespec` of our own, which the call only writes to.
    let status = unsafe { libc::clock_gettime(libc::CLOCK_THREAD_CPUTIME_ID, &mut time) };
    assert_eq!(status, 0, "every thread has a CPU clock");
    time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64
}

#[cfg(not(unix))]
fn thread_time() -> u64 {
    0
}

/// Runs the closure at once, on the submitter's thread: what the machine and the measuring cost by themselves.
#[derive(Clone)]
pub(crate) struct Nothing;

impl Pool for Nothing {
    type Started = std::future::Ready<u64>;

    fn start<F>(&self, work: F) -> Self::Started
    where
        F: FnOnce() -> u64 + Send + 'static,
    {
        let work: Box<dyn FnOnce() -> u64 + Send> = black_box(Box::new(work));
        std::future::ready(work())
    }

    fn value(outcome: u64) -> u64 {
        outcome
    }
}
