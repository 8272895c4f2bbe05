//! The maximum of I/O threads changes while the pool works: nothing is lost.

mod common;

use common::{Gate, alone, threads, wait_until, watchdog};
use offramp::backend::Rayon;
use offramp::{Offload, offload_io};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Barrier};
use std::thread;
use std::time::Duration;

#[test]
fn from_64_to_4_under_load_nothing_is_lost_and_threads_leave_as_they_finish() {
    alone(
        "from_64_to_4_under_load_nothing_is_lost_and_threads_leave_as_they_finish",
        || {
            let before = threads();
            let offload = Offload::builder().io_max_threads(64).build().unwrap();
            let (gate, run) = (Gate::new(), Arc::new(AtomicUsize::new(0)));
            let (most, now) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
            let spawn =
                |job: Box<dyn FnOnce() + Send>| offload_io(job).on(&offload).try_spawn().unwrap();
            // All 64 are busy, and hundreds wait, each of which notes how many there are.
            let mut handles: Vec<_> = (0..64)
                .map(|_| {
                    let gate = gate.clone();
                    spawn(Box::new(move || gate.pass()))
                })
                .collect();
            wait_until("all run", || offload.stats().io.running == 64);
            for _ in 0..500 {
                let (run, most, now) = (run.clone(), most.clone(), now.clone());
                handles.push(spawn(Box::new(move || {
                    most.fetch_max(now.fetch_add(1, SeqCst) + 1, SeqCst);
                    thread::sleep(Duration::from_micros(500));
                    run.fetch_add(1, SeqCst);
                    now.fetch_sub(1, SeqCst);
                })));
            }
            offload.resize_io(4).unwrap();
            assert_eq!(offload.stats().io.threads, 64, "none is interrupted");
            gate.open();
            for handle in handles {
                handle.wait().unwrap();
            }
            assert_eq!(run.load(SeqCst), 500);
            assert!(most.load(SeqCst) <= 4, "{} at once", most.load(SeqCst));
            wait_until("the surplus has left", || offload.stats().io.threads <= 4);
            wait_until("so says the system, beside the timer", || {
                threads() <= before + 5
            });

            // And up again: 32 jobs that need each other.
            offload.resize_io(32).unwrap();
            let all = Arc::new(Barrier::new(32));
            let meet = |_| {
                let all = Arc::clone(&all);
                spawn(Box::new(move || {
                    all.wait();
                }))
            };
            let handles: Vec<_> = (0..32).map(meet).collect();
            for handle in handles {
                handle.wait().unwrap();
            }
        },
    );
}

#[test]
fn idle_surplus_threads_leave_at_once() {
    let _watchdog = watchdog("idle surplus");
    let builder = Offload::builder().io_max_threads(16).io_min_threads(16);
    let keep_alive = Duration::from_secs(3_600);
    let offload = builder.io_keep_alive(keep_alive).build().unwrap();
    let all = Arc::new(Barrier::new(16));
    let meet = |_| {
        let all = Arc::clone(&all);
        let meet = move || all.wait().is_leader();
        offload_io(meet).on(&offload).try_spawn().unwrap()
    };
    for handle in (0..16).map(meet).collect::<Vec<_>>() {
        handle.wait().unwrap();
    }
    assert_eq!(offload.stats().io.threads, 16);
    offload.resize_io(3).unwrap();
    wait_until("13 have left", || offload.stats().io.threads == 3);
}

#[test]
fn sizes_at_random_under_load_lose_nothing() {
    let _watchdog = watchdog("random sizes");
    let offload = Offload::builder().io_max_threads(8).build().unwrap();
    let is_over = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| {
            let mut random = common::Random(7);
            while !is_over.load(SeqCst) {
                offload.resize_io(1 + random.below(8) as usize).unwrap();
                thread::sleep(Duration::from_micros(200));
            }
        });
        let callers: Vec<_> = (0..4)
            .map(|_| {
                scope.spawn(|| {
                    for number in 0..20_000 {
                        let call = offload_io(move || number).on(&offload);
                        assert_eq!(call.wait().unwrap(), number);
                    }
                })
            })
            .collect();
        for caller in callers {
            caller.join().unwrap();
        }
        is_over.store(true, SeqCst);
    });
    assert_eq!(offload.stats().io.completed, 80_000);
}

#[test]
fn a_size_out_of_range_or_of_somebody_elses_pool_is_refused() {
    let offload = Offload::builder().build().unwrap();
    for size in [0, 1_025] {
        let error = offload.resize_io(size).unwrap_err();
        assert_eq!(error.setting(), "io_max_threads");
        assert!(error.allowed().contains("1024"), "{error}");
    }
    let pool = rayon::ThreadPoolBuilder::new().num_threads(1).build();
    let backend = Rayon::shared(Arc::new(pool.unwrap()));
    let offload = Offload::builder().io_backend(backend).build().unwrap();
    let error = offload.resize_io(2).unwrap_err();
    assert!(error.to_string().contains("backend"), "{error}");
}
