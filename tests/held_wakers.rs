//! Callers of brief jobs are woken a few at a time: each of them, once, and whatever the
//! workers do meanwhile.

mod common;

use common::{Gate, Occupied, Wakes, pin_to, wait_until, watchdog};
use futures::stream::{FuturesUnordered, StreamExt};
use offramp::{Offload, Offloaded, offload_io};
use std::future::Future;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};
use std::{hint, thread};

/// Some microseconds of computing.
fn compute(seed: u64) -> u64 {
    (0..1_000).fold(hint::black_box(seed), |sum, step| {
        (sum ^ step).wrapping_mul(0x9e37_79b9_7f4a_7c15)
    })
}

fn brief(offload: &Offload, seed: u64) -> Offloaded<impl FnOnce() -> u64 + Send + use<>, u64> {
    offload_io(move || compute(seed)).on(offload)
}

/// From now on the pool expects jobs to be brief.
fn get_used_to_them(offload: &Offload) {
    for seed in 0..200 {
        assert_eq!(brief(offload, seed).wait().unwrap(), compute(seed));
    }
}

/// Submitted, with a waker of its own.
fn poll_once<F: Future>(call: Pin<&mut F>) -> Arc<Wakes> {
    let (wakes, waker) = Wakes::new();
    let polled = call.poll(&mut Context::from_waker(&waker));
    assert!(matches!(polled, Poll::Pending));
    wakes
}

/// The pool takes those that come after to be as brief, and is wrong.
#[test]
fn callers_are_woken_though_all_threads_have_gone_on_to_jobs_that_take_long() {
    let _watchdog = watchdog("callers of brief jobs before long ones");
    let builder = Offload::builder().io_max_threads(2);
    let offload = builder.build().unwrap();
    get_used_to_them(&offload);
    for _ in 0..20 {
        let busy = Occupied::io(&offload, 2);
        let mut calls: Vec<_> = (0..5).map(|seed| Box::pin(brief(&offload, seed))).collect();
        let wakes: Vec<_> = calls
            .iter_mut()
            .map(|call| poll_once(call.as_mut()))
            .collect();
        let gate = Gate::new();
        let long: Vec<_> = (0..4)
            .map(|_| {
                let gate = gate.clone();
                let call = offload_io(move || gate.pass()).on(&offload);
                call.try_spawn().unwrap_or_else(|_| panic!("there is room"))
            })
            .collect();
        busy.release();
        wait_until("all are woken", || {
            wakes.iter().all(|wakes| wakes.count() > 0)
        });
        wait_until("long ones run", || offload.stats().io.running == 2);
        gate.open();
        for (seed, call) in calls.into_iter().enumerate() {
            assert_eq!(pollster::block_on(call).unwrap(), compute(seed as u64));
        }
        for call in long {
            call.wait().unwrap();
        }
        assert!(wakes.iter().all(|wakes| wakes.count() == 1));
        get_used_to_them(&offload);
    }
}

/// What a pool does that is dropped with everybody busy.
#[test]
fn callers_are_woken_though_the_pool_is_dropped() {
    let _watchdog = watchdog("callers of brief jobs of a pool that is dropped");
    for _ in 0..50 {
        let builder = Offload::builder().io_max_threads(1);
        let offload = builder.build().unwrap();
        get_used_to_them(&offload);
        let busy = Occupied::io(&offload, 1);
        let mut calls: Vec<_> = (0..5).map(|seed| Box::pin(brief(&offload, seed))).collect();
        let wakes: Vec<_> = calls
            .iter_mut()
            .map(|call| poll_once(call.as_mut()))
            .collect();
        busy.release();
        drop(offload);
        wait_until("all are woken", || {
            wakes.iter().all(|wakes| wakes.count() > 0)
        });
    }
}

/// Of several kinds of executors, which wake each other's tasks or leave them to the pool.
fn all_executors_are_served() {
    const TASKS: u64 = 24;
    const CALLS: u64 = 400;
    let builder = Offload::builder().io_max_threads(4);
    let offload = builder.build().unwrap();
    let work = |offload: Offload| {
        move |task: u64| {
            let offload = offload.clone();
            async move {
                for call in 0..CALLS {
                    let seed = task * CALLS + call;
                    assert_eq!(brief(&offload, seed).await.unwrap(), compute(seed));
                }
            }
        }
    };
    let run = work(offload.clone());
    let by_tokio = thread::spawn(move || {
        let mut builder = tokio::runtime::Builder::new_multi_thread();
        let runtime = builder.worker_threads(2).build().unwrap();
        runtime.block_on(async {
            let tasks: Vec<_> = (0..TASKS).map(|task| tokio::spawn(run(task))).collect();
            for task in tasks {
                task.await.unwrap();
            }
        });
    });
    let run = work(offload.clone());
    let by_smol = thread::spawn(move || {
        smol::block_on(async {
            let tasks: Vec<_> = (0..TASKS).map(|task| smol::spawn(run(task))).collect();
            for task in tasks {
                task.await;
            }
        });
    });
    let run = work(offload.clone());
    let by_one_future = thread::spawn(move || {
        let mut tasks: FuturesUnordered<_> = (0..TASKS).map(run).collect();
        pollster::block_on(async { while tasks.next().await.is_some() {} });
    });
    for executor in [by_tokio, by_smol, by_one_future] {
        executor.join().unwrap();
    }
    let io = offload.stats().io;
    let all = 3 * TASKS * CALLS;
    assert_eq!((io.submitted, io.completed, io.queued), (all, all, 0));
}

#[test]
fn executors_of_all_kinds_on_one_cpu() {
    common::alone("executors_of_all_kinds_on_one_cpu", || {
        pin_to(1);
        all_executors_are_served();
    });
}

#[test]
fn executors_of_all_kinds_on_two_cpus() {
    common::alone("executors_of_all_kinds_on_two_cpus", || {
        pin_to(2);
        all_executors_are_served();
    });
}

/// Who awaits some one after the other has left a waker with one of them, and others end without.
#[test]
fn a_caller_that_awaits_in_order_is_not_woken_for_each() {
    /// How long the wakers of brief jobs are kept at least.
    const KEPT: Duration = Duration::from_micros(100);
    let _watchdog = watchdog("calls that are awaited in order");
    let builder = Offload::builder().io_max_threads(1);
    let offload = builder.build().unwrap();
    let brief = || spin(KEPT / 5);
    for _ in 0..200 {
        offload_io(brief).on(&offload).wait().unwrap();
    }
    let busy = Occupied::io(&offload, 1);
    let calls: Vec<_> = (0..200)
        .map(|_| offload_io(brief).on(&offload).try_spawn().unwrap())
        .collect();
    let (wakes, waker) = Wakes::new();
    busy.release();
    let start = Instant::now();
    for mut call in calls {
        loop {
            let seen = wakes.count();
            let polled = Pin::new(&mut call).poll(&mut Context::from_waker(&waker));
            if polled.is_ready() {
                break;
            }
            while wakes.count() == seen {
                thread::yield_now();
            }
        }
    }
    // The first may come at once, the last, and one whenever the guard comes by.
    let times = start.elapsed().as_micros() / KEPT.as_micros();
    let most = times + times / 10 + 3;
    assert!(wakes.count() as u128 <= most, "{} of {most}", wakes.count());
}

/// Computes for so long.
fn spin(time: Duration) {
    let start = Instant::now();
    while start.elapsed() < time {
        hint::spin_loop();
    }
}

/// Of jobs of such a length, all of one thread: how often, of so many times, the first one's caller has been
/// woken when some more have ended, whose callers have not asked to be.
fn woken_by_the_next_ends(length: Duration, times: usize) -> usize {
    let builder = Offload::builder().io_max_threads(1);
    let offload = builder.build().unwrap();
    let brief = || offload_io(move || spin(length)).on(&offload);
    let woken = (0..times).filter(|_| {
        for _ in 0..200 {
            brief().wait().unwrap();
        }
        let busy = Occupied::io(&offload, 1);
        let mut first = pin!(brief());
        let wakes = poll_once(first.as_mut());
        let mut others: Vec<_> = (0..3).map(|_| brief().try_spawn().unwrap()).collect();
        let look = offload_io(move || wakes.count() == 1).on(&offload);
        let look = look.try_spawn().unwrap();
        // Behind which one others wait.
        others.push(brief().try_spawn().unwrap());
        busy.release();
        pollster::block_on(first).unwrap();
        for other in others {
            other.wait().unwrap();
        }
        look.wait().unwrap()
    });
    woken.count()
}

/// Jobs that are shorter than it takes to wake a thread do not have to wait for others.
#[test]
fn the_next_ends_wake_the_callers_of_short_jobs_and_not_of_longer_ones() {
    const TIMES: usize = 40;
    let _watchdog = watchdog("the next jobs' ends");
    // Threads that lose their CPU in between make up for some.
    let short = woken_by_the_next_ends(Duration::from_micros(2), TIMES);
    let longer = woken_by_the_next_ends(Duration::from_micros(20), TIMES);
    assert!(short > TIMES / 2, "{short} of {TIMES}");
    assert!(longer < TIMES / 2, "{longer} of {TIMES}");
}

/// A caller that has left may be woken for nothing, and keeps no room.
#[test]
fn callers_that_leave_meanwhile_cost_no_other_its_result() {
    let _watchdog = watchdog("callers of brief jobs that leave");
    let builder = Offload::builder().io_max_threads(2);
    let offload = builder.build().unwrap();
    get_used_to_them(&offload);
    for _ in 0..200 {
        let mut calls: Vec<_> = (0..40)
            .map(|seed| Box::pin(brief(&offload, seed)))
            .collect();
        for call in &mut calls {
            poll_once(call.as_mut());
        }
        let mut seed = 0;
        calls.retain(|_| {
            seed += 1;
            seed % 2 == 1
        });
        for (place, call) in calls.into_iter().enumerate() {
            let call = pin!(call);
            let outcome = pollster::block_on(call);
            assert_eq!(outcome.unwrap(), compute(2 * place as u64));
        }
    }
    common::at_rest(&offload);
}
