//! Aborts: before the start, while it runs, from anywhere, amidst polls.

use super::{Told, pool};
use crate::common::{Gate, Occupied, PATIENCE, Wakes, wait_until, watchdog};
use offramp::compat::tokio::{self as task, AbortHandle, JoinHandle};
use offramp::{OffloadError, checkpoint};
use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, mpsc};
use std::task::{Context, Poll, Waker};
use std::thread;

#[tokio::test]
async fn an_abort_before_the_start_resolves_at_once() {
    let _watchdog = watchdog("an abort in the queue");
    let offload = pool(1);
    let occupied = Occupied::io(&offload, 1);
    let ways: [fn(&JoinHandle<()>); 2] = [
        |handle| handle.abort(),
        |handle| handle.abort_handle().abort(),
    ];
    for abort in ways {
        let (sender, dropped) = mpsc::channel();
        let told = Told(sender);
        let ran = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&ran);
        let handle = offload.scoped_sync(|| {
            task::spawn_blocking(move || {
                let _told = &told;
                count.fetch_add(1, Ordering::SeqCst);
            })
        });
        assert!(!handle.is_finished());
        abort(&handle);
        assert!(handle.is_finished());
        assert_eq!(dropped.try_recv(), Ok(thread::current().id()));
        let again = handle.abort_handle();
        assert!(again.is_finished());
        // The pool's only thread is still occupied.
        let error = handle.await.unwrap_err();
        again.abort();
        assert!(error.is_cancelled() && !error.is_panic());
        assert_eq!(error.to_string(), "task was cancelled");
        assert!(matches!(error.offload_error(), OffloadError::Cancelled));
        assert!(error.try_into_panic().is_err());
        assert_eq!(ran.load(Ordering::SeqCst), 0);
    }
    occupied.release();
}

#[test]
fn into_panic_panics_where_there_is_none() {
    let _watchdog = watchdog("into_panic");
    let offload = pool(1);
    let occupied = Occupied::io(&offload, 1);
    let handle = offload.scoped_sync(|| task::spawn_blocking(|| ()));
    handle.abort();
    let error = pollster::block_on(handle).unwrap_err();
    assert!(catch_unwind(AssertUnwindSafe(|| error.into_panic())).is_err());
    occupied.release();
}

#[test]
fn an_abort_handle_aborts_what_nobody_waits_for() {
    let _watchdog = watchdog("an abort of a detached call");
    let offload = pool(1);
    let occupied = Occupied::io(&offload, 1);
    let abort = offload.scoped_sync(|| task::spawn_blocking(|| unreachable!()).abort_handle());
    let clone: AbortHandle = abort.clone();
    assert!(!abort.is_finished());
    assert!(format!("{abort:?}").contains("is_finished: false"));
    thread::spawn(move || clone.abort()).join().unwrap();
    assert!(abort.is_finished());
    assert_eq!(offload.stats().io.cancelled, 1);
    occupied.release();
}

#[tokio::test]
async fn an_abort_of_a_running_closure_shows_at_its_checkpoints_and_its_value_comes() {
    let _watchdog = watchdog("an abort of a running closure");
    let (started, has_started) = mpsc::channel();
    let handle = task::spawn_blocking(move || {
        started.send(()).unwrap();
        while checkpoint().is_ok() {
            thread::yield_now();
        }
        "stopped"
    });
    has_started.recv_timeout(PATIENCE).unwrap();
    let abort = handle.abort_handle();
    abort.abort();
    assert_eq!(handle.await.unwrap(), "stopped");
    assert!(abort.is_finished());
}

#[test]
fn an_abort_in_the_midst_of_a_poll_is_not_lost() {
    let _watchdog = watchdog("an abort amidst polls");
    let offload = pool(1);
    let occupied = Occupied::io(&offload, 1);
    let (sender, handles) = mpsc::channel::<JoinHandle<()>>();
    let (done, is_done) = mpsc::channel();
    let poller = thread::spawn(move || {
        for mut handle in handles {
            let error = loop {
                let mut cx = Context::from_waker(Waker::noop());
                match Pin::new(&mut handle).poll(&mut cx) {
                    Poll::Ready(outcome) => break outcome.unwrap_err(),
                    Poll::Pending => {}
                }
            };
            done.send(error.is_cancelled()).unwrap();
        }
    });
    for round in 0..5_000 {
        let handle = offload.scoped_sync(|| task::spawn_blocking(|| ()));
        let abort = handle.abort_handle();
        sender.send(handle).unwrap();
        // Sooner and later.
        (0..round % 64 * 8).for_each(|_| std::hint::spin_loop());
        abort.abort();
        // The pool is occupied: nothing but the abort ends it.
        assert!(is_done.recv().unwrap());
    }
    drop(sender);
    poller.join().unwrap();
    occupied.release();
}

#[test]
fn a_poll_in_the_midst_of_an_abort_is_woken() {
    let _watchdog = watchdog("a poll amidst an abort");
    struct Slow(mpsc::Sender<()>, Gate);
    impl Drop for Slow {
        fn drop(&mut self) {
            self.0.send(()).unwrap();
            self.1.pass();
        }
    }
    let offload = pool(1);
    let occupied = Occupied::io(&offload, 1);
    let (gate, (sender, dropping)) = (Gate::new(), mpsc::channel());
    let slow = Slow(sender, gate.clone());
    let mut handle = offload.scoped_sync(|| task::spawn_blocking(move || drop(slow)));
    let abort = handle.abort_handle();
    let aborter = thread::spawn(move || abort.abort());
    dropping.recv_timeout(PATIENCE).unwrap();
    // The closure is being dropped, and the call is in the aborter's hands.
    let (wakes, waker) = Wakes::new();
    let mut cx = Context::from_waker(&waker);
    assert!(Pin::new(&mut handle).poll(&mut cx).is_pending());
    assert!(!handle.is_finished());
    gate.open();
    aborter.join().unwrap();
    assert_eq!(wakes.count(), 1);
    assert!(handle.is_finished());
    let error = pollster::block_on(handle).unwrap_err();
    assert!(error.is_cancelled());
    occupied.release();
}

/// Aborts from threads, while the handle is polled, waited for, or dropped.
#[test]
fn aborts_from_anywhere_lose_nothing() {
    let _watchdog = watchdog("a storm of aborts");
    const ROUNDS: usize = 3_000;
    let offload = pool(2);
    let ran = Arc::new(AtomicUsize::new(0));
    let (mut values, mut cancelled, mut unknown) = (0, 0, 0);
    let (sender, aborts) = mpsc::channel::<AbortHandle>();
    let aborts = Arc::new(Mutex::new(aborts));
    let aborters: Vec<_> = (0..2)
        .map(|_| {
            let aborts = Arc::clone(&aborts);
            thread::spawn(move || {
                loop {
                    let next = aborts.lock().unwrap().recv();
                    let Ok(abort) = next else { return };
                    abort.abort();
                }
            })
        })
        .collect();
    for round in 0..ROUNDS {
        let count = Arc::clone(&ran);
        let handle = offload
            .scoped_sync(|| task::spawn_blocking(move || count.fetch_add(1, Ordering::SeqCst)));
        for _ in 0..2 {
            sender.send(handle.abort_handle()).unwrap();
        }
        match round % 3 {
            0 => unknown += 1,
            1 => {
                handle.abort();
                match pollster::block_on(handle) {
                    Ok(_) => values += 1,
                    Err(error) => cancelled += usize::from(error.is_cancelled()),
                }
            }
            _ => match pollster::block_on(handle) {
                Ok(_) => values += 1,
                Err(error) => cancelled += usize::from(error.is_cancelled()),
            },
        }
    }
    drop(sender);
    for aborter in aborters {
        aborter.join().unwrap();
    }
    wait_until("all is over", || {
        let io = offload.stats().io;
        io.queued + io.running == 0
    });
    assert_eq!(values + cancelled + unknown, ROUNDS);
    let io = offload.stats().io;
    assert_eq!(io.completed, ran.load(Ordering::SeqCst) as u64);
    assert_eq!(io.completed + io.cancelled, ROUNDS as u64);
    assert!(io.completed >= values as u64 && io.cancelled >= cancelled as u64);
}
