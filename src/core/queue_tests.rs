//! What loom's steps would make too long.

use super::{Length, Queue};
use crate::cancel::Stopped;
use crate::core::admission::{Full, SPARE_SHELLS};
use crate::core::caller::Caller;
use crate::core::extension::Extension;
use crate::core::job::{self, Work};
use crate::core::lane_state::LaneState;
use crate::core::view::Job;
use crate::priority::Priority;
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
    assert_eq!(queue.seldom.shells.load(super::Ordering::Relaxed), 0);
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
fn how_long_jobs_run_is_known_by_those_before() {
    let queue = Queue::new(usize::MAX, 0);
    run(&queue, Length::LONG);
    assert_eq!(
        queue.length(),
        Length::Tiny,
        "nothing is known of the first"
    );
    run(&queue, Length::LONG);
    assert_eq!(queue.length(), Length::Long);
    for _ in 0..100 {
        run(&queue, Length::LONG / 2);
    }
    assert_eq!(queue.length(), Length::Brief);
    for _ in 0..100 {
        run(&queue, Length::TINY / 2);
    }
    assert_eq!(queue.length(), Length::Tiny);
}

#[test]
fn a_few_jobs_that_lose_their_cpu_do_not_make_the_others_long() {
    let queue = Queue::new(usize::MAX, 0);
    let usual = Length::LONG / 2;
    for job in 0..100 {
        run(&queue, if job % 6 == 5 { 100 * usual } else { usual });
        if job > 0 {
            assert_eq!(queue.length(), Length::Brief);
        }
    }
    for _ in 0..20 {
        run(&queue, 100 * usual);
    }
    assert_eq!(queue.length(), Length::Long, "these are not few");
}

/// The next job runs; what its call was labelled.
fn run_next(queue: &Queue) -> Option<String> {
    let (finished, _) = queue.next(0)?.job.run(std::ptr::null(), |_| ());
    let label = finished.header().label().map(ToString::to_string);
    assert!(finished.complete().is_none());
    label
}

fn push_labelled(queue: &Queue, label: &'static str, class: Priority) {
    let lane = queue.shared(class).cloned();
    let permit = queue.admit(usize::MAX, lane.as_ref()).unwrap();
    let extension = Extension::new(Some(label.into()), None, false, lane);
    let call_site = std::panic::Location::caller();
    let job = job::allocate(Nothing, 0, None, Some(extension), call_site);
    // SAFETY: new: one side goes to the queue, the other to the `Caller`.
    unsafe {
        queue.push(permit, job).unwrap();
        Caller::<()>::new(job).detach();
    }
}

#[test]
fn jobs_of_one_lane_are_taken_without_a_look_at_the_inbox() {
    let queue = Queue::new(usize::MAX, u64::MAX);
    push_labelled(&queue, "first", Priority::Normal);
    push_labelled(&queue, "second", Priority::Normal);
    assert_eq!(run_next(&queue).as_deref(), Some("first"));
    push_labelled(&queue, "third", Priority::Normal);
    assert_eq!(run_next(&queue).as_deref(), Some("second"));
    assert!(!queue.inbox.is_empty(), "it was looked at");
    assert_eq!(run_next(&queue).as_deref(), Some("third"));
    assert_eq!(run_next(&queue), None);
}

#[test]
fn a_job_that_may_go_first_is_found_in_the_inbox() {
    let queue = Queue::new(usize::MAX, u64::MAX);
    push_labelled(&queue, "first", Priority::Normal);
    push_labelled(&queue, "last", Priority::Normal);
    assert_eq!(run_next(&queue).as_deref(), Some("first"));
    push_labelled(&queue, "urgent", Priority::High);
    assert_eq!(run_next(&queue).as_deref(), Some("urgent"));
    assert_eq!(run_next(&queue).as_deref(), Some("last"));
}

/// A worker that was told of them would ask for ever.
#[test]
fn jobs_that_come_for_a_blocked_lane_are_no_work() {
    let queue = Queue::new(1, u64::MAX);
    push_labelled(&queue, "first", Priority::Normal);
    push_labelled(&queue, "blocked", Priority::Normal);
    let orphan = queue.next(0).unwrap().job;
    queue.orphaned(None);
    push_labelled(&queue, "in the inbox", Priority::Normal);
    assert!(queue.next(0).is_none());
    assert!(!queue.has_work());
    drop(orphan);
}

#[test]
fn jobs_in_the_inbox_are_waited_for_like_those_in_the_lane() {
    let queue = Queue::new(usize::MAX, u64::MAX);
    for _ in 0..2 {
        push(&queue, usize::MAX).unwrap().detach();
    }
    drop(queue.next(0).unwrap().job);
    for _ in 0..1_000 {
        push(&queue, usize::MAX).unwrap().detach();
    }
    let expected = queue.expect(None, 0).unwrap();
    assert_eq!(expected.ahead, 1_001);
}
