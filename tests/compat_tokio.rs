//! `compat::tokio`: what tokio documents of `spawn_blocking`, and each listed difference.
#![cfg(feature = "tokio")]

#[path = "compat_tokio/aborts.rs"]
mod aborts;
mod common;

use common::{Gate, Occupied, PATIENCE, has, wait_until, watchdog};
use offramp::compat::tokio::{self as task, AbortHandle, JoinError, JoinHandle};
use offramp::{Backlog, Offload, OffloadError, Policy, offload_io};
use std::cell::Cell;
use std::error::Error;
use std::future::{Future, poll_fn};
use std::io;
use std::panic::{self, AssertUnwindSafe, RefUnwindSafe, UnwindSafe, catch_unwind};
use std::pin::pin;
use std::rc::Rc;
use std::sync::mpsc;
use std::thread::{self, ThreadId};
use std::time::Duration;
use tokio::runtime::{Handle, Runtime};
use tokio::time::{sleep, timeout};

/// I/O threads, of which all are known.
fn pool(threads: usize) -> Offload {
    let builder = Offload::builder().io_max_threads(threads);
    builder.io_extra_threads(0).build().unwrap()
}

// The examples of tokio's documentation, with another `use` line.

#[tokio::test]
async fn an_input_goes_in_and_a_result_comes_out() -> Result<(), Box<dyn Error>> {
    let mut greeting = "Hello, ".to_string();
    let greeting = task::spawn_blocking(move || {
        greeting.push_str("world");
        greeting
    })
    .await?;
    assert_eq!(greeting.as_str(), "Hello, world");
    Ok(())
}

#[tokio::test]
async fn a_worker_sends_through_a_channel() {
    let _watchdog = watchdog("blocking_send");
    let (sender, mut receiver) = tokio::sync::mpsc::channel(2);
    let start = 5;
    let worker = task::spawn_blocking(move || {
        for number in 0..10 {
            sender.blocking_send(start + number).unwrap();
        }
    });
    let mut sum = 0;
    while let Some(number) = receiver.recv().await {
        sum += number;
    }
    assert_eq!(sum, 95);
    worker.await.unwrap();
}

#[tokio::test]
async fn a_worker_receives_from_a_channel() {
    let _watchdog = watchdog("blocking_recv");
    let (sender, mut receiver) = tokio::sync::mpsc::channel(2);
    let worker = task::spawn_blocking(move || {
        let mut sum = 0;
        while let Some(number) = receiver.blocking_recv() {
            sum += number;
        }
        sum
    });
    for number in 0..10 {
        sender.send(number).await.unwrap();
    }
    drop(sender);
    assert_eq!(worker.await.unwrap(), 45);
}

#[tokio::test]
async fn the_runtime_is_there_inside_of_the_closure() {
    let _watchdog = watchdog("a runtime's handle");
    let worker = task::spawn_blocking(|| {
        let spawned = tokio::spawn(async { 1 });
        Handle::current().block_on(async {
            sleep(Duration::from_millis(1)).await;
            let nested = task::spawn_blocking(|| Handle::current().block_on(async { 2 }));
            spawned.await.unwrap() + nested.await.unwrap()
        })
    });
    assert_eq!(worker.await.unwrap(), 3);
}

#[tokio::test]
async fn a_result_inside_of_the_result_is_two_question_marks() -> io::Result<()> {
    let handle: JoinHandle<Result<i32, io::Error>> = task::spawn_blocking(|| Ok(5 + 3));
    assert_eq!(handle.await??, 8);
    Ok(())
}

#[tokio::test]
async fn a_panic_is_an_error_that_contains_it() {
    let handle: JoinHandle<()> = task::spawn_blocking(|| panic!("boom"));
    let error = handle.await.unwrap_err();
    assert!(error.is_panic() && !error.is_cancelled());
    assert!(matches!(error.offload_error(), OffloadError::Panicked(_)));
    assert_eq!(error.to_string(), "task panicked with message \"boom\"");
    assert_eq!(format!("{error:?}"), "JoinError::Panic(\"boom\", ...)");
    let resumed = catch_unwind(AssertUnwindSafe(|| {
        panic::resume_unwind(error.into_panic());
    }));
    assert_eq!(*resumed.unwrap_err().downcast::<&str>().unwrap(), "boom");

    let error = task::spawn_blocking(|| panic::panic_any(7_u8));
    let error = error.await.unwrap_err();
    assert_eq!(error.to_string(), "task panicked");
    assert_eq!(format!("{error:?}"), "JoinError::Panic(...)");
    let error = io::Error::from(error);
    assert_eq!(error.kind(), io::ErrorKind::Other);
    let inner = error.into_inner().unwrap().downcast::<JoinError>().unwrap();
    let payload = inner.try_into_panic().unwrap();
    assert_eq!(*payload.downcast::<u8>().unwrap(), 7);
}

// Handles.

#[test]
fn the_closure_starts_without_an_await() {
    let (sender, receiver) = mpsc::channel();
    let handle = task::spawn_blocking(move || sender.send(()).unwrap());
    receiver.recv_timeout(PATIENCE).expect("it runs");
    wait_until("it has returned", || handle.is_finished());
    assert!(format!("{handle:?}").contains("is_finished: true"));
}

/// Tells which thread drops it.
struct Told(mpsc::Sender<ThreadId>);

impl Drop for Told {
    fn drop(&mut self) {
        let _ = self.0.send(thread::current().id());
    }
}

#[test]
fn a_dropped_handle_detaches() {
    let _watchdog = watchdog("a dropped handle");
    for with_abort_handle in [false, true] {
        let offload = pool(1);
        offload.scoped_sync(|| {
            let occupied = Occupied::io(&offload, 1);
            let (sender, dropped) = mpsc::channel();
            let handle = task::spawn_blocking(move || Told(sender));
            let abort = with_abort_handle.then(|| handle.abort_handle());
            drop(handle);
            occupied.release();
            // Nor does the abort handle, which is still here, keep the result.
            let thread = dropped.recv_timeout(PATIENCE).expect("it runs");
            assert_ne!(thread, thread::current().id());
            if let Some(abort) = abort {
                wait_until("it is over", || abort.is_finished());
                abort.abort();
            }
        });
        wait_until("it is counted", || offload.stats().io.completed == 2);
        assert_eq!(offload.stats().io.cancelled, 0);
    }
}

#[test]
fn the_last_abort_handle_dropped_before_the_end_aborts_nothing() {
    let _watchdog = watchdog("a dropped abort handle");
    let offload = pool(1);
    offload.scoped_sync(|| {
        let occupied = Occupied::io(&offload, 1);
        let (sender, dropped) = mpsc::channel();
        let handle = task::spawn_blocking(move || Told(sender));
        let abort = handle.abort_handle();
        drop((handle, abort));
        occupied.release();
        dropped.recv_timeout(PATIENCE).expect("it runs");
    });
    wait_until("it is counted", || offload.stats().io.completed == 2);
}

#[tokio::test]
async fn a_task_that_finds_all_handles_ready_yields_in_between() {
    let offload = pool(2);
    let handles: Vec<_> = offload.scoped_sync(|| {
        let spawn = |number| task::spawn_blocking(move || number);
        (0..1_000).map(spawn).collect()
    });
    wait_until("all are ready", || {
        handles.iter().all(JoinHandle::is_finished)
    });
    let mut all = pin!(async {
        for (number, handle) in handles.into_iter().enumerate() {
            assert_eq!(handle.await.unwrap(), number);
        }
    });
    let mut polls = 0;
    poll_fn(|cx| {
        polls += 1;
        all.as_mut().poll(cx)
    })
    .await;
    assert!(polls > 1, "{polls} poll for all");
}

// The differences, in the table's order.

#[test]
fn outside_of_a_runtime_it_works() {
    let handle = task::spawn_blocking(|| Handle::try_current().is_err());
    assert!(pollster::block_on(handle).unwrap());
}

#[test]
fn what_a_full_queue_refuses_is_a_cancelled_error_with_its_reason() {
    let _watchdog = watchdog("a full queue");
    for (policy, limit) in [(Policy::Wait, 3), (Policy::Reject, 1)] {
        let builder = Offload::builder().io_max_threads(1).policy(policy);
        let offload = builder.capacity(1).max_pending(3).build().unwrap();
        let occupied = Occupied::io(&offload, 1);
        let mut waiting = Vec::new();
        let (sender, dropped) = mpsc::channel();
        let refused = offload.scoped_sync(|| {
            for number in 0..limit {
                waiting.push(task::spawn_blocking(move || number));
            }
            let told = Told(sender);
            task::spawn_blocking(move || drop(told))
        });
        // By the call.
        assert_eq!(dropped.try_recv(), Ok(thread::current().id()));
        assert!(refused.is_finished() && refused.abort_handle().is_finished());
        refused.abort();
        let error = pollster::block_on(refused).unwrap_err();
        assert!(error.is_cancelled() && !error.is_panic());
        assert!(
            error
                .to_string()
                .starts_with("task was cancelled: the pool is overloaded")
        );
        assert!(
            matches!(error.offload_error(), OffloadError::Overloaded { limit: at, .. } if *at == limit)
        );
        let error = io::Error::from(error);
        assert!(error.to_string().contains("overloaded"), "{error}");
        occupied.release();
        for (number, handle) in waiting.into_iter().enumerate() {
            assert_eq!(pollster::block_on(handle).unwrap(), number);
        }
    }
}

#[test]
fn no_thread_and_a_shutdown_are_such_errors_too() {
    let _watchdog = watchdog("no thread");
    let builder = Offload::builder().io_spawner(|_| Err(io::Error::other("expected")));
    let offload = builder.build().unwrap();
    let outcome = |offload: &Offload| {
        let handle = offload.scoped_sync(|| task::spawn_blocking(|| ()));
        let error = pollster::block_on(handle).unwrap_err();
        assert!(error.is_cancelled());
        error
    };
    let none = outcome(&offload);
    assert!(matches!(none.offload_error(), OffloadError::NoThreads));
    pollster::block_on(offload.shutdown(None, Backlog::Drain));
    let ended = outcome(&offload);
    assert!(matches!(ended.offload_error(), OffloadError::ShutDown));
}

#[test]
fn the_runtime_s_end_changes_nothing() {
    let _watchdog = watchdog("a runtime's end");
    let offload = pool(1);
    let runtime = Runtime::new().unwrap();
    let gate = Gate::new();
    let spawn = |gate: Gate| {
        task::spawn_blocking(move || {
            gate.pass();
            Handle::try_current().is_ok()
        })
    };
    let (runs, waits) = offload.scoped_sync(|| {
        let _entered = runtime.enter();
        (spawn(gate.clone()), spawn(gate.clone()))
    });
    // Tokio's would wait here, for ever.
    drop(runtime);
    gate.open();
    assert!(pollster::block_on(runs).unwrap());
    assert!(pollster::block_on(waits).unwrap());
}

#[test]
fn a_block_on_inside_of_a_job_of_a_full_pool_is_told() {
    let _watchdog = watchdog("block_on inside of a job");
    let offload = pool(1);
    let handle = offload.scoped_sync(|| {
        let offload = offload.clone();
        task::spawn_blocking(move || {
            let inner = offload.scoped_sync(|| task::spawn_blocking(|| ()));
            pollster::block_on(inner)
        })
    });
    let error = pollster::block_on(handle).unwrap().unwrap_err();
    assert!(error.is_cancelled());
    assert!(matches!(error.offload_error(), OffloadError::WouldDeadlock));
}

#[test]
fn inside_of_a_job_with_a_deadline_it_is_inherited() {
    let _watchdog = watchdog("an inherited deadline");
    let offload = pool(2);
    let inner = offload.clone();
    let job = move || {
        let spawn = || task::spawn_blocking(|| offramp::remaining().is_some());
        pollster::block_on(inner.scoped_sync(spawn))
    };
    let call = offload_io(job).on(&offload).timeout(PATIENCE);
    assert!(call.wait().unwrap().unwrap());
}

#[tokio::test(start_paused = true)]
async fn a_paused_clock_waits_while_a_handle_is_there() {
    let _watchdog = watchdog("a paused clock");
    const LONG: Duration = Duration::from_secs(100);
    let slow = || thread::sleep(Duration::from_millis(50));
    let held = timeout(LONG, task::spawn_blocking(slow)).await;
    held.expect("no time has passed").unwrap();

    let gate = Gate::new();
    let closed = gate.clone();
    drop(task::spawn_blocking(move || closed.pass()));
    // Tokio's would not let it pass.
    sleep(LONG).await;
    gate.open();
}

// Auto traits.

macro_rules! same {
    ($($ours:ty, $theirs:ty;)*) => {
        $(const _: () = {
            assert!(has!($ours, Send) == has!($theirs, Send));
            assert!(has!($ours, Sync) == has!($theirs, Sync));
            assert!(has!($ours, Unpin) == has!($theirs, Unpin));
            assert!(has!($ours, UnwindSafe) == has!($theirs, UnwindSafe));
            assert!(has!($ours, RefUnwindSafe) == has!($theirs, RefUnwindSafe));
        };)*
    };
}

#[test]
fn the_auto_traits_are_tokio_s() {
    type Movable = Cell<()>;
    type Local = Rc<()>;
    same! {
        JoinHandle<()>, tokio::task::JoinHandle<()>;
        JoinHandle<Movable>, tokio::task::JoinHandle<Movable>;
        JoinHandle<Local>, tokio::task::JoinHandle<Local>;
        AbortHandle, tokio::task::AbortHandle;
        JoinError, tokio::task::JoinError;
    }
}
