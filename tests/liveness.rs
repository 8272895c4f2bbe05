//! Whatever is submitted starts while the pool may have another thread for it: jobs
//! that need each other meet, and a job that never ends holds up nobody.
//!
//! A pool that runs two such jobs one after the other hangs here, and the watchdog ends
//! the process. Lost wake-ups hide on two CPUs from what shows on one, and the other
//! way round, so that each test runs on both.

mod common;

use common::{Gate, Random, alone, pin_to};
use offramp::{Handle, Offload, offload_cpu, offload_io};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, Receiver, Sender};
use std::time::Duration;
use std::{hint, thread};

type Task = Box<dyn FnOnce() + Send>;
/// Starts a task on one of the two pools.
type Start = fn(&Offload, Task) -> Handle<()>;

fn on_io(offload: &Offload, task: Task) -> Handle<()> {
    offload_io(task).on(offload).try_spawn().unwrap()
}

fn on_cpu(offload: &Offload, task: Task) -> Handle<()> {
    offload_cpu(task).on(offload).try_spawn().unwrap()
}

/// Two I/O threads and two CPU threads at most.
fn two_threads() -> Offload {
    let builder = Offload::builder().io_max_threads(2).cpu_threads(2);
    builder.build().unwrap()
}

/// Two jobs of which each waits for the other one.
fn rendezvous(offload: &Offload, start: Start) {
    let (to_second, from_first) = mpsc::channel();
    let (to_first, from_second) = mpsc::channel();
    let meet = |to: Sender<()>, from: Receiver<()>| -> Task {
        Box::new(move || {
            to.send(()).unwrap();
            from.recv().unwrap();
        })
    };
    let first = start(offload, meet(to_second, from_second));
    let second = start(offload, meet(to_first, from_first));
    first.wait().unwrap();
    second.wait().unwrap();
}

fn cold_rendezvous(start: Start, rounds: usize) {
    for _ in 0..rounds {
        rendezvous(&two_threads(), start);
    }
}

/// The one that found the hang of tokio 1.52.0 (its issue 8056): a worker that has just
/// been woken, or is about to sleep, must not be counted on by both jobs.
fn warm_rendezvous(start: Start, rounds: usize) {
    for round in 0..rounds {
        let offload = two_threads();
        start(&offload, Box::new(|| {})).wait().unwrap();
        if round % 2 == 0 {
            // Long enough, as a rule, for the worker to sleep soundly.
            thread::sleep(Duration::from_micros(200));
        }
        rendezvous(&offload, start);
        // By now both are there, awake or asleep.
        rendezvous(&offload, start);
    }
}

#[test]
fn two_io_jobs_that_need_each_other_meet_in_a_fresh_pool_on_one_cpu() {
    alone(
        "two_io_jobs_that_need_each_other_meet_in_a_fresh_pool_on_one_cpu",
        || {
            pin_to(1);
            cold_rendezvous(on_io, 512);
        },
    );
}

#[test]
fn two_io_jobs_that_need_each_other_meet_in_a_fresh_pool_on_two_cpus() {
    alone(
        "two_io_jobs_that_need_each_other_meet_in_a_fresh_pool_on_two_cpus",
        || {
            pin_to(2);
            cold_rendezvous(on_io, 512);
        },
    );
}

#[test]
fn two_io_jobs_that_need_each_other_meet_in_a_warm_pool_on_one_cpu() {
    alone(
        "two_io_jobs_that_need_each_other_meet_in_a_warm_pool_on_one_cpu",
        || {
            pin_to(1);
            warm_rendezvous(on_io, 512);
        },
    );
}

#[test]
fn two_io_jobs_that_need_each_other_meet_in_a_warm_pool_on_two_cpus() {
    alone(
        "two_io_jobs_that_need_each_other_meet_in_a_warm_pool_on_two_cpus",
        || {
            pin_to(2);
            warm_rendezvous(on_io, 512);
        },
    );
}

/// Workers that have run several tiny jobs yield before they sleep; here others take the CPU then, who
/// do not give it back before their time slice is over.
#[test]
fn two_io_jobs_that_need_each_other_meet_beside_others_that_compute() {
    alone(
        "two_io_jobs_that_need_each_other_meet_beside_others_that_compute",
        || {
            pin_to(2);
            let is_over = AtomicBool::new(false);
            thread::scope(|scope| {
                for _ in 0..3 {
                    scope.spawn(|| {
                        while !is_over.load(Ordering::Relaxed) {
                            hint::spin_loop();
                        }
                    });
                }
                let offload = two_threads();
                for _ in 0..64 {
                    let tiny: Vec<_> = (0..32).map(|_| on_io(&offload, Box::new(|| {}))).collect();
                    for job in tiny {
                        job.wait().unwrap();
                    }
                    rendezvous(&offload, on_io);
                }
                is_over.store(true, Ordering::Relaxed);
            });
        },
    );
}

#[test]
fn two_cpu_jobs_that_need_each_other_meet_on_one_cpu() {
    alone("two_cpu_jobs_that_need_each_other_meet_on_one_cpu", || {
        pin_to(1);
        cold_rendezvous(on_cpu, 128);
        warm_rendezvous(on_cpu, 128);
    });
}

#[test]
fn two_cpu_jobs_that_need_each_other_meet_on_two_cpus() {
    alone("two_cpu_jobs_that_need_each_other_meet_on_two_cpus", || {
        pin_to(2);
        cold_rendezvous(on_cpu, 128);
        warm_rendezvous(on_cpu, 128);
    });
}

/// Each of `jobs` waits for the one submitted after it, so that all have to run at
/// once before the first one can end.
fn chain(offload: &Offload, start: Start, jobs: usize) {
    let mut handles = Vec::new();
    let (first_ends, ended) = mpsc::channel();
    let mut before = first_ends;
    for _ in 1..jobs {
        let (to_us, from_next) = mpsc::channel();
        let link = move || {
            from_next.recv().unwrap();
            before.send(()).unwrap();
        };
        handles.push(start(offload, Box::new(link)));
        before = to_us;
    }
    let last = move || before.send(()).unwrap();
    handles.push(start(offload, Box::new(last)));
    ended.recv().unwrap();
    for handle in handles {
        handle.wait().unwrap();
    }
}

/// A job that starts a job and waits for it, and so on: what a worker leaves behind
/// while it blocks has to reach another one.
fn nest(offload: &Offload, start: Start, depth: usize) {
    let (done, is_done) = mpsc::channel();
    let inner = offload.clone();
    let task = move || {
        if depth > 1 {
            nest(&inner, start, depth - 1);
        }
        done.send(()).unwrap();
    };
    let handle = start(offload, Box::new(task));
    is_done.recv().unwrap();
    handle.wait().unwrap();
}

/// Rounds of dependent jobs with pauses around the keep-alive: workers are awake,
/// asleep, leaving or gone when the next round comes.
fn dependent_jobs(start: Start, seed: u64) {
    const THREADS: usize = 4;
    let offload = Offload::builder()
        .io_max_threads(THREADS)
        .io_keep_alive(Duration::from_millis(1))
        .cpu_threads(THREADS)
        .build()
        .unwrap();
    let mut random = Random(seed);
    for _ in 0..300 {
        let jobs = 2 + random.below(THREADS as u64 - 1) as usize;
        match random.below(3) {
            0 => nest(&offload, start, jobs),
            _ => chain(&offload, start, jobs),
        }
        match random.below(4) {
            0 => thread::sleep(Duration::from_micros(800 + random.below(400))),
            1 => thread::yield_now(),
            _ => {}
        }
    }
}

#[test]
fn dependent_io_jobs_always_end_on_one_cpu() {
    alone("dependent_io_jobs_always_end_on_one_cpu", || {
        pin_to(1);
        dependent_jobs(on_io, 1);
    });
}

#[test]
fn dependent_io_jobs_always_end_on_two_cpus() {
    alone("dependent_io_jobs_always_end_on_two_cpus", || {
        pin_to(2);
        dependent_jobs(on_io, 2);
    });
}

#[test]
fn dependent_cpu_jobs_always_end_on_one_cpu() {
    alone("dependent_cpu_jobs_always_end_on_one_cpu", || {
        pin_to(1);
        dependent_jobs(on_cpu, 3);
    });
}

#[test]
fn dependent_cpu_jobs_always_end_on_two_cpus() {
    alone("dependent_cpu_jobs_always_end_on_two_cpus", || {
        pin_to(2);
        dependent_jobs(on_cpu, 4);
    });
}

/// A lone job beside one that never ends, in a pool of 25 that has just been opened
/// (`is_warm`: that has a worker asleep).
fn lone_beside_endless(start: Start, is_warm: bool) {
    let offload = Offload::builder()
        .io_max_threads(25)
        .cpu_threads(25)
        .build()
        .unwrap();
    if is_warm {
        start(&offload, Box::new(|| {})).wait().unwrap();
    }
    let end = Gate::new();
    let gate = end.clone();
    let endless = start(&offload, Box::new(move || gate.pass()));
    let lone = start(&offload, Box::new(|| {}));
    lone.wait().unwrap();
    assert!(!endless.is_finished());
    end.open();
    endless.wait().unwrap();
}

#[test]
fn a_lone_io_job_starts_beside_an_endless_one() {
    alone("a_lone_io_job_starts_beside_an_endless_one", || {
        for round in 0..200 {
            lone_beside_endless(on_io, round % 2 == 0);
        }
    });
}

#[test]
fn a_lone_cpu_job_starts_beside_an_endless_one() {
    alone("a_lone_cpu_job_starts_beside_an_endless_one", || {
        // Each round starts 25 threads.
        for round in 0..20 {
            lone_beside_endless(on_cpu, round % 2 == 0);
        }
    });
}

/// The last look before leaving: a job that comes just then is seen by the leaving
/// worker, or starts a thread.
#[test]
fn a_job_that_comes_while_the_only_worker_leaves_runs() {
    alone("a_job_that_comes_while_the_only_worker_leaves_runs", || {
        let offload = Offload::builder()
            .io_max_threads(1)
            .io_keep_alive(Duration::from_millis(1))
            .build()
            .unwrap();
        let mut random = Random(5);
        for _ in 0..1_000 {
            on_io(&offload, Box::new(|| {})).wait().unwrap();
            thread::sleep(Duration::from_micros(900 + random.below(300)));
        }
        let stats = offload.stats().io;
        assert_eq!(
            (stats.completed, stats.queued, stats.running),
            (1_000, 0, 0)
        );
    });
}

/// The last look before sleeping: as many workers as there may be exist, so that a job
/// that comes just then has nobody but the one that is about to sleep.
fn jobs_for_a_worker_that_goes_to_sleep(start: Start) {
    const ROUNDS: usize = 20_000;
    let offload = Offload::builder()
        .io_max_threads(1)
        .cpu_threads(1)
        .build()
        .unwrap();
    let mut random = Random(6);
    for _ in 0..ROUNDS {
        start(&offload, Box::new(|| {})).wait().unwrap();
        for _ in 0..random.below(200) {
            std::hint::spin_loop();
        }
    }
}

#[test]
fn a_job_that_comes_while_the_only_io_worker_goes_to_sleep_runs() {
    alone(
        "a_job_that_comes_while_the_only_io_worker_goes_to_sleep_runs",
        || jobs_for_a_worker_that_goes_to_sleep(on_io),
    );
}

#[test]
fn a_job_that_comes_while_the_only_cpu_worker_goes_to_sleep_runs() {
    alone(
        "a_job_that_comes_while_the_only_cpu_worker_goes_to_sleep_runs",
        || jobs_for_a_worker_that_goes_to_sleep(on_cpu),
    );
}
