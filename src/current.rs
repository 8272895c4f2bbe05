//! What this thread is doing for which pool: the job it runs, and whether it waits.

use crate::backend::Turns;
use crate::cancel::Stopped;
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
    /// A job runs, so that there is a turn to lend.
    has_turn: bool,
    /// It has been lent, here or on a level below that is about the same turn.
    is_lent: bool,
    /// Here.
    lent_here: bool,
    /// Where calls to this pool are kept, to be run by the one that waits for them.
    inline: *const Inline,
}

const OUTSIDE: Level = Level {
    job: ptr::null(),
    turns: ptr::null(),
    has_turn: false,
    is_lent: false,
    lent_here: false,
    inline: ptr::null(),
};

thread_local! {
    static CURRENT: Cell<Level> = const { Cell::new(OUTSIDE) };
}

/// The present level. Outside of all pools also in a thread-local's destructor, when ours
/// may be gone: no job runs then.
fn current() -> Level {
    CURRENT.try_with(Cell::get).unwrap_or(OUTSIDE)
}

fn set(level: Level) {
    let _ = CURRENT.try_with(|current| current.set(level));
}

/// Back to the level before, when dropped.
pub(crate) struct Entered {
    before: Level,
}

impl Drop for Entered {
    fn drop(&mut self) {
        let level = current();
        if level.lent_here {
            // SAFETY: whoever entered the level keeps its `Turns` until it is left.
            unsafe { &*level.turns }.take_back();
        }
        set(self.before);
    }
}

fn enter(level: Level) -> Entered {
    let before = current();
    set(level);
    Entered { before }
}

/// `job` runs on this thread, in a turn of `turns`, until the guard is dropped. Both
/// outlive it.
pub(crate) fn enter_job(job: Option<&Job>, turns: &Turns) -> Entered {
    enter(Level {
        job: job.map_or(ptr::null(), ptr::from_ref),
        turns,
        has_turn: true,
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
        // SAFETY: as in `drop`.
        level.is_lent = unsafe { &*level.turns }.lend();
        level.lent_here = level.is_lent;
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
    // SAFETY: as in `drop`.
    unsafe { level.turns.as_ref() }.is_some_and(|current| current.is_same(turns))
}

/// Where a call to `turns`' pool is kept that will be run by the one that makes it.
pub(crate) fn inline(turns: &Turns) -> Option<&Inline> {
    let level = current();
    // SAFETY: set for as long as the waiting level lasts, on this thread's stack.
    let inline = unsafe { level.inline.as_ref() }?;
    is_in(turns).then_some(inline)
}

/// A call to the pool of `turns` is pending, and this thread is going to wait for it in a
/// way that we do not see. `false`: it is of the same pool, whose other threads all wait,
/// too: it would wait for ever.
pub(crate) fn may_wait_for(turns: &Turns) -> bool {
    let mut level = current();
    if !level.has_turn || level.is_lent || !level.inline.is_null() {
        return true;
    }
    // Until the job ends: nobody tells us when the waiting does.
    // SAFETY: as in `drop`.
    level.is_lent = unsafe { &*level.turns }.lend();
    level.lent_here = level.is_lent;
    set(level);
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
pub(crate) fn inherited_deadline() -> Option<u64> {
    with_job(|job| job.header().deadline()).flatten()
}

/// The lane that calls to the pool of `turns` inherit from the job on this thread.
pub(crate) fn inherited_lane(turns: &Turns) -> Option<Arc<LaneState>> {
    if !has_turn_of(turns) {
        return None;
    }
    with_job(|job| job.header().lane().cloned()).flatten()
}

fn with_job<R>(f: impl FnOnce(&Job) -> R) -> Option<R> {
    let level = current();
    // SAFETY: set by `enter_job` for the time that the job runs on this thread.
    unsafe { level.job.as_ref() }.map(f)
}
