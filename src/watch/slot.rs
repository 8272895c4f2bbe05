//! Each thread's slot: its mark, and what it takes to look at the thread.
//!
//! Made at a thread's first watched poll after a watchdog was first started; before that
//! polls mark nothing. The poll's way is a read of a thread-local, the mark's three stores,
//! and one look at a flag that hardly ever changes.

use super::stack::Target;
use super::task::Task;
use crate::core::mark::{Begun, Mark, Paused};
use crate::fork;
use parking_lot::Mutex;
use std::cell::Cell;
use std::ptr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{self, Thread};

pub(crate) struct Slot {
    pub(crate) mark: Mark<Task>,
    /// Its own for ever, unlike the system's number of the thread.
    pub(crate) id: u64,
    pub(crate) target: Target,
    pub(crate) thread: Thread,
}

/// All threads that have polled something.
static SLOTS: Mutex<Vec<Arc<Slot>>> = Mutex::new(Vec::new());

/// A watchdog has been started, some time.
static IS_WATCHED: AtomicBool = AtomicBool::new(false);

/// The watchdog sleeps because nothing was polled, and wants to be woken by the next poll.
static IS_ASLEEP: AtomicBool = AtomicBool::new(false);

/// The thread to be woken.
static WATCHDOG: Mutex<Option<Thread>> = Mutex::new(None);

thread_local! {
    /// Null: none yet. [`GONE`]: no more.
    static SLOT: Cell<*const Slot> = const { Cell::new(ptr::null()) };
    /// Owns the slot, and takes it out of the registry when the thread ends.
    static OWNED: Cell<Option<Owned>> = const { Cell::new(None) };
}

/// The thread is in its last moments: what it polls is not watched.
const GONE: *const Slot = ptr::dangling();

struct Owned {
    slot: Arc<Slot>,
    generation: u32,
}

impl Drop for Owned {
    fn drop(&mut self) {
        let _ = SLOT.try_with(|slot| slot.set(GONE));
        if fork::generation() != self.generation {
            // A forked child: the locks may be held by threads that are not here.
            return;
        }
        // Waits for a watchdog that is looking at this thread.
        self.slot.mark.leave();
        SLOTS.lock().retain(|slot| !Arc::ptr_eq(slot, &self.slot));
    }
}

/// A poll that is marked. Unmarks when dropped, also by a panic. Not for another thread.
pub(crate) struct Polling {
    /// Null: not marked.
    slot: *const Slot,
    begun: Begun<Task>,
}

/// Marks this thread as polling `task`.
#[inline(always)]
pub(crate) fn poll(task: &'static Task) -> Polling {
    let mut slot = SLOT.try_with(Cell::get).unwrap_or(GONE);
    // ORDERING: Relaxed: a watchdog that goes to sleep meanwhile looks again a tick later, see
    // `patrol`.
    if !is_real(slot) || IS_ASLEEP.load(Ordering::Relaxed) {
        slot = unusual_poll(slot);
        if slot.is_null() {
            return Polling {
                slot,
                begun: Begun::none(),
            };
        }
    }
    // SAFETY: neither null nor `GONE`, it is this thread's, owned until the thread ends.
    let begun = unsafe { &*slot }.mark.begin(task);
    Polling { slot, begun }
}

fn is_real(slot: *const Slot) -> bool {
    slot.addr() > GONE.addr()
}

impl Drop for Polling {
    #[inline(always)]
    fn drop(&mut self) {
        if !self.slot.is_null() {
            // SAFETY: as in `poll`; this thread is still in that poll.
            unsafe { &*self.slot }.mark.end(&self.begun);
        }
    }
}

/// The first one of a thread, or one that wakes the watchdog. This thread's slot; null if it
/// shall have none.
#[cold]
#[inline(never)]
fn unusual_poll(slot: *const Slot) -> *const Slot {
    wake_watchdog();
    if is_real(slot) {
        return slot;
    }
    if slot == GONE || !IS_WATCHED.load(Ordering::Relaxed) || !enter() {
        return ptr::null();
    }
    SLOT.try_with(Cell::get).unwrap_or(ptr::null())
}

/// Makes this thread's slot. `false` in the thread's last moments.
fn enter() -> bool {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    // Where thread-locals are going already there would be nobody to take it out again.
    let Ok(former) = OWNED.try_with(Cell::take) else {
        return false;
    };
    drop(former);
    fork::watch();
    let slot = Arc::new(Slot {
        mark: Mark::new(),
        id: NEXT.fetch_add(1, Ordering::Relaxed),
        target: Target::of_this_thread(),
        thread: thread::current(),
    });
    let owned = Owned {
        slot: Arc::clone(&slot),
        generation: fork::generation(),
    };
    if SLOT.try_with(|cell| cell.set(Arc::as_ptr(&slot))).is_err()
        || OWNED.try_with(|cell| cell.set(Some(owned))).is_err()
    {
        return false;
    }
    SLOTS.lock().push(slot);
    true
}

/// The event loop of this thread goes to work, or rests. For runtimes that tell.
#[cfg(feature = "tokio")]
pub(crate) fn set_working(is_working: bool) {
    let mut slot = SLOT.try_with(Cell::get).unwrap_or(GONE);
    if slot.is_null() && is_working && IS_WATCHED.load(Ordering::Relaxed) && enter() {
        slot = SLOT.try_with(Cell::get).unwrap_or(GONE);
    }
    // SAFETY: as in `poll`.
    let Some(slot) = is_real(slot).then(|| unsafe { &*slot }) else {
        return;
    };
    if is_working {
        slot.mark.work();
        wake_watchdog();
    } else {
        slot.mark.rest();
    }
}

/// A poll whose begin and end come as two calls, from hooks.
#[cfg(all(feature = "tokio", tokio_unstable))]
pub(crate) fn begin_poll(task: &'static Task) {
    std::mem::forget(poll(task));
}

/// Ends what `begin_poll` began, on the same thread. Such polls do not nest.
#[cfg(all(feature = "tokio", tokio_unstable))]
pub(crate) fn end_poll() {
    let slot = SLOT.try_with(Cell::get).unwrap_or(GONE);
    // SAFETY: as in `poll`.
    if let Some(slot) = is_real(slot).then(|| unsafe { &*slot }) {
        slot.mark.end_if_begun();
    }
}

/// Runs `f` as if no poll were under way on this thread.
pub(crate) fn unwatched<R>(f: impl FnOnce() -> R) -> R {
    let slot = SLOT.try_with(Cell::get).unwrap_or(GONE);
    // SAFETY: as in `poll`.
    let slot = is_real(slot).then(|| unsafe { &*slot });
    let paused = slot.and_then(|slot| Some((&slot.mark, slot.mark.pause()?)));
    // Also if `f` panics.
    let _resumed = Resumed(paused);
    f()
}

struct Resumed<'a>(Option<(&'a Mark<Task>, Paused<Task>)>);

impl Drop for Resumed<'_> {
    fn drop(&mut self) {
        if let Some((mark, paused)) = &self.0 {
            mark.resume(paused);
        }
    }
}

/// All slots there are now.
pub(crate) fn all(into: &mut Vec<Arc<Slot>>) {
    into.clear();
    into.extend(SLOTS.lock().iter().cloned());
}

/// How many there are.
pub(crate) fn count() -> usize {
    SLOTS.lock().len()
}

/// From now on polls are marked.
pub(crate) fn start_marking() {
    IS_WATCHED.store(true, Ordering::Relaxed);
}

/// The next poll wakes this thread, the watchdog's.
pub(crate) fn fall_asleep() {
    let mut watchdog = WATCHDOG.lock();
    *watchdog = Some(thread::current());
    IS_ASLEEP.store(true, Ordering::Relaxed);
}

/// This thread is awake, or will be no more.
pub(crate) fn stay_awake() {
    let mut watchdog = WATCHDOG.lock();
    let own = thread::current().id();
    // Another watchdog may have been started meanwhile.
    if watchdog.as_ref().is_some_and(|thread| thread.id() == own) {
        *watchdog = None;
        IS_ASLEEP.store(false, Ordering::Relaxed);
    }
}

/// If it sleeps. Then it stays awake for some looks, in which what comes now is seen.
fn wake_watchdog() {
    if !IS_ASLEEP.load(Ordering::Relaxed) {
        return;
    }
    // Whoever has the lock wakes it, or puts it to sleep and will look again.
    let Some(watchdog) = WATCHDOG.try_lock() else {
        return;
    };
    if IS_ASLEEP.swap(false, Ordering::Relaxed) {
        if let Some(thread) = &*watchdog {
            thread.unpark();
        }
    }
}

/// Whether somebody has woken this thread, the watchdog's, since it fell asleep.
pub(crate) fn was_woken() -> bool {
    !IS_ASLEEP.load(Ordering::Relaxed)
}
