//! One job, its two sides, every order of events: without a bound.

use super::{AGEING, Fate, Task, await_it, check, push, run_one};
use crate::cancel::Stopped;
use crate::core::caller::{Caller, Cancelled, Left};
use crate::core::job::{Failure, allocate};
use crate::core::queue::Queue;
use crate::core::view::Job;
use loom::sync::Arc;
use loom::thread;
use std::task::Waker;

#[test]
fn run_and_await() {
    check("run_and_await", None, || {
        let queue = Arc::new(Queue::new(usize::MAX, AGEING));
        let caller = push(&queue, 1, || 7).unwrap();
        let worker = thread::spawn(move || assert!(run_one(&queue)));
        assert_eq!(await_it(caller).unwrap(), 7);
        worker.join().unwrap();
    });
}

#[test]
fn a_replaced_waker_is_not_lost() {
    check("a_replaced_waker_is_not_lost", None, || {
        let queue = Arc::new(Queue::new(usize::MAX, AGEING));
        let mut caller = push(&queue, 1, || 7).unwrap();
        let worker = thread::spawn(move || assert!(run_one(&queue)));
        match caller.poll(Waker::noop()) {
            Some(output) => assert_eq!(output.unwrap(), 7),
            None => assert_eq!(await_it(caller).unwrap(), 7),
        }
        worker.join().unwrap();
    });
}

#[test]
fn drop_against_claim_and_completion() {
    check("drop_against_claim_and_completion", None, || {
        let queue = Arc::new(Queue::new(usize::MAX, AGEING));
        let fate = Fate::new();
        let caller = push(&queue, 1, fate.closure()).unwrap();
        let worker = thread::spawn({
            let queue = Arc::clone(&queue);
            move || run_one(&queue)
        });
        let left = caller.abandon(&queue);
        let ran = worker.join().unwrap();
        assert_eq!(matches!(left, Left::Queued(_)), !ran);
        assert!(!matches!(left, Left::OnPool));
        assert_eq!(fate.runs(), usize::from(ran));
        assert_eq!(queue.pending(), 0);
    });
}

#[test]
fn poll_then_drop_against_completion() {
    check("poll_then_drop_against_completion", None, || {
        let queue = Arc::new(Queue::new(usize::MAX, AGEING));
        let fate = Fate::new();
        let mut caller = push(&queue, 1, fate.closure()).unwrap();
        let worker = thread::spawn({
            let queue = Arc::clone(&queue);
            move || run_one(&queue)
        });
        let left = match caller.poll(Waker::noop()) {
            Some(output) => Left::Output(output),
            None => caller.abandon(&queue),
        };
        let ran = worker.join().unwrap();
        assert_eq!(matches!(left, Left::Queued(_)), !ran);
        assert_eq!(fate.runs(), usize::from(ran));
    });
}

/// A deadline passes: the caller gets the output, or nothing ever runs, or it leaves a
/// running job behind.
#[test]
fn deadline_against_claim_and_completion() {
    check("deadline_against_claim_and_completion", None, || {
        let queue = Arc::new(Queue::new(usize::MAX, AGEING));
        let fate = Fate::new();
        let mut caller = push(&queue, 1, fate.closure()).unwrap();
        let worker = thread::spawn({
            let queue = Arc::clone(&queue);
            move || run_one(&queue)
        });
        if let Some(output) = caller.poll(Waker::noop()) {
            output.unwrap();
            worker.join().unwrap();
            return;
        }
        let left = caller.abandon(&queue);
        let ran = worker.join().unwrap();
        match left {
            Left::Output(output) => output.unwrap(),
            Left::Queued(_) => assert!(!ran),
            Left::Running => assert!(ran),
            Left::OnPool => panic!("nobody asked for it"),
        }
        assert_eq!(fate.runs(), usize::from(ran));
        assert_eq!(queue.pending(), 0);
    });
}

#[test]
fn abort_then_await_against_claim() {
    check("abort_then_await_against_claim", None, || {
        let queue = Arc::new(Queue::new(usize::MAX, AGEING));
        let fate = Fate::new();
        let caller = push(&queue, 1, fate.closure()).unwrap();
        let worker = thread::spawn({
            let queue = Arc::clone(&queue);
            move || run_one(&queue)
        });
        let cancelled = caller.cancel(&queue);
        match await_it(caller) {
            Ok(()) => assert!(!matches!(cancelled, Cancelled::Queued(_))),
            Err(Failure::Cancelled) => assert!(matches!(cancelled, Cancelled::Queued(_))),
            Err(other) => panic!("{other:?}"),
        }
        let ran = worker.join().unwrap();
        assert_eq!(fate.runs(), usize::from(ran));
    });
}

#[test]
fn detach_against_completion() {
    check("detach_against_completion", None, || {
        let queue = Arc::new(Queue::new(usize::MAX, AGEING));
        let fate = Fate::new();
        let caller = push(&queue, 1, fate.closure()).unwrap();
        let worker = thread::spawn(move || assert!(run_one(&queue)));
        caller.detach();
        worker.join().unwrap();
        assert_eq!(fate.runs(), 1);
    });
}

#[test]
fn failing_against_drop() {
    check("failing_against_drop", None, || {
        let queue = Arc::new(Queue::new(usize::MAX, AGEING));
        let fate = Fate::new();
        let caller = push(&queue, 1, fate.closure()).unwrap();
        let worker = thread::spawn({
            let queue = Arc::clone(&queue);
            move || queue.fail_all(false, || Failure::NoThreads, || {})
        });
        let _ = caller.abandon(&queue);
        worker.join().unwrap();
        assert_eq!(fate.runs(), 0);
    });
}

/// The caller leaves its closure to the pool: it is run, or dropped by the worker.
#[test]
fn drop_on_pool_against_claim_and_completion() {
    check("drop_on_pool_against_claim_and_completion", None, || {
        let queue = Arc::new(Queue::new(usize::MAX, AGEING));
        let fate = Fate::new();
        let mut caller = push(&queue, 1, fate.closure()).unwrap();
        let worker = thread::spawn({
            let queue = Arc::clone(&queue);
            move || {
                let job = queue.next(0).unwrap().job;
                if job.is_unwanted() {
                    job.fail(Failure::Cancelled);
                    false
                } else {
                    let (finished, _) = job.run(std::ptr::null(), |_| ());
                    finished.complete();
                    true
                }
            }
        });
        let left = match caller.poll(Waker::noop()) {
            Some(output) => Left::Output(output),
            None => caller.abandon_to_pool(&queue),
        };
        let ran = worker.join().unwrap();
        match left {
            Left::Output(output) => output.unwrap(),
            Left::OnPool => assert!(!ran),
            Left::Running => assert!(ran),
            Left::Queued(_) => panic!("the closure was dropped here"),
        }
        assert_eq!(fate.runs(), usize::from(ran));
        assert_eq!(queue.pending(), 0);
        assert!(queue.has_no_shells());
    });
}

/// The caller, on a thread of the pool, runs what has not started: it or a worker does,
/// never both.
#[test]
fn taken_back_against_the_workers_pop() {
    check("taken_back_against_the_workers_pop", None, || {
        let queue = Arc::new(Queue::new(usize::MAX, AGEING));
        let fate = Fate::new();
        let caller = push(&queue, 1, fate.closure()).unwrap();
        let worker = thread::spawn({
            let queue = Arc::clone(&queue);
            move || run_one(&queue)
        });
        let here = match caller.take_back(&queue) {
            Ok(job) => {
                let (output, _) = job.run(std::ptr::null(), |_| ());
                output.unwrap();
                true
            }
            Err(caller) => {
                await_it(caller).unwrap();
                false
            }
        };
        let there = worker.join().unwrap();
        assert!(here != there);
        assert_eq!(fate.runs(), 1);
        assert_eq!(queue.pending(), 0);
        assert!(queue.has_no_shells());
    });
}

/// A job kept by the one who waits for it is cancelled by somebody else.
#[test]
fn a_kept_job_against_drop() {
    check("a_kept_job_against_drop", None, || {
        let queue = Arc::new(Queue::new(usize::MAX, AGEING));
        let fate = Fate::new();
        let permit = queue.admit(1, None).unwrap();
        let job = allocate(
            Task(closure(&fate)),
            0,
            None,
            None,
            std::panic::Location::caller(),
        );
        // SAFETY: new, and of this type.
        let (kept, caller) = unsafe { (queue.keep(permit, job), Caller::<()>::new(job)) };
        let dropper = thread::spawn({
            let queue = Arc::clone(&queue);
            move || {
                let _ = caller.abandon(&queue);
            }
        });
        let ran = queue.claim(kept).map(|job| {
            let (finished, _) = job.run(std::ptr::null(), |_| ());
            finished.complete();
        });
        dropper.join().unwrap();
        assert_eq!(fate.runs(), usize::from(ran.is_some()));
        assert_eq!(queue.pending(), 0);
        assert!(queue.has_no_shells());
    });
}

fn closure(fate: &Fate) -> impl FnOnce(&Job) -> Result<(), Stopped> + Send + 'static {
    let run = fate.closure();
    move |_| {
        run();
        Ok(())
    }
}
