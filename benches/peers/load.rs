//! The loads: one job at a time, many in flight, a burst, batches of several tasks.

use std::cell::Cell as Slot;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use futures::future::BoxFuture;

use crate::cells::{Cell, Load};
use crate::jobs::{Busy, Job, Noop, Sleep, Work, steps_in};
use crate::pools::Pool;
use crate::push;
use crate::runtimes::Runtime;
use crate::sample::{Mark, Sample};

/// Round trips between two looks at the clock.
const TRIPS_PER_LOOK: u64 = 16;
/// Untimed jobs at the head of a round: they wake what slept while others were measured.
const LEAD_IN: u64 = 64;
/// How often a closed load that is not there yet is looked at.
const LOOK: Duration = Duration::from_millis(2);
/// Those of tokio's own benchmark `spawn_blocking`.
const BATCHES: u64 = 100;
const BATCH: u64 = 16;

/// One round of a cell. `million`: how long a million steps of a busy job take.
pub(crate) fn round<P: Pool>(
    runtime: &Runtime,
    pool: &P,
    cell: &Cell,
    million: Duration,
) -> Sample {
    match cell.work {
        Work::Noop => dispatch(runtime, pool, cell, Noop),
        Work::Busy(time) => dispatch(runtime, pool, cell, Busy(steps_in(time, million))),
        Work::Sleep(time) => dispatch(runtime, pool, cell, Sleep(time)),
    }
}

fn dispatch<P: Pool, J: Job>(runtime: &Runtime, pool: &P, cell: &Cell, job: J) -> Sample {
    match cell.load {
        Load::RoundTrip => round_trips(runtime, pool, cell.window, job),
        Load::Closed(tasks) => closed(runtime, pool, cell.window, job, tasks),
        Load::Burst(jobs) => bursts(runtime, pool, cell.window, job, jobs as u64),
        Load::Together(jobs) => together(runtime, pool, cell.window, job, jobs as u64),
        Load::Batches(tasks) => batches(runtime, pool, job, tasks as u64),
        Load::Push(between) => push::round(pool, between),
    }
}

async fn call<P: Pool, J: Job>(pool: &P, job: J, input: u64) {
    let output = pool.call(move || job.run(input)).await;
    assert_eq!(output, input + 1);
}

/// One job, awaited, and again, from one task.
fn round_trips<P: Pool, J: Job>(runtime: &Runtime, pool: &P, window: Duration, job: J) -> Sample {
    let pool = pool.clone();
    runtime.run_one(async move {
        for input in 0..LEAD_IN {
            call(&pool, job, input).await;
        }
        let mark = Mark::now();
        let mut jobs = 0;
        while mark.elapsed() < window {
            for _ in 0..TRIPS_PER_LOOK {
                call(&pool, job, jobs).await;
                jobs += 1;
            }
        }
        mark.sample(jobs)
    })
}

/// Submits a burst, then awaits every job in order; repeated until the window is full.
fn bursts<P: Pool, J: Job>(
    runtime: &Runtime,
    pool: &P,
    window: Duration,
    job: J,
    size: u64,
) -> Sample {
    let pool = pool.clone();
    runtime.run_one(async move {
        let mut started = Vec::with_capacity(size as usize);
        burst(&pool, job, LEAD_IN, &mut started).await;
        let mark = Mark::now();
        let mut jobs = 0;
        while jobs == 0 || mark.elapsed() < window {
            burst(&pool, job, size, &mut started).await;
            jobs += size;
        }
        mark.sample(jobs)
    })
}

async fn burst<P: Pool, J: Job>(pool: &P, job: J, size: u64, started: &mut Vec<P::Started>) {
    started.extend((0..size).map(|input| pool.start(move || job.run(input))));
    for (input, one) in (0..size).zip(started.drain(..)) {
        assert_eq!(P::value(one.await), input + 1);
    }
}

/// Has so many run together, and again until the window is full.
fn together<P: Pool, J: Job>(
    runtime: &Runtime,
    pool: &P,
    window: Duration,
    job: J,
    size: u64,
) -> Sample {
    let pool = pool.clone();
    runtime.run_one(async move {
        let all = async || {
            let works = (0..size).map(|input| move || job.run(input));
            let outputs = pool.all(works).await;
            assert!((0..size).all(|input| outputs[input as usize] == input + 1));
        };
        all().await;
        let mark = Mark::now();
        let mut jobs = 0;
        while mark.elapsed() < window {
            all().await;
            jobs += size;
        }
        mark.sample(jobs)
    })
}

/// So many tasks at once, each of which submits a batch and awaits it before the next.
fn batches<P: Pool, J: Job>(runtime: &Runtime, pool: &P, job: J, tasks: u64) -> Sample {
    let all = (0..tasks)
        .map(|_| -> BoxFuture<'static, ()> {
            let pool = pool.clone();
            Box::pin(async move {
                let mut started = Vec::with_capacity(BATCH as usize);
                for _ in 0..BATCHES {
                    burst(&pool, job, BATCH, &mut started).await;
                }
            })
        })
        .collect();
    let lead_in = pool.clone();
    runtime.run_one(async move { burst(&lead_in, job, LEAD_IN, &mut Vec::new()).await });
    let mark = Mark::now();
    runtime.run(all);
    mark.sample(tasks * BATCHES * BATCH)
}

/// `tasks` async tasks, each of which awaits job after job. Only the steady state is measured: the window opens when
/// the tasks have had a lap each, on average, lasts for two laps at least, and closes before any of them ends.
fn closed<P: Pool, J: Job>(
    runtime: &Runtime,
    pool: &P,
    window: Duration,
    job: J,
    tasks: usize,
) -> Sample {
    let shared = Arc::new(Closed::default());
    let all = (0..tasks)
        .map(|_| -> BoxFuture<'static, ()> {
            let (pool, shared) = (pool.clone(), Arc::clone(&shared));
            Box::pin(async move {
                let mut input = 0;
                while !shared.stop.load(Ordering::Relaxed) {
                    call(&pool, job, input).await;
                    input += 1;
                    shared.tally.add();
                }
            })
        })
        .collect();
    thread::scope(|scope| {
        // A thread of its own, because some runtimes need this one.
        let observer = scope.spawn(|| {
            let sample = shared.observe(window, tasks as u64);
            shared.stop.store(true, Ordering::Relaxed);
            sample
        });
        runtime.run(all);
        observer.join().expect("the observer does not panic")
    })
}

#[derive(Default)]
struct Closed {
    stop: AtomicBool,
    tally: Tally,
}

impl Closed {
    fn observe(&self, window: Duration, lap: u64) -> Sample {
        let born = Instant::now();
        let (mut mark, mut before) = self.tally.mark();
        while before < lap || mark.at < born + window / 4 {
            thread::sleep(LOOK);
            (mark, before) = self.tally.mark();
        }
        thread::sleep(window);
        let (mut end, mut after) = self.tally.mark();
        while after < before + 2 * lap {
            thread::sleep(LOOK);
            (end, after) = self.tally.mark();
        }
        mark.until(&end, after - before)
    }
}

const TALLY_SLOTS: usize = 32;

/// Counts jobs in a slot of each thread's own, so that counting is not what the threads contend for.
#[derive(Default)]
struct Tally {
    slots: [TallySlot; TALLY_SLOTS],
}

/// Alone in its cache lines (two, because of the prefetcher).
#[derive(Default)]
#[repr(align(128))]
struct TallySlot(AtomicU64);

impl Tally {
    fn add(&self) {
        static THREADS: AtomicUsize = AtomicUsize::new(0);
        thread_local! {
            static SLOT: Slot<usize> =
                Slot::new(THREADS.fetch_add(1, Ordering::Relaxed) % TALLY_SLOTS);
        }
        self.slots[SLOT.get()].0.fetch_add(1, Ordering::Relaxed);
    }

    fn sum(&self) -> u64 {
        self.slots
            .iter()
            .map(|slot| slot.0.load(Ordering::Relaxed))
            .sum()
    }

    /// The time and the count together. A thread that was preempted between the two tries again.
    fn mark(&self) -> (Mark, u64) {
        const TOGETHER: Duration = Duration::from_micros(20);
        let mut tries = 0;
        loop {
            let mark = Mark::now();
            let count = self.sum();
            tries += 1;
            if mark.elapsed() < TOGETHER || tries == 8 {
                return (mark, count);
            }
        }
    }
}
