//! The outbox: wakers put in while its guard comes and goes, and while others empty it.

use super::check;
use crate::core::outbox::{Outbox, Put};
use loom::sync::{Arc, Notify};
use loom::thread;
use std::sync::Arc as Shared;
use std::task::{Wake, Waker};

struct Task(Notify);

impl Wake for Task {
    fn wake(self: Shared<Self>) {
        self.0.notify();
    }
}

fn task() -> (Shared<Task>, Waker) {
    let task = Shared::new(Task(Notify::new()));
    (Shared::clone(&task), Waker::from(task))
}

/// What a worker does that goes on to a job without end. The guard, if it called one.
fn put(outbox: &Arc<Outbox>, waker: Waker) -> Option<thread::JoinHandle<()>> {
    match outbox.put(waker, 0, 0) {
        Put::Held => None,
        Put::Guard => {
            let outbox = Arc::clone(outbox);
            Some(thread::spawn(move || while outbox.look() {}))
        }
        Put::Full => unreachable!("two wakers"),
        Put::Busy(waker) => {
            waker.wake();
            None
        }
    }
}

#[test]
fn a_waker_put_in_while_the_guard_leaves() {
    check("a_waker_put_in_while_the_guard_leaves", Some(2), || {
        let outbox = Arc::new(Outbox::new());
        let ((first, waker), (second, other)) = (task(), task());
        let guard = put(&outbox, waker);
        first.0.wait();
        let late = put(&outbox, other);
        // Nobody else comes.
        second.0.wait();
        for guard in [guard, late].into_iter().flatten() {
            guard.join().unwrap();
        }
    });
}

#[test]
fn a_worker_and_a_poll_that_empty_it() {
    check("a_worker_and_a_poll_that_empty_it", Some(2), || {
        let outbox = Arc::new(Outbox::new());
        let ((first, waker), (second, other)) = (task(), task());
        let own = waker.clone();
        let worker = thread::spawn({
            let outbox = Arc::clone(&outbox);
            move || {
                let guard = put(&outbox, waker);
                let other = put(&outbox, other);
                outbox.flush();
                // Somebody else may have one in his hands.
                (guard, other)
            }
        });
        outbox.help(&own);
        first.0.wait();
        second.0.wait();
        let (guard, other) = worker.join().unwrap();
        for guard in [guard, other].into_iter().flatten() {
            guard.join().unwrap();
        }
    });
}
