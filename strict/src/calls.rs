//! The blocking calls of one poll, as they are noted while they are made.
//!
//! A call may come from within an allocator, which may hold a lock of its own: nothing here
//! allocates. The notes lie in pages that are mapped for them when there is a first one.

use crate::note::Note;
use std::ptr::{self, NonNull};
use std::time::Duration;

/// As many calls of one poll as are told apart.
const MOST: usize = 64;
const BYTES: usize = MOST * size_of::<Call>();

/// The frames of a stack that are kept, from the innermost.
const DEPTH: usize = 160;

/// What was called how.
pub(crate) struct Call {
    /// The name in libc.
    pub(crate) function: &'static str,
    /// The argument that tells most.
    pub(crate) note: Note,
    /// Of a wait whose length decides.
    pub(crate) waited: Option<Waited>,
    /// How often, from the same place.
    pub(crate) times: usize,
    stack: [usize; DEPTH],
    depth: usize,
}

impl Call {
    /// Return addresses, innermost first.
    pub(crate) fn stack(&self) -> &[usize] {
        &self.stack[..self.depth]
    }

    fn is_repeated(&self, other: &Call) -> bool {
        self.function == other.function && self.stack() == other.stack()
    }
}

/// How long a wait was.
#[derive(Clone, Copy, PartialEq, PartialOrd)]
pub(crate) struct Waited {
    /// Less what it was for want of a CPU, and what is not known of.
    pub(crate) blocked: Duration,
    pub(crate) total: Duration,
}

/// The calls of one poll.
#[derive(Default)]
pub(crate) struct Calls {
    /// Room for `MOST`, of which the first `len` are there.
    pages: Option<NonNull<Call>>,
    len: usize,
    /// Those for which there was no room.
    pub(crate) dropped: usize,
}

impl Calls {
    pub(crate) fn as_slice(&self) -> &[Call] {
        match self.pages {
            // SAFETY: `add` has written the first `len`.
            Some(pages) => unsafe { std::slice::from_raw_parts(pages.as_ptr(), self.len) },
            None => &[],
        }
    }

    /// Adds a call of the thread that runs this.
    pub(crate) fn add(&mut self, function: &'static str, note: Note, waited: Option<Waited>) {
        let Some(place) = self.free_place() else {
            self.dropped += 1;
            return;
        };
        let call = Call {
            function,
            note,
            waited,
            times: 1,
            stack: [0; DEPTH],
            depth: 0,
        };
        // SAFETY: `place` is within the pages, behind the calls that are there; nobody
        // else has a reference to them while we are borrowed mutably.
        let (known, call) = unsafe {
            place.write(call);
            let first = place.as_ptr().sub(self.len);
            let known = std::slice::from_raw_parts_mut(first, self.len);
            (known, &mut *place.as_ptr())
        };
        capture(call);
        match known.iter_mut().find(|known| known.is_repeated(call)) {
            Some(known) => {
                known.times += 1;
                if waited > known.waited {
                    known.waited = waited;
                }
            }
            None => self.len += 1,
        }
    }

    /// Where the next call goes, if there is room.
    fn free_place(&mut self) -> Option<NonNull<Call>> {
        if self.len == MOST {
            return None;
        }
        if self.pages.is_none() {
            self.pages = map();
        }
        // SAFETY: there is room for `MOST`, and `len` is below it.
        self.pages.map(|pages| unsafe { pages.add(self.len) })
    }
}

impl Drop for Calls {
    fn drop(&mut self) {
        if let Some(pages) = self.pages {
            // SAFETY: `map` has mapped so much there, and the calls in it own nothing.
            unsafe { libc::munmap(pages.as_ptr().cast(), BYTES) };
        }
    }
}

fn map() -> Option<NonNull<Call>> {
    let (access, kind) = (
        libc::PROT_READ | libc::PROT_WRITE,
        libc::MAP_PRIVATE | libc::MAP_ANONYMOUS,
    );
    // SAFETY: new pages, at an address of the kernel's choice.
    let pages = unsafe { libc::mmap(ptr::null_mut(), BYTES, access, kind, -1, 0) };
    if pages == libc::MAP_FAILED {
        return None;
    }
    NonNull::new(pages.cast())
}

/// Walks the stack. Names are looked up later, where allocating is allowed.
fn capture(call: &mut Call) {
    // SAFETY: only symbols need the synchronisation that is left out here, and only where
    // they are looked up.
    unsafe {
        backtrace::trace_unsynchronized(|frame| {
            call.stack[call.depth] = frame.ip().addr();
            call.depth += 1;
            call.depth < DEPTH
        });
    }
}
