//! Fork: the child is told, at once, and the parent unharmed.
#![cfg(unix)]

mod common;

use common::{PATIENCE, alone, wait_until};
use futures::{FutureExt, Stream, StreamExt};
use offramp::{Backlog, Blocking, Handle, Offload, OffloadError, Unblock};
use offramp::{offload_cpu, offload_dedicated, offload_io, offload_iter};
use std::cmp::Ordering;
use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, mpsc};
use std::task::{Context, Poll, Waker};
use std::thread;
use std::time::Duration;

/// Runs `body` in a forked child. Whether it returned in time and without a panic.
fn in_child(body: impl FnOnce()) -> bool {
    // SAFETY: the child runs `body` and ends. It allocates, which the C libraries that we
    // run on allow after a fork.
    let child = unsafe { libc::fork() };
    assert!(child >= 0, "fork");
    if child == 0 {
        // No thread can watch here: the kernel ends a child that hangs.
        // SAFETY: plain system calls.
        unsafe { libc::alarm(20) };
        let passed = catch_unwind(AssertUnwindSafe(body)).is_ok();
        // SAFETY: as above; nothing of the parent's is run at this exit.
        unsafe { libc::_exit(i32::from(!passed)) };
    }
    let mut status = 0;
    // SAFETY: `status` is a place for the answer.
    let waited = unsafe { libc::waitpid(child, &mut status, 0) };
    assert_eq!(waited, child);
    libc::WIFEXITED(status) && libc::WEXITSTATUS(status) == 0
}

fn is_forked<T>(outcome: &Result<T, OffloadError>) -> bool {
    matches!(outcome, Err(OffloadError::Forked))
}

fn poll<F: Future + Unpin>(future: &mut F) -> Poll<F::Output> {
    Pin::new(future).poll(&mut Context::from_waker(Waker::noop()))
}

#[test]
fn a_child_of_a_warm_pool_is_told_and_the_parent_unharmed() {
    alone(
        "a_child_of_a_warm_pool_is_told_and_the_parent_unharmed",
        || {
            let offload = Offload::builder().io_max_threads(2).build().unwrap();
            offload_cpu(|| ()).on(&offload).wait().unwrap();
            let (go_on, held) = mpsc::channel::<()>();
            let runs = offload_io(move || held.recv().is_ok()).on(&offload);
            let runs = runs.timeout(PATIENCE).try_spawn().unwrap();
            wait_until("it runs", || offload.stats().io.running == 1);
            let finished = offload_io(|| 7).on(&offload).try_spawn().unwrap();
            wait_until("it has finished", || finished.is_finished());
            // Handed over by value: the child has copies of its own.
            let mut kept = Some((offload.clone(), runs, finished));
            let passed = in_child(|| {
                let (offload, mut runs, finished) = kept.take().unwrap();
                assert!(is_forked(&offload_io(|| ()).on(&offload).wait()));
                assert!(is_forked(&offload_cpu(|| ()).on(&offload).wait()));
                assert!(is_forked(&offload_dedicated(|| ()).on(&offload).wait()));
                let refused = offload_io(|| 7).on(&offload).try_spawn().unwrap_err();
                assert!(matches!(refused.reason(), OffloadError::Forked));
                assert_eq!(refused.into_inner()(), 7);
                assert!(refused_text().contains("fork"));
                assert!(runs.is_finished());
                runs.abort();
                match poll(&mut runs) {
                    Poll::Ready(outcome) => assert!(is_forked(&outcome)),
                    Poll::Pending => panic!("a hang"),
                }
                drop(runs);
                finished.detach();
                offload.resize_io(1).unwrap();
                let report = pollster::block_on(offload.shutdown(None, Backlog::Drain));
                assert!(report.is_complete());
                drop(offload);
                // One of its own works.
                let own = Offload::builder().build().unwrap();
                assert_eq!(offload_io(|| 1).on(&own).wait().unwrap(), 1);
                assert_eq!(offload_cpu(|| 2).on(&own).wait().unwrap(), 2);
            });
            assert!(passed);
            // The default, too: a warm one is told, the child's first would have been new.
            offload_io(|| ()).wait().unwrap();
            assert!(in_child(|| assert!(is_forked(&offload_io(|| ()).wait()))));

            let (offload, runs, finished) = kept.take().unwrap();
            go_on.send(()).unwrap();
            assert!(runs.wait().unwrap());
            assert_eq!(finished.wait().unwrap(), 7);
            offload_io(|| ()).on(&offload).wait().unwrap();
            let report = pollster::block_on(offload.shutdown(PATIENCE, Backlog::Drain));
            assert!(report.is_complete(), "{report}");
        },
    );
}

fn refused_text() -> String {
    OffloadError::Forked.to_string()
}

/// Locks are held, wakers half way, threads starting: whatever the fork meets.
#[test]
fn forks_amidst_load_never_hang_the_child() {
    alone("forks_amidst_load_never_hang_the_child", || {
        let offload = Offload::builder()
            .io_max_threads(4)
            .io_keep_alive(Duration::from_millis(1))
            .build()
            .unwrap();
        let is_over = AtomicBool::new(false);
        thread::scope(|scope| {
            for _ in 0..2 {
                scope.spawn(|| {
                    while !is_over.load(SeqCst) {
                        // Lanes that come and go, and sizes that change, beside the rest.
                        let spawn = |number: usize| {
                            let lane = offload.lane(&number.to_string());
                            let call = offload_io(|| ()).on(&offload).lane(&lane);
                            call.try_spawn().ok()
                        };
                        let some: Vec<_> = (0..20).filter_map(spawn).collect();
                        offload.resize_io(1 + some.len() % 4).unwrap();
                        let late = offload_io(|| ()).on(&offload);
                        let _ = late.timeout(Duration::from_micros(100)).wait();
                        drop(some);
                        offload_cpu(|| ()).on(&offload).wait().unwrap();
                    }
                });
            }
            for round in 0..200 {
                let spawn = || offload_io(|| ()).on(&offload).try_spawn().unwrap();
                let handles: [Handle<()>; 2] = [spawn(), spawn()];
                let passed = in_child(|| {
                    assert!(is_forked(&offload_io(|| ()).on(&offload).wait()));
                    for mut handle in handles {
                        assert!(poll(&mut handle).is_ready());
                    }
                    drop(offload.clone());
                });
                assert!(passed, "round {round}");
            }
            is_over.store(true, SeqCst);
        });
        offload_io(|| ()).on(&offload).wait().unwrap();
    });
}

/// Says so when it is dropped.
struct Counted(Arc<AtomicUsize>);

impl Iterator for Counted {
    type Item = ();

    fn next(&mut self) -> Option<()> {
        Some(())
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.fetch_add(1, SeqCst);
    }
}

#[test]
fn a_childs_stream_ends_after_its_items_and_its_iterator_leaks() {
    alone(
        "a_childs_stream_ends_after_its_items_and_its_iterator_leaks",
        || {
            let offload = Offload::builder().io_max_threads(1).build().unwrap();
            let drops = Arc::new(AtomicUsize::new(0));
            let stream = offload_iter(Counted(Arc::clone(&drops))).on(&offload);
            let mut stream = stream.buffer(4);
            pollster::block_on(stream.next()).unwrap().unwrap();
            wait_until("it is at rest", || offload.stats().io.running == 0);
            let waiting = stream.size_hint().0;
            assert!(waiting > 0);
            let mut kept = Some(stream);
            for polls in [0, waiting, waiting + 2] {
                let passed = in_child(|| {
                    let mut stream = kept.take().unwrap();
                    for poll in 0..polls {
                        let item = stream.next().now_or_never().unwrap();
                        match poll.cmp(&waiting) {
                            Ordering::Less => item.unwrap().unwrap(),
                            Ordering::Equal => assert!(is_forked(&item.unwrap())),
                            Ordering::Greater => assert!(item.is_none()),
                        }
                    }
                    drop(stream);
                    assert_eq!(drops.load(SeqCst), 0);
                });
                assert!(passed, "{polls} polls");
            }
            drop(kept);
            wait_until("the pool has dropped it", || drops.load(SeqCst) == 1);
        },
    );
}

#[test]
fn a_child_is_told_of_each_call_made_together() {
    alone("a_child_is_told_of_each_call_made_together", || {
        let offload = Offload::builder().io_max_threads(1).build().unwrap();
        let drops = Arc::new(AtomicUsize::new(0));
        let (go_on, held) = mpsc::channel::<()>();
        let held = Arc::new(std::sync::Mutex::new(held));
        let closures = (0..6).map(|_| {
            let (held, counted) = (Arc::clone(&held), Counted(Arc::clone(&drops)));
            move || {
                let _counted = counted;
                held.lock().unwrap().recv().is_ok()
            }
        });
        let closures: Vec<_> = closures.collect();
        let calls = offramp::offload_io_all(closures).on(&offload).ahead(4);
        let mut calls = calls.timeout(PATIENCE);
        assert!(calls.next().now_or_never().is_none());
        wait_until("one runs", || offload.stats().io.running == 1);
        let mut kept = Some(calls);
        for polls in [0, 2, 7] {
            let passed = in_child(|| {
                let mut calls = kept.take().unwrap();
                for poll in 0..polls {
                    let outcome = calls.next().now_or_never().unwrap();
                    assert_eq!(outcome.as_ref().is_some_and(is_forked), poll < 6, "{poll}");
                }
                drop(calls);
                // Those that were never submitted are the child's.
                assert_eq!(drops.load(SeqCst), 2);
            });
            assert!(passed, "{polls} polls");
        }
        let mut calls = kept.take().unwrap();
        for _ in 0..6 {
            go_on.send(()).unwrap();
            assert!(pollster::block_on(calls.next()).unwrap().unwrap());
        }
        assert!(pollster::block_on(calls.next()).is_none());
        drop(calls);
        wait_until("each is dropped, once", || drops.load(SeqCst) == 6);
    });
}

#[test]
fn a_childs_adapter_is_told_and_its_value_leaks() {
    alone("a_childs_adapter_is_told_and_its_value_leaks", || {
        let offload = Offload::builder().io_max_threads(1).build().unwrap();
        let drops = Arc::new(AtomicUsize::new(0));
        let mut adapter = Unblock::new(Counted(Arc::clone(&drops))).on(&offload);
        pollster::block_on(adapter.with_mut(|_| ()));
        let mut kept = Some(adapter);
        for calls in [false, true] {
            let passed = in_child(|| {
                let mut adapter = kept.take().unwrap();
                if calls {
                    let call = pollster::block_on(adapter.try_with_mut(|_| ()));
                    assert!(call.unwrap_err().to_string().contains("fork"));
                }
                drop(adapter);
                assert_eq!(drops.load(SeqCst), 0);
            });
            assert!(passed);
        }
        let mut adapter = kept.unwrap();
        pollster::block_on(adapter.with_mut(|_| ()));
        drop(adapter);
        wait_until("the pool has dropped it", || drops.load(SeqCst) == 1);
    });
}

#[test]
fn a_childs_blocking_value_is_told_and_leaks() {
    alone("a_childs_blocking_value_is_told_and_leaks", || {
        let offload = Offload::builder().io_max_threads(1).build().unwrap();
        let drops = Arc::new(AtomicUsize::new(0));
        let value = Blocking::new(Counted(Arc::clone(&drops))).on(&offload);
        value.call(|_| ()).wait().unwrap();
        let mut kept = Some(value);
        let passed = in_child(|| {
            let value = kept.take().unwrap();
            assert!(is_forked(&value.call(|_| ()).wait()));
            drop(value);
            assert_eq!(drops.load(SeqCst), 0);
        });
        assert!(passed);
        let value = kept.unwrap();
        value.call(|_| ()).wait().unwrap();
        drop(value);
        wait_until("the pool has dropped it", || drops.load(SeqCst) == 1);
    });
}

/// A job that forks: the child is not another worker.
#[test]
fn a_child_forked_by_a_job_ends_with_its_closure() {
    alone("a_child_forked_by_a_job_ends_with_its_closure", || {
        let offload = Offload::builder().io_max_threads(1).build().unwrap();
        let inner = offload.clone();
        let job = move || {
            // SAFETY: the child only calls, and returns.
            let child = unsafe { libc::fork() };
            assert!(child >= 0);
            if child == 0 {
                // SAFETY: plain system call.
                unsafe { libc::alarm(20) };
                assert!(is_forked(&offload_io(|| ()).on(&inner).wait()));
                return 0;
            }
            let mut status = -1;
            // SAFETY: `status` is a place for the answer.
            assert_eq!(unsafe { libc::waitpid(child, &mut status, 0) }, child);
            assert_eq!(status, 0, "it ended by itself");
            7
        };
        assert_eq!(offload_io(job).on(&offload).wait().unwrap(), 7);
        assert_eq!(offload_io(|| 8).on(&offload).wait().unwrap(), 8);
        assert_eq!(offload.stats().io.completed, 2);
    });
}
