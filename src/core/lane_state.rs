//! What callers and workers know of a lane without the scheduler's lock.

use crate::sync::{AtomicUsize, Ordering, plain};

/// No place among the lanes: it holds no job.
const NOWHERE: usize = usize::MAX;

#[derive(Debug)]
pub(crate) struct LaneState {
    /// Its place among the lanes, or `NOWHERE`. Written and read under the lock.
    place: plain::AtomicUsize,
    /// Running jobs whose caller has left. Wraps below 0 for a moment, when one ends before
    /// its caller has counted it.
    orphans: AtomicUsize,
    /// No job of the lane starts while there are so many.
    most_orphans: plain::AtomicUsize,
}

impl LaneState {
    pub(crate) fn new(most_orphans: usize) -> Self {
        Self {
            place: plain::AtomicUsize::new(NOWHERE),
            orphans: AtomicUsize::new(0),
            most_orphans: plain::AtomicUsize::new(most_orphans),
        }
    }

    pub(crate) fn set_most_orphans(&self, most: usize) {
        self.most_orphans.store(most, Ordering::Relaxed);
    }

    /// Whether so many orphans run that nothing may start.
    pub(super) fn is_blocked(&self) -> bool {
        let most = self.most_orphans.load(Ordering::Relaxed);
        // ORDERING: Relaxed: whoever asks holds the lock, and so does whoever looks again
        // when the last one too many has ended.
        most != usize::MAX && self.orphans.load(Ordering::Relaxed) as isize >= most as isize
    }

    pub(super) fn orphaned(&self) {
        self.orphans.fetch_add(1, Ordering::Relaxed);
    }

    /// `true`: the lane may have been blocked until now.
    pub(super) fn orphan_ended(&self) -> bool {
        let most = self.most_orphans.load(Ordering::Relaxed);
        let before = self.orphans.fetch_sub(1, Ordering::Relaxed);
        most != usize::MAX && before as isize >= most as isize
    }

    pub(super) fn place(&self) -> Option<usize> {
        let place = self.place.load(Ordering::Relaxed);
        (place != NOWHERE).then_some(place)
    }

    pub(super) fn set_place(&self, place: Option<usize>) {
        self.place
            .store(place.unwrap_or(NOWHERE), Ordering::Relaxed);
    }
}
