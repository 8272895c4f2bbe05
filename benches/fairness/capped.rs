//! A hangs on as many threads as it may have: what B gets of the others.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use futures::future::{BoxFuture, FutureExt};
use offramp::Offload;
use tokio::runtime::Runtime;

use crate::report::Row;
use crate::subjects::{self, Subject, Work};
use crate::{Bench, THREADS, stats};

/// Of A's jobs so many run.
const CAP: usize = 4;
const QUEUED: usize = 10_000;
/// B's job, and how many of them it has in flight.
const JOB: Duration = Duration::from_millis(1);
const IN_FLIGHT: usize = 32;
/// Of what B has alone on the threads that A cannot have.
const LEAST: f64 = 0.95;

/// What A's jobs hang on.
#[derive(Default)]
struct Gate {
    is_open: Mutex<bool>,
    opened: Condvar,
}

impl Gate {
    fn wait(&self) {
        let is_open = self.is_open.lock().unwrap();
        drop(self.opened.wait_while(is_open, |is_open| !*is_open));
    }

    fn open(&self) {
        *self.is_open.lock().unwrap() = true;
        self.opened.notify_all();
    }
}

fn hang(gate: &Arc<Gate>) -> Work {
    let gate = Arc::clone(gate);
    Box::new(move || gate.wait())
}

/// B's jobs a second.
fn throughput(
    runtime: &Runtime,
    window: Duration,
    call: impl Fn(Work) -> BoxFuture<'static, ()> + Clone + Send + 'static,
) -> f64 {
    let done = Arc::new(AtomicU64::new(0));
    let is_over = Arc::new(AtomicBool::new(false));
    let start_task = |_| {
        let (call, done, is_over) = (call.clone(), Arc::clone(&done), Arc::clone(&is_over));
        runtime.spawn(async move {
            while !is_over.load(Ordering::Relaxed) {
                call(Box::new(|| thread::sleep(JOB))).await;
                done.fetch_add(1, Ordering::Relaxed);
            }
        })
    };
    let tasks: Vec<_> = (0..IN_FLIGHT).map(start_task).collect();
    // Threads get started, and the first jobs queued.
    thread::sleep(window / 5);
    let (start, before) = (Instant::now(), done.load(Ordering::Relaxed));
    thread::sleep(window);
    let jobs = done.load(Ordering::Relaxed) - before;
    let rate = jobs as f64 / start.elapsed().as_secs_f64();
    is_over.store(true, Ordering::Relaxed);
    // Behind jobs that hang they would not end.
    for task in tasks {
        task.abort();
    }
    rate
}

fn ours(offload: &Offload) -> impl Fn(Work) -> BoxFuture<'static, ()> + Clone + Send + 'static {
    let offload = offload.clone();
    move |work| {
        let call = offramp::offload_io(work).on(&offload);
        call.map(|outcome| outcome.expect("no job of this bench fails"))
            .boxed()
    }
}

/// Beside A, over what it is alone on the threads that are left: medians of both, and of the ratio.
fn ratio(bench: &mut Bench) -> (f64, f64) {
    let (rounds, window) = if bench.options.quick {
        (5, Duration::from_millis(150))
    } else {
        (11, Duration::from_millis(300))
    };
    let gate = Arc::new(Gate::default());
    let shared = subjects::offload(THREADS);
    let a = shared.lane("A").max_running(CAP);
    let hung: Vec<_> = (0..QUEUED)
        .map(|_| {
            let call = offramp::offload_io(hang(&gate)).lane(&a);
            call.try_spawn().expect("room for every job")
        })
        .collect();
    let alone = subjects::offload(THREADS - CAP);
    let runtime = subjects::runtime();
    let mut rates = Vec::new();
    for _ in 0..rounds {
        let mut order = [0, 1];
        bench.shuffler.shuffle(&mut order);
        let mut both = [0.0; 2];
        for side in order {
            both[side] = throughput(&runtime, window, ours([&alone, &shared][side]));
        }
        rates.push(both);
    }
    gate.open();
    drop(hung);
    let median = |of: fn(&[f64; 2]) -> f64| {
        let values: Vec<_> = rates.iter().map(of).collect();
        stats::range(&values).expect("at least one round").median
    };
    let ratio = median(|[alone, beside]| beside / alone);
    (ratio, median(|[alone, _]| *alone))
}

/// B's jobs a second in a pool that caps nobody.
fn beside_hung(subject: &'static dyn Subject) -> f64 {
    const A: usize = 1;
    const B: usize = 2;
    let gate = Arc::new(Gate::default());
    let hung: Vec<_> = (0..QUEUED).map(|_| subject.start(A, hang(&gate))).collect();
    let call = move |work| subject.start(B, work);
    let rate = throughput(subject.runtime(), Duration::from_millis(300), call);
    gate.open();
    drop(hung);
    subject.settle();
    rate
}

pub(crate) fn rows(bench: &mut Bench) -> Vec<Row> {
    let (ratio, alone) = ratio(bench);
    println!("  alone: {alone:.0} jobs a second");
    let mut measured = vec![format!("{ratio:.3}")];
    for &peer in bench.subjects.iter().skip(1) {
        let rate = beside_hung(peer);
        measured.push(format!("{:.3}", rate / alone));
    }
    vec![Row {
        name: "capped",
        what: format!(
            "A has `max_running({CAP})`, as many jobs that hang and 10,000 queued: B's throughput over that of \
             B alone on the other {} threads",
            THREADS - CAP
        ),
        wanted: format!("at least {LEAST}"),
        measured,
        holds: ratio >= LEAST,
    }]
}
