//! Where the value goes, and what becomes of a call that is dropped.

use super::common::{Gate, PATIENCE, alone, wait_until, watchdog};
use super::{Value, hold, pool};
use futures::FutureExt;
use offramp::{Backlog, Blocking, OffloadError};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

/// It is dropped once, by a thread of the pool.
#[track_caller]
fn is_dropped_on_the_pool(drops: &mpsc::Receiver<String>) {
    let dropped_by = drops.recv_timeout(PATIENCE).expect("the value is dropped");
    assert!(dropped_by.starts_with("offramp-io"), "{dropped_by}");
    assert!(drops.recv_timeout(Duration::from_millis(20)).is_err());
}

#[test]
fn the_value_is_dropped_on_the_pool() {
    let _watchdog = watchdog("drops of values");
    let offload = pool(2);
    let (value, drops) = Value::new();
    drop(Blocking::new(value).on(&offload));
    is_dropped_on_the_pool(&drops);

    // With the last call, though its handle is gone before.
    let (value, drops) = Value::new();
    let value = Blocking::new(value).on(&offload);
    let gate = Gate::new();
    let held = hold(&value, &gate);
    let last = value.call(|value| value.number).try_spawn().unwrap();
    drop(value);
    assert!(drops.try_recv().is_err());
    gate.open();
    held.wait().unwrap();
    assert_eq!(last.wait().unwrap(), 0);
    is_dropped_on_the_pool(&drops);

    // A call that was never polled had it last.
    let (value, drops) = Value::new();
    let value = Blocking::new(value).on(&offload);
    let call = value.call(|value| value.number);
    drop(value);
    assert!(drops.try_recv().is_err());
    drop(call);
    is_dropped_on_the_pool(&drops);

    let (value, drops) = Value::new();
    drop(Blocking::new(value).on(&offload).into_inner());
    is_dropped_on_the_pool(&drops);
}

#[test]
fn a_value_that_was_never_used_is_dropped_on_the_default_pool() {
    alone(
        "drops::a_value_that_was_never_used_is_dropped_on_the_default_pool",
        || {
            let (value, drops) = Value::new();
            drop(Blocking::new(value));
            is_dropped_on_the_pool(&drops);
        },
    );
}

#[test]
fn after_a_shutdown_the_value_is_dropped_by_whoever_has_it() {
    let _watchdog = watchdog("drop after shutdown");
    let offload = pool(1);
    let (value, drops) = Value::new();
    let value = Blocking::new(value).on(&offload);
    value.call(|value| value.number).wait().unwrap();
    pollster::block_on(offload.shutdown(None, Backlog::Drain));
    assert!(matches!(
        value.call(|_| ()).wait(),
        Err(OffloadError::ShutDown)
    ));
    drop(value);
    let here = thread::current().name().unwrap_or_default().to_owned();
    assert_eq!(drops.try_recv(), Ok(here));
}

/// Each call dropped after each number of polls, at each stage: whatever came of it, the
/// value is there for the next one, and captures and value are dropped once.
#[test]
fn dropped_at_every_point() {
    let _watchdog = watchdog("dropped at every point");
    let offload = pool(2);
    for polls in 0..3 {
        for stage in ["waiting", "running", "finished"] {
            let (value, drops) = Value::new();
            let value = Blocking::new(value).on(&offload);
            let (capture, capture_drops) = Value::new();
            let (before, during) = (Gate::new(), Gate::new());
            let held = hold(&value, &before);
            let (running, runs) = mpsc::channel();
            let pass = during.clone();
            let mut call = Box::pin(value.call(move |value| {
                let _capture = capture;
                let _ = running.send(());
                pass.pass();
                value.number += 1;
            }));
            for _ in 0..polls {
                assert!(call.as_mut().now_or_never().is_none());
            }
            if stage != "waiting" {
                before.open();
                if polls > 0 {
                    runs.recv_timeout(PATIENCE).unwrap();
                }
            }
            if stage == "finished" {
                during.open();
                held.wait().unwrap();
                wait_until("it is over", || offload.stats().io.running == 0);
                drop(call);
            } else {
                drop(call);
                before.open();
                during.open();
                held.wait().unwrap();
            }
            let number = value.call(|value| value.number).wait().unwrap();
            let ran = usize::from(polls > 0 && stage != "waiting");
            assert_eq!(number, ran, "{polls} polls, {stage}");
            assert!(capture_drops.recv_timeout(PATIENCE).is_ok());
            assert!(capture_drops.try_recv().is_err());
            drop(value);
            is_dropped_on_the_pool(&drops);
        }
    }
}
