//! `Pinned`: a value that never leaves its thread.

mod common;

use common::{Gate, PATIENCE, alone, thread_names, wait_until, watchdog};
use futures::executor::block_on;
use offramp::{Blocking, Offload, OffloadError, Pinned};
use std::cell::RefCell;
use std::rc::Rc;
use std::sync::{Arc, mpsc};
use std::thread::{self, ThreadId};

/// Not `Send`, bound to its thread, and it tells on which it is dropped.
struct Legacy {
    home: ThreadId,
    calls: Rc<RefCell<Vec<u32>>>,
    dropped: mpsc::Sender<ThreadId>,
}

impl Legacy {
    fn open(dropped: mpsc::Sender<ThreadId>) -> Self {
        Self {
            home: thread::current().id(),
            calls: Rc::default(),
            dropped,
        }
    }

    fn call(&self, number: u32) -> usize {
        assert_eq!(self.home, thread::current().id(), "another thread");
        self.calls.borrow_mut().push(number);
        self.calls.borrow().len()
    }
}

impl Drop for Legacy {
    fn drop(&mut self) {
        let _ = self.dropped.send(thread::current().id());
    }
}

fn open() -> (Pinned<Legacy>, mpsc::Receiver<ThreadId>) {
    let (dropped, drops) = mpsc::channel();
    let pinned = block_on(Blocking::pinned(|| Legacy::open(dropped))).unwrap();
    (pinned, drops)
}

#[test]
fn every_call_runs_where_the_value_was_made() {
    let _watchdog = watchdog("one thread");
    let (legacy, drops) = open();
    let home = block_on(legacy.call(|legacy| legacy.home)).unwrap();
    assert_ne!(home, thread::current().id());
    thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                for number in 0..100 {
                    block_on(legacy.call(move |legacy| legacy.call(number))).unwrap();
                }
            });
        }
    });
    assert_eq!(block_on(legacy.call(|legacy| legacy.call(0))).unwrap(), 401);
    drop(legacy);
    assert_eq!(drops.recv_timeout(PATIENCE), Ok(home));
}

#[test]
fn it_costs_one_thread() {
    alone("it_costs_one_thread", || {
        let (legacy, drops) = open();
        for number in 0..10 {
            block_on(legacy.call(move |legacy| legacy.call(number))).unwrap();
        }
        let names = thread_names();
        let ours = names.iter().filter(|name| name.starts_with("offramp"));
        assert_eq!(ours.count(), 1, "{names:?}");
        drop(legacy);
        drops.recv_timeout(PATIENCE).unwrap();
        wait_until("the thread is gone", || {
            !thread_names()
                .iter()
                .any(|name| name.starts_with("offramp"))
        });
    });
}

#[test]
fn calls_keep_their_order_and_a_dropped_one_is_gone() {
    let _watchdog = watchdog("order");
    let (legacy, _drops) = open();
    let gate = Gate::new();
    let pass = gate.clone();
    let held = legacy.call(move |_| pass.pass()).try_spawn().unwrap();
    let calls: Vec<_> = (0..20)
        .map(|number| {
            let call = legacy.call(move |legacy| legacy.call(number));
            call.try_spawn().unwrap()
        })
        .collect();
    let mut calls = calls.into_iter();
    drop(calls.next());
    gate.open();
    held.wait().unwrap();
    for call in calls {
        call.wait().unwrap();
    }
    let order = block_on(legacy.call(|legacy| legacy.calls.borrow().clone()));
    assert!(order.unwrap().into_iter().eq(1..20));
}

#[test]
fn a_panic_leaves_the_value_for_the_next_call() {
    let _watchdog = watchdog("a panic");
    let (legacy, _drops) = open();
    let panics = block_on(legacy.call(|legacy| {
        legacy.call(1);
        panic!("in a call");
    }));
    assert!(matches!(panics, Err(OffloadError::Panicked(_))));
    assert_eq!(block_on(legacy.call(|legacy| legacy.call(2))).unwrap(), 2);
}

#[test]
fn a_panic_in_init_is_told() {
    let _watchdog = watchdog("init");
    let failed = block_on(Blocking::pinned(|| -> Rc<()> { panic!("no licence") }));
    let Err(OffloadError::Panicked(panicked)) = failed else {
        panic!("it panicked");
    };
    assert_eq!(panicked.message(), Some("no licence"));
}

#[test]
fn a_panic_in_the_values_destructor_ends_there() {
    struct Bad(Rc<()>, mpsc::Sender<()>);

    impl Drop for Bad {
        fn drop(&mut self) {
            let _ = self.1.send(());
            panic!("in a destructor");
        }
    }

    alone("a_panic_in_the_values_destructor_ends_there", || {
        let (dropped, drops) = mpsc::channel();
        let bad = block_on(Blocking::pinned(|| Bad(Rc::new(()), dropped))).unwrap();
        assert_eq!(
            block_on(bad.call(|bad| Rc::strong_count(&bad.0))).unwrap(),
            1
        );
        drop(bad);
        drops.recv_timeout(PATIENCE).unwrap();
        wait_until("the thread is gone", || {
            !thread_names()
                .iter()
                .any(|name| name.starts_with("offramp"))
        });
    });
}

#[test]
fn dropping_it_does_not_wait() {
    let _watchdog = watchdog("drop");
    let (legacy, drops) = open();
    let gate = Gate::new();
    let pass = gate.clone();
    legacy
        .call(move |_| pass.pass())
        .try_spawn()
        .unwrap()
        .detach();
    let (ran, runs) = mpsc::channel();
    let last = legacy.call(move |legacy| ran.send(legacy.call(1)));
    last.try_spawn().unwrap().detach();
    drop(legacy);
    assert!(drops.try_recv().is_err(), "a call has it");
    gate.open();
    assert_eq!(runs.recv_timeout(PATIENCE), Ok(1), "detached, it runs");
    drops.recv_timeout(PATIENCE).unwrap();
}

#[test]
fn waiting_for_a_call_of_the_same_value_is_an_error() {
    let _watchdog = watchdog("waiting for oneself");
    let (legacy, _drops) = open();
    let legacy = Arc::new(legacy);
    let by_wait = legacy.call({
        let legacy = Arc::clone(&legacy);
        move |_| legacy.call(|legacy| legacy.call(1)).wait()
    });
    let inner = block_on(by_wait).unwrap();
    assert!(
        matches!(inner, Err(OffloadError::WouldDeadlock)),
        "{inner:?}"
    );
    let by_block_on = legacy.call_with({
        let legacy = Arc::clone(&legacy);
        move |_, job| Ok(job.block_on(legacy.call(|legacy| legacy.call(1))))
    });
    let inner = block_on(by_block_on).unwrap();
    assert!(
        matches!(inner, Err(OffloadError::WouldDeadlock)),
        "{inner:?}"
    );
    let by_another = legacy.call({
        let legacy = Arc::clone(&legacy);
        move |_| block_on(legacy.call(|legacy| legacy.call(1)))
    });
    // futures' `block_on` in a `block_on` panics; this is the inner one, alone on its thread.
    let inner = block_on(by_another).unwrap();
    assert!(
        matches!(inner, Err(OffloadError::WouldDeadlock)),
        "{inner:?}"
    );
    assert_eq!(block_on(legacy.call(|legacy| legacy.call(1))).unwrap(), 1);
}

#[test]
fn a_call_stays_in_its_place() {
    let (legacy, _drops) = open();
    let other = Offload::builder().build().unwrap();
    let ran = block_on(legacy.call(|_| ()).on(&other));
    assert!(matches!(ran, Err(OffloadError::Config(_))), "{ran:?}");
    let ran = block_on(legacy.call(|_| ()).lane(&other.lane("other")));
    assert!(matches!(ran, Err(OffloadError::Config(_))), "{ran:?}");
}

#[test]
fn close_waits_for_the_values_end() {
    let _watchdog = watchdog("close");
    for _ in 0..20 {
        let (legacy, drops) = open();
        let slow = legacy.call(|_| thread::sleep(std::time::Duration::from_millis(2)));
        slow.try_spawn().unwrap().detach();
        let (ran, runs) = mpsc::channel();
        let last = legacy.call(move |legacy| ran.send(legacy.call(1)));
        last.try_spawn().unwrap().detach();
        block_on(legacy.close());
        assert_eq!(runs.try_recv(), Ok(1));
        assert!(drops.try_recv().is_ok(), "the value is gone by now");
    }
}
