//! One job, its two sides, every order of events: without a bound.

use super::{Fate, await_it, check, push, run_one};
use crate::core::caller::{Cancelled, Overdue};
use crate::core::job::Failure;
use crate::core::queue::Queue;
use loom::sync::Arc;
use loom::thread;
use std::task::Waker;

#[test]
fn run_and_await() {
    check("run_and_await", None, || {
        let queue = Arc::new(Queue::new());
        let caller = push(&queue, 1, || 7).unwrap();
        let worker = thread::spawn(move || assert!(run_one(&queue)));
        assert_eq!(await_it(caller).unwrap(), 7);
        worker.join().unwrap();
    });
}

#[test]
fn a_replaced_waker_is_not_lost() {
    check("a_replaced_waker_is_not_lost", None, || {
        let queue = Arc::new(Queue::new());
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
        let queue = Arc::new(Queue::new());
        let fate = Fate::new();
        let caller = push(&queue, 1, fate.closure()).unwrap();
        let worker = thread::spawn({
            let queue = Arc::clone(&queue);
            move || run_one(&queue)
        });
        let cancelled = caller.abandon(&queue);
        let ran = worker.join().unwrap();
        match cancelled {
            Cancelled::Queued(_) => assert!(!ran),
            Cancelled::Running | Cancelled::No => assert!(ran),
        }
        assert_eq!(fate.runs(), usize::from(ran));
        assert_eq!(queue.pending(), 0);
    });
}

#[test]
fn poll_then_drop_against_completion() {
    check("poll_then_drop_against_completion", None, || {
        let queue = Arc::new(Queue::new());
        let fate = Fate::new();
        let mut caller = push(&queue, 1, fate.closure()).unwrap();
        let worker = thread::spawn({
            let queue = Arc::clone(&queue);
            move || run_one(&queue)
        });
        let cancelled = match caller.poll(Waker::noop()) {
            Some(output) => {
                output.unwrap();
                Cancelled::No
            }
            None => caller.abandon(&queue),
        };
        let ran = worker.join().unwrap();
        assert_eq!(matches!(cancelled, Cancelled::Queued(_)), !ran);
        assert_eq!(fate.runs(), usize::from(ran));
    });
}

/// A deadline passes: the caller gets the output, or nothing ever runs, or it leaves a
/// running job behind.
#[test]
fn deadline_against_claim_and_completion() {
    check("deadline_against_claim_and_completion", None, || {
        let queue = Arc::new(Queue::new());
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
        let overdue = caller.expire(&queue);
        let ran = worker.join().unwrap();
        match overdue {
            Overdue::Output(output) => output.unwrap(),
            Overdue::Queued(_) => assert!(!ran),
            Overdue::Running => assert!(ran),
        }
        assert_eq!(fate.runs(), usize::from(ran));
        assert_eq!(queue.pending(), 0);
    });
}

#[test]
fn abort_then_await_against_claim() {
    check("abort_then_await_against_claim", None, || {
        let queue = Arc::new(Queue::new());
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
        let queue = Arc::new(Queue::new());
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
        let queue = Arc::new(Queue::new());
        let fate = Fate::new();
        let caller = push(&queue, 1, fate.closure()).unwrap();
        let worker = thread::spawn({
            let queue = Arc::clone(&queue);
            move || queue.fail_all(|| Failure::NoThreads, || {})
        });
        let _ = caller.abandon(&queue);
        worker.join().unwrap();
        assert_eq!(fate.runs(), 0);
    });
}
