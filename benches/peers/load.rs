//! The three loads: one job at a time, many in flight, a burst.

use std::cell::Cell as Slot;
use std::hint::black_box;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use tokio::runtime::Runtime;

use crate::machine::{self, Usage};
use crate::pools::Pool;
use crate::suite::{Cell, Load, Work};

/// Round trips between two looks at the clock.
const TRIPS_PER_LOOK: u64 = 16;
/// Untimed jobs at the head of a round: they wake what slept while others were measured.
const LEAD_IN: u64 = 64;
/// How often a closed load that is not there yet is looked at.
const LOOK: Duration = Duration::from_millis(2);

/// What a round measured.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sample {
    pub(crate) jobs: u64,
    pub(crate) elapsed: Duration,
    pub(crate) usage: Usage,
}

impl Sample {
    pub(crate) fn ns_per_job(&self) -> f64 {
        self.elapsed.as_nanos() as f64 / self.jobs as f64
    }
}

/// A point of time and what the process had used by then.
struct Mark {
    at: Instant,
    usage: Usage,
}

impl Mark {
    fn now() -> Self {
        Mark {
            usage: machine::usage(),
            at: Instant::now(),
        }
    }

    fn sample(&self, jobs: u64) -> Sample {
        let elapsed = self.at.elapsed();
        Sample {
            jobs: jobs.max(1),
            elapsed,
            usage: machine::usage().since(self.usage),
        }
    }
}

/// What a job does; the loads are compiled for each, so that an empty job is really empty.
trait Job: Copy + Send + Sync + 'static {
    fn run(self, input: u64) -> u64;
}

#[derive(Clone, Copy)]
struct Noop;

impl Job for Noop {
    fn run(self, input: u64) -> u64 {
        input + 1
    }
}

/// A fixed number of steps, not a fixed time: a preempted job must not count its wait as work.
#[derive(Clone, Copy)]
struct Busy(u64);

impl Job for Busy {
    fn run(self, input: u64) -> u64 {
        black_box(steps(self.0));
        input + 1
    }
}

fn steps(count: u64) -> u64 {
    let mut state = black_box(0x9e37_79b9_7f4a_7c15_u64);
    for _ in 0..count {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
    }
    state
}

/// How many steps take this long here.
pub(crate) fn calibrate(target: Duration) -> u64 {
    const PROBE: u64 = 20_000;
    let once = || {
        let start = Instant::now();
        black_box(steps(PROBE));
        start.elapsed()
    };
    // The fastest of many: anything slower was disturbed.
    let fastest = (0..64)
        .map(|_| once())
        .min()
        .unwrap_or_default()
        .max(Duration::from_nanos(1));
    (PROBE * target.as_nanos() as u64 / fastest.as_nanos() as u64).max(1)
}

/// One round of a cell.
pub(crate) fn round<P: Pool>(runtime: &Runtime, pool: &P, cell: &Cell) -> Sample {
    match cell.work {
        Work::Noop => dispatch(runtime, pool, cell, Noop),
        Work::Busy(steps) => dispatch(runtime, pool, cell, Busy(steps)),
    }
}

fn dispatch<P: Pool, J: Job>(runtime: &Runtime, pool: &P, cell: &Cell, job: J) -> Sample {
    match cell.load {
        Load::RoundTrip => round_trips(runtime, pool, cell.window, job),
        Load::Closed(tasks) => closed(runtime, pool, cell.window, job, tasks),
        Load::Burst(jobs) => bursts(runtime, pool, cell.window, job, jobs as u64),
    }
}

async fn call<P: Pool, J: Job>(pool: &P, job: J, input: u64) {
    let output = pool.call(move || job.run(input)).await;
    assert_eq!(output, input + 1);
}

/// One job, awaited, and again, from a task on a runtime worker.
fn round_trips<P: Pool, J: Job>(runtime: &Runtime, pool: &P, window: Duration, job: J) -> Sample {
    let pool = pool.clone();
    let driver = runtime.spawn(async move {
        for input in 0..LEAD_IN {
            call(&pool, job, input).await;
        }
        let mark = Mark::now();
        let mut jobs = 0;
        while mark.at.elapsed() < window {
            for _ in 0..TRIPS_PER_LOOK {
                call(&pool, job, jobs).await;
                jobs += 1;
            }
        }
        mark.sample(jobs)
    });
    runtime.block_on(driver).expect("the driver does not panic")
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
    let driver = runtime.spawn(async move {
        let mut started = Vec::with_capacity(size as usize);
        burst(&pool, job, LEAD_IN, &mut started).await;
        let mark = Mark::now();
        let mut jobs = 0;
        while jobs == 0 || mark.at.elapsed() < window {
            burst(&pool, job, size, &mut started).await;
            jobs += size;
        }
        mark.sample(jobs)
    });
    runtime.block_on(driver).expect("the driver does not panic")
}

async fn burst<P: Pool, J: Job>(pool: &P, job: J, size: u64, started: &mut Vec<P::Started>) {
    started.extend((0..size).map(|input| pool.start(move || job.run(input))));
    for (input, one) in (0..size).zip(started.drain(..)) {
        assert_eq!(P::value(one.await), input + 1);
    }
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
    let born = Instant::now();
    let running: Vec<_> = (0..tasks)
        .map(|_| {
            let (pool, shared) = (pool.clone(), Arc::clone(&shared));
            runtime.spawn(async move {
                let mut input = 0;
                while !shared.stop.load(Ordering::Relaxed) {
                    call(&pool, job, input).await;
                    input += 1;
                    shared.tally.add();
                }
            })
        })
        .collect();
    let lap = tasks as u64;
    let (mut mark, mut before) = shared.tally.mark();
    while before < lap || mark.at < born + window / 4 {
        std::thread::sleep(LOOK);
        (mark, before) = shared.tally.mark();
    }
    std::thread::sleep(window);
    let (mut end, mut after) = shared.tally.mark();
    while after < before + 2 * lap {
        std::thread::sleep(LOOK);
        (end, after) = shared.tally.mark();
    }
    shared.stop.store(true, Ordering::Relaxed);
    runtime.block_on(async {
        for task in running {
            task.await.expect("no task of this bench panics");
        }
    });
    Sample {
        jobs: after - before,
        elapsed: end.at - mark.at,
        usage: end.usage.since(mark.usage),
    }
}

#[derive(Default)]
struct Closed {
    stop: AtomicBool,
    tally: Tally,
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
            if mark.at.elapsed() < TOGETHER || tries == 8 {
                return (mark, count);
            }
        }
    }
}
