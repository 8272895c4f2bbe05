//! How long a submitter is held up: the time of each single submission, by many threads at once.
//!
//! The tail is what this is about: with a lock in front of the queue a submitter waits for a lock holder that has lost
//! its CPU, and an event loop waits with it. So it is the wall's clock, and not the thread's CPU clock, which stands
//! still in such a wait.
//!
//! With sixteen threads on two CPUs a submitter is also preempted in the middle of a submission now and then: nobody's
//! fault, and some 0.25 us of every 3 ms, which is just about what the 99.99th percentile is. The kernel counts these
//! apart from waits: of each batch of submissions, as many of the slowest are left out as it says that the submitter was
//! preempted meanwhile (that this hits one that had to wait for a lock is rare: there is a preemption in one of some
//! hundred batches). A thread that yields, as some locks do before they wait, is not preempted. What the percentile would be with them is told, too.
//!
//! Interrupts are not told apart: a timer's tick is 2 to 10 us on a virtual machine, and with 250 to 1,000 of them a
//! second one submission in 4,000 to 16,000 has one in it. So there is the subject `computing`, which computes for 0.2 us in
//! the place of submitting: what it has at that percentile the machine does by itself, and no pool can be below.

use std::hint::black_box;
use std::sync::Barrier;
use std::thread;
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;

use crate::jobs::{Busy, Job};
use crate::machine;
use crate::pools::Pool;
use crate::sample::{Mark, Push, Sample};
use crate::yields;

const SUBMITTERS: usize = 16;
/// Of each submitter in a round: enough for 32 submissions beyond the 99.99th percentile.
const BATCHES: usize = 200;
const BATCH: u64 = 100;
/// A second: what takes longer is counted as that.
const LONGEST: u64 = 1_000_000_000;

/// What a submitter does between two batches.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Between {
    /// Goes on: the queue does not run dry, so nobody has to be woken, neither by a submission nor beside it, where it
    /// would be an interrupt. The queue grows, into memory that the rounds before have left: see [`keep_memory`].
    GoOn,
    /// Awaits the batch: threads go to sleep, and waking them is part of a submission.
    Await,
}

/// The times of submissions.
struct Times {
    all: Histogram<u64>,
    without_preempted: Histogram<u64>,
}

impl Times {
    fn new() -> Self {
        let empty = || Histogram::new_with_bounds(1, LONGEST, 3).expect("valid bounds");
        Times {
            all: empty(),
            without_preempted: empty(),
        }
    }

    /// Sorts them.
    fn record(&mut self, batch: &mut [u64], preemptions: u64) {
        batch.sort_unstable();
        let kept = batch.len().saturating_sub(preemptions as usize);
        for &time in &*batch {
            self.all.saturating_record(time);
        }
        for &time in &batch[..kept] {
            self.without_preempted.saturating_record(time);
        }
    }

    fn add(&mut self, other: &Times) {
        let added = self.all.add(&other.all);
        let added = added.and_then(|()| self.without_preempted.add(&other.without_preempted));
        added.expect("the same bounds");
    }
}

/// Has the allocator give nothing back to the system: to get it again, a page at a time, is no part of a submission.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
pub(crate) fn keep_memory() {
    // SAFETY: it takes numbers. If it fails the times are longer.
    unsafe { libc::mallopt(libc::M_TRIM_THRESHOLD, libc::c_int::MAX) };
}

#[cfg(not(all(target_os = "linux", target_env = "gnu")))]
pub(crate) fn keep_memory() {}

pub(crate) fn round<P: Pool>(pool: &P, between: Between) -> Sample {
    let together = Barrier::new(SUBMITTERS);
    let mark = Mark::now();
    let submitter = || {
        together.wait();
        submit(pool, between)
    };
    let times = thread::scope(|scope| {
        let threads: Vec<_> = (0..SUBMITTERS).map(|_| scope.spawn(submitter)).collect();
        let mut times = Times::new();
        for thread in threads {
            times.add(&thread.join().expect("no submitter panics"));
        }
        times
    });
    let mut sample = mark.sample(SUBMITTERS as u64 * BATCHES as u64 * BATCH);
    let kept = &times.without_preempted;
    sample.push = Some(Push {
        median: kept.value_at_quantile(0.5),
        p99: kept.value_at_quantile(0.99),
        p9999: kept.value_at_quantile(0.9999),
        with_preempted: times.all.value_at_quantile(0.9999),
        worst: times.all.max(),
    });
    sample
}

fn submit<P: Pool>(pool: &P, between: Between) -> Times {
    let mut times = Times::new();
    let mut batch = Vec::with_capacity(BATCH as usize);
    let mut started = Vec::with_capacity(BATCH as usize);
    for batches in 0..BATCHES {
        let before = preemptions();
        for input in 0..BATCH {
            let from = Instant::now();
            let one = pool.start(move || black_box(input) + 1);
            batch.push(from.elapsed().as_nanos() as u64);
            started.push(one);
        }
        times.record(&mut batch, preemptions().saturating_sub(before));
        batch.clear();
        let last = started.pop().expect("a batch has jobs");
        started.drain(..).for_each(P::detach);
        // The next round is not to find these.
        if between == Between::Await || batches + 1 == BATCHES {
            wait::<P>(last);
        } else {
            P::detach(last);
        }
    }
    times
}

/// Of this thread so far, without those that it has asked for.
fn preemptions() -> u64 {
    machine::preemptions().saturating_sub(yields::counted())
}

fn wait<P: Pool>(last: P::Started) {
    assert_eq!(P::value(pollster::block_on(last)), BATCH);
}

/// Computes on the submitter's thread for about as long as a submission takes: what the machine does to such a time.
#[derive(Clone)]
pub(crate) struct Computing {
    pub(crate) steps: u64,
}

/// How long that is.
pub(crate) const COMPUTES: Duration = Duration::from_nanos(200);

impl Pool for Computing {
    type Started = std::future::Ready<u64>;

    fn start<F>(&self, work: F) -> Self::Started
    where
        F: FnOnce() -> u64 + Send + 'static,
    {
        Busy(self.steps).run(0);
        std::future::ready(work())
    }

    fn value(outcome: u64) -> u64 {
        outcome
    }
}
