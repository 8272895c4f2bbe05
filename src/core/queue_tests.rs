//! What loom's steps would make too long.

use super::{LONG, Queue};
use crate::cancel::Stopped;
use crate::core::admission::{Full, SPARE_SHELLS};
use crate::core::caller::Caller;
use crate::core::extension::Extension;
use crate::core::job::{self, Work};
use crate::core::lane_state::LaneState;
use crate::core::view::Job;
use std::sync::Arc;

struct Nothing;

impl Work for Nothing {
    type Output = ();

    fn run(self, _: &Job) -> Result<(), Stopped> {
        Ok(())
    }
}

fn push(queue: &Queue, limit: usize) -> Option<Caller<()>> {
    let permit = queue.admit(limit, None).ok()?;
    let job = job::allocate(Nothing, 0, None, None, std::panic::Location::caller());
    // SAFETY: new: one side goes to the queue, the other to the `Caller`.
    unsafe {
        queue.push(permit, job).ok()?;
        Some(Caller::new(job))
    }
}

/// A submitter that finds the scheduler busy sleeps for nobody: nothing is known of its time,
/// and where there is no room it is refused, and nobody evicted.
#[test]
fn a_submitter_that_finds_the_lock_taken_goes_on() {
    let queue = Queue::new(usize::MAX, 0);
    let lane = || Arc::new(LaneState::new(usize::MAX));
    let fat = lane();
    for _ in 0..4 {
        let permit = queue.admit(4, Some(&fat)).unwrap();
        let extension = Extension::new(None, None, false, Some(Arc::clone(&fat)));
        let job = job::allocate(
            Nothing,
            0,
            None,
            Some(extension),
            std::panic::Location::caller(),
        );
        // SAFETY: new: one side goes to the queue, the other to the `Caller`.
        let caller = unsafe {
            queue.push(permit, job).unwrap();
            Caller::<()>::new(job)
        };
        caller.detach();
    }
    let held = queue.lanes.lock();
    let (permit, evicted) = queue.make_room(4, Some(&lane()));
    assert_eq!(permit.unwrap_err(), Full::Pool);
    assert_eq!(evicted.fail(|| panic!("one was evicted"), 4).len(), 0);
    assert_eq!(queue.expect(Some(&fat), 1_000), None);
    drop(held);
    let (permit, evicted) = queue.make_room(4, Some(&lane()));
    let mut count = 0;
    let _ = evicted.fail(|| count += 1, 4);
    assert!(permit.is_ok());
    assert_eq!(count, 1);
    let expected = queue.expect(Some(&fat), 1_000).unwrap();
    assert_eq!((expected.ahead, expected.wait), (3, 1_000));
}

#[test]
fn shells_are_bounded_while_the_lock_is_held() {
    let queue = Queue::new(usize::MAX, 0);
    let held = queue.lanes.lock();
    let limit = 10;
    let mut cancelled = 0;
    while let Some(caller) = push(&queue, limit) {
        let _ = caller.abandon(&queue);
        cancelled += 1;
        assert!(cancelled <= limit + SPARE_SHELLS, "no bound");
    }
    assert_eq!(cancelled, limit + SPARE_SHELLS);
    assert_eq!(queue.pending(), 0);
    drop(held);
    // As every holder of the lock does.
    queue.look_at_graveyard_again();
    assert!(queue.next(0).is_none());
    assert_eq!(queue.shells.load(super::Ordering::Relaxed), 0);
    let caller = push(&queue, limit).expect("room again");
    let _ = caller.abandon(&queue);
}

/// Runs the next job, which takes so long.
fn run(queue: &Queue, time: u64) {
    push(queue, usize::MAX).unwrap().detach();
    let (finished, _) = queue.next(0).unwrap().job.run(std::ptr::null(), |_| ());
    queue.settle(&finished, time);
    assert!(finished.complete().is_none());
}

#[test]
fn whether_jobs_are_long_is_known_by_those_before() {
    let queue = Queue::new(usize::MAX, 0);
    run(&queue, LONG);
    assert!(!queue.are_long(), "nothing was known of the first");
    run(&queue, LONG);
    assert!(queue.are_long());
    for _ in 0..100 {
        run(&queue, LONG / 2);
    }
    assert!(!queue.are_long());
}
