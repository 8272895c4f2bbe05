//! Lanes that come, go and change their class while jobs wait.

use super::super::caller::{Caller, Left};
use super::super::extension::Extension;
use super::super::job;
use super::super::lane_state::LaneState;
use super::super::queue::Queue;
use super::tests::{AGEING, Nothing};
use crate::priority::Priority;
use std::ptr;
use std::sync::Arc;

/// A queue and lanes of it, by what is put into them.
struct Lined {
    queue: Queue,
    callers: Vec<Caller<()>>,
}

impl Lined {
    fn new() -> Self {
        Self {
            queue: Queue::new(usize::MAX, AGEING),
            callers: Vec::new(),
        }
    }

    fn lane(class: Priority) -> Arc<LaneState> {
        Arc::new(LaneState::of_class(class, usize::MAX))
    }

    fn push(&self, lane: &Arc<LaneState>) -> Caller<()> {
        let lane = Some(Arc::clone(lane));
        let permit = self.queue.admit(usize::MAX, lane.as_ref()).unwrap();
        let extension = Extension::new(None, None, false, lane);
        let place = std::panic::Location::caller();
        let job = job::allocate(Nothing, 0, None, Some(extension), place);
        // SAFETY: new: one side goes to the queue, the other to the `Caller`.
        unsafe {
            self.queue.push(permit, job).unwrap();
            Caller::new(job)
        }
    }

    fn keep(&mut self, lane: &Arc<LaneState>) {
        let caller = self.push(lane);
        self.callers.push(caller);
    }

    /// Runs the next job; `false` if there is none.
    fn run(&self, ran: u64) -> bool {
        let Some(taken) = self.queue.next(0) else {
            return false;
        };
        let (finished, _) = taken.job.run(ptr::null(), |_| ());
        self.queue.settle(&finished, ran);
        let _ = finished.complete();
        true
    }
}

impl Drop for Lined {
    fn drop(&mut self) {
        for caller in self.callers.drain(..) {
            let _ = caller.abandon(&self.queue);
        }
    }
}

/// A pool that always has something to run, and tenants that come once.
#[test]
fn tenants_leave_nothing_in_a_pool_that_never_rests() {
    let lined = Lined::new();
    let shared = Lined::lane(Priority::Normal);
    (0..8).for_each(|_| lined.push(&shared).detach());
    for key in 0..20_000 {
        lined.push(&shared).detach();
        let tenant = LaneState::of_tenant(key << 8, Priority::Normal, usize::MAX);
        lined.push(&Arc::new(tenant)).detach();
        for _ in 0..2 {
            assert!(lined.run(100), "there is always one");
        }
    }
    let lanes = lined.queue.lanes.lock();
    let [seats, charged, tenants] = [lanes.seats.len(), lanes.charged.len(), lanes.tenants.len()];
    assert!(
        seats.max(charged).max(tenants) < 5_000,
        "{seats} {charged} {tenants}"
    );
}

/// While the one that is chosen waits to be charged, another comes from a lower class, and with
/// less on its meter.
#[test]
fn a_lane_that_changes_its_class_gets_in_front_and_keeps_its_turn() {
    let mut lined = Lined::new();
    let [long, other] = [(); 2].map(|()| Lined::lane(Priority::High));
    let moves = Lined::lane(Priority::Normal);
    lined.keep(&long);
    assert!(lined.run(10_000_000));
    for _ in 0..3 {
        lined.keep(&long);
    }
    let leaves = lined.push(&other);
    lined.keep(&moves);
    // Of two in line it has had more than the line as a whole.
    assert!(lined.run(10_000_000));
    assert!(matches!(leaves.abandon(&lined.queue), Left::Queued(_)));
    moves.set_class(Priority::High);
    let left = (0..10).take_while(|_| lined.run(1)).count();
    assert_eq!(left, 3, "jobs that were left are all run");
}

/// It joins a line that has been looked at and found empty.
#[test]
fn a_lane_that_changes_its_class_is_seen() {
    let mut lined = Lined::new();
    let [leaves, moves] = [(); 2].map(|()| Lined::lane(Priority::Normal));
    let cancelled = lined.push(&leaves);
    lined.keep(&moves);
    // Both are in line from now on.
    assert!(lined.queue.expect(Some(&moves), 0).is_some());
    moves.set_class(Priority::High);
    let left = cancelled.abandon(&lined.queue);
    assert!(matches!(left, Left::Queued(true)), "there is one to run");
    assert!(lined.run(1));
}
