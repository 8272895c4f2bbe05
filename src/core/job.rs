//! A job: one allocation with the closure, later the output, and all that the
//! two sides need to agree.
//!
//! ```text
//!  ┌─────────────┬────────────── Header ──────────────┬────── payload ──────┐
//!  │ [extension] │ state │ links │ waker │ queued │ … │ closure  or  output │
//!  └─────────────┴────────────────────────────────────┴─────────────────────┘
//! ```
//!
//! What only some jobs carry lies in front, so that the rest is the same for all; how far in
//! front the header says. A job's pointers are to its header and made from that to the
//! whole, so they reach all of it; a `&Header` reaches no more than the header, hence
//! [`JobRef`].
//!
//! Who may touch which cell is the table at [`State`](super::state::State); links and place
//! belong to the submitter until the push, then to whoever holds the scheduler's lock.

use super::extension::{Expired, Extension};
use super::job_ref::JobRef;
use super::slot::Slot;
use super::state::{Cancel, State};
use super::unwind::{Payload, contain, drop_payload};
use super::view::Job;
use crate::cancel::Stopped;
use crate::sync::UnsafeCell;
use std::borrow::Cow;
use std::mem::{ManuallyDrop, MaybeUninit, offset_of};
use std::num::NonZeroU32;
use std::panic::{AssertUnwindSafe, Location, catch_unwind};
use std::ptr::{self, NonNull};
use std::task::Waker;

/// What a job runs. `Output` is what its caller gets.
pub(crate) trait Work: Send + 'static {
    type Output: Send + 'static;

    fn run(self, job: &Job) -> Result<Self::Output, Stopped>;
}

/// Why a job has no value.
#[derive(Debug)]
pub(crate) enum Failure {
    /// In a box, because each job has room for a failure and hardly any panics.
    Panicked(Box<Panic>),
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

#[derive(Debug)]
pub(crate) struct Panic {
    pub(crate) payload: Payload,
    pub(crate) label: Option<Cow<'static, str>>,
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
    /// Beside the state, where there is room for it.
    pub(crate) place: UnsafeCell<Place>,
    /// So many bytes in front of the header its extension begins.
    extension: Option<NonZeroU32>,
    pub(crate) links: UnsafeCell<Links>,
    pub(super) slot: UnsafeCell<Slot>,
    vtable: &'static Vtable,
    /// Where the call was made.
    call_site: &'static Location<'static>,
    /// When the job was pushed, in the clock's nanoseconds.
    pub(crate) queued_at: u64,
    #[cfg(offramp_loom)]
    _leak_check: loom::alloc::Track<()>,
}

// Of each job that waits, so each byte counts.
#[cfg(all(target_pointer_width = "64", not(offramp_loom)))]
const _: () = assert!(size_of::<Header>() <= 64 && size_of::<Extension>() <= 64);

/// The job's neighbours, in the inbox or in its lane.
pub(crate) struct Links {
    pub(crate) next: *mut Header,
    pub(crate) prev: *mut Header,
}

/// Where the job is, for whoever holds the scheduler's lock.
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
    /// Frees the memory, with the extension; the payload is empty by now.
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

/// A job that carries more.
#[repr(C)]
struct Extended<W: Work> {
    extension: Extension,
    cell: Cell<W>,
}

impl<W: Work> Extended<W> {
    /// From the extension to the header: the former's size, or more if the closure or its
    /// output wants to be aligned to more. Alignments end long before a `u32` does.
    const BEFORE: NonZeroU32 = {
        let before = offset_of!(Self, cell);
        assert!(before <= u32::MAX as usize);
        NonZeroU32::new(before as u32).expect("the extension has a size")
    };

    /// Memory for one, its cell to be written.
    fn room(extension: Extension) -> NonNull<Cell<W>> {
        let room = Box::into_raw(Box::<Self>::new_uninit()).cast::<Self>();
        // SAFETY: ours, and for one. Pointers to its parts that are made from that to the
        // whole, without a reference between, stay good for the whole.
        unsafe {
            (&raw mut (*room).extension).write(extension);
            NonNull::new_unchecked(&raw mut (*room).cell)
        }
    }
}

/// Allocates a job in state QUEUED.
#[inline]
pub(crate) fn allocate<W: Work>(
    work: W,
    queued_at: u64,
    waker: Option<Waker>,
    extension: Option<Extension>,
    call_site: &'static Location<'static>,
) -> NonNull<Header> {
    let state = State::new(waker.is_some());
    let (room, extension) = match extension {
        None => (Cell::<W>::room(), None),
        Some(extension) => (Extended::<W>::room(extension), Some(Extended::<W>::BEFORE)),
    };
    let cell = Cell {
        header: Header {
            state,
            place: UnsafeCell::new(Place::Inbox),
            extension,
            links: UnsafeCell::new(Links {
                next: ptr::null_mut(),
                prev: ptr::null_mut(),
            }),
            slot: UnsafeCell::new(Slot::new(waker)),
            vtable: &Cell::<W>::VTABLE,
            call_site,
            queued_at,
            #[cfg(offramp_loom)]
            _leak_check: loom::alloc::Track::new(()),
        },
        payload: UnsafeCell::new(Content {
            work: ManuallyDrop::new(work),
        }),
    };
    // SAFETY: room for a cell, which nobody else knows.
    unsafe { room.write(cell) };
    // `repr(C)` puts the header first.
    room.cast()
}

/// Takes a job apart that was never pushed, and gives the closure back.
///
/// # Safety
///
/// `job` comes from `allocate::<W>`, was never pushed, and is not used again.
pub(crate) unsafe fn dismantle<W: Work>(job: NonNull<Header>) -> W {
    // SAFETY: a live `Cell<W>` by contract.
    let cell = unsafe { Cell::<W>::of(job) };
    if let Cancel::Won { waker: true } = cell.header.state.cancel() {
        // SAFETY: the transition gave us the full slot.
        let waker = unsafe { cell.header.take_waker() };
        contain(|| drop(waker));
    }
    // SAFETY: sole owner by contract; never claimed, so the closure is still there.
    unsafe {
        let work = cell.take_work();
        Cell::<W>::free(job);
        work
    }
}

/// Drops an output that nobody wants. A panic in that ends there.
pub(crate) fn discard<R>(output: Result<R, Failure>) {
    match output {
        Ok(value) => drop(contain(|| drop(value))),
        Err(Failure::Panicked(panic)) => drop_payload(panic.payload),
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

    /// Memory for one, to be written.
    fn room() -> NonNull<Self> {
        NonNull::from(Box::leak(Box::<Self>::new_uninit())).cast()
    }

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
                // SAFETY: alive until its worker completes it.
                let label = unsafe { JobRef::new(job) }.label().cloned();
                let panic = Box::new(Panic { payload, label });
                (Ended::Panicked, Err(Failure::Panicked(panic)))
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
        // SAFETY: the later of the two sides frees, once, what `allocate` made the one way or
        // the other; the pointer is good for all of it.
        unsafe {
            match job.as_ref().extension {
                None => drop(Box::from_raw(job.cast::<Self>().as_ptr())),
                Some(before) => drop(Box::from_raw(in_front::<Extended<W>>(job, before).as_ptr())),
            }
        }
    }
}

impl Header {
    pub(crate) fn call_site(&self) -> &'static Location<'static> {
        self.call_site
    }
}

// What follows is called through a pointer, because the header's memory may end
// with the call, or because it reaches beyond the header.

/// What the job carries that others do not.
///
/// # Safety
///
/// The job is alive for `'a`.
pub(super) unsafe fn extension<'a>(job: NonNull<Header>) -> Option<&'a Extension> {
    // SAFETY: alive by contract; `allocate` wrote the one before it told of it.
    unsafe {
        let before = job.as_ref().extension?;
        Some(in_front(job, before).as_ref())
    }
}

/// # Safety
///
/// `before` is the one of `job`, and what is there is a `T`.
unsafe fn in_front<T>(job: NonNull<Header>, before: NonZeroU32) -> NonNull<T> {
    // SAFETY: by contract within the allocation, all of which the pointer was made for.
    unsafe { job.byte_sub(before.get() as usize) }.cast()
}

/// # Safety
///
/// The caller claimed the job and has not run or failed it.
#[inline]
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
#[inline]
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

#[cfg(all(test, not(offramp_loom)))]
#[path = "job_tests.rs"]
mod tests;
