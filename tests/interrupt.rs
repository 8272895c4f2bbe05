//! `Blocking::interrupt`: a hook ends a running call from outside, its own call or none.

mod common;

use common::{Gate, Occupied, PATIENCE, Random, wait_until, watchdog};
use futures::FutureExt;
use offramp::{Backlog, Blocking, Offload, OffloadError};
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Mutex, mpsc};
use std::thread::{self, ThreadId};
use std::time::Duration;

fn pool(threads: usize) -> Offload {
    Offload::builder().io_max_threads(threads).build().unwrap()
}

/// What an endless call is ended by: it looks at nothing but this.
#[derive(Default)]
struct Endless {
    interrupts: Mutex<Vec<ThreadId>>,
}

#[test]
fn an_interrupted_call_ends_though_every_thread_is_busy() {
    let _watchdog = watchdog("interrupt");
    let offload = pool(1);
    let endless = Arc::new(Endless::default());
    let value = Blocking::new(()).on(&offload).interrupt({
        let endless = Arc::clone(&endless);
        move || {
            endless
                .interrupts
                .lock()
                .unwrap()
                .push(thread::current().id());
            panic!("a hook's panic ends nothing");
        }
    });
    for give_up in ["drop", "abort", "deadline"] {
        endless.interrupts.lock().unwrap().clear();
        let (started, starts) = mpsc::channel();
        let seen = Arc::clone(&endless);
        // It ignores the first two: they are repeated.
        let call = value.call(move |()| {
            started.send(thread::current().id()).unwrap();
            wait_until("interrupted", || seen.interrupts.lock().unwrap().len() > 2);
        });
        if give_up == "deadline" {
            let call = call.timeout(Duration::from_millis(100));
            let outcome = futures::executor::block_on(call);
            let ran = matches!(outcome, Err(OffloadError::DeadlineExceeded { .. }));
            assert!(ran, "{outcome:?}");
        } else {
            let handle = call.try_spawn().unwrap();
            let worker = starts.recv_timeout(PATIENCE).unwrap();
            if give_up == "abort" {
                handle.abort();
                handle.wait().unwrap();
            } else {
                drop(handle);
            }
            value.call(|()| ()).wait().unwrap();
            let interrupts = endless.interrupts.lock().unwrap();
            assert!(!interrupts.contains(&worker), "on a thread of its own");
        }
        // The next one, and its value, are there at once, with nobody after them.
        value.call(|()| ()).wait().unwrap();
        let before = endless.interrupts.lock().unwrap().len();
        value
            .call(|()| thread::sleep(Duration::from_millis(30)))
            .wait()
            .unwrap();
        assert_eq!(endless.interrupts.lock().unwrap().len(), before);
    }
    wait_until("the interrupters are gone", || {
        offload.stats().dedicated.running == 0
    });
}

#[test]
fn calls_that_nobody_gave_up_are_not_interrupted() {
    let _watchdog = watchdog("no interrupt");
    let offload = pool(2);
    let hooks = Arc::new(AtomicUsize::new(0));
    let value = Blocking::new(0).on(&offload).interrupt({
        let hooks = Arc::clone(&hooks);
        move || {
            hooks.fetch_add(1, SeqCst);
        }
    });
    let gate = Gate::new();
    // Detached; must run; waiting when dropped.
    let pass = gate.clone();
    let (started, starts) = mpsc::channel();
    let detached = value.call(move |_| {
        started.send(()).unwrap();
        pass.pass();
    });
    detached.try_spawn().unwrap().detach();
    starts.recv_timeout(PATIENCE).unwrap();
    drop(value.call(|_| ()).try_spawn().unwrap());
    gate.open();
    let gate = Gate::new();
    let (started, starts) = mpsc::channel();
    let must = value.call({
        let gate = gate.clone();
        move |value| {
            started.send(()).unwrap();
            gate.pass();
            *value = 1;
        }
    });
    let must = must.must_run().try_spawn().unwrap();
    starts.recv_timeout(PATIENCE).unwrap();
    must.abort();
    drop(must);
    gate.open();
    assert_eq!(value.call(|value| *value).wait().unwrap(), 1);
    assert_eq!(hooks.load(SeqCst), 0);
    assert_eq!(
        offload.stats().dedicated.submitted,
        0,
        "no interrupter came"
    );
}

/// A closure that was claimed and never ran ends its interrupter, too.
#[test]
fn a_call_that_never_began_leaves_no_interrupter() {
    let _watchdog = watchdog("never began");
    let offload = pool(1);
    let value = Blocking::new(()).on(&offload).interrupt(|| ()).poison();
    let _ = value.call(|()| panic!("poison")).wait();
    for _ in 0..200 {
        let refused = value.call(|()| ()).try_spawn().unwrap();
        thread::yield_now();
        drop(refused);
    }
    let occupied = Occupied::io(&offload, 1);
    for _ in 0..20 {
        let late = value.call(|()| ()).timeout(Duration::from_millis(1));
        let late = late.try_spawn().unwrap();
        thread::sleep(Duration::from_millis(2));
        drop(late);
    }
    occupied.release();
    wait_until("no interrupter is left", || {
        let stats = offload.stats();
        stats.dedicated.running + stats.dedicated.queued == 0 && stats.io.running == 0
    });
}

#[test]
fn while_the_pools_shut_down_nothing_is_interrupted() {
    let _watchdog = watchdog("an interrupt amidst a shutdown");
    let offload = pool(1);
    let hooks = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&hooks);
    let value = Blocking::new(()).on(&offload).interrupt(move || {
        counted.fetch_add(1, SeqCst);
    });
    let gate = Gate::new();
    let pass = gate.clone();
    let (started, starts) = mpsc::channel();
    let call = value.call(move |()| {
        started.send(()).unwrap();
        pass.pass();
    });
    let call = call.try_spawn().unwrap();
    starts.recv_timeout(PATIENCE).unwrap();
    let mut shutdown = std::pin::pin!(offload.shutdown(None, Backlog::Drain));
    assert!((&mut shutdown).now_or_never().is_none());
    drop(call);
    gate.open();
    assert!(pollster::block_on(shutdown).is_complete());
    assert_eq!(hooks.load(SeqCst), 0);
    assert_eq!(offload.stats().dedicated.refused, 1, "its interrupter");
}

/// There the call goes on to its end, and the value is none the worse.
#[test]
fn where_no_thread_starts_nothing_is_interrupted() {
    let _watchdog = watchdog("no thread for the interrupt");
    let builder = Offload::builder().io_max_threads(1);
    let builder = builder.io_spawner(|task: offramp::backend::ThreadTask| {
        if task.name().contains("-own") {
            return Err(std::io::Error::other("no dedicated threads"));
        }
        thread::Builder::new().spawn(|| task.run()).map(drop)
    });
    let offload = builder.build().unwrap();
    let hooks = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&hooks);
    let value = Blocking::new(0).on(&offload).interrupt(move || {
        counted.fetch_add(1, SeqCst);
    });
    let gate = Gate::new();
    let pass = gate.clone();
    let (started, starts) = mpsc::channel();
    let call = value.call(move |value| {
        started.send(()).unwrap();
        pass.pass();
        *value = 1;
    });
    let call = call.try_spawn().unwrap();
    starts.recv_timeout(PATIENCE).unwrap();
    drop(call);
    gate.open();
    assert_eq!(value.call(|value| *value).wait().unwrap(), 1);
    assert_eq!(hooks.load(SeqCst), 0);
    let dedicated = offload.stats().dedicated;
    assert_eq!((dedicated.submitted, dedicated.failed), (1, 1));
}

/// Random calls, dropped at random times: a hook sees its own call in the value's hands, or
/// it is not called.
#[test]
fn a_hook_never_hits_another_call() {
    let _watchdog = watchdog("hooks and calls");
    let offload = pool(2);
    // By number: the call that was given up last, and the one that runs.
    let given_up = Arc::new(AtomicUsize::new(0));
    let present = Arc::new(AtomicUsize::new(0));
    let wrong = Arc::new(AtomicUsize::new(0));
    let hits = Arc::new(AtomicUsize::new(0));
    let value = Blocking::new(()).on(&offload).interrupt({
        let (given_up, present) = (Arc::clone(&given_up), Arc::clone(&present));
        let (wrong, hits) = (Arc::clone(&wrong), Arc::clone(&hits));
        move || {
            // 0: in the call's first or last moments.
            let now = present.load(SeqCst);
            if now != 0 && now != given_up.load(SeqCst) {
                wrong.fetch_add(1, SeqCst);
            }
            hits.fetch_add(1, SeqCst);
        }
    });
    let mut random = Random(1);
    for number in 1..=3_000 {
        let seen = Arc::clone(&present);
        let long = number % 3 == 0;
        let call = value.call(move |()| {
            seen.store(number, SeqCst);
            if long {
                thread::sleep(Duration::from_micros(200));
            }
            seen.store(0, SeqCst);
        });
        let call = call.try_spawn().unwrap();
        for _ in 0..random.below(40) {
            std::hint::spin_loop();
        }
        if random.below(2) == 0 {
            while present.load(SeqCst) != number && !call.is_finished() {
                thread::yield_now();
            }
        }
        given_up.store(number, SeqCst);
        drop(call);
        // The next one is not given up.
        let seen = Arc::clone(&present);
        let next = value.call(move |()| {
            seen.store(usize::MAX, SeqCst);
            seen.store(0, SeqCst);
        });
        next.wait().unwrap();
    }
    assert_eq!(wrong.load(SeqCst), 0);
    assert!(hits.load(SeqCst) > 0, "no hook was called in 3,000 rounds");
}
