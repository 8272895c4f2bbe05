//! The lanes behind the scheduler's lock, and whose turn it is.
//!
//! Calls that name no lane share one. A lane has a place here while it holds jobs, and costs
//! nothing afterwards. Lanes take turns, a job each; one that is blocked by its orphans is
//! passed over. Which lane is served next is decided here and nowhere else.

use super::inbox::Inbox;
use super::job::{Header, Place, free};
use super::lane::{Lane, links};
use super::lane_state::LaneState;
use super::tenants::Tenants;
use crate::sync::planted;
use std::collections::VecDeque;
use std::ptr::{self, NonNull};
use std::sync::Arc;

/// What the scheduler's lock guards.
pub(crate) struct Lanes {
    /// By place. The first is the shared one's; the others that hold no job are free.
    lanes: Vec<Seat>,
    free: Vec<usize>,
    tenants: Tenants,
    /// Places of lanes in turn: all that hold jobs, and some that held one.
    turns: VecDeque<usize>,
    /// Drained from the inbox, newest first, on the way to `oldest_first`.
    newest_first: *mut Header,
    /// Reversed, on the way to the lanes. Filled only while `newest_first` is
    /// emptied, and emptied before the next drain: submission order is kept.
    oldest_first: *mut Header,
    /// Shells let go of since `take_released`.
    released: usize,
}

// SAFETY: the pointers are owned: a job's queue side belongs to the structure it
// is linked in, and jobs are `Send`.
unsafe impl Send for Lanes {}

/// A lane in its place.
struct Seat {
    jobs: Lane,
    /// `None` in a free place.
    state: Option<Arc<LaneState>>,
    is_in_turn: bool,
}

impl Seat {
    fn new(state: Arc<LaneState>) -> Self {
        Self {
            jobs: Lane::new(),
            state: Some(state),
            is_in_turn: false,
        }
    }

    fn is_runnable(&self) -> bool {
        let is_blocked = self.state.as_ref().is_some_and(|state| state.is_blocked());
        !self.jobs.is_empty() && !is_blocked
    }
}

/// The place of the lane that calls without one share.
const SHARED: usize = 0;

impl Lanes {
    pub(crate) fn new(shared: Arc<LaneState>) -> Self {
        shared.set_place(Some(SHARED));
        Self {
            lanes: vec![Seat::new(shared)],
            free: Vec::new(),
            tenants: Tenants::new(),
            turns: VecDeque::new(),
            newest_first: ptr::null_mut(),
            oldest_first: ptr::null_mut(),
            released: 0,
        }
    }

    /// The next job in turn, out of its lane. If `claim` finds it cancelled, its
    /// shell is left alone: its burial, done or to come, ends it.
    pub(crate) fn pop(&mut self) -> Option<NonNull<Header>> {
        for _ in 0..self.turns.len() {
            let place = self.turns.pop_front()?;
            let seat = &mut self.lanes[place];
            let job = if seat.is_runnable() {
                // SAFETY: `&mut self` is the lock.
                unsafe { seat.jobs.pop() }
            } else {
                None
            };
            self.keep_turn(place);
            if job.is_some() {
                return job;
            }
        }
        None
    }

    /// After its turn a lane with jobs goes to the end of the line, another one away.
    fn keep_turn(&mut self, place: usize) {
        let seat = &mut self.lanes[place];
        if !seat.jobs.is_empty() {
            return self.turns.push_back(place);
        }
        seat.is_in_turn = false;
        if place != SHARED {
            if let Some(state) = seat.state.take() {
                if !planted("lanes: a place kept too long") {
                    state.set_place(None);
                }
            }
            self.free.push(place);
        }
    }

    /// Pops all, but those that `keep` wants, which stay in their order.
    pub(crate) fn retain(&mut self, mut keep: impl FnMut(NonNull<Header>) -> bool) {
        for _ in 0..self.turns.len() {
            let Some(place) = self.turns.pop_front() else {
                return;
            };
            let mut kept = Lane::new();
            let jobs = &mut self.lanes[place].jobs;
            // SAFETY: `&mut self` is the lock; a popped job is in no list, and one that is
            // kept was not claimed.
            while let Some(job) = unsafe { jobs.pop() } {
                if keep(job) {
                    // SAFETY: see above.
                    unsafe { kept.append(job.as_ptr()) };
                }
            }
            *jobs = kept;
            self.keep_turn(place);
        }
    }

    /// Whether a worker would find a job, in the lanes or on the way to them.
    pub(crate) fn has_runnable(&self) -> bool {
        !self.newest_first.is_null()
            || !self.oldest_first.is_null()
            || self
                .turns
                .iter()
                .any(|place| self.lanes[*place].is_runnable())
    }

    /// Where the lane of `job` is, from now on if need be.
    fn place_of(&mut self, job: &Header) -> usize {
        let Some(state) = job.lane() else {
            return SHARED;
        };
        if let Some(key) = state.tenant() {
            self.tenants.meet(key, state);
        }
        let state = LaneState::lane(state);
        if let Some(place) = state.place() {
            return place;
        }
        let seat = Seat::new(Arc::clone(state));
        let place = match self.free.pop() {
            Some(place) => {
                self.lanes[place] = seat;
                place
            }
            None => {
                self.lanes.push(seat);
                self.lanes.len() - 1
            }
        };
        state.set_place(Some(place));
        place
    }

    /// Moves jobs from the inbox to the lanes, in submission order, in at most
    /// `steps` steps (two for each job). What is left over is gone on with by the
    /// next call: a canceller does a bounded part, a worker all of it.
    pub(crate) fn drain(&mut self, inbox: &Inbox, steps: usize) {
        for _ in 0..steps {
            if !self.newest_first.is_null() {
                self.reverse_one();
            } else if !self.oldest_first.is_null() {
                self.link_one();
            } else {
                self.newest_first = inbox.drain();
                if self.newest_first.is_null() {
                    return;
                }
            }
        }
    }

    /// Seals the inbox and takes what it held.
    pub(crate) fn seal(&mut self, inbox: &Inbox) {
        self.drain(inbox, usize::MAX);
        self.newest_first = inbox.seal();
        self.drain(inbox, usize::MAX);
    }

    fn reverse_one(&mut self) {
        let job = self.newest_first;
        // SAFETY: `&mut self` is the lock; drained jobs are alive until linked.
        self.newest_first = unsafe {
            links(job, |job| {
                std::mem::replace(&mut job.next, self.oldest_first)
            })
        };
        self.oldest_first = job;
    }

    fn link_one(&mut self) {
        let job = self.oldest_first;
        // SAFETY: as in `reverse_one`; a buried job is in no graveyard any more.
        unsafe {
            let (next, place) = links(job, |job| (job.next, job.place));
            self.oldest_first = next;
            if place == Place::Buried {
                self.release(job);
            } else {
                let place = self.place_of(&*job);
                let seat = &mut self.lanes[place];
                seat.jobs.append(job);
                if !seat.is_in_turn {
                    seat.is_in_turn = true;
                    self.turns.push_back(place);
                }
            }
        }
    }

    /// Takes a cancelled job's shell, just out of the graveyard, out of its lane.
    ///
    /// # Safety
    ///
    /// The job is cancelled, was in the graveyard, and is in it no more.
    pub(crate) unsafe fn bury(&mut self, shell: *mut Header) {
        // SAFETY: `&mut self` is the lock; the queue side is alive until
        // `release`, which is called once: here, or when a buried one comes out.
        unsafe {
            match links(shell, |links| links.place) {
                Place::Inbox => links(shell, |links| links.place = Place::Buried),
                Place::Lane => {
                    let place = self.place_of(&*shell);
                    self.lanes[place].jobs.unlink(shell);
                    self.release(shell);
                }
                Place::Out => self.release(shell),
                Place::Buried => unreachable!("a shell was buried twice"),
            }
        }
    }

    /// A job that was never pushed was found cancelled: its burial, done or to come, ends
    /// it.
    ///
    /// # Safety
    ///
    /// The job is cancelled, in no list, and its queue side is the caller's.
    pub(crate) unsafe fn let_go(&mut self, shell: *mut Header) {
        // SAFETY: `&mut self` is the lock; see `bury`.
        unsafe {
            let place = links(shell, |links| {
                std::mem::replace(&mut links.place, Place::Out)
            });
            if place == Place::Buried && !planted("lanes: buried before it was let go") {
                self.release(shell);
            }
        }
    }

    /// Ends the queue side of a cancelled job.
    ///
    /// # Safety
    ///
    /// The shell is in no list and no graveyard.
    unsafe fn release(&mut self, shell: *mut Header) {
        self.released += 1;
        // SAFETY: by contract the queue side is ours; after `release_queue` answered
        // "the caller left before" we are the later side and free.
        unsafe {
            if (*shell).state.release_queue() {
                free(NonNull::new_unchecked(shell));
            }
        }
    }

    /// How many shells were let go of since the last call.
    pub(crate) fn take_released(&mut self) -> usize {
        std::mem::take(&mut self.released)
    }
}
