//! Classes: what a job of high priority overtakes, and how long it can keep others waiting.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use offramp::{Offload, Priority, offload_io};

use crate::report::Row;
use crate::{Bench, THREADS, subjects};

const JOB: Duration = Duration::from_millis(1);
/// Jobs of normal priority that wait.
const NORMAL: usize = 10_000;
/// Between two jobs of high priority.
const PAUSE: Duration = Duration::from_millis(10);

/// When a lower class has its turn beside an endless flood of high priority.
const AGEING: Duration = Duration::from_millis(200);
/// A thread has to become free then, and a closure to say that it runs.
const SLACK: Duration = Duration::from_millis(10);
/// Jobs of high priority that wait or run at any time.
const FLOOD: usize = 64;

/// Nothing should take so long.
const FOR_EVER: Duration = Duration::from_secs(20);

/// Submits a job and waits for its start: what `at_start` said there, and when.
fn start_of<R: Send + 'static>(
    offload: &Offload,
    priority: Priority,
    at_start: impl FnOnce() -> R + Send + 'static,
) -> (R, Duration) {
    let (tell, told) = mpsc::sync_channel(1);
    let submit = Instant::now();
    let work = move || {
        // It is waited for.
        let _ = tell.send((at_start(), Instant::now()));
        thread::sleep(JOB);
    };
    let call = offload_io(work).priority(priority).on(offload);
    let job = call.try_spawn().expect("room for every job");
    let (answer, start) = told.recv_timeout(FOR_EVER).expect("every job starts");
    job.wait().expect("no job of this bench fails");
    (answer, start - submit)
}

/// For each job of high priority: its place among the jobs that start after its submit.
fn places() -> Vec<usize> {
    let offload = subjects::offload(THREADS);
    let started = Arc::new(AtomicUsize::new(0));
    let normal = |_| {
        let started = Arc::clone(&started);
        let work = move || {
            started.fetch_add(1, Ordering::SeqCst);
            thread::sleep(JOB);
        };
        let call = offload_io(work).on(&offload);
        call.try_spawn().expect("room for every job")
    };
    let waiting: Vec<_> = (0..NORMAL).map(normal).collect();
    let mut places = Vec::new();
    // While there is a queue to overtake.
    while started.load(Ordering::SeqCst) < NORMAL * 9 / 10 {
        let before = started.load(Ordering::SeqCst);
        let at_start = {
            let started = Arc::clone(&started);
            move || started.load(Ordering::SeqCst)
        };
        let (at_start, _) = start_of(&offload, Priority::High, at_start);
        places.push(at_start - before + 1);
        thread::sleep(PAUSE);
    }
    drop(waiting);
    places
}

/// How long jobs of normal priority wait, one at a time, beside an endless flood of high.
fn waits(window: Duration) -> Vec<Duration> {
    let runtime = subjects::runtime();
    let offload = Offload::builder()
        .io_max_threads(THREADS)
        .ageing(AGEING)
        .build()
        .expect("a valid configuration");
    let is_over = Arc::new(AtomicBool::new(false));
    let high = |_| {
        let (offload, is_over) = (offload.clone(), Arc::clone(&is_over));
        runtime.spawn(async move {
            while !is_over.load(Ordering::Relaxed) {
                let call = offload_io(|| thread::sleep(JOB)).priority(Priority::High);
                call.on(&offload).await.expect("no job of this bench fails");
            }
        })
    };
    let flood: Vec<_> = (0..FLOOD).map(high).collect();
    // Until it is one.
    thread::sleep(AGEING);
    let start = Instant::now();
    let mut waits = Vec::new();
    while start.elapsed() < window {
        let ((), wait) = start_of(&offload, Priority::Normal, || ());
        waits.push(wait);
    }
    is_over.store(true, Ordering::Relaxed);
    for task in flood {
        runtime
            .block_on(task)
            .expect("no task of this bench panics");
    }
    waits
}

pub(crate) fn overtaking(_: &mut Bench) -> Vec<Row> {
    let places = places();
    println!("  {} jobs of high priority", places.len());
    let last = places.iter().copied().max().unwrap_or(usize::MAX);
    vec![Row {
        name: "high",
        what: "jobs of high priority behind 10,000 normal ones: the last place that one had among the jobs \
               that started after its submit"
            .to_owned(),
        wanted: format!("at most {THREADS}, the threads"),
        measured: vec![last.to_string()],
        holds: last <= THREADS,
    }]
}

pub(crate) fn ageing(bench: &mut Bench) -> Vec<Row> {
    let waits = waits(Duration::from_secs(if bench.options.quick { 1 } else { 3 }));
    let in_ms = |wait: Duration| wait.as_secs_f64() * 1e3;
    println!("  {} normal jobs", waits.len());
    let longest = waits.iter().copied().max().unwrap_or(Duration::MAX);
    let shortest = waits.iter().copied().min().unwrap_or_default();
    vec![Row {
        name: "ageing",
        what: format!(
            "normal jobs, one at a time, beside an endless flood of high ones; ageing after {:.0} ms: \
             their waits",
            in_ms(AGEING)
        ),
        wanted: format!(
            "at most {:.0} ms, and {:.0} ms for a thread to get free",
            in_ms(AGEING),
            in_ms(SLACK)
        ),
        measured: vec![format!(
            "{:.1} to {:.1} ms",
            in_ms(shortest),
            in_ms(longest)
        )],
        holds: longest <= AGEING + SLACK,
    }]
}
