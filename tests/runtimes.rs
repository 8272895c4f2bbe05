//! The crate belongs to no runtime: the same bodies pass under each of them.

mod common;
#[macro_use]
#[path = "common/runtimes.rs"]
mod runtimes;

use common::{Gate, PATIENCE, wait_until, watchdog};
use futures::future::{join, join_all};
use futures::{FutureExt, poll, select};
use offramp::{Backlog, Offload, OffloadError, offload_cpu, offload_io, offload_io_with};
use std::io;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::sync::mpsc;
use std::thread;

fn two_threads() -> Offload {
    let builder = Offload::builder().io_max_threads(2).cpu_threads(2);
    builder.build().unwrap()
}

async fn io_calls() {
    let offload = two_threads();
    let here = thread::current().id();
    let there = offload_io(|| thread::current().id()).on(&offload).await;
    assert_ne!(there.unwrap(), here);
    // One after the other, each woken anew.
    for n in 0..100_u32 {
        assert_eq!(offload_io(move || n + 1).on(&offload).await.unwrap(), n + 1);
    }
    let read = offload_io(|| std::fs::read_to_string("/proc/self/comm")).on(&offload);
    assert!(!read.await.unwrap().unwrap().is_empty());
    let missing = offload_io(|| std::fs::read("/nowhere")).on(&offload);
    let error = missing.await.unwrap().unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::NotFound);
}

async fn cpu_calls() {
    use rayon::prelude::*;

    let offload = two_threads();
    let here = thread::current().id();
    let there = offload_cpu(|| thread::current().id()).on(&offload).await;
    assert_ne!(there.unwrap(), here);
    let sum = || (0..10_000_u64).into_par_iter().sum::<u64>();
    for _ in 0..100 {
        assert_eq!(offload_cpu(sum).on(&offload).await.unwrap(), 49_995_000);
    }
}

async fn joined_calls() {
    let offload = two_threads();
    // They wait for each other: nothing less than both at once will do.
    let (to_cpu, from_io) = mpsc::channel();
    let (to_io, from_cpu) = mpsc::channel();
    let io = move || {
        to_cpu.send(1).unwrap();
        from_cpu.recv_timeout(PATIENCE).unwrap()
    };
    let cpu = move || {
        to_io.send(2).unwrap();
        from_io.recv_timeout(PATIENCE).unwrap()
    };
    let both = join(offload_io(io).on(&offload), offload_cpu(cpu).on(&offload));
    let (of_io, of_cpu) = both.await;
    assert_eq!((of_io.unwrap(), of_cpu.unwrap()), (2, 1));

    // `join_all` polls many of them with wakers of its own.
    let many = (0..200).map(|n| offload_io(move || n).on(&offload));
    let outcomes = join_all(many).await;
    for (n, outcome) in outcomes.into_iter().enumerate() {
        assert_eq!(outcome.unwrap(), n);
    }
}

async fn dropped_calls() {
    let offload = two_threads();
    let ran = Arc::new(AtomicUsize::new(0));
    let occupied = common::Occupied::io(&offload, 2);
    let counter = Arc::clone(&ran);
    let mut waits = Box::pin(offload_io(move || counter.fetch_add(1, SeqCst)).on(&offload));
    assert!(poll!(&mut waits).is_pending());
    drop(waits);
    assert_eq!(Arc::strong_count(&ran), 1);
    occupied.release();

    // As a `select!` or a time-out drops the one that lost.
    let (started, start) = mpsc::channel();
    let (ended, end) = mpsc::channel();
    let endless = move |job: &offramp::Job| {
        started.send(()).unwrap();
        while !job.is_cancelled() {
            thread::yield_now();
        }
        ended.send(()).unwrap();
        job.checkpoint()
    };
    let quick = move || start.recv_timeout(PATIENCE).unwrap();
    {
        let mut endless = offload_io_with(endless).on(&offload).fuse();
        let mut quick = offload_io(quick).on(&offload).fuse();
        select! {
            outcome = endless => panic!("{outcome:?}"),
            outcome = quick => outcome.unwrap(),
        }
    }
    end.recv_timeout(PATIENCE).expect("the loser stops");
    let at_rest = || offload.stats().io.running == 0;
    wait_until("the loser has ended", at_rest);
    assert_eq!(ran.load(SeqCst), 0);
    assert_eq!(offload.stats().io.cancelled, 2);
}

async fn panicking_calls() {
    let offload = two_threads();
    // Past the panic hook, which would print it.
    let panics = || -> u32 { std::panic::resume_unwind(Box::new("oh")) };
    let io = offload_io(panics).on(&offload).label("the label").await;
    let cpu = offload_cpu(panics).on(&offload).await;
    let Err(OffloadError::Panicked(io)) = io else {
        panic!("{io:?}")
    };
    assert_eq!((io.message(), io.label()), (Some("oh"), Some("the label")));
    let Err(OffloadError::Panicked(cpu)) = cpu else {
        panic!("{cpu:?}")
    };
    assert_eq!((cpu.message(), cpu.label()), (Some("oh"), None));
    // The threads go on.
    let both = join(
        offload_io(|| 1).on(&offload),
        offload_cpu(|| 2).on(&offload),
    );
    let (io, cpu) = both.await;
    assert_eq!((io.unwrap(), cpu.unwrap()), (1, 2));
    assert_eq!(offload.stats().io.panicked, 1);
    assert_eq!(offload.stats().cpu.panicked, 1);
}

async fn shut_down_pools() {
    let offload = two_threads();
    let (gate, ran) = (Gate::new(), Arc::new(AtomicUsize::new(0)));
    let mut handles = Vec::new();
    for _ in 0..10 {
        let (gate, ran) = (gate.clone(), Arc::clone(&ran));
        let work = move || {
            gate.pass();
            ran.fetch_add(1, SeqCst);
        };
        handles.push(offload_io(work).on(&offload).try_spawn().unwrap());
    }
    let mut shutdown = pin!(offload.shutdown(None, Backlog::Drain));
    assert!(poll!(shutdown.as_mut()).is_pending());
    let late = join(
        offload_io(|| ()).on(&offload),
        offload_cpu(|| ()).on(&offload),
    );
    let (io, cpu) = late.await;
    assert!(matches!(io, Err(OffloadError::ShutDown)));
    assert!(matches!(cpu, Err(OffloadError::ShutDown)));
    assert_eq!(ran.load(SeqCst), 0);
    gate.open();
    shutdown.await;
    assert_eq!(ran.load(SeqCst), 10);
    for handle in handles {
        handle.await.unwrap();
    }
}

under_each_runtime! {
    io_calls_run_elsewhere_and_come_back: io_calls();
    cpu_calls_run_in_parallel_sections: cpu_calls();
    joined_calls_run_at_the_same_time: joined_calls();
    dropped_calls_are_cancelled: dropped_calls();
    panics_are_errors_of_their_calls: panicking_calls();
    a_shutdown_waits_and_refuses: shut_down_pools();
}
