//! Activity: which jobs run now, since when, and where they come from.
//!
//! Every thread that runs jobs of a pool has a slot in it, into which it writes a few words
//! at each start and end, and what it has run so far. Nobody waits for anybody: a reader that
//! finds a slot changed under its eyes leaves it out.

use crate::backend::Threads;
use crate::core::job_ref::JobRef;
use crate::core::unwind::contain;
use crate::stats::{Counters, PoolStats, Tally};
use crossbeam_utils::CachePadded;
use parking_lot::Mutex;
use std::borrow::Cow;
use std::cell::Cell;
use std::panic::Location;
use std::ptr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicPtr, AtomicU64, Ordering};
use std::time::Duration;

/// A job that was running when a [`Report`](crate::Report) was made.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct RunningJob {
    /// What [`label`](crate::Offloaded::label) said.
    pub label: Option<Cow<'static, str>>,
    /// Where the call was made.
    pub call_site: &'static Location<'static>,
    /// For how long it had been running.
    pub age: Duration,
}

pub(crate) struct Activity {
    /// Not the address: another pool may come to the same.
    id: u64,
    slots: Mutex<Vec<Arc<CachePadded<Slot>>>>,
    /// A job that runs for longer is logged, once.
    overstay: u64,
}

struct Slot {
    /// When the job started that runs there; 0 for none.
    started: AtomicU64,
    call_site: AtomicPtr<Location<'static>>,
    label: Mutex<Option<Cow<'static, str>>>,
    /// The start of the last job that was logged for its age.
    logged: AtomicU64,
    is_taken: AtomicBool,
    tally: Tally,
}

thread_local! {
    /// The slot that this thread used last, and the pool's number. Taken out while a job
    /// runs: a nested one needs another.
    static LAST: Cell<Option<(u64, Taken)>> = const { Cell::new(None) };
}

/// A slot of this thread's.
struct Taken(Arc<CachePadded<Slot>>);

impl Drop for Taken {
    fn drop(&mut self) {
        // ORDERING: Release, partner: the Acquire exchange in `take`.
        self.0.is_taken.store(false, Ordering::Release);
    }
}

/// A slot for this thread, until it is dropped.
pub(crate) struct Post {
    slot: Option<Taken>,
    pool: u64,
}

/// Shows a job as running until it is dropped.
pub(crate) struct Shown<'a> {
    slot: &'a Slot,
    is_labelled: bool,
}

impl Activity {
    pub(crate) fn new(overstay: Duration) -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        Self {
            id: NEXT.fetch_add(1, Ordering::Relaxed),
            slots: Mutex::new(Vec::new()),
            overstay: u64::try_from(overstay.as_nanos()).unwrap_or(u64::MAX),
        }
    }

    pub(crate) fn overstay(&self) -> u64 {
        self.overstay
    }

    #[inline]
    pub(crate) fn post(&self) -> Post {
        let slot = match LAST.try_with(Cell::take) {
            Ok(Some((id, slot))) if id == self.id => slot,
            _ => self.take(),
        };
        Post {
            slot: Some(slot),
            pool: self.id,
        }
    }

    /// What the threads have run so far. `admitted` as in [`Counters::snapshot`].
    pub(crate) fn stats(
        &self,
        counters: &Counters,
        admitted: impl FnOnce() -> u64,
        threads: Threads,
    ) -> PoolStats {
        let slots = self.slots.lock().clone();
        let tallies = slots.iter().map(|slot| &slot.tally);
        counters.snapshot(admitted, tallies, threads.present, threads.idle)
    }

    fn take(&self) -> Taken {
        let mut slots = self.slots.lock();
        for slot in slots.iter() {
            // ORDERING: Acquire, partner: the Release in `drop`.
            let ours =
                slot.is_taken
                    .compare_exchange(false, true, Ordering::Acquire, Ordering::Relaxed);
            if ours.is_ok() {
                return Taken(Arc::clone(slot));
            }
        }
        let slot = Arc::new(CachePadded::new(Slot {
            started: AtomicU64::new(0),
            call_site: AtomicPtr::new(ptr::null_mut()),
            label: Mutex::new(None),
            logged: AtomicU64::new(0),
            is_taken: AtomicBool::new(true),
            tally: Tally::new(),
        }));
        slots.push(Arc::clone(&slot));
        Taken(slot)
    }

    /// What runs at `now`.
    pub(crate) fn running(&self, now: u64) -> Vec<RunningJob> {
        let slots = self.slots.lock().clone();
        slots
            .iter()
            .filter_map(|slot| Some(slot.read(now)?.0))
            .collect()
    }

    /// Logs each job that has run for too long by `now`, once. Whether any job runs.
    pub(crate) fn log_overstays(&self, pool: &str, now: u64) -> bool {
        let slots = self.slots.lock().clone();
        let mut runs = false;
        for slot in slots {
            let Some((job, started)) = slot.read(now) else {
                continue;
            };
            runs = true;
            let is_old = now.saturating_sub(started) >= self.overstay;
            if is_old && slot.logged.swap(started, Ordering::Relaxed) != started {
                let label = job.label.as_deref().unwrap_or("without a label");
                contain(|| {
                    log::warn!(
                        target: "offramp",
                        "a job of pool `{pool}` ({label}, called at {}) has been running for \
                         {:?}; for one that is to go on use `offload_dedicated`",
                        job.call_site,
                        job.age,
                    );
                });
            }
        }
        runs
    }
}

impl Slot {
    fn read(&self, now: u64) -> Option<(RunningJob, u64)> {
        // ORDERING: Acquire, partner: `show`; again below, so that what was read in between
        // belongs to one job: no two start at the same time on one thread.
        let started = self.started.load(Ordering::Acquire);
        let label = self.label.lock().clone();
        let call_site = self.call_site.load(Ordering::Acquire);
        if started == 0 || self.started.load(Ordering::Acquire) != started {
            return None;
        }
        // SAFETY: written before `started`, from a reference for ever.
        let call_site = unsafe { &*call_site };
        let job = RunningJob {
            label,
            call_site,
            age: Duration::from_nanos(now.saturating_sub(started)),
        };
        Some((job, started))
    }
}

impl Post {
    fn slot(&self) -> &Slot {
        &self.slot.as_ref().expect("until it is dropped").0
    }

    pub(crate) fn tally(&self) -> &Tally {
        &self.slot().tally
    }

    /// `job` runs from `start` on.
    #[inline]
    pub(crate) fn show(&self, job: JobRef<'_>, start: u64) -> Shown<'_> {
        let slot = self.slot();
        let label = job.label();
        if let Some(label) = label {
            *slot.label.lock() = Some(label.clone());
        }
        let call_site = ptr::from_ref(job.call_site()).cast_mut();
        // ORDERING: Release, here and below, partner: the Acquire loads in `read`: who sees
        // the start sees the rest, and who sees this sees that the job before is over.
        slot.call_site.store(call_site, Ordering::Release);
        slot.started.store(start.max(1), Ordering::Release);
        Shown {
            slot,
            is_labelled: label.is_some(),
        }
    }
}

impl Drop for Shown<'_> {
    fn drop(&mut self) {
        // ORDERING: Release, partner: the second Acquire load in `read`.
        self.slot.started.store(0, Ordering::Release);
        if self.is_labelled {
            *self.slot.label.lock() = None;
        }
    }
}

impl Drop for Post {
    #[inline]
    fn drop(&mut self) {
        let Some(slot) = self.slot.take() else {
            return;
        };
        // Kept for the next job; the one that was kept so far, of an outer job or another
        // pool, is free. In a thread-local's destructor this one is.
        let former = LAST.try_with(|last| last.replace(Some((self.pool, slot))));
        drop(former);
    }
}
