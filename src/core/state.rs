//! The state word of a job: its phases, its bits, and every transition.
//!
//! All transitions are single read-modify-write operations; nobody tests bits
//! outside this file. A job has two owners, the *queue side* (inbox, lanes, the
//! worker that runs it) and the *caller side* (future or handle). Each announces
//! its leaving once; the later one frees the memory.
//!
//! ```text
//!   QUEUED ──claim──▶ RUNNING ──complete──▶ COMPLETING ──release_queue──▶ DONE
//!      │                  └──── complete, no waker stored ────────────────▶ DONE
//!      └──cancel (caller side)──▶ CANCELLED
//! ```

use crate::sync::{AtomicU16, Hint, Ordering, planted};

/// In the inbox or in a lane; the closure is in the payload.
const QUEUED: u16 = 0;
/// A worker owns the payload: closure, then output.
const RUNNING: u16 = 1;
/// The output is the caller's; the worker still holds the waker slot.
const COMPLETING: u16 = 2;
/// The output is the caller's; the queue side has left.
const DONE: u16 = 3;
/// The caller won against the queue; the shell waits to be unlinked.
const CANCELLED: u16 = 4;
const PHASE: u16 = 0b111;

/// The waker slot is full and belongs to whoever completes or cancels.
const WAKER: u16 = 1 << 3;
/// The caller side has left.
const CALLER_GONE: u16 = 1 << 4;
/// The queue side has left.
const QUEUE_GONE: u16 = 1 << 5;
/// The cancel token, seen by `checkpoint`.
const CANCEL: u16 = 1 << 6;
/// The caller left while the job ran, and did not detach.
const ORPHAN: u16 = 1 << 7;

/// The state word. Legal combinations:
///
/// | phase      | bits that may be set                        | payload belongs to        | waker slot belongs to |
/// |------------|---------------------------------------------|---------------------------|-----------------------|
/// | QUEUED     | WAKER, CALLER_GONE (detached), with it CANCEL | nobody: next transition   | caller; with WAKER nobody |
/// | RUNNING    | WAKER, CALLER_GONE, CANCEL, ORPHAN          | the worker                | caller; with WAKER the worker |
/// | COMPLETING | WAKER, CALLER_GONE, CANCEL                  | the caller (output)       | the worker            |
/// | DONE       | WAKER, QUEUE_GONE always, CALLER_GONE, CANCEL | the caller (output)     | nobody (empty)        |
/// | CANCELLED  | CALLER_GONE, QUEUE_GONE                     | the caller (closure)      | the caller, then the graveyard link |
#[derive(Debug)]
pub(crate) struct State(AtomicU16);

/// Outcome of [`State::claim`].
#[must_use]
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Claim {
    /// The payload is the worker's. `unwanted`: to be dropped unrun, the caller has left
    /// that to it.
    Run { unwanted: bool },
    /// The caller was faster: only the shell is left.
    Cancelled,
}

/// Outcome of [`State::complete`].
#[must_use]
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Complete {
    /// The output is published and the queue side has left.
    Done,
    /// The output is published; take the waker, then `release_queue`, then wake.
    Wake,
    /// Nobody waits: drop output and (if stored) waker, and free the job.
    Abandoned { waker: bool, orphan: bool },
}

/// Outcome of the caller's [`State::cancel`].
#[must_use]
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Cancel {
    /// The closure is the caller's to drop; the waker too, if stored.
    Won { waker: bool },
    /// The job runs: its token is set.
    Running,
    /// Too late, or cancelled before: nothing changed.
    Finished,
}

/// Outcome of the caller's leaving: [`State::abandon`] and [`State::detach`].
#[must_use]
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Leave {
    /// Still queued, now cancelled: drop closure and waker, then `release_caller`.
    Cancelled { waker: bool },
    /// Still queued, and the queue side goes on alone.
    Queued,
    /// It runs, and the queue side goes on alone and frees the job.
    Left,
    /// Finished: take and drop the output, then `release_caller`.
    Output,
    /// Cancelled before: only `release_caller` remains.
    Shell,
}

/// What a poll finds.
#[must_use]
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Poll {
    /// Not finished, the waker slot is the caller's.
    Unset,
    /// Not finished, a waker is stored.
    Set,
    /// The output is the caller's.
    Output,
    /// Cancelled while it was queued.
    Cancelled,
}

impl State {
    /// A queued job whose waker slot is filled (`waker`) or empty.
    pub(crate) fn new(waker: bool) -> Self {
        Self(AtomicU16::new(QUEUED | if waker { WAKER } else { 0 }))
    }

    /// `step` gets the present bits and answers the next ones, or `None` to leave
    /// them. The bits before the change are returned.
    #[inline]
    fn update(&self, mut step: impl FnMut(u16) -> Option<u16>) -> u16 {
        // ORDERING: AcqRel exchange, Acquire where nothing changes: what the other side
        // published with the transition seen here (closure, output, waker) is visible,
        // and what this side wrote before its own is published. The partner of each is
        // another call of this function or a `fetch_or` below.
        let mut now = self.0.hint();
        loop {
            let Some(next) = step(now) else {
                match self
                    .0
                    .compare_exchange(now, now, Ordering::Acquire, Ordering::Acquire)
                {
                    Ok(_) => return now,
                    Err(seen) => now = seen,
                }
                continue;
            };
            let release = if planted("state: relaxed") {
                Ordering::Relaxed
            } else {
                Ordering::AcqRel
            };
            match self
                .0
                .compare_exchange_weak(now, next, release, Ordering::Acquire)
            {
                Ok(_) => return now,
                Err(seen) => now = seen,
            }
        }
    }

    /// Queue side: QUEUED to RUNNING.
    #[inline]
    pub(crate) fn claim(&self) -> Claim {
        if planted("state: claim without compare") {
            // What a plain store would do: the cancelled closure runs.
            let _ = self.update(|s| Some(s & !PHASE | RUNNING));
            return Claim::Run { unwanted: false };
        }
        let before = self.update(|s| (s & PHASE == QUEUED).then_some(s | RUNNING));
        match before & PHASE {
            QUEUED => Claim::Run {
                unwanted: before & CANCEL != 0 && !planted("state: unwanted and run"),
            },
            CANCELLED => Claim::Cancelled,
            phase => unreachable!("a job in phase {phase} was claimed"),
        }
    }

    /// Worker: RUNNING to COMPLETING or DONE; the output has been written.
    #[inline]
    pub(crate) fn complete(&self) -> Complete {
        let before = self.update(|s| {
            debug_assert_eq!(s & PHASE, RUNNING);
            if s & CALLER_GONE != 0 {
                None
            } else if s & WAKER != 0 {
                Some(s & !PHASE | COMPLETING)
            } else {
                Some(s & !PHASE | DONE | QUEUE_GONE)
            }
        });
        if before & CALLER_GONE != 0 {
            Complete::Abandoned {
                waker: before & WAKER != 0,
                orphan: before & ORPHAN != 0,
            }
        } else if before & WAKER != 0 {
            Complete::Wake
        } else {
            Complete::Done
        }
    }

    /// Queue side: leaves a COMPLETING job (which becomes DONE) or a CANCELLED
    /// shell. `true`: the caller left before, the job is to be freed.
    #[inline]
    #[must_use]
    pub(crate) fn release_queue(&self) -> bool {
        // COMPLETING | 1 is DONE; a CANCELLED shell keeps its phase.
        let before = self.update(|s| {
            let next = if s & PHASE == COMPLETING { s | DONE } else { s };
            Some(next | QUEUE_GONE)
        });
        debug_assert!(before & QUEUE_GONE == 0);
        before & CALLER_GONE != 0 && !planted("state: nobody frees")
    }

    /// Caller side: `true` when the queue side left before and the job is to be
    /// freed.
    #[inline]
    #[must_use]
    pub(crate) fn release_caller(&self) -> bool {
        // ORDERING: Acquire, partner as below. Nobody else looks at it any more.
        if self.0.load(Ordering::Acquire) & QUEUE_GONE != 0 {
            return true;
        }
        // ORDERING: AcqRel, partner: `release_queue` and `complete`. The later of
        // the two sides sees all that the earlier one did before it frees.
        let before = self.0.fetch_or(CALLER_GONE, Ordering::AcqRel);
        debug_assert!(before & CALLER_GONE == 0);
        before & QUEUE_GONE != 0
    }

    /// Caller side, staying: QUEUED to CANCELLED, or the token of a running job.
    pub(crate) fn cancel(&self) -> Cancel {
        let before = self.update(|s| match s & PHASE {
            QUEUED => Some(s & !WAKER | CANCELLED),
            RUNNING => Some(s | CANCEL),
            _ => None,
        });
        Self::cancelled(before)
    }

    /// Caller side, staying: QUEUED to CANCELLED, and nothing to a running job.
    pub(crate) fn cancel_queued(&self) -> Cancel {
        let before = self.update(|s| (s & PHASE == QUEUED).then_some(s & !WAKER | CANCELLED));
        Self::cancelled(before)
    }

    fn cancelled(before: u16) -> Cancel {
        match before & PHASE {
            QUEUED => Cancel::Won {
                waker: before & WAKER != 0,
            },
            RUNNING => Cancel::Running,
            _ => Cancel::Finished,
        }
    }

    /// Caller side, leaving by drop: cancels what is queued or running.
    pub(crate) fn abandon(&self) -> Leave {
        let before = self.update(|s| match s & PHASE {
            QUEUED => Some(s & !WAKER | CANCELLED),
            RUNNING => Some(s | CALLER_GONE | CANCEL | ORPHAN),
            _ => None,
        });
        Self::left(before, true)
    }

    /// Caller side, leaving: cancels like `abandon`, but leaves what is queued, with its
    /// closure, to the worker that takes it.
    pub(crate) fn abandon_to_pool(&self) -> Leave {
        let before = self.update(|s| match s & PHASE {
            QUEUED => Some(s | CALLER_GONE | CANCEL),
            RUNNING => Some(s | CALLER_GONE | CANCEL | ORPHAN),
            _ => None,
        });
        Self::left(before, false)
    }

    /// Caller side, leaving without cancelling.
    pub(crate) fn detach(&self) -> Leave {
        let before = self.update(|s| match s & PHASE {
            QUEUED | RUNNING => Some(s | CALLER_GONE),
            _ => None,
        });
        Self::left(before, false)
    }

    fn left(before: u16, cancels: bool) -> Leave {
        match before & PHASE {
            QUEUED if cancels => Leave::Cancelled {
                waker: before & WAKER != 0,
            },
            QUEUED => Leave::Queued,
            RUNNING => Leave::Left,
            CANCELLED => Leave::Shell,
            _ => Leave::Output,
        }
    }

    /// Caller side: where the job stands.
    #[inline]
    pub(crate) fn poll(&self) -> Poll {
        // ORDERING: Acquire, partner: `complete`, so that the output is visible.
        Self::found(self.0.load(Ordering::Acquire))
    }

    /// Caller side: after filling the waker slot. Anything but `Set` means that
    /// the slot stayed the caller's.
    #[inline]
    pub(crate) fn set_waker(&self) -> Poll {
        if planted("state: waker published late") {
            // The check and the publication as two steps.
            let found = self.poll();
            if found == Poll::Unset {
                self.0.fetch_or(WAKER, Ordering::AcqRel);
                return Poll::Set;
            }
            return found;
        }
        let before = self.update(|s| (Self::found(s) == Poll::Unset).then_some(s | WAKER));
        match Self::found(before) {
            Poll::Unset => Poll::Set,
            found => found,
        }
    }

    /// Caller side: takes the waker slot back to change it. `Unset` is success.
    pub(crate) fn unset_waker(&self) -> Poll {
        let before = self.update(|s| (Self::found(s) == Poll::Set).then_some(s & !WAKER));
        match Self::found(before) {
            Poll::Set => Poll::Unset,
            found => found,
        }
    }

    fn found(s: u16) -> Poll {
        match s & PHASE {
            QUEUED | RUNNING if s & WAKER == 0 => Poll::Unset,
            QUEUED | RUNNING => Poll::Set,
            CANCELLED => Poll::Cancelled,
            _ => Poll::Output,
        }
    }

    /// The token: whether somebody asked the running job to stop.
    pub(crate) fn is_cancel_requested(&self) -> bool {
        // ORDERING: Relaxed: the token carries no data.
        self.0.load(Ordering::Relaxed) & CANCEL != 0
    }

    /// Nothing more will change for the caller.
    pub(crate) fn is_finished(&self) -> bool {
        matches!(self.poll(), Poll::Output | Poll::Cancelled)
    }
}
