//! The lanes behind the scheduler's lock, and whose turn it is.
//!
//! Calls that name no lane share one. A lane has a place here while it holds jobs, or one of
//! them runs, or it has had more than its share; it costs nothing afterwards. Those with
//! jobs stand in the line of their class, see there; one that is blocked, by its orphans or
//! by what it runs, is in none. Which job is next is decided here and nowhere else.

use super::inbox::Inbox;
use super::job::{Header, Place, free};
use super::job_ref::JobRef;
use super::lane::{Lane, links, placed};
use super::lane_state::LaneState;
use super::line::Line;
use super::places::{FEW, SHARED};
use super::prefetch;
use super::seat::Seat;
use super::tenants::Tenants;
use crate::priority::CLASSES;
use crate::sync::planted;
use std::ptr::{self, NonNull};
use std::sync::Arc;

/// What the scheduler's lock guards.
pub(crate) struct Lanes {
    /// By place. The first is the shared one's.
    pub(super) seats: Vec<Seat>,
    pub(super) free: Vec<usize>,
    /// When so many places are taken, those at rest are looked for: twice as many as were
    /// taken the last time, so that looking costs each newcomer a constant part.
    pub(super) sweep_at: usize,
    /// Places taken since the last sweep.
    pub(super) newcomers: usize,
    pub(super) tenants: Tenants,
    /// By class.
    pub(super) lines: [Line; CLASSES],
    /// A class that was passed over for so long is next, in nanoseconds.
    ageing: u64,
    /// Places charged since nothing was left to run.
    pub(super) charged: Vec<usize>,
    /// How long a job runs as a rule, for lanes that have no average.
    pub(super) typical: u64,
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

/// A job out of its lane.
pub(super) struct Popped {
    pub(super) job: NonNull<Header>,
    class: usize,
    place: usize,
}

impl Lanes {
    pub(crate) fn new(shared: Arc<LaneState>, ageing: u64) -> Self {
        shared.set_place(Some(SHARED));
        Self {
            seats: vec![Seat::new(shared)],
            free: Vec::new(),
            sweep_at: FEW,
            newcomers: 0,
            tenants: Tenants::default(),
            lines: std::array::from_fn(|_| Line::new()),
            ageing,
            charged: Vec::new(),
            typical: 0,
            newest_first: ptr::null_mut(),
            oldest_first: ptr::null_mut(),
            released: 0,
        }
    }

    /// The next job in turn, out of its lane. If `claim` finds it cancelled, its
    /// shell is left alone: its burial, done or to come, ends it. Else its lane is to be
    /// charged for it.
    #[inline]
    pub(super) fn pop(&mut self, now: u64) -> Option<Popped> {
        let (class, place) = self.choose(now)?;
        let seat = &mut self.seats[place];
        // SAFETY: `&mut self` is the lock.
        let job = unsafe { seat.jobs.pop() }?;
        seat.len -= 1;
        prefetch::for_writing(seat.jobs.first());
        Some(Popped { job, class, place })
    }

    /// Charges for the job that was popped last, which starts now. How much, and whether its
    /// class has another one that may start.
    #[inline]
    pub(super) fn charge(&mut self, popped: &Popped, now: u64) -> (u64, bool) {
        let seat = &mut self.seats[popped.place];
        let line = &mut self.lines[popped.class];
        let time = seat.average(self.typical).max(1);
        line.charge_first(seat, popped.place, time);
        if !std::mem::replace(&mut seat.is_charged, true) {
            self.charged.push(popped.place);
        }
        seat.pace.start(now, seat.len > 0);
        let more = self.has_next(popped.class);
        self.lines[popped.class].pace.start(now, more);
        (time, more)
    }

    /// The class that is next, and the lane in it: the highest, unless a lower one has
    /// been passed over for too long.
    #[inline]
    fn choose(&mut self, now: u64) -> Option<(usize, usize)> {
        let mut highest = None;
        for class in 0..CLASSES {
            if self.lines[class].is_empty() {
                continue;
            }
            let Some(place) = self.first(class) else {
                continue;
            };
            if highest.is_none() {
                highest = Some((class, place));
                continue;
            }
            let line = &mut self.lines[class];
            let since = *line.passed_over.get_or_insert(now);
            let is_due = now.saturating_sub(since) >= self.ageing;
            if is_due && !planted("lanes: never too old") {
                line.passed_over = Some(now);
                return Some((class, place));
            }
        }
        let (class, place) = highest?;
        self.lines[class].passed_over = None;
        Some((class, place))
    }

    /// The lane of `class` whose turn it is. Those before it that have nothing to run
    /// leave the line, and those that have had more than was known find their place in it: one
    /// that is alone does so when another joins.
    #[inline]
    pub(super) fn first(&mut self, class: usize) -> Option<usize> {
        loop {
            let place = self.in_front(class)?;
            let seat = &mut self.seats[place];
            let has_moved = seat
                .state
                .as_ref()
                .is_some_and(|state| state.class() != class);
            let is_alone = self.lines[class].is_alone();
            if seat.jobs.is_empty() || has_moved || seat.is_blocked() {
                if is_alone {
                    self.settle(place);
                }
                self.lines[class].drop_first(&mut self.seats[place]);
                self.join(place);
                continue;
            }
            if is_alone {
                return Some(place);
            }
            if self.settle(place) && !self.lines[class].sort_first(&self.seats[place]) {
                continue;
            }
            return Some(place);
        }
    }

    /// Has the lane at `place` join its line, unless it is in one, or has nothing to run.
    fn join(&mut self, place: usize) -> bool {
        let seat = &mut self.seats[place];
        if !seat.is_to_join() {
            return false;
        }
        let class = seat
            .state
            .as_ref()
            .map_or(seat.class, |state| state.class());
        if class != seat.class {
            // Another line, another measure.
            (seat.class, seat.meter) = (class, 0);
        }
        if self.lines[class].is_alone() {
            // What it had so far was taken from nobody.
            if let Some(first) = self.in_front(class) {
                let _ = self.settle(first) && self.lines[class].sort_first(&self.seats[first]);
            }
        }
        self.settle(place);
        self.lines[class].join(&mut self.seats[place], place);
        true
    }

    /// A job, which came at `since`, makes the lane at `place` join.
    fn line_up(&mut self, place: usize, since: u64) {
        let joins = self.join(place);
        let class = self.seats[place].class;
        if joins && self.lines[class].is_alone() {
            // From now on it may be passed over, and pass over others.
            self.lines[class].passed_over = Some(since);
            for lower in &mut self.lines[class + 1..] {
                lower.passed_over.get_or_insert(since);
            }
        }
    }

    /// Charges the lane at `place` what it owes; `false`: nothing.
    pub(super) fn settle(&mut self, place: usize) -> bool {
        let Some(seat) = self.seats.get_mut(place) else {
            return false;
        };
        let Some(state) = &seat.state else {
            return false;
        };
        let owed = state.take_owed();
        if owed == 0 {
            return false;
        }
        let average = state.average();
        self.typical = match self.typical {
            0 => average,
            typical => typical - typical / 8 + average / 8,
        };
        self.lines[seat.class].correct(seat, owed);
        true
    }

    /// The lane of `state` was charged too much: it does not wait for that to be made up for.
    pub(super) fn refund(&mut self, state: &LaneState) {
        let Some(place) = state.place() else { return };
        if self.settle(place) && self.seats[place].stands_for.is_some() {
            let seat = &mut self.seats[place];
            self.lines[seat.class].go_behind(seat, place);
        }
    }

    /// The lane of `state` may not be blocked any more.
    pub(super) fn unblock(&mut self, state: &LaneState) {
        if let Some(place) = state.place() {
            self.join(place);
        }
    }

    /// No lane may be blocked any more.
    pub(super) fn unblock_all(&mut self) {
        for place in 0..self.seats.len() {
            self.join(place);
        }
    }

    /// Pops all, but those that `keep` wants, which stay in their order.
    pub(crate) fn retain(&mut self, mut keep: impl FnMut(NonNull<Header>) -> bool) {
        for seat in &mut self.seats {
            let mut kept = Lane::new();
            seat.len = 0;
            // SAFETY: `&mut self` is the lock; a popped job is in no list, and one that is
            // kept was not claimed.
            while let Some(job) = unsafe { seat.jobs.pop() } {
                if keep(job) {
                    // SAFETY: see above.
                    unsafe { kept.append(job.as_ptr()) };
                    seat.len += 1;
                }
            }
            seat.jobs = kept;
        }
    }

    /// Whether a worker would find a job, in the lanes or on the way to them.
    pub(crate) fn has_runnable(&mut self) -> bool {
        let on_the_way = !self.newest_first.is_null() || !self.oldest_first.is_null();
        // One whose class has changed may have joined a line that was looked at before.
        on_the_way
            || (0..CLASSES).any(|class| self.has_next(class))
            || self.lines.iter().any(|line| !line.is_empty())
    }

    /// Whether a lane of `class` has a job that may start. Which one is left open.
    #[inline]
    fn has_next(&mut self, class: usize) -> bool {
        let Some(place) = self.in_front(class) else {
            return false;
        };
        let seat = &self.seats[place];
        !seat.jobs.is_empty() && !seat.is_blocked() || self.first(class).is_some()
    }

    /// The lane in front of its line, as far as is known. Entries that are left over go.
    #[inline]
    fn in_front(&mut self, class: usize) -> Option<usize> {
        let line = &mut self.lines[class];
        while let Some((place, turn)) = line.first() {
            let seat = self.seats.get(place);
            if seat.is_some_and(|seat| seat.has_turn(class, turn)) {
                return Some(place);
            }
            line.forget_first();
        }
        None
    }

    /// Whether a job waits in the lane that calls share which name none.
    pub(super) fn has_waiting(&self) -> bool {
        !self.seats[SHARED].jobs.is_empty()
    }

    /// Moves jobs from the inbox to the lanes, in submission order, in at most
    /// `steps` steps (two for each job). What is left over is gone on with by the
    /// next call: a canceller does a bounded part, a worker all of it. Whether there was any.
    pub(crate) fn drain(&mut self, inbox: &Inbox, steps: usize) -> bool {
        for step in 0..steps {
            if !self.newest_first.is_null() {
                self.reverse_one();
            } else if !self.oldest_first.is_null() {
                self.link_one();
            } else {
                self.newest_first = inbox.drain();
                if self.newest_first.is_null() {
                    return step > 0;
                }
            }
        }
        steps > 0
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
            self.oldest_first = links(job, |job| job.next);
            if placed(job, |place| *place) == Place::Buried {
                self.release(job);
            } else {
                let known = JobRef::new(NonNull::new_unchecked(job));
                let (place, since) = (self.place_of(known), known.queued_at);
                let seat = &mut self.seats[place];
                if seat.jobs.is_empty() {
                    seat.pace.begin(since);
                }
                seat.jobs.append(job);
                seat.len += 1;
                if seat.stands_for.is_none() {
                    self.line_up(place, since);
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
            match placed(shell, |place| *place) {
                Place::Inbox => placed(shell, |place| *place = Place::Buried),
                Place::Lane => {
                    let place = self.place_of(JobRef::new(NonNull::new_unchecked(shell)));
                    self.seats[place].jobs.unlink(shell);
                    self.seats[place].len -= 1;
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
            let place = placed(shell, |place| std::mem::replace(place, Place::Out));
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

#[cfg(all(test, not(offramp_loom)))]
#[path = "lanes_tests.rs"]
mod tests;

#[cfg(all(test, not(offramp_loom)))]
#[path = "lanes_moves_tests.rs"]
mod moves_tests;
