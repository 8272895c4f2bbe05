//! Admission, inbox, lanes and graveyard against each other.

use super::{AGEING, Boxed, Fate, Task, await_it, check, push, push_all, push_work, run_one};
use crate::core::extension::Extension;
use crate::core::job::Failure;
use crate::core::queue::Queue;
use crate::core::view::Job;
use loom::sync::Arc;
use loom::thread;

#[test]
fn capacity_is_never_exceeded_nor_lost() {
    check("capacity_is_never_exceeded_nor_lost", Some(2), || {
        let queue = Arc::new(Queue::new(usize::MAX, AGEING));
        let attempt = |queue: &Queue| match push(queue, 1, || ()) {
            Some(caller) => {
                assert!(queue.pending() <= 1);
                let _ = caller.abandon(queue);
                true
            }
            None => false,
        };
        let other = thread::spawn({
            let queue = Arc::clone(&queue);
            move || attempt(&queue)
        });
        let mine = attempt(&queue);
        let theirs = other.join().unwrap();
        assert!(mine || theirs, "the only room was refused to both");
        assert_eq!(queue.pending(), 0);
        assert!(attempt(&queue), "the room is free again");
    });
}

#[test]
fn a_cancelled_job_leaves_room_at_once() {
    check("a_cancelled_job_leaves_room_at_once", Some(3), || {
        let queue = Arc::new(Queue::new(usize::MAX, AGEING));
        let caller = push(&queue, 1, || ()).unwrap();
        let worker = thread::spawn({
            let queue = Arc::clone(&queue);
            move || run_one(&queue)
        });
        let _ = caller.abandon(&queue);
        // Cancelled, or claimed and so pending no more.
        let next = push(&queue, 2, || ()).unwrap();
        worker.join().unwrap();
        run_one(&queue);
        await_it(next).unwrap();
        assert_eq!(queue.pending(), 0);
    });
}

#[test]
fn jobs_keep_their_order() {
    check("jobs_keep_their_order", Some(3), || {
        let queue = Arc::new(Queue::new(usize::MAX, AGEING));
        let order = Arc::new(loom::sync::Mutex::new(Vec::new()));
        let record = |number| {
            let order = Arc::clone(&order);
            move || order.lock().unwrap().push(number)
        };
        let first = push(&queue, 9, record(1)).unwrap();
        let dropped = push(&queue, 9, record(2)).unwrap();
        let canceller = thread::spawn({
            let queue = Arc::clone(&queue);
            move || {
                let _ = dropped.abandon(&queue);
            }
        });
        let third = push(&queue, 9, record(3)).unwrap();
        while run_one(&queue) {}
        await_it(first).unwrap();
        await_it(third).unwrap();
        canceller.join().unwrap();
        let order = order.lock().unwrap();
        assert!(*order == [1, 2, 3] || *order == [1, 3], "{order:?}");
    });
}

/// Two jobs pushed together, against one by itself and a worker: each runs, the two in their
/// order.
#[test]
fn a_chain_keeps_its_order() {
    check("a_chain_keeps_its_order", Some(3), || {
        let queue = Arc::new(Queue::new(usize::MAX, AGEING));
        let order = Arc::new(loom::sync::Mutex::new(Vec::new()));
        let record = |number| {
            let order = Arc::clone(&order);
            move || order.lock().unwrap().push(number)
        };
        let other = thread::spawn({
            let (queue, third) = (Arc::clone(&queue), record(3));
            move || push(&queue, 9, third).unwrap()
        });
        let chain = push_all(&queue, 9, [Box::new(record(1)), Box::new(record(2))]).unwrap();
        while run_one(&queue) {}
        let third = other.join().unwrap();
        while run_one(&queue) {}
        for job in chain.into_iter().chain([third]) {
            await_it(job).unwrap();
        }
        assert_eq!(queue.pending(), 0);
        let mut order = order.lock().unwrap().clone();
        order.retain(|number| *number != 3);
        assert_eq!(order, [1, 2]);
    });
}

#[test]
fn a_chain_against_close_is_drained_or_refused() {
    check("a_chain_against_close_is_drained_or_refused", None, || {
        let queue = Arc::new(Queue::new(usize::MAX, AGEING));
        let fates = [Fate::new(), Fate::new()];
        let submitter = thread::spawn({
            let (queue, fates) = (Arc::clone(&queue), fates.clone());
            move || {
                let jobs = fates.map(|fate| -> Boxed { Box::new(fate.closure()) });
                push_all(&queue, 2, jobs)
            }
        });
        queue.close();
        let callers = submitter.join().unwrap();
        while run_one(&queue) {}
        let runs = fates.map(|fate| fate.runs());
        match callers {
            Some(callers) => {
                for caller in callers {
                    await_it(caller).unwrap();
                }
                assert_eq!(runs, [1, 1]);
            }
            None => assert_eq!(runs, [0, 0]),
        }
        assert_eq!(queue.pending(), 0);
    });
}

/// Room for three, and two submitters who want two each: one gets less.
#[test]
fn room_for_some_of_several_is_neither_exceeded_nor_lost() {
    check(
        "room_for_some_of_several_is_neither_exceeded_nor_lost",
        Some(3),
        || {
            let queue = Arc::new(Queue::new(usize::MAX, AGEING));
            let admit = |queue: &Queue| queue.admit_all(3, None, 2).jobs();
            let other = thread::spawn({
                let queue = Arc::clone(&queue);
                move || admit(&queue)
            });
            let admitted = admit(&queue) + other.join().unwrap();
            assert_eq!((admitted, queue.pending()), (3, 3));
        },
    );
}

/// A job that comes, is taken and is over while another one is admitted: there is room for both.
#[test]
fn a_job_that_comes_and_goes_takes_no_room_from_another() {
    check(
        "a_job_that_comes_and_goes_takes_no_room_from_another",
        Some(3),
        || {
            let queue = Arc::new(Queue::new(usize::MAX, AGEING));
            for _ in 0..2 {
                // Taken, and not seen by any submitter.
                let caller = push(&queue, usize::MAX, || ()).unwrap();
                run_one(&queue);
                await_it(caller).unwrap();
            }
            let other = thread::spawn({
                let queue = Arc::clone(&queue);
                move || {
                    let caller = push(&queue, 2, || ()).expect("room for two");
                    while run_one(&queue) {}
                    await_it(caller).unwrap();
                }
            });
            let admitted = queue.admit(2, None);
            assert_eq!(admitted.map(|permit| permit.jobs()), Ok(1));
            other.join().unwrap();
            assert_eq!(queue.pending(), 1);
        },
    );
}

#[test]
fn no_shell_stays_behind() {
    check("no_shell_stays_behind", Some(3), || {
        let queue = Arc::new(Queue::new(usize::MAX, AGEING));
        let fates = [Fate::new(), Fate::new()];
        let callers = fates.each_ref().map(|fate| push(&queue, 9, fate.closure()));
        let [first, second] = callers;
        let other = thread::spawn({
            let queue = Arc::clone(&queue);
            move || drop(first.unwrap().abandon(&queue))
        });
        let worker = thread::spawn({
            let queue = Arc::clone(&queue);
            move || run_one(&queue)
        });
        drop(second.unwrap().abandon(&queue));
        other.join().unwrap();
        worker.join().unwrap();
        assert!(queue.has_no_shells());
        for fate in fates {
            fate.runs();
        }
    });
}

#[test]
fn a_push_against_close_is_drained_or_refused() {
    check("a_push_against_close_is_drained_or_refused", None, || {
        let queue = Arc::new(Queue::new(usize::MAX, AGEING));
        let fate = Fate::new();
        let submitter = thread::spawn({
            let (queue, fate) = (Arc::clone(&queue), fate.clone());
            move || push(&queue, 1, fate.closure())
        });
        queue.close();
        let caller = submitter.join().unwrap();
        while run_one(&queue) {}
        match caller {
            Some(caller) => {
                await_it(caller).unwrap();
                assert_eq!(fate.runs(), 1);
            }
            None => assert_eq!(fate.runs(), 0),
        }
        assert_eq!(queue.pending(), 0);
    });
}

#[test]
fn a_queue_dropped_with_jobs_answers_them() {
    check("a_queue_dropped_with_jobs_answers_them", None, || {
        let queue = Queue::new(usize::MAX, AGEING);
        let caller = push(&queue, 1, || ()).unwrap();
        let owner = thread::spawn(move || drop(queue));
        assert!(matches!(await_it(caller), Err(Failure::ShutDown)));
        owner.join().unwrap();
    });
}

/// A shutdown that discards, against a submitter of two jobs, one of which must run. Each
/// runs, is discarded, or is refused, and the one that must run is not discarded.
#[test]
fn a_discarding_shutdown_against_jobs_that_must_run() {
    check(
        "a_discarding_shutdown_against_jobs_that_must_run",
        Some(3),
        || {
            let queue = Arc::new(Queue::new(usize::MAX, AGEING));
            let submitter = thread::spawn({
                let queue = Arc::clone(&queue);
                move || {
                    let plain = push(&queue, 9, || ());
                    let extension = Extension::new(None, None, true, None);
                    let must = push_work(&queue, 9, Task(|_: &Job| Ok(())), Some(extension));
                    (plain, must)
                }
            });
            queue.close();
            let _ = queue.fail_all(false, || Failure::ShutDown, || {});
            while run_one(&queue) {}
            let (plain, must) = submitter.join().unwrap();
            if let Some(plain) = plain {
                assert!(matches!(await_it(plain), Ok(()) | Err(Failure::ShutDown)));
            }
            if let Some(must) = must {
                await_it(must).unwrap();
            }
        },
    );
}
