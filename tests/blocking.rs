//! `Blocking`: a value for one call at a time.

mod common;
#[path = "blocking/drops.rs"]
mod drops;

use common::{Gate, PATIENCE, alone, thread_names, wait_until, watchdog};
use offramp::{Blocking, Offload, OffloadError, offload_io, offload_io_with};
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, mpsc};
use std::thread;
use std::time::Duration;

fn pool(threads: usize) -> Offload {
    Offload::builder().io_max_threads(threads).build().unwrap()
}

/// Tells on which thread it is dropped.
struct Value {
    number: usize,
    dropped: mpsc::Sender<String>,
}

impl Value {
    fn new() -> (Self, mpsc::Receiver<String>) {
        let (dropped, drops) = mpsc::channel();
        (Self { number: 0, dropped }, drops)
    }
}

impl Drop for Value {
    fn drop(&mut self) {
        let name = thread::current().name().unwrap_or_default().to_owned();
        let _ = self.dropped.send(name);
    }
}

/// A call that runs until the gate is opened; it runs when this returns.
fn hold<T: Send>(value: &Blocking<T>, gate: &Gate) -> offramp::Handle<()> {
    let (started, starts) = mpsc::channel();
    let gate = gate.clone();
    let call = value.call(move |_| {
        started.send(()).unwrap();
        gate.pass();
    });
    let handle = call.try_spawn().unwrap();
    starts.recv_timeout(PATIENCE).expect("the call starts");
    handle
}

#[test]
fn calls_have_the_value_to_themselves_in_their_order() {
    let _watchdog = watchdog("exclusive calls");
    let offload = pool(8);
    let log = Blocking::new(Vec::new()).on(&offload);
    let inside = Arc::new(AtomicUsize::new(0));
    let calls: Vec<_> = (0..500)
        .map(|number| {
            let inside = Arc::clone(&inside);
            let call = log.call(move |log| {
                assert_eq!(inside.fetch_add(1, SeqCst), 0, "two at a time");
                if number % 50 == 0 {
                    thread::sleep(Duration::from_millis(1));
                }
                log.push(number);
                inside.fetch_sub(1, SeqCst);
            });
            call.try_spawn().unwrap()
        })
        .collect();
    for call in calls {
        call.wait().unwrap();
    }
    let log = log.into_inner().wait().unwrap();
    assert!(log.into_iter().eq(0..500));
}

#[test]
fn many_callers_at_once_lose_nothing() {
    let _watchdog = watchdog("many callers");
    let offload = pool(4);
    let sum = Arc::new(Blocking::new(0_u64).on(&offload));
    thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                for _ in 0..500 {
                    let added = sum.call(|sum| *sum += 1);
                    futures::executor::block_on(added).unwrap();
                }
            });
        }
    });
    assert_eq!(sum.call(|sum| *sum).wait().unwrap(), 8 * 500);
}

#[test]
fn calls_that_wait_take_no_thread() {
    alone("calls_that_wait_take_no_thread", || {
        let offload = pool(64);
        let value = Blocking::new(()).on(&offload);
        let gate = Gate::new();
        let held = hold(&value, &gate);
        let waiting: Vec<_> = (0..200)
            .map(|_| value.call(|()| ()).try_spawn().unwrap())
            .collect();
        // Somebody looks for what there is to do, and finds nothing.
        wait_until("nobody looks any more", || {
            let threads = offload.stats().io.threads;
            offload.stats().io.idle == threads - 1
        });
        let io = offload.stats().io;
        assert_eq!((io.running, io.queued), (1, 200));
        let pool_threads = thread_names();
        let threads = pool_threads.iter().filter(|name| name.contains("-io-"));
        assert!(threads.count() <= 4, "{pool_threads:?}");
        // Others are not held up.
        offload_io(|| ()).on(&offload).wait().unwrap();
        gate.open();
        held.wait().unwrap();
        for call in waiting {
            call.wait().unwrap();
        }
    });
}

#[test]
fn a_call_that_waits_is_gone_when_it_is_dropped() {
    let _watchdog = watchdog("a dropped call");
    let offload = pool(2);
    let log = Blocking::new(Vec::new()).on(&offload);
    let gate = Gate::new();
    let held = hold(&log, &gate);
    let (capture, drops) = Value::new();
    let dropped = log.call(move |log| {
        let capture = capture;
        log.push(capture.number);
    });
    let dropped = dropped.try_spawn().unwrap();
    let kept = log.call(|log| log.push(1)).try_spawn().unwrap();
    drop(dropped);
    let here = thread::current().name().unwrap_or_default().to_owned();
    assert_eq!(drops.try_recv(), Ok(here), "by the one who dropped it");
    gate.open();
    held.wait().unwrap();
    kept.wait().unwrap();
    assert_eq!(log.into_inner().wait().unwrap(), [1]);
}

#[test]
fn a_panic_leaves_the_value_for_the_next_call() {
    let _watchdog = watchdog("a panic");
    let offload = pool(2);
    let value = Blocking::new(1).on(&offload);
    let panics = value.call(|value| {
        *value = 2;
        panic!("in the midst");
    });
    let Err(OffloadError::Panicked(panicked)) = panics.wait() else {
        panic!("it panicked");
    };
    assert_eq!(panicked.message(), Some("in the midst"));
    assert!(!value.is_poisoned());
    assert_eq!(value.call(|value| *value).wait().unwrap(), 2);
}

#[test]
fn recover_puts_the_value_in_order_before_the_next_call() {
    let _watchdog = watchdog("recover");
    let offload = pool(2);
    let recovered = Arc::new(AtomicUsize::new(0));
    let value = Blocking::new(0).on(&offload).recover({
        let recovered = Arc::clone(&recovered);
        move |value| {
            assert!(recovered.fetch_add(1, SeqCst) > 0, "the first try fails");
            *value = 10;
        }
    });
    assert_eq!(value.call(|value| *value).wait().unwrap(), 0);
    assert_eq!(recovered.load(SeqCst), 0, "nothing to recover from");
    let panics = value.call(|value| {
        *value = 3;
        panic!("leaves a 3");
    });
    assert!(matches!(panics.wait(), Err(OffloadError::Panicked(_))));
    let Err(OffloadError::Panicked(first)) = value.call(|_| ()).wait() else {
        panic!("`recover` panicked");
    };
    assert!(first.message().unwrap().contains("first try"));
    assert_eq!(value.call(|value| *value).wait().unwrap(), 10);
    assert_eq!(value.call(|value| *value).wait().unwrap(), 10);
    assert_eq!(recovered.load(SeqCst), 2);
}

#[test]
fn a_poisoned_value_is_refused_until_it_is_cleared() {
    let _watchdog = watchdog("poison");
    let offload = pool(2);
    let value = Blocking::new(5).on(&offload).poison();
    let panics = value.call(|_| panic!("poison"));
    let after = value.call(|value| *value);
    let (panics, after) = (panics.try_spawn().unwrap(), after.try_spawn().unwrap());
    assert!(matches!(panics.wait(), Err(OffloadError::Panicked(_))));
    assert!(matches!(after.wait(), Err(OffloadError::Poisoned)));
    assert!(value.is_poisoned());
    let error = value.call(|value| *value).wait().unwrap_err();
    assert!(error.to_string().contains("clear_poison"), "{error}");
    value.clear_poison();
    assert_eq!(value.call(|value| *value).wait().unwrap(), 5);
    let _ = value.call(|_| panic!("again")).wait();
    assert_eq!(
        value.into_inner().wait().unwrap(),
        5,
        "its owner has it back"
    );
}

#[test]
fn into_inner_waits_for_the_calls_before_it() {
    let _watchdog = watchdog("into_inner");
    let offload = pool(2);
    let value = Blocking::new(Vec::new()).on(&offload);
    let gate = Gate::new();
    let held = hold(&value, &gate);
    let before = value.call(|value| value.push(1)).try_spawn().unwrap();
    let late = value.call(|value| value.push(2));
    let inner = value.into_inner().try_spawn().unwrap();
    let late = late.try_spawn().unwrap();
    gate.open();
    held.wait().unwrap();
    before.wait().unwrap();
    assert_eq!(inner.wait().unwrap(), [1]);
    let error = late.wait().unwrap_err();
    assert!(matches!(error, OffloadError::Taken));
    assert!(error.to_string().contains("into_inner"), "{error}");
}

/// Waits for itself in each way there is; none may hang, and the outer call goes on.
#[test]
fn waiting_for_a_call_of_the_same_value_is_an_error() {
    let _watchdog = watchdog("waiting for oneself");
    for threads in [1, 4] {
        let offload = pool(threads);
        let value = Arc::new(Blocking::new(7).on(&offload));
        let by_wait = value.call({
            let value = Arc::clone(&value);
            move |_| value.call(|value| *value).wait()
        });
        let inner = by_wait.wait().unwrap();
        assert!(
            matches!(inner, Err(OffloadError::WouldDeadlock)),
            "{inner:?}"
        );
        let by_handle = value.call({
            let value = Arc::clone(&value);
            move |_| value.call(|value| *value).try_spawn().unwrap().wait()
        });
        let inner = by_handle.wait().unwrap();
        assert!(
            matches!(inner, Err(OffloadError::WouldDeadlock)),
            "{inner:?}"
        );
        let by_block_on = value.call_with({
            let value = Arc::clone(&value);
            move |_, job| Ok(job.block_on(value.call(|value| *value)))
        });
        let inner = by_block_on.wait().unwrap();
        assert!(
            matches!(inner, Err(OffloadError::WouldDeadlock)),
            "{inner:?}"
        );
        let by_another = value.call({
            let value = Arc::clone(&value);
            move |_| pollster::block_on(value.call(|value| *value))
        });
        let inner = by_another.wait().unwrap();
        assert!(
            matches!(inner, Err(OffloadError::WouldDeadlock)),
            "{inner:?}"
        );
        // Through a job of the same pool, which runs on its stack.
        let by_child = value.call({
            let (value, offload) = (Arc::clone(&value), offload.clone());
            move |_| {
                let child = move || value.call(|value| *value).wait();
                offload_io(child).on(&offload).wait().unwrap()
            }
        });
        let inner = by_child.wait().unwrap();
        assert!(
            matches!(inner, Err(OffloadError::WouldDeadlock)),
            "{inner:?}"
        );
        // Without waiting it is a call like any other.
        let later = value.call({
            let value = Arc::clone(&value);
            move |_| value.call(|value| *value).try_spawn().unwrap()
        });
        assert_eq!(later.wait().unwrap().wait().unwrap(), 7);
    }
}

#[test]
fn a_call_may_wait_for_another_value() {
    let _watchdog = watchdog("a call in a call");
    let offload = pool(1);
    let inner = Arc::new(Blocking::new(1).on(&offload));
    let outer = Blocking::new(2).on(&offload);
    let sum = outer.call({
        let inner = Arc::clone(&inner);
        move |outer| *outer + inner.call(|inner| *inner).wait().unwrap()
    });
    assert_eq!(sum.wait().unwrap(), 3);
    // What a call calls is not in its line.
    let plain = outer.call({
        let offload = offload.clone();
        move |outer| {
            let call = offload_io(|| 5).on(&offload);
            *outer + pollster::block_on(call).unwrap()
        }
    });
    assert_eq!(plain.wait().unwrap(), 7);
}

#[test]
fn a_call_stays_in_its_place() {
    let offload = pool(1);
    let other = pool(1);
    let value = Blocking::new(()).on(&offload);
    let ran = value.call(|()| ()).lane(&offload.lane("fast lane")).wait();
    let Err(OffloadError::Config(error)) = ran else {
        panic!("{ran:?}");
    };
    let text = error.to_string();
    assert!(
        text.contains("lane") && text.contains("fast lane"),
        "{text}"
    );
    let ran = value.call(|()| ()).on(&other).wait();
    assert!(matches!(ran, Err(OffloadError::Config(_))), "{ran:?}");
    let refused = value.call(|()| ()).on(&other).try_spawn().unwrap_err();
    assert!(matches!(refused.reason(), OffloadError::Config(_)));
    value.call(|()| ()).wait().unwrap();
}

#[test]
fn a_call_sees_its_job() {
    let offload = pool(1);
    let value = Blocking::new(1).on(&offload);
    let (started, starts) = mpsc::channel();
    let looping = value.call_with(move |_, job| {
        started.send(()).unwrap();
        loop {
            job.checkpoint()?;
            thread::yield_now();
        }
        #[expect(unreachable_code, reason = "for the type")]
        Ok(())
    });
    let looping = looping.try_spawn().unwrap();
    starts.recv_timeout(PATIENCE).unwrap();
    looping.abort();
    assert!(matches!(looping.wait(), Err(OffloadError::Cancelled)));
    assert_eq!(value.call(|value| *value).wait().unwrap(), 1);
    // A job that is not a call of it may have it, too.
    let value = Arc::new(value);
    let other = offload_io_with(move |job| Ok(job.block_on(value.call(|value| *value))));
    assert_eq!(other.on(&offload).wait().unwrap().unwrap(), 1);
}
