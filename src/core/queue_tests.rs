//! What loom's steps would make too long.

use super::Queue;
use crate::cancel::Stopped;
use crate::core::admission::SPARE_SHELLS;
use crate::core::caller::Caller;
use crate::core::job::{self, Work};
use crate::core::view::Job;

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
