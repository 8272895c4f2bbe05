//! A floods, B sends one job at a time: how many of A's jobs start between B's submit and start.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use crate::report::Row;
use crate::subjects::Subject;
use crate::{Bench, THREADS, stats};

const JOB: Duration = Duration::from_millis(1);
/// The row's is the last.
const FLOODS: [usize; 4] = [100, 1_000, 10_000, 100_000];
/// What B's jobs may pass for the row to hold.
const MOST: usize = 2 * THREADS;

const A: usize = 1;
const B: usize = 2;

#[derive(Default)]
struct Flood {
    started: AtomicUsize,
    is_over: AtomicBool,
}

/// What B saw.
#[derive(Clone, Default)]
pub(crate) struct Seen {
    /// For each job of B that started: A's jobs that started between its submit and its start.
    passed_by: Vec<usize>,
    waits: Vec<Duration>,
    /// A job that B gave up on: as many had passed it until then.
    given_up: Option<(usize, Duration)>,
}

impl Seen {
    /// Milliseconds, and whether that is where B gave up.
    pub(crate) fn usual_wait(&self) -> (f64, bool) {
        if let Some((_, waited)) = self.given_up {
            return (waited.as_secs_f64() * 1e3, true);
        }
        let waits: Vec<_> = self.waits.iter().map(|w| w.as_secs_f64() * 1e3).collect();
        (stats::range(&waits).map_or(0.0, |wait| wait.median), false)
    }

    fn longest_wait(&self) -> Duration {
        self.waits.iter().copied().max().unwrap_or_default()
    }
}

fn flood(subject: &dyn Subject, jobs: usize, patience: Duration) -> Seen {
    let flood = Arc::new(Flood::default());
    let job_of_a = || {
        let flood = Arc::clone(&flood);
        let work = move || {
            if !flood.is_over.load(Ordering::Relaxed) {
                flood.started.fetch_add(1, Ordering::SeqCst);
                thread::sleep(JOB);
            }
        };
        subject.start(A, Box::new(work))
    };
    let of_a: Vec<_> = (0..jobs).map(|_| job_of_a()).collect();
    let mut seen = Seen::default();
    let until = Instant::now() + patience;
    while flood.started.load(Ordering::SeqCst) < jobs && Instant::now() < until {
        one_of_b(subject, &flood, patience, &mut seen);
        if seen.given_up.is_some() {
            break;
        }
    }
    flood.is_over.store(true, Ordering::Relaxed);
    drop(of_a);
    subject.settle();
    seen
}

fn one_of_b(subject: &dyn Subject, flood: &Arc<Flood>, patience: Duration, seen: &mut Seen) {
    let (tell, told) = mpsc::sync_channel(1);
    let work = {
        let flood = Arc::clone(flood);
        move || {
            let start = (flood.started.load(Ordering::SeqCst), Instant::now());
            // Whoever gave up listens no more.
            let _ = tell.send(start);
            thread::sleep(JOB);
        }
    };
    let (before, submit) = (flood.started.load(Ordering::SeqCst), Instant::now());
    let job = subject.start(B, Box::new(work));
    match told.recv_timeout(patience) {
        Ok((started, start)) => {
            seen.passed_by.push(started - before);
            seen.waits.push(start - submit);
            subject.runtime().block_on(job);
        }
        Err(_) => {
            let passed_by = flood.started.load(Ordering::SeqCst) - before;
            seen.given_up = Some((passed_by, submit.elapsed()));
        }
    }
}

pub(crate) fn rows(bench: &mut Bench) -> Vec<Row> {
    let patience = Duration::from_millis(if bench.options.quick { 500 } else { 2_000 });
    let mut last = vec![Seen::default(); bench.subjects.len()];
    bench.drawn.floods.clear();
    for jobs in FLOODS {
        let mut order: Vec<usize> = (0..bench.subjects.len()).collect();
        bench.shuffler.shuffle(&mut order);
        for index in order {
            let subject = bench.subjects[index];
            let seen = flood(subject, jobs, patience);
            bench.drawn.flood(subject.name(), jobs, seen.usual_wait());
            last[index] = seen;
        }
    }
    let most = |seen: &Seen| seen.passed_by.iter().copied().max();
    let cell = |seen: &Seen| match (seen.given_up, most(seen)) {
        (Some((passed_by, _)), _) => format!("> {passed_by}"),
        (None, most) => most.unwrap_or_default().to_string(),
    };
    let wait_cell = |seen: &Seen| match seen.given_up {
        Some((_, waited)) => format!("> {:.1} s", waited.as_secs_f64()),
        None => {
            let longest = seen.longest_wait().as_secs_f64() * 1e3;
            format!("{:.2} ms, longest {longest:.1} ms", seen.usual_wait().0)
        }
    };
    let ours = &last[0];
    println!("  {} of B's jobs ran", ours.waits.len());
    let holds = ours.given_up.is_none() && most(ours).is_some_and(|most| most <= MOST);
    vec![
        Row {
            name: "flood",
            what: "A floods 100,000 jobs of 1 ms, B sends one at a time: most of A's jobs that start between \
                   B's submit and start"
                .to_owned(),
            wanted: format!("at most {MOST}, twice the threads"),
            measured: last.iter().map(cell).collect(),
            holds,
        },
        Row {
            name: "flood, time",
            what: "B's wait there, as a rule".to_owned(),
            wanted: "–".to_owned(),
            measured: last.iter().map(wait_cell).collect(),
            holds: true,
        },
    ]
}
