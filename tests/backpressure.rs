//! Full queues: who is refused and gets the closure back, who waits in turn, and that
//! memory follows the configuration, not the load.

mod common;
#[path = "common/heap.rs"]
mod heap;

use common::{Occupied, Wakes, alone, watchdog};
use futures::future::join_all;
use offramp::{Backlog, Offload, OffloadError, Policy, offload_cpu, offload_io};
use std::future::Future;
use std::pin::pin;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};
use std::thread;

#[global_allocator]
static HEAP: heap::Counting = heap::Counting;

/// What a storm of calls came to.
struct Storm {
    ran_in_pool: usize,
    ran_at_caller: usize,
    peak: usize,
}

/// Eight producers call four threads as fast as they can, and do refused work
/// themselves.
fn storm(calls: usize) -> Storm {
    const PRODUCERS: usize = 8;
    const THREADS: usize = 4;
    const CAPACITY: usize = 1_000;

    let offload = Offload::builder()
        .io_min_threads(THREADS)
        .io_max_threads(THREADS)
        .capacity(CAPACITY)
        .build()
        .unwrap();
    // With all its threads there before the measurement.
    Occupied::io(&offload, THREADS).release();
    let before = offload.stats().io;

    let times_run: Arc<[AtomicUsize]> = (0..calls).map(|_| AtomicUsize::new(0)).collect();
    heap::reset_peak();
    let base = heap::live();
    let produce = |producer: usize| {
        let mut refused = 0;
        for call in (producer..calls).step_by(PRODUCERS) {
            let times_run = Arc::clone(&times_run);
            // Some weight, as a request or a buffer would have.
            let captured = [call; 16];
            let work = move || {
                times_run[captured[15]].fetch_add(1, Relaxed);
            };
            match offload_io(work).on(&offload).try_spawn() {
                Ok(handle) => handle.detach(),
                Err(refusal) => {
                    let (work, reason) = refusal.into_parts();
                    assert!(matches!(
                        reason,
                        OffloadError::Overloaded {
                            limit: CAPACITY,
                            ..
                        }
                    ));
                    work();
                    refused += 1;
                }
            }
        }
        refused
    };
    let produce = &produce;
    let ran_at_caller = thread::scope(|scope| {
        let producers: Vec<_> = (0..PRODUCERS)
            .map(|producer| scope.spawn(move || produce(producer)))
            .collect();
        producers.into_iter().map(|it| it.join().unwrap()).sum()
    });
    pollster::block_on(offload.shutdown(None, Backlog::Drain));
    let peak = heap::peak() - base;

    // Exactly once each, wherever it was.
    assert!(times_run.iter().all(|times| times.load(Relaxed) == 1));
    let stats = offload.stats().io;
    let ran_in_pool = (stats.completed - before.completed) as usize;
    assert_eq!(stats.submitted - before.submitted, calls as u64);
    assert_eq!(stats.refused, ran_at_caller as u64);
    assert_eq!((stats.queued, stats.running), (0, 0));
    assert_eq!((stats.panicked, stats.cancelled, stats.failed), (0, 0, 0));
    Storm {
        ran_in_pool,
        ran_at_caller,
        peak,
    }
}

#[test]
fn a_million_calls_need_no_more_memory_than_a_hundred_thousand() {
    alone(
        "a_million_calls_need_no_more_memory_than_a_hundred_thousand",
        || {
            let few = storm(100_000);
            let many = storm(1_000_000);
            for (calls, storm) in [(100_000, &few), (1_000_000, &many)] {
                assert_eq!(storm.ran_in_pool + storm.ran_at_caller, calls);
                // Else the queue was never full, and its peak says nothing.
                assert!(storm.ran_at_caller > 0 && storm.ran_in_pool > 0);
            }
            let ratio = many.peak as f64 / few.peak as f64;
            assert!(
                (0.95..=1.05).contains(&ratio),
                "peak {} bytes, then {} bytes",
                few.peak,
                many.peak
            );
        },
    );
}

#[test]
fn at_capacity_try_spawn_gives_the_closure_back_and_awaiting_waits() {
    let _watchdog = watchdog("at capacity");
    let offload = Offload::builder()
        .io_max_threads(1)
        .capacity(2)
        .build()
        .unwrap();
    let occupied = Occupied::io(&offload, 1);
    let spawn = |n: u32| offload_io(move || n).on(&offload).try_spawn();
    let (first, second) = (spawn(1).unwrap(), spawn(2).unwrap());

    let (third, reason) = spawn(3).unwrap_err().into_parts();
    assert!(matches!(reason, OffloadError::Overloaded { limit: 2, .. }));
    assert_eq!(third(), 3);

    // The limit is for those who would rather not wait.
    let (_, waker) = Wakes::new();
    let mut cx = Context::from_waker(&waker);
    let mut fourth = pin!(offload_io(|| 4).on(&offload));
    assert!(fourth.as_mut().poll(&mut cx).is_pending());

    // Another pool, another queue.
    let elsewhere = offload_cpu(|| 5).on(&offload).try_spawn().unwrap();
    assert_eq!(elsewhere.wait().unwrap(), 5);

    occupied.release();
    assert_eq!(first.wait().unwrap(), 1);
    assert_eq!(second.wait().unwrap(), 2);
    assert_eq!(pollster::block_on(fourth).unwrap(), 4);
    let stats = offload.stats().io;
    assert_eq!((stats.completed, stats.refused), (4, 1));
}

#[test]
fn under_reject_an_awaited_call_beyond_capacity_is_overloaded() {
    let _watchdog = watchdog("under reject");
    let offload = Offload::builder()
        .io_max_threads(1)
        .capacity(3)
        .policy(Policy::Reject)
        .build()
        .unwrap();
    let occupied = Occupied::io(&offload, 1);
    let calls = (0..5).map(|n| offload_io(move || n).on(&offload));
    let mut calls = pin!(join_all(calls));
    let (_, waker) = Wakes::new();
    let mut cx = Context::from_waker(&waker);
    assert!(calls.as_mut().poll(&mut cx).is_pending());
    // Those that do not fit know it already.
    assert_eq!(offload.stats().io.refused, 2);

    occupied.release();
    let outcomes = pollster::block_on(calls);
    for (n, outcome) in outcomes.iter().enumerate() {
        match outcome {
            Ok(value) => assert!(*value == n && n < 3),
            Err(OffloadError::Overloaded { limit: 3, .. }) => assert!(n >= 3),
            Err(error) => panic!("{error}"),
        }
    }
    // Room again.
    assert_eq!(offload_io(|| 6).on(&offload).wait().unwrap(), 6);
}

#[test]
fn waiting_itself_is_refused_beyond_max_pending() {
    let _watchdog = watchdog("max_pending");
    let offload = Offload::builder()
        .io_max_threads(1)
        .capacity(1)
        .max_pending(4)
        .build()
        .unwrap();
    let occupied = Occupied::io(&offload, 1);
    let mut calls: Vec<_> = (0..5).map(|n| offload_io(move || n).on(&offload)).collect();
    let (wakes, waker) = Wakes::new();
    let mut cx = Context::from_waker(&waker);
    for call in &mut calls[..4] {
        assert!(pin!(call).poll(&mut cx).is_pending());
    }
    let mut fifth = calls.pop().unwrap();
    match pin!(&mut fifth).poll(&mut cx) {
        Poll::Ready(Err(OffloadError::Overloaded { limit: 4, .. })) => {}
        other => panic!("{other:?}"),
    }
    // Answered in the poll, so nobody needs to be woken.
    assert_eq!(wakes.count(), 0);
    occupied.release();
    for (n, call) in calls.into_iter().enumerate() {
        assert_eq!(pollster::block_on(call).unwrap(), n);
    }
}

#[test]
fn one_worker_runs_the_jobs_in_the_order_they_were_submitted() {
    let _watchdog = watchdog("submission order");
    const JOBS: usize = 2_000;
    let offload = Offload::builder()
        .io_max_threads(1)
        .capacity(JOBS)
        .build()
        .unwrap();
    let order = Arc::new(Mutex::new(Vec::new()));
    let occupied = Occupied::io(&offload, 1);
    let mut cancelled = Vec::new();
    for n in 0..JOBS {
        let order = Arc::clone(&order);
        let call = offload_io(move || order.lock().unwrap().push(n)).on(&offload);
        let handle = call.try_spawn().unwrap();
        // Every third one goes again, most of them from amidst the lane.
        if n % 3 == 0 {
            cancelled.push(handle);
        } else {
            handle.detach();
        }
        if n % 100 == 99 {
            cancelled.clear();
        }
    }
    cancelled.clear();
    occupied.release();
    // Submitted last, so it runs last.
    offload_io(|| ()).on(&offload).wait().unwrap();
    let expected: Vec<_> = (0..JOBS).filter(|n| n % 3 != 0).collect();
    assert_eq!(*order.lock().unwrap(), expected);
}
