//! Jobs that wait for jobs: no pool hangs on itself.

mod common;

use common::{PATIENCE, alone, pin_to, wait_until, watchdog};
use futures::future::join;
use offramp::{
    Job, Offload, OffloadError, offload_cpu, offload_cpu_with, offload_io, offload_io_with,
};
use rayon::prelude::*;
use std::sync::{Arc, Barrier, mpsc};
use std::thread;
use std::time::Duration;

fn pool(io_threads: usize, extra: usize, cpu_threads: usize) -> Offload {
    let builder = Offload::builder().io_max_threads(io_threads);
    let builder = builder.io_extra_threads(extra).cpu_threads(cpu_threads);
    builder.build().unwrap()
}

/// The three ways in which a job waits for another one.
#[derive(Debug, Clone, Copy)]
enum How {
    Wait,
    HandleWait,
    BlockOn,
    Foreign,
}

/// A job that waits for one that waits for one, `depth` levels deep. How deep it got.
fn nest_io(offload: &Offload, how: How, depth: u32) -> Result<u32, OffloadError> {
    let inner = offload.clone();
    let job = move |job: &Job| {
        if depth == 0 {
            return Ok(Ok(0));
        }
        let below = {
            let offload = inner.clone();
            move || nest_io(&offload, how, depth - 1)
        };
        let call = offload_io(below).on(&inner);
        let outcome = match how {
            How::Wait => call.wait(),
            How::HandleWait => call.try_spawn().unwrap().wait(),
            How::BlockOn => job.block_on(call),
            How::Foreign => pollster::block_on(call),
        };
        Ok(outcome.and_then(|below| below).map(|depth| depth + 1))
    };
    // The outermost is waited for by a thread of the test's own.
    let call = offload_io_with(job).on(offload);
    call.wait().and_then(|outcome| outcome)
}

#[test]
fn a_hundred_levels_of_our_own_waits_at_cap_one() {
    let _watchdog = watchdog("nested waits");
    for extra in [0, 3, 128] {
        let offload = pool(1, extra, 1);
        for how in [How::Wait, How::HandleWait, How::BlockOn] {
            assert_eq!(nest_io(&offload, how, 100).unwrap(), 100, "{how:?}");
        }
        wait_until("all turns are back", || offload.stats().io.running == 0);
        assert_eq!(offload.stats().io.failed, 0);
    }
}

#[test]
fn a_foreign_wait_completes_within_the_bound_or_is_told() {
    let _watchdog = watchdog("foreign waits");
    let told = |outcome: Result<u32, OffloadError>| match outcome {
        Ok(_) => false,
        Err(OffloadError::WouldDeadlock) => true,
        Err(other) => panic!("{other:?}"),
    };
    // Each level but the last waits in a thread of its own.
    let offload = pool(1, 10, 1);
    assert_eq!(nest_io(&offload, How::Foreign, 5).unwrap(), 5);
    assert!(told(nest_io(&offload, How::Foreign, 50)));
    assert!(told(nest_io(&pool(1, 0, 1), How::Foreign, 1)));
    // What was lent is back.
    assert_eq!(nest_io(&offload, How::Foreign, 5).unwrap(), 5);
}

/// `parents` jobs that all run before the first of them waits for its child.
fn parents(offload: &Offload, parents: usize, how: How) -> Vec<Result<usize, OffloadError>> {
    let all_run = Arc::new(Barrier::new(parents));
    let handles: Vec<_> = (0..parents)
        .map(|number| {
            let (all_run, inner) = (Arc::clone(&all_run), offload.clone());
            let job = move |job: &Job| {
                all_run.wait();
                let call = offload_io(move || number).on(&inner);
                Ok(match how {
                    How::Wait => call.wait(),
                    How::HandleWait => call.try_spawn().unwrap().wait(),
                    How::BlockOn => job.block_on(call),
                    How::Foreign => pollster::block_on(call),
                })
            };
            let call = offload_io_with(job).on(offload);
            call.try_spawn().unwrap()
        })
        .collect();
    let outcome = |handle: offramp::Handle<_>| handle.wait().unwrap();
    handles.into_iter().map(outcome).collect()
}

#[test]
fn as_many_parents_as_threads_each_wait_for_a_child() {
    let _watchdog = watchdog("parents and children");
    for _ in 0..50 {
        for extra in [0, 1, 128] {
            let offload = pool(4, extra, 1);
            for how in [How::Wait, How::HandleWait, How::BlockOn] {
                let outcomes = parents(&offload, 4, how).into_iter();
                let numbers: Vec<_> = outcomes.map(Result::unwrap).collect();
                assert_eq!(numbers, [0, 1, 2, 3], "{how:?} with {extra}");
            }
            let foreign = parents(&offload, 4, How::Foreign);
            let told = |outcome: &&_| matches!(outcome, Err(OffloadError::WouldDeadlock));
            let told = foreign.iter().filter(told).count();
            // All but one may wait, at least.
            assert!(told <= usize::from(extra == 0), "{foreign:?} with {extra}");
            assert!(foreign.iter().filter(|it| it.is_ok()).count() == 4 - told);
        }
    }
}

#[test]
fn the_same_pinned_to_one_cpu() {
    alone("the_same_pinned_to_one_cpu", || {
        pin_to(1);
        for round in 0..100 {
            let offload = pool(2, 1, 1);
            for how in [How::Wait, How::HandleWait, How::BlockOn, How::Foreign] {
                let outcomes = parents(&offload, 2, how);
                assert!(outcomes.iter().all(Result::is_ok), "{round}: {how:?}");
            }
        }
    });
}

/// Were the receiver run by the poll, or inside of it, nobody would send.
#[test]
fn a_receiver_joined_with_its_sender_inside_a_job_never_hangs() {
    let _watchdog = watchdog("join(recv, send)");
    for (threads, extra) in [(1, 1), (2, 0), (2, 128)] {
        let offload = pool(threads, extra, 1);
        for _ in 0..200 {
            let inner = offload.clone();
            let job = move |job: &Job| {
                let (send, receive) = mpsc::channel();
                let receives = offload_io(move || receive.recv().unwrap()).on(&inner);
                let sends = async {
                    smol::future::yield_now().await;
                    send.send(7).unwrap();
                };
                Ok(job.block_on(join(receives, sends)).0)
            };
            let outcome = offload_io_with(job).on(&offload).wait().unwrap();
            assert_eq!(outcome.unwrap(), 7, "{threads} threads");
        }
        for _ in 0..200 {
            let inner = offload.clone();
            let job = move || {
                let (send, receive) = mpsc::channel();
                let receives = offload_io(move || receive.recv().unwrap()).on(&inner);
                let sends = async { send.send(7).unwrap() };
                pollster::block_on(join(receives, sends)).0
            };
            let outcome = offload_io(job).on(&offload).wait().unwrap();
            assert_eq!(outcome.unwrap(), 7, "{threads} threads");
        }
    }
}

#[test]
fn a_child_that_runs_elsewhere_is_waited_for() {
    let _watchdog = watchdog("a child that runs");
    let offload = pool(2, 0, 1);
    let inner = offload.clone();
    let job = move || {
        let (started, is_started) = mpsc::channel();
        let (go_on, held) = mpsc::channel::<()>();
        let child = offload_io(move || {
            started.send(thread::current().id()).unwrap();
            held.recv().unwrap();
            7
        });
        let child = child.on(&inner).try_spawn().unwrap();
        let there = is_started.recv_timeout(PATIENCE).unwrap();
        assert_ne!(there, thread::current().id());
        go_on.send(()).unwrap();
        child.wait().unwrap()
    };
    assert_eq!(offload_io(job).on(&offload).wait().unwrap(), 7);
}

#[test]
fn an_inline_child_is_a_job_like_any_other() {
    let _watchdog = watchdog("inline children");
    let offload = pool(1, 0, 1);
    let inner = offload.clone();
    let job = move |job: &Job| {
        let here = thread::current().id();
        let spawned = offload_io(move || {
            assert_eq!(thread::current().id(), here);
            1
        });
        let spawned = spawned.on(&inner).try_spawn().unwrap();
        let panics = offload_io(|| -> u32 { panic!("in a child") }).on(&inner);
        let panics = panics.label("child").try_spawn().unwrap();
        let fresh = offload_io_with(|job| {
            assert_eq!(job.label(), Some("fresh"));
            Ok(2)
        });
        let fresh = fresh.on(&inner).label("fresh").wait().unwrap();
        assert_eq!((spawned.wait().unwrap(), fresh), (1, 2));
        match panics.wait() {
            Err(OffloadError::Panicked(panicked)) => {
                assert_eq!(panicked.label(), Some("child"));
            }
            other => panic!("{other:?}"),
        }
        let late = offload_io(|| ())
            .on(&inner)
            .timeout(Duration::from_micros(1));
        let late = late.try_spawn();
        thread::sleep(Duration::from_millis(1));
        let late = late.map(offramp::Handle::wait);
        assert!(matches!(
            late,
            Err(_) | Ok(Err(OffloadError::DeadlineExceeded { .. }))
        ));
        assert!(job.checkpoint().is_ok());
        Ok(())
    };
    offload_io_with(job).on(&offload).wait().unwrap();
    wait_until("it is over", || offload.stats().io.running == 0);
    let stats = offload.stats().io;
    assert_eq!((stats.submitted, stats.completed), (5, 3), "{stats:?}");
    assert_eq!((stats.panicked, stats.expired), (1, 1));
    assert_eq!(stats.threads, 1);
}

#[test]
fn cpu_jobs_wait_for_cpu_jobs() {
    let _watchdog = watchdog("CPU jobs that wait");
    for threads in [1, 2] {
        let offload = pool(1, 0, threads);
        let inner = offload.clone();
        let all_run = Arc::new(Barrier::new(threads));
        let job = move |job: &Job| {
            all_run.wait();
            let fresh = offload_cpu(|| (0..100).into_par_iter().sum::<u32>());
            let fresh = fresh.on(&inner).wait().unwrap();
            let spawned = offload_cpu(|| 1).on(&inner).try_spawn().unwrap();
            let awaited = job.block_on(offload_cpu(|| 2).on(&inner)).unwrap();
            Ok(fresh + spawned.wait().unwrap() + awaited)
        };
        let spawn = || {
            let call = offload_cpu_with(job.clone()).on(&offload);
            call.try_spawn().unwrap()
        };
        let handles: Vec<_> = (0..threads).map(|_| spawn()).collect();
        for handle in handles {
            assert_eq!(handle.wait().unwrap(), 4_953);
        }
    }
    // The last thread of a pool may not wait in a way that we do not see.
    let offload = pool(1, 0, 1);
    let inner = offload.clone();
    let job = move || pollster::block_on(offload_cpu(|| ()).on(&inner));
    let outcome = offload_cpu(job).on(&offload).wait().unwrap();
    assert!(matches!(outcome, Err(OffloadError::WouldDeadlock)));
    // Nor a piece of a job that runs on another thread of the pool: it runs the call.
    let inner = offload.clone();
    let job = move || {
        let call = |n: u32| offload_cpu(move || n).on(&inner).wait().unwrap();
        (0..64).into_par_iter().map(call).sum::<u32>()
    };
    assert_eq!(offload_cpu(job).on(&offload).wait().unwrap(), 2_016);
}

#[test]
fn the_blocking_part_of_a_cpu_job_goes_to_the_io_pool() {
    let _watchdog = watchdog("job.io");
    let offload = pool(1, 0, 2);
    let job = |job: &Job| {
        let name = || thread::current().name().unwrap_or_default().to_owned();
        let deadline = job.deadline();
        assert!(deadline.is_some());
        // Also from a parallel section.
        let names: Vec<_> = (0..4)
            .into_par_iter()
            .map(|_| job.io(name).unwrap())
            .collect();
        assert!(names.iter().all(|name| name == "offramp-io-0"), "{names:?}");
        Ok(job.io(offramp::remaining).unwrap().is_some())
    };
    let call = offload_cpu_with(job).on(&offload);
    assert!(call.timeout(PATIENCE).wait().unwrap());
    let inline = offload_io_with(|job| {
        let here = thread::current().id();
        Ok(job.io(move || thread::current().id() == here).unwrap())
    });
    assert!(inline.on(&offload).wait().unwrap());
}

/// Each pool's only thread waits for the other pool.
#[test]
fn an_io_job_that_waits_for_a_cpu_job_lends_its_turn() {
    let _watchdog = watchdog("across the pools");
    let offload = pool(1, 1, 1);
    for _ in 0..100 {
        let inner = offload.clone();
        let job = move || {
            let cpu = offload_cpu_with(|job| Ok(job.io(|| 7).unwrap()));
            cpu.on(&inner).wait().unwrap()
        };
        assert_eq!(offload_io(job).on(&offload).wait().unwrap(), 7);
        // The same in a way that we do not see.
        let inner = offload.clone();
        let job = move || {
            let cpu = offload_cpu_with(|job| Ok(job.io(|| 8).unwrap()));
            pollster::block_on(cpu.on(&inner)).unwrap()
        };
        assert_eq!(offload_io(job).on(&offload).wait().unwrap(), 8);
    }
}
