//! A job: one allocation with the closure, later the output, and all that the
//! two sides need to agree.
//!
//! ```text
//!   ┌────────────── Header ──────────────┬────── payload ──────┐
//!   │ state │ links │ waker │ queued │ … │ closure  or  output │
//!   └────────────────────────────────────┴─────────────────────┘
//! ```
//!
//! Who may touch which cell is the table at [`State`](super::state::State); the
//! links belong to the submitter until the push, then to whoever holds the
//! scheduler's lock.

use super::extension::{Expired, Extension};
use super::lane_state::LaneState;
use super::state::{Cancel, State};
use super::unwind::{Payload, contain, drop_payload};
use super::view::Job;
use crate::cancel::Stopped;
use crate::sync::{Ordering, UnsafeCell};
use std::borrow::Cow;
use std::mem::{ManuallyDrop, MaybeUninit};
use std::panic::{AssertUnwindSafe, Location, catch_unwind};
use std::ptr::{self, NonNull};
use std::sync::Arc;
use std::task::Waker;

/// What a job runs. `Output` is what its caller gets.
pub(crate) trait Work: Send + 'static {
    type Output: Send + 'static;

    fn run(self, job: &Job) -> Result<Self::Output, Stopped>;
}

/// Why a job has no value.
#[derive(Debug)]
pub(crate) enum Failure {
    Panicked {
        payload: Payload,
        label: Option<Cow<'static, str>>,
    },
    /// The closure left at a checkpoint.
    Stopped(Stopped),
    /// Cancelled before it started.
    Cancelled,
    /// Its deadline passed before it started.
    Expired(Expired),
    /// It lost its room to another lane's job.
    Overloaded {
        limit: usize,
    },
    ShutDown,
    NoThreads,
    WouldDeadlock,
}

/// How a run ended, for the statistics.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ended {
    Completed,
    Panicked,
    Stopped,
}

pub(crate) struct Header {
    pub(crate) state: State,
    pub(crate) links: UnsafeCell<Links>,
    slot: UnsafeCell<Slot>,
    vtable: &'static Vtable,
    /// Where the call was made.
    call_site: &'static Location<'static>,
    /// When the job was pushed, in the clock's nanoseconds.
    pub(crate) queued_at: u64,
    extension: Option<Box<Extension>>,
    #[cfg(offramp_loom)]
    _leak_check: loom::alloc::Track<()>,
}

/// Where the job is, for whoever holds the scheduler's lock.
pub(crate) struct Links {
    pub(crate) next: *mut Header,
    pub(crate) prev: *mut Header,
    pub(crate) place: Place,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Place {
    /// In the inbox, or drained from it and not yet in a lane.
    Inbox,
    /// The same, and its cancellation has been seen: free it when it comes out.
    Buried,
    /// Linked in its lane.
    Lane,
    /// Popped, and found cancelled.
    Out,
}

/// The waker of a waiting caller. In a cancelled shell, which nobody waits for
/// any more, the same room is its link in the graveyard.
union Slot {
    empty: (),
    waker: ManuallyDrop<Waker>,
    grave: *mut Header,
}

struct Vtable {
    /// Runs the closure and writes the output.
    run: unsafe fn(NonNull<Header>, &Job) -> Ended,
    /// Drops the closure and writes `failure` as the output.
    fail: unsafe fn(NonNull<Header>, Failure),
    /// Drops the closure.
    drop_work: unsafe fn(NonNull<Header>),
    /// Moves the output (`Result<Output, Failure>`) to the address.
    take_output: unsafe fn(NonNull<Header>, *mut ()),
    drop_output: unsafe fn(NonNull<Header>),
    /// Frees the memory; the payload is empty by now.
    free: unsafe fn(NonNull<Header>),
}

#[repr(C)]
struct Cell<W: Work> {
    header: Header,
    payload: UnsafeCell<Content<W>>,
}

union Content<W: Work> {
    work: ManuallyDrop<W>,
    output: ManuallyDrop<Result<W::Output, Failure>>,
}

/// Allocates a job in state QUEUED.
pub(crate) fn allocate<W: Work>(
    work: W,
    queued_at: u64,
    waker: Option<Waker>,
    extension: Option<Box<Extension>>,
    call_site: &'static Location<'static>,
) -> NonNull<Header> {
    let state = State::new(waker.is_some());
    let slot = match waker {
        Some(waker) => Slot {
            waker: ManuallyDrop::new(waker),
        },
        None => Slot { empty: () },
    };
    let cell = Box::new(Cell {
        header: Header {
            state,
            links: UnsafeCell::new(Links {
                next: ptr::null_mut(),
                prev: ptr::null_mut(),
                place: Place::Inbox,
            }),
            slot: UnsafeCell::new(slot),
            vtable: &Cell::<W>::VTABLE,
            call_site,
            queued_at,
            extension,
            #[cfg(offramp_loom)]
            _leak_check: loom::alloc::Track::new(()),
        },
        payload: UnsafeCell::new(Content {
            work: ManuallyDrop::new(work),
        }),
    });
    NonNull::from(Box::leak(cell)).cast()
}

/// Takes a job apart that was never pushed, and gives the closure back.
///
/// # Safety
///
/// `job` comes from `allocate::<W>`, was never pushed, and is not used again.
pub(crate) unsafe fn dismantle<W: Work>(job: NonNull<Header>) -> W {
    // SAFETY: sole owner by contract; `repr(C)` puts the header first.
    let cell = unsafe { Box::from_raw(job.cast::<Cell<W>>().as_ptr()) };
    if let Cancel::Won { waker: true } = cell.header.state.cancel() {
        // SAFETY: the transition gave us the full slot.
        let waker = unsafe { cell.header.take_waker() };
        contain(|| drop(waker));
    }
    // SAFETY: never claimed, so the closure is still there.
    cell.payload
        .with_mut(|content| unsafe { ManuallyDrop::take(&mut (*content).work) })
}

/// Drops an output that nobody wants. A panic in that ends there.
pub(crate) fn discard<R>(output: Result<R, Failure>) {
    match output {
        Ok(value) => drop(contain(|| drop(value))),
        Err(Failure::Panicked { payload, .. }) => drop_payload(payload),
        Err(_) => {}
    }
}

impl<W: Work> Cell<W> {
    const VTABLE: Vtable = Vtable {
        run: Self::run,
        fail: Self::fail,
        drop_work: Self::drop_work,
        take_output: Self::take_output,
        drop_output: Self::drop_output,
        free: Self::free,
    };

    /// # Safety
    ///
    /// `job` is the header of a live `Cell<W>`.
    unsafe fn of<'a>(job: NonNull<Header>) -> &'a Self {
        // SAFETY: `repr(C)` puts the header first; live by contract.
        unsafe { job.cast::<Self>().as_ref() }
    }

    /// # Safety
    ///
    /// The caller owns the payload, which holds the closure.
    unsafe fn take_work(&self) -> W {
        self.payload
            // SAFETY: by this function's contract.
            .with_mut(|content| unsafe { ManuallyDrop::take(&mut (*content).work) })
    }

    /// # Safety
    ///
    /// The caller owns the payload, which is empty.
    unsafe fn put_output(&self, output: Result<W::Output, Failure>) {
        self.payload.with_mut(|content| {
            // SAFETY: exclusive by contract; overwriting a union drops nothing.
            unsafe { (*content).output = ManuallyDrop::new(output) };
        });
    }

    unsafe fn run(job: NonNull<Header>, view: &Job) -> Ended {
        // SAFETY: the vtable is called for jobs of its own type; the worker that
        // claimed the job owns the payload (table at `State`).
        let (cell, work) = unsafe {
            let cell = Self::of(job);
            (cell, cell.take_work())
        };
        let (ended, output) = match catch_unwind(AssertUnwindSafe(|| work.run(view))) {
            Ok(Ok(value)) => (Ended::Completed, Ok(value)),
            Ok(Err(stopped)) => (Ended::Stopped, Err(Failure::Stopped(stopped))),
            Err(payload) => {
                let label = cell.header.label().cloned();
                (Ended::Panicked, Err(Failure::Panicked { payload, label }))
            }
        };
        // SAFETY: still the payload's owner, and the closure is gone.
        unsafe { cell.put_output(output) };
        ended
    }

    unsafe fn fail(job: NonNull<Header>, failure: Failure) {
        // SAFETY: as in `run`.
        unsafe {
            let cell = Self::of(job);
            let work = cell.take_work();
            contain(|| drop(work));
            cell.put_output(Err(failure));
        }
    }

    unsafe fn drop_work(job: NonNull<Header>) {
        // SAFETY: called by whoever cancelled the job and so owns the payload.
        let cell = unsafe { Self::of(job) };
        contain(|| {
            cell.payload
                // SAFETY: as above; in place, because a closure may be large.
                .with_mut(|content| unsafe { ManuallyDrop::drop(&mut (*content).work) });
        });
    }

    unsafe fn take_output(job: NonNull<Header>, to: *mut ()) {
        // SAFETY: called once by the payload's owner; `to` points at room for
        // this type by the contract of `Header::take_output`.
        unsafe {
            Self::of(job).payload.with_mut(|content| {
                let output = ManuallyDrop::take(&mut (*content).output);
                to.cast::<Result<W::Output, Failure>>().write(output);
            });
        }
    }

    unsafe fn drop_output(job: NonNull<Header>) {
        // SAFETY: called once by the payload's owner.
        let output = unsafe {
            Self::of(job)
                .payload
                .with_mut(|content| ManuallyDrop::take(&mut (*content).output))
        };
        discard(output);
    }

    unsafe fn free(job: NonNull<Header>) {
        // SAFETY: the later of the two sides frees, once.
        drop(unsafe { Box::from_raw(job.cast::<Self>().as_ptr()) });
    }
}

impl Header {
    pub(crate) fn label(&self) -> Option<&Cow<'static, str>> {
        self.extension.as_deref()?.label.as_ref()
    }

    /// When the job is not worth anything any more, in the clock's nanoseconds.
    pub(crate) fn deadline(&self) -> Option<u64> {
        self.extension.as_deref()?.deadline
    }

    pub(crate) fn lane(&self) -> Option<&Arc<LaneState>> {
        self.extension.as_deref()?.lane.as_ref()
    }

    pub(crate) fn call_site(&self) -> &'static Location<'static> {
        self.call_site
    }

    pub(crate) fn must_run(&self) -> bool {
        self.extension
            .as_deref()
            .is_some_and(|extension| extension.must_run)
    }

    /// Worker: the job starts now. Told to its caller should its deadline pass.
    pub(crate) fn set_started(&self, now: u64) {
        if let Some(extension) = &self.extension {
            // ORDERING: Relaxed: a number for a message, no decision.
            extension.started_at.store(now, Ordering::Relaxed);
        }
    }

    /// How far it has got by `now`.
    pub(crate) fn progress(&self, now: u64) -> Expired {
        let started_at = match &self.extension {
            Some(extension) => extension.started_at.load(Ordering::Relaxed),
            None => 0,
        };
        let start = if started_at == 0 { now } else { started_at };
        Expired {
            waited: start.saturating_sub(self.queued_at),
            ran: now.saturating_sub(start),
        }
    }

    /// # Safety
    ///
    /// The caller owns the waker slot, which is full; it is empty afterwards.
    pub(crate) unsafe fn take_waker(&self) -> Waker {
        // SAFETY: by contract. A read, because the caller side may compare the
        // stored waker with its own at the same time.
        let waker = self
            .slot
            .with(|slot| unsafe { ptr::read(&raw const (*slot).waker) });
        ManuallyDrop::into_inner(waker)
    }

    /// # Safety
    ///
    /// The caller owns the waker slot, which is empty.
    pub(crate) unsafe fn put_waker(&self, waker: Waker) {
        // SAFETY: by contract.
        self.slot
            .with_mut(|slot| unsafe { (*slot).waker = ManuallyDrop::new(waker) });
    }

    /// # Safety
    ///
    /// Caller side, after seeing that a waker is stored: it may be taken
    /// meanwhile, but not changed.
    pub(crate) unsafe fn stored_waker_wakes(&self, waker: &Waker) -> bool {
        self.slot
            // SAFETY: by contract; `will_wake` compares two pointers.
            .with(|slot| unsafe { (*slot).waker.will_wake(waker) })
    }

    /// # Safety
    ///
    /// The job is cancelled and the caller owns its empty waker slot.
    pub(crate) unsafe fn put_grave(&self, next: *mut Header) {
        // SAFETY: by contract.
        self.slot.with_mut(|slot| unsafe { (*slot).grave = next });
    }

    /// # Safety
    ///
    /// The shell was taken out of the graveyard by the caller.
    pub(crate) unsafe fn grave(&self) -> *mut Header {
        // SAFETY: by contract.
        self.slot.with(|slot| unsafe { (*slot).grave })
    }
}

// What follows is called through a pointer, because the header's memory may end
// with the call.

/// # Safety
///
/// The caller claimed the job and has not run or failed it.
pub(crate) unsafe fn run(job: NonNull<Header>, view: &Job) -> Ended {
    // SAFETY: by contract.
    unsafe { (job.as_ref().vtable.run)(job, view) }
}

/// # Safety
///
/// As [`run`].
pub(crate) unsafe fn fail(job: NonNull<Header>, failure: Failure) {
    // SAFETY: by contract.
    unsafe { (job.as_ref().vtable.fail)(job, failure) }
}

/// # Safety
///
/// The caller cancelled the job while it was queued and has not done this before.
pub(crate) unsafe fn drop_work(job: NonNull<Header>) {
    // SAFETY: by contract.
    unsafe { (job.as_ref().vtable.drop_work)(job) }
}

/// # Safety
///
/// The job's output type is `R`; the caller owns the output and takes it once.
pub(crate) unsafe fn take_output<R>(job: NonNull<Header>) -> Result<R, Failure> {
    let mut room = MaybeUninit::<Result<R, Failure>>::uninit();
    // SAFETY: by contract; the call fills the room.
    unsafe {
        (job.as_ref().vtable.take_output)(job, room.as_mut_ptr().cast());
        room.assume_init()
    }
}

/// # Safety
///
/// The caller owns the output and neither takes nor drops it again.
pub(crate) unsafe fn drop_output(job: NonNull<Header>) {
    // SAFETY: by contract.
    unsafe { (job.as_ref().vtable.drop_output)(job) }
}

/// # Safety
///
/// The caller is the later of the two sides; the payload is empty.
pub(crate) unsafe fn free(job: NonNull<Header>) {
    // SAFETY: by contract.
    unsafe { (job.as_ref().vtable.free)(job) }
}
