//! Opening and closing pools: no thread and no memory is left, what was submitted
//! before runs, and what comes later is told.

mod common;
#[path = "common/heap.rs"]
mod heap;

use common::{
    Gate, Occupied, Random, Wakes, alone, threads, threads_but_timers, wait_until, watchdog,
};
use offramp::{Backlog, Handle, Offload, OffloadError, offload_cpu, offload_io};
use std::future::Future;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::task::{Context, Poll};
use std::thread;
use std::time::Duration;

#[global_allocator]
static HEAP: heap::Counting = heap::Counting;

fn small() -> Offload {
    let builder = Offload::builder().io_max_threads(2).cpu_threads(2);
    builder.build().unwrap()
}

type Job = Box<dyn FnOnce() + Send>;
/// Starts a job on one of the two pools.
type Start = fn(&Offload, Job) -> Handle<()>;

fn on_io(offload: &Offload, job: Job) -> Handle<()> {
    offload_io(job).on(offload).try_spawn().unwrap()
}

fn on_cpu(offload: &Offload, job: Job) -> Handle<()> {
    offload_cpu(job).on(offload).try_spawn().unwrap()
}

/// How many jobs run in one pool's life if it is lived in each of the ways once.
const JOBS_OF_ALL_WAYS: usize = 6;
const WAYS: usize = 5;

/// One pool's life, in one of several ways; `ran` counts the jobs.
fn open_and_close(way: usize, start: Start, ran: &Arc<AtomicUsize>) {
    let offload = small();
    let job = || -> Job {
        let ran = Arc::clone(ran);
        Box::new(move || {
            ran.fetch_add(1, SeqCst);
        })
    };
    match way % WAYS {
        // Never used.
        0 => {}
        // At rest.
        1 => start(&offload, job()).wait().unwrap(),
        // With jobs that nobody waits for, and before it has a thread: they still run.
        2 => (0..3).for_each(|_| start(&offload, job()).detach()),
        // By a call that outlives the handle.
        3 => {
            let call = start(&offload, job());
            drop(offload);
            call.wait().unwrap();
        }
        // From inside of a job, which holds the last clone.
        _ => {
            let (inner, job) = (offload.clone(), job());
            let work = move || {
                drop(inner);
                job();
            };
            start(&offload, Box::new(work)).detach();
        }
    }
}

/// Opens and closes pools. Answers the bytes that are left of them.
fn bytes_left(pools: usize, start: Start) -> isize {
    let ran = Arc::new(AtomicUsize::new(0));
    let base_threads = threads();
    let live_after = |pools: usize| {
        for pool in 0..pools {
            open_and_close(pool, start, &ran);
            // Not all of their threads at the same time.
            if pool % 16 == 15 {
                wait_until("the threads have left", || threads() == base_threads);
            }
        }
        wait_until("the threads have left", || threads() == base_threads);
        assert_eq!(ran.swap(0, SeqCst), pools / WAYS * JOBS_OF_ALL_WAYS);
        heap::live() as isize
    };
    // Later threads free the garbage of rayon's queues: the least of some looks has
    // little of it.
    let least_live = || (0..50).map(|_| live_after(WAYS)).min().unwrap();
    let base = least_live();
    live_after(pools);
    least_live() - base
}

#[test]
fn a_thousand_io_pools_leave_no_thread_and_no_memory() {
    alone("a_thousand_io_pools_leave_no_thread_and_no_memory", || {
        let left = bytes_left(1_000, on_io);
        // Not ten bytes of each. Some hundred are made when locks are first contended.
        assert!(left < 10_000, "{left} bytes left");
    });
}

#[test]
fn two_thousand_cpu_pools_leave_no_thread_and_no_memory() {
    alone(
        "two_thousand_cpu_pools_leave_no_thread_and_no_memory",
        || {
            let left = bytes_left(2_000, on_cpu);
            println!("{left} bytes left");
            // Some dozens of kilobytes of garbage, however many there were. A job of each
            // would be more.
            assert!(left < 128_000, "{left} bytes left");
        },
    );
}

#[test]
fn a_pool_dropped_inside_of_its_own_job_goes_on_with_what_it_has() {
    alone(
        "a_pool_dropped_inside_of_its_own_job_goes_on_with_what_it_has",
        || {
            let base = threads();
            let ran = Arc::new(AtomicUsize::new(0));
            let offload = Offload::builder()
                .io_max_threads(1)
                .cpu_threads(1)
                .build()
                .unwrap();
            let gate = Gate::new();
            let (hold, inner, counter) = (gate.clone(), offload.clone(), Arc::clone(&ran));
            let first = move || {
                hold.pass();
                let count = |ran: Arc<AtomicUsize>| move || ran.fetch_add(1, SeqCst);
                let io = offload_io(count(Arc::clone(&counter))).on(&inner);
                let cpu = offload_cpu(count(counter)).on(&inner);
                io.try_spawn().unwrap().detach();
                cpu.try_spawn().unwrap().detach();
                // The last clone: the pools close here, on their own thread.
                drop(inner);
            };
            offload_io(first).on(&offload).try_spawn().unwrap().detach();
            drop(offload);
            gate.open();
            wait_until("both have run", || ran.load(SeqCst) == 2);
            wait_until("the threads have left", || threads() == base);
        },
    );
}

#[test]
fn shutdown_waits_for_what_was_submitted_and_refuses_what_comes() {
    let _watchdog = watchdog("shutdown drains");
    let offload = small();
    let occupied = Occupied::io(&offload, 2);
    let ran = Arc::new(AtomicUsize::new(0));
    let count = |ran: &Arc<AtomicUsize>| {
        let ran = Arc::clone(ran);
        move || ran.fetch_add(1, SeqCst)
    };
    let awaited: Vec<_> = (0..5)
        .map(|_| offload_io(count(&ran)).on(&offload).try_spawn().unwrap())
        .collect();
    for _ in 0..5 {
        let call = offload_io(count(&ran)).on(&offload);
        call.try_spawn().unwrap().detach();
    }
    let fresh = offload_io(count(&ran)).on(&offload);

    let mut shutdown = offload.shutdown(None, Backlog::Drain);
    let (wakes, waker) = Wakes::new();
    let mut cx = Context::from_waker(&waker);
    // Not before it is polled.
    let early = offload_cpu(count(&ran)).on(&offload).try_spawn().unwrap();
    assert!(Pin::new(&mut shutdown).poll(&mut cx).is_pending());

    for reason in [
        offload_io(count(&ran))
            .on(&offload)
            .try_spawn()
            .map(drop)
            .unwrap_err()
            .into_parts()
            .1,
        offload_cpu(count(&ran))
            .on(&offload)
            .try_spawn()
            .map(drop)
            .unwrap_err()
            .into_parts()
            .1,
        fresh.wait().unwrap_err(),
    ] {
        assert!(matches!(reason, OffloadError::ShutDown), "{reason}");
    }
    // Who comes second waits as well, and is told as well.
    let other = offload.clone();
    let second = thread::spawn(move || pollster::block_on(other.shutdown(None, Backlog::Drain)));

    assert_eq!(offload.stats().io.queued, 10);
    occupied.release();
    wait_until("the shutdown is over", || wakes.count() > 0);
    pollster::block_on(shutdown);
    second.join().unwrap();
    assert_eq!(ran.load(SeqCst), 11);
    let stats = offload.stats();
    assert_eq!(
        (stats.io.queued, stats.io.running, stats.io.threads),
        (0, 0, 0)
    );
    assert_eq!(
        (stats.cpu.queued, stats.cpu.running, stats.cpu.threads),
        (0, 0, 0)
    );
    // The results of before are still there.
    for handle in awaited {
        handle.wait().unwrap();
    }
    early.wait().unwrap();
    // And nothing is left to wait for.
    pollster::block_on(offload.shutdown(None, Backlog::Drain));
}

#[test]
fn a_shutdown_that_is_over_keeps_no_waker() {
    let _watchdog = watchdog("the wakers of a shutdown");
    let offload = small();
    offload_io(|| ()).on(&offload).wait().unwrap();
    for _ in 0..2 {
        let (wakes, waker) = Wakes::new();
        let mut cx = Context::from_waker(&waker);
        let mut shutdown = pin!(offload.shutdown(None, Backlog::Drain));
        loop {
            let before = wakes.count();
            match shutdown.as_mut().poll(&mut cx) {
                Poll::Ready(_) => break,
                Poll::Pending => wait_until("woken", || wakes.count() > before),
            }
        }
        drop(waker);
        // A task that has ended is not to be kept by a pool that lives on.
        wait_until("the waker is dropped", || Arc::strong_count(&wakes) == 1);
    }
}

#[test]
fn after_a_shutdown_the_threads_leave_though_the_handle_stays() {
    alone(
        "after_a_shutdown_the_threads_leave_though_the_handle_stays",
        || {
            let base = threads();
            let offload = small();
            offload_io(|| ()).on(&offload).wait().unwrap();
            offload_cpu(|| ()).on(&offload).wait().unwrap();
            assert!(threads() > base);
            pollster::block_on(offload.shutdown(None, Backlog::Drain));
            wait_until("the threads have left", || threads() == base);
            drop(offload);
        },
    );
}

/// The close comes when the only worker has just run out of jobs and looks whether it
/// is to leave: the job that was submitted before still runs.
fn close_races_with_the_last_look(start: Start) {
    const ROUNDS: usize = 3_000;
    let ran = Arc::new(AtomicUsize::new(0));
    let mut random = Random(21);
    for round in 1..=ROUNDS {
        let offload = Offload::builder()
            .io_max_threads(1)
            .cpu_threads(1)
            .build()
            .unwrap();
        let spawn = || {
            let ran = Arc::clone(&ran);
            let job = move || {
                ran.fetch_add(1, SeqCst);
            };
            start(&offload, Box::new(job))
        };
        spawn().wait().unwrap();
        for _ in 0..random.below(300) {
            std::hint::spin_loop();
        }
        spawn().detach();
        if round % 2 == 0 {
            pollster::block_on(offload.shutdown(None, Backlog::Drain));
            assert_eq!(ran.load(SeqCst), 2 * round);
        } else {
            drop(offload);
            wait_until("the detached job has run", || ran.load(SeqCst) == 2 * round);
        }
    }
}

#[test]
fn an_io_job_submitted_just_before_the_close_runs() {
    alone("an_io_job_submitted_just_before_the_close_runs", || {
        close_races_with_the_last_look(on_io);
    });
}

#[test]
fn a_cpu_job_submitted_just_before_the_close_runs() {
    alone("a_cpu_job_submitted_just_before_the_close_runs", || {
        close_races_with_the_last_look(on_cpu);
    });
}

#[test]
fn idle_threads_leave_down_to_the_minimum_and_come_back() {
    alone(
        "idle_threads_leave_down_to_the_minimum_and_come_back",
        || {
            let base = threads();
            let offload = Offload::builder()
                .io_min_threads(1)
                .io_max_threads(6)
                .io_keep_alive(Duration::from_millis(5))
                .build()
                .unwrap();
            // None before the first call needs one.
            assert_eq!(threads(), base);
            for _ in 0..3 {
                let occupied = Occupied::io(&offload, 6);
                assert_eq!(threads_but_timers(), base + 6);
                occupied.release();
                wait_until("only one stays", || threads_but_timers() == base + 1);
                let stats = offload.stats().io;
                wait_until("the statistics say so", || offload.stats().io.threads == 1);
                assert_eq!(stats.queued, 0);
            }
        },
    );
}
