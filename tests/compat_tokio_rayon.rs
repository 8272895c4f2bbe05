//! `compat::tokio_rayon`: what `tokio-rayon` documents, and each listed difference.

mod common;

use common::{Gate, PATIENCE, watchdog};
use offramp::compat::tokio_rayon::{AsyncRayonHandle, spawn, spawn_fifo};
use offramp::{Backlog, Offload, Policy, offload_cpu, offload_io};
use rayon::iter::{IntoParallelIterator, ParallelIterator};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, mpsc};
use std::thread::{self, ThreadId};
use std::time::Duration;

/// What awaiting `handle` panics with.
fn panic_of<T>(handle: AsyncRayonHandle<T>) -> String {
    let awaited = catch_unwind(AssertUnwindSafe(|| drop(pollster::block_on(handle))));
    let payload = awaited.expect_err("it panics");
    match payload.downcast::<String>() {
        Ok(text) => *text,
        Err(payload) => (*payload.downcast::<&str>().unwrap()).to_owned(),
    }
}

/// The CPU pool's only worker held busy, and the handle that lets it go.
fn occupied(offload: &Offload) -> Gate {
    let gate = Gate::new();
    let (closed, (started, has_started)) = (gate.clone(), mpsc::channel());
    let hold = move || {
        started.send(()).unwrap();
        closed.pass();
    };
    offload_cpu(hold).on(offload).try_spawn().unwrap().detach();
    has_started.recv_timeout(PATIENCE).unwrap();
    gate
}

#[test]
fn awaiting_gives_the_value_from_a_rayon_worker() {
    let _watchdog = watchdog("spawn");
    let work = || {
        assert!(rayon::current_thread_index().is_some());
        (0..1_337_usize).into_par_iter().count()
    };
    assert_eq!(pollster::block_on(spawn(work)), 1_337);
    assert_eq!(pollster::block_on(spawn_fifo(work)), 1_337);
    assert_eq!(rayon::current_thread_index(), None);
}

#[test]
fn the_closure_starts_without_an_await_and_a_dropped_handle_detaches() {
    struct Told(mpsc::Sender<ThreadId>);
    impl Drop for Told {
        fn drop(&mut self) {
            let _ = self.0.send(thread::current().id());
        }
    }
    let (sender, receiver) = mpsc::channel();
    let handle = spawn(move || Told(sender));
    assert!(format!("{handle:?}").contains("is_finished"));
    receiver.try_recv().expect_err("the result is the handle's");
    drop(handle);
    receiver.recv_timeout(PATIENCE).expect("it runs");

    let offload = Offload::builder().cpu_threads(1).build().unwrap();
    let gate = occupied(&offload);
    let (sender, receiver) = mpsc::channel();
    offload.scoped_sync(|| drop(spawn(move || Told(sender))));
    gate.open();
    let dropped_on = receiver.recv_timeout(PATIENCE).expect("it runs");
    assert_ne!(dropped_on, thread::current().id());
}

#[test]
fn a_panic_goes_on_where_the_handle_is_awaited() {
    let _watchdog = watchdog("a panic");
    let failing = || -> u32 { panic!("Task failed successfully") };
    assert_eq!(panic_of(spawn(failing)), "Task failed successfully");
    assert_eq!(panic_of(spawn_fifo(failing)), "Task failed successfully");
    assert_eq!(pollster::block_on(spawn(|| 1)), 1);
}

#[test]
fn a_panic_that_nobody_awaits_ends_there() {
    let _watchdog = watchdog("a panic without a handle");
    let offload = Offload::builder().cpu_threads(1).build().unwrap();
    struct Bomb;
    impl Drop for Bomb {
        fn drop(&mut self) {
            panic!("expected");
        }
    }
    offload.scoped_sync(|| {
        let gate = occupied(&offload);
        drop(spawn(|| panic!("expected")));
        // Nor does the destructor of a result.
        drop(spawn(|| Bomb));
        gate.open();
        assert_eq!(pollster::block_on(spawn(|| 1)), 1);
    });
}

// The differences, in the table's order.

#[test]
fn inside_of_the_pool_they_start_in_order_and_one_by_one() {
    let _watchdog = watchdog("the order");
    let offload = Offload::builder().cpu_threads(1).build().unwrap();
    let inner = offload.clone();
    let order = Arc::new(Mutex::new(Vec::new()));
    let starts = Arc::clone(&order);
    let outer = move || {
        let handles: Vec<_> = (0..100)
            .map(|number| {
                let starts = Arc::clone(&starts);
                let call = move || starts.lock().unwrap().push(number);
                inner.scoped_sync(|| {
                    if number % 2 == 0 {
                        spawn(call)
                    } else {
                        spawn_fifo(call)
                    }
                })
            })
            .collect();
        // The only worker waits here, in vain for something to steal.
        (0..1_000).into_par_iter().for_each(|_| thread::yield_now());
        assert!(starts.lock().unwrap().is_empty(), "none on this stack");
        handles
    };
    let handles = offload.scoped_sync(|| pollster::block_on(spawn(outer)));
    for handle in handles {
        pollster::block_on(handle);
    }
    assert_eq!(*order.lock().unwrap(), (0..100).collect::<Vec<_>>());
}

#[test]
fn what_has_no_value_panics_with_the_reason() {
    let _watchdog = watchdog("no value");
    for (policy, limit) in [(Policy::Wait, 3), (Policy::Reject, 1)] {
        let builder = Offload::builder().cpu_threads(1).policy(policy);
        let offload = builder.capacity(1).max_pending(3).build().unwrap();
        offload.scoped_sync(|| {
            let gate = occupied(&offload);
            let waiting: Vec<_> = (0..limit).map(|number| spawn(move || number)).collect();
            let kept = Arc::new(());
            let captured = Arc::clone(&kept);
            let refused = spawn(move || drop(captured));
            assert_eq!(Arc::strong_count(&kept), 1, "dropped by the call");
            let reason = panic_of(refused);
            assert!(reason.contains("overloaded"), "{reason}");
            gate.open();
            for (number, handle) in waiting.into_iter().enumerate() {
                assert_eq!(pollster::block_on(handle), number);
            }
            pollster::block_on(offload.shutdown(None, Backlog::Drain));
            let reason = panic_of(spawn(|| ()));
            assert!(reason.contains("shut down"), "{reason}");
        });
    }
}

#[test]
fn a_block_on_on_the_last_thread_panics_instead_of_hanging() {
    let _watchdog = watchdog("block_on inside of a job");
    let offload = Offload::builder().cpu_threads(1).build().unwrap();
    let inner = offload.clone();
    let outer = move || inner.scoped_sync(|| panic_of(spawn(|| ())));
    let reason = offload.scoped_sync(|| pollster::block_on(spawn(outer)));
    assert!(reason.contains("would never run"), "{reason}");
}

#[test]
fn inside_of_an_io_job_with_a_deadline_it_is_inherited() {
    let _watchdog = watchdog("an inherited deadline");
    let offload = Offload::builder().cpu_threads(1).build().unwrap();
    let gate = occupied(&offload);
    let inner = offload.clone();
    let (sender, reason) = mpsc::channel();
    let job = move || {
        let waits = inner.scoped_sync(|| spawn(|| ()));
        sender.send(panic_of(waits)).unwrap();
    };
    let call = offload_io(job).on(&offload);
    call.timeout(Duration::from_millis(20))
        .try_spawn()
        .unwrap()
        .detach();
    let reason = reason.recv_timeout(PATIENCE).expect("it resolves");
    assert!(reason.contains("deadline"), "{reason}");
    gate.open();
}

#[test]
fn a_poll_after_the_value_panics() {
    let mut handle = spawn(|| 1);
    assert_eq!(pollster::block_on(&mut handle), 1);
    assert!(panic_of(handle).contains("after it was ready"));
}

#[cfg(feature = "tokio")]
mod in_tokio {
    use super::spawn;
    use crate::common::has;
    use offramp::compat::tokio_rayon::AsyncRayonHandle;
    use std::cell::Cell;
    use std::rc::Rc;
    use std::thread;
    use tokio::runtime::Handle;
    use tokio::sync::oneshot::Receiver;

    #[tokio::test]
    async fn the_runtime_is_there_inside_of_the_closure() {
        let id = Handle::current().id();
        let there = spawn(move || Handle::current().id() == id);
        assert!(there.await);
    }

    /// The original's handle is one field: this receiver.
    type Original<T> = Receiver<thread::Result<T>>;

    macro_rules! same {
        ($($type:ty,)*) => {
            $(const _: () = {
                type Ours = AsyncRayonHandle<$type>;
                assert!(has!(Ours, Send) == has!(Original<$type>, Send));
                assert!(has!(Ours, Sync) == has!(Original<$type>, Sync));
                assert!(has!(Ours, Unpin) == has!(Original<$type>, Unpin));
            };)*
        };
    }

    #[test]
    fn the_auto_traits_are_the_original_s() {
        same! { (), Cell<()>, Rc<()>, }
    }
}
