//! What this thread is doing for which pool: the job it runs, and whether it waits.

use crate::backend::Turns;
use crate::cancel::Stopped;
use crate::clock;
use crate::core::lane_state::LaneState;
use crate::core::view::Job;
use crate::waiting::Inline;
use std::cell::Cell;
use std::ptr;
use std::sync::Arc;
use std::time::Duration;

/// One level of what this thread does. Levels nest when a job waits for another that runs
/// on its stack.
#[derive(Clone, Copy)]
struct Level {
    /// The I/O job that runs. Null in a CPU job, because a rayon thread may be running a
    /// piece of another one.
    job: *const Job,
    /// The pool whose turn this is; null outside of all pools.
    turns: *const Turns,
    /// The lane in which this stack's job counts; null for the one that is shared. A job that
    /// runs inline does not count in its own, but takes the place of the one that waits.
    lane: *const LaneState,
    /// A job runs, so that there is a turn to lend.
    has_turn: bool,
    /// It has been lent, here or on a level below that is about the same turn.
    is_lent: bool,
    /// Here.
    lent_here: bool,
    /// Since when.
    lent_at: u64,
    /// For how long the turn was lent; null where nobody asks.
    lent: *const Cell<u64>,
    /// Where calls to this pool are kept, to be run by the one that waits for them.
    inline: *const Inline,
}

impl Level {
    /// Lends the turn, if it can be.
    fn lend(&mut self) {
        // SAFETY: whoever entered the level keeps its `Turns`, and its job the lane, until
        // it is left.
        let (turns, lane) = unsafe { (&*self.turns, self.lane.as_ref()) };
        self.is_lent = turns.lend();
        self.lent_here = self.is_lent;
        if !self.is_lent {
            return;
        }
        self.lent_at = clock::now();
        if let Some(lane) = lane.filter(|lane| lane.lend()) {
            turns.unblock(Some(lane));
        }
    }

    fn take_back(&self) {
        // SAFETY: as in `lend`.
        let (turns, lane) = unsafe { (&*self.turns, self.lane.as_ref()) };
        turns.take_back();
        if let Some(lane) = lane {
            lane.take_back();
        }
        // SAFETY: whoever entered the job keeps it until that is left.
        if let Some(lent) = unsafe { self.lent.as_ref() } {
            lent.set(lent.get() + clock::now().saturating_sub(self.lent_at));
        }
    }
}

const OUTSIDE: Level = Level {
    job: ptr::null(),
    turns: ptr::null(),
    lane: ptr::null(),
    has_turn: false,
    is_lent: false,
    lent_here: false,
    lent_at: 0,
    lent: ptr::null(),
    inline: ptr::null(),
};

thread_local! {
    static CURRENT: Cell<Level> = const { Cell::new(OUTSIDE) };
}

/// The present level. Outside of all pools also in a thread-local's destructor, when ours
/// may be gone: no job runs then.
#[inline]
fn current() -> Level {
    CURRENT.try_with(Cell::get).unwrap_or(OUTSIDE)
}

/// Sets the present level; the one before.
#[inline]
fn replace(level: Level) -> Level {
    let replaced = CURRENT.try_with(|current| current.replace(level));
    replaced.unwrap_or(OUTSIDE)
}

/// Back to the level before, when dropped.
pub(crate) struct Entered {
    before: Level,
}

impl Drop for Entered {
    #[inline]
    fn drop(&mut self) {
        let level = replace(self.before);
        if level.lent_here {
            level.take_back();
        }
    }
}

fn enter(level: Level) -> Entered {
    Entered {
        before: replace(level),
    }
}

/// `job` runs on this thread, in a turn of `turns`, until the guard is dropped. They and
/// `lent`, which gets for how long the turn was lent, outlive it. `is_seen`: by code that does not have the `Job`. `is_inline`: in the turn of
/// the one that waits for it.
pub(crate) fn enter_job(
    job: &Job,
    is_seen: bool,
    is_inline: bool,
    turns: &Turns,
    lent: &Cell<u64>,
) -> Entered {
    let own = job.header().lane().map_or(ptr::null(), Arc::as_ptr);
    let outer = current();
    // What it lends is its parent's, who pays for it, unless that has lent it by now.
    let is_parents = is_inline && !outer.lent.is_null() && !outer.is_lent;
    enter(Level {
        job: if is_seen { job } else { ptr::null() },
        turns,
        lane: if is_inline { outer.lane } else { own },
        has_turn: true,
        lent: if is_parents { outer.lent } else { lent },
        ..OUTSIDE
    })
}

/// This thread belongs to the pool of `turns`: it may run pieces of its jobs.
pub(crate) fn enter_pool(turns: &Turns) -> Entered {
    enter(Level { turns, ..OUTSIDE })
}

/// The job that runs here waits, in one of our own ways, until the guard is dropped. If
/// its turn cannot be lent, what it calls meanwhile is kept in `inline`, if given.
pub(crate) fn enter_wait(inline: Option<&Inline>) -> Entered {
    let mut level = Level {
        lent_here: false,
        ..current()
    };
    if level.has_turn && !level.is_lent {
        level.lend();
        if let (false, Some(inline)) = (level.is_lent, inline) {
            level.inline = inline;
        }
    }
    enter(level)
}

/// What this thread calls from now on, until the guard is dropped, is kept in `inline`.
pub(crate) fn enter_inline(inline: &Inline) -> Entered {
    enter(Level {
        inline,
        lent_here: false,
        ..current()
    })
}

/// Whether the job that runs here must not wait for another one of its pool, the pool of
/// `turns`: its turn could not be lent.
pub(crate) fn is_last_of(turns: &Turns) -> bool {
    let level = current();
    level.has_turn && !level.is_lent && is_in(turns)
}

/// Whether a job of the pool of `turns` runs here.
#[inline]
pub(crate) fn has_turn_of(turns: &Turns) -> bool {
    current().has_turn && is_in(turns)
}

/// The pool whose job runs here.
pub(crate) fn turns_of_job() -> Option<Turns> {
    let level = current();
    // SAFETY: as in `drop`.
    let turns = unsafe { level.turns.as_ref() }?;
    level.has_turn.then(|| turns.clone())
}

/// Whether this thread works for the pool of `turns`: a call that it waits for may run
/// right here.
pub(crate) fn is_in(turns: &Turns) -> bool {
    let level = current();
    // SAFETY: as in `lend`.
    unsafe { level.turns.as_ref() }.is_some_and(|current| current.is_same(turns))
}

/// Where a call to `turns`' pool is kept that will be run by the one that makes it.
#[inline]
pub(crate) fn inline(turns: &Turns) -> Option<&Inline> {
    let level = current();
    // SAFETY: set for as long as the waiting level lasts, on this thread's stack.
    let inline = unsafe { level.inline.as_ref() }?;
    is_in(turns).then_some(inline)
}

/// Whether a job of `lane` may run on the stack of the one that waits for it: not if the
/// lane counts what it runs, unless the waiting one is of the lane, and counted.
pub(crate) fn may_run_inside(lane: Option<&Arc<LaneState>>) -> bool {
    lane.is_none_or(|lane| {
        let is_own = ptr::eq(current().lane, Arc::as_ptr(lane));
        !lane.is_capped() || is_own && !lane.is_exclusive()
    })
}

/// This thread, as a number that no other one has meanwhile; 0 in its last moments.
pub(crate) fn thread() -> usize {
    CURRENT
        .try_with(|current| ptr::from_ref(current).addr())
        .unwrap_or(0)
}

/// Whether a job of the exclusive `lane` runs on this thread's stack: who waits for another
/// one there waits for itself.
#[inline]
pub(crate) fn holds(lane: &Arc<LaneState>) -> bool {
    let holder = lane.holder();
    holder != 0 && holder == thread()
}

/// A call to the pool of `turns` is pending, and this thread is going to wait for it in a
/// way that we do not see. `false`: it is of the same pool, whose other threads all wait,
/// too: it would wait for ever.
#[inline]
pub(crate) fn may_wait_for(turns: &Turns, lane: Option<&Arc<LaneState>>) -> bool {
    let mut level = current();
    let is_kept = !level.inline.is_null() && may_run_inside(lane);
    if !level.has_turn || level.is_lent || is_kept {
        return true;
    }
    // Until the job ends: nobody tells us when the waiting does.
    level.lend();
    replace(level);
    level.is_lent || !is_in(turns)
}

/// Stops here, by `?`, if the I/O job that runs on this thread is to stop.
///
/// For code deep inside of an I/O job, whose signatures need not change:
/// anywhere else (on an event loop, in a thread of your own, in a CPU job) it
/// answers `Ok`. A CPU job looks at its [`Job`] instead, because a rayon thread may
/// be running a piece of another job.
///
/// # Errors
///
/// [`Stopped`] if the job's caller has dropped its future or aborted its handle, or its
/// deadline has passed.
pub fn checkpoint() -> Result<(), Stopped> {
    with_job(Job::checkpoint).unwrap_or(Ok(()))
}

/// How much time the I/O job that runs on this thread has left, see [`Job::remaining`].
/// `None` anywhere else.
#[must_use]
pub fn remaining() -> Option<Duration> {
    with_job(Job::remaining).flatten()
}

/// The deadline that calls made by the I/O job on this thread inherit.
#[inline]
pub(crate) fn inherited_deadline() -> Option<u64> {
    with_job(|job| job.header().deadline()).flatten()
}

/// The lane that calls to the pool of `turns` inherit from the job on this thread.
#[inline]
pub(crate) fn inherited_lane(turns: &Turns) -> Option<Arc<LaneState>> {
    if !has_turn_of(turns) {
        return None;
    }
    let lane = with_job(|job| job.header().lane().cloned()).flatten();
    // What waits for one call at a time is no line for others.
    lane.filter(|lane| !lane.is_exclusive())
}

#[inline]
fn with_job<R>(f: impl FnOnce(&Job) -> R) -> Option<R> {
    let level = current();
    // SAFETY: set by `enter_job` for the time that the job runs on this thread.
    unsafe { level.job.as_ref() }.map(f)
}
