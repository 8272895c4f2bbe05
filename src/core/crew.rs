//! The crew: which workers exist, which of them sleep, and who wakes or starts one.
//!
//! The protocol, its invariants and the proof sketch are in the README beside
//! this file; the section names in the comments refer to it. In short: push
//! first, then decide; the one who needs a worker claims it; whoever stops
//! looking looks once more.

use super::giving_way::GivingWay;
use super::host::{Host, Length, Size};
use super::linger::{self, Linger};
use super::slots::Slots;
use crate::sync::{AtomicUsize, Hint, OnceLock, Ordering, Parker, fence, plain, planted};
use crossbeam_utils::CachePadded;

/// First pause after a refused spawn; doubled by each further refusal.
const RETRY_FIRST: u64 = 10_000_000;
/// Longest pause after a refused spawn: one second.
const RETRY_LAST: u64 = 1_000_000_000;

/// With so many workers on their way to the queue nobody wakes another: the first to
/// find a job does. With one, jobs of some microseconds are served too slowly, because
/// its waking takes longer than they do; with as many as there are jobs, most find
/// nothing, unless jobs are long. Tiny ones are served by the first on its way before the second
/// gets the one CPU there is.
const MOST_SEARCHING: usize = 2;

/// Parkers that are made together.
const CHUNK: usize = if cfg!(offramp_loom) { 2 } else { 64 };

pub(crate) struct Crew {
    pub(super) size: Size,
    /// Workers claimed, or started and running, that have not yet looked into the queue
    /// since.
    /// Who sees enough of them need not claim another, because each of them looks once
    /// more when it is counted no longer.
    searching: CachePadded<AtomicUsize>,
    /// Threads asked for that do not run yet. They will be searching; until then idle
    /// workers are preferred, because a thread may be long in coming.
    starting: CachePadded<AtomicUsize>,
    /// Which workers sleep. A claim is taking a bit out.
    pub(super) idle: Slots,
    /// Which places are taken by a worker.
    taken: Slots,
    /// Workers that can be relied on to look into the queue again.
    pub(super) alive: CachePadded<AtomicUsize>,
    /// How many workers there may be but for those lent.
    pub(super) max: AtomicUsize,
    /// Workers that wait inside of their job, and so lent their turn.
    pub(super) lent: AtomicUsize,
    /// Threads from reservation to their very end, hooks included.
    present: plain::AtomicUsize,
    /// Made as far as they are used, a word's worth at a time.
    parkers: Box<[OnceLock<Box<[Parker]>>]>,
    /// When growing may be tried again, and the present pause; both nanoseconds.
    retry_at: plain::AtomicU64,
    retry_pause: plain::AtomicU64,
    is_saturated: plain::AtomicBool,
    giving_way: GivingWay,
}

/// How a nap ended.
#[derive(Debug, PartialEq, Eq)]
enum Nap {
    /// Claimed by somebody, who counted us as searching.
    Claimed,
    /// Up again by our own doing, counted nowhere.
    Own,
    TimedOut,
    /// Closed, and nothing is left.
    Leave,
}

impl Crew {
    pub(crate) fn new(size: Size) -> Self {
        let places = size.most + size.extra;
        Self {
            size,
            searching: CachePadded::new(AtomicUsize::new(0)),
            starting: CachePadded::new(AtomicUsize::new(0)),
            idle: Slots::new(places),
            taken: Slots::new(places),
            alive: CachePadded::new(AtomicUsize::new(0)),
            max: AtomicUsize::new(size.max),
            lent: AtomicUsize::new(0),
            present: plain::AtomicUsize::new(0),
            parkers: (0..places.div_ceil(CHUNK))
                .map(|_| OnceLock::new())
                .collect(),
            retry_at: plain::AtomicU64::new(0),
            retry_pause: plain::AtomicU64::new(RETRY_FIRST),
            is_saturated: plain::AtomicBool::new(false),
            giving_way: GivingWay::new(),
        }
    }

    /// README, "Demand". Called after a push, and by whoever leaves jobs behind.
    pub(crate) fn demand(&self, host: &impl Host) {
        if !planted("crew: no fence after push") {
            // ORDERING: SeqCst fence, partner: the fences in `nap`, `settle` and
            // `retire`. Either that worker sees our push or we see its state.
            fence(Ordering::SeqCst);
        }
        self.demand_fenced(host);
    }

    /// The same for who has been through such a fence since the jobs could be seen.
    fn demand_fenced(&self, host: &impl Host) {
        // ORDERING: Relaxed here and below: ordered by the fence.
        let searching = self.searching.load(Ordering::Relaxed);
        let most = match host.length() {
            Length::Tiny if self.size.cpus == 1 => 1,
            Length::Tiny | Length::Brief => MOST_SEARCHING,
            Length::Long => usize::MAX,
        };
        // How many wait is asked last: submitters and workers count that, each in a cache line
        // that the other has to do without meanwhile.
        let enough = |workers| workers > 0 && (workers >= most || workers >= host.waiting());
        if self.is_exhausted() || enough(searching) {
            return;
        }
        #[cfg(offramp_loom)]
        if planted("crew: claim by the woken") {
            return match self.idle.lowest() {
                Some(slot) => self.wake(slot),
                None => self.grow(host),
            };
        }
        if let Some(slot) = self.idle.take_lowest() {
            self.wake(slot);
        } else if !enough(searching + self.starting.load(Ordering::Relaxed)) {
            self.grow(host);
        }
    }

    /// Wakes the claimed worker: counted first, woken then.
    pub(super) fn wake(&self, slot: usize) {
        self.searching.fetch_add(1, Ordering::Relaxed);
        // SAFETY: the worker adopted its parker before it announced itself idle,
        // and cannot leave before it has consumed this notification.
        unsafe { self.parker(slot).unpark() };
    }

    /// Starts a worker if there may be one more.
    fn grow(&self, host: &impl Host) {
        // A refusal is remembered: with a worker alive, which will look again, the
        // next attempt waits. With none the job's fate is decided now.
        if self.alive.load(Ordering::Relaxed) > 0 {
            let retry_at = self.retry_at.load(Ordering::Relaxed);
            if retry_at != 0 && host.now() < retry_at {
                return;
            }
        }
        let Some(slot) = self.reserve() else {
            return self.note_saturation(host);
        };
        self.starting.fetch_add(1, Ordering::Relaxed);
        host.spawn(slot);
    }

    /// README, "A refused spawn". The thread for `slot` will not come; submitters
    /// may have relied on it.
    pub(crate) fn refused(&self, slot: usize, host: &impl Host) {
        let retry_at = self.back_off(host.now());
        self.taken.remove(slot);
        // ORDERING: AcqRel, partner: `reserve` and `retire`: the last one to leave
        // sees the jobs that were pushed for the others.
        let alone = self.alive.fetch_sub(1, Ordering::AcqRel) == 1;
        self.starting.fetch_sub(1, Ordering::Relaxed);
        self.present.fetch_sub(1, Ordering::AcqRel);
        if planted("crew: no look after a refusal") {
            return;
        }
        if !alone {
            // Until then nobody tries. All workers may be stuck then, and nobody may
            // ever submit again.
            host.demand_at(retry_at);
        }
        // ORDERING: SeqCst fence, partner: the fence in `demand`.
        fence(Ordering::SeqCst);
        if !host.has_work() {
            return;
        }
        if alone {
            host.fail_all();
            if host.has_work() {
                // Some must run.
                host.demand_at(retry_at);
            }
        } else if let Some(slot) = self.idle.take_lowest() {
            self.wake(slot);
        }
    }

    fn back_off(&self, now: u64) -> u64 {
        let pause = self.retry_pause.load(Ordering::Relaxed);
        self.retry_at.store(now + pause, Ordering::Relaxed);
        self.retry_pause
            .store((pause * 2).min(RETRY_LAST), Ordering::Relaxed);
        now + pause
    }

    /// Nobody sleeps, there is no room for one more, and that has been noted.
    fn is_exhausted(&self) -> bool {
        self.is_saturated.load(Ordering::Relaxed)
            && self.idle.is_empty()
            && self.alive.load(Ordering::Relaxed) >= self.limit()
    }

    fn note_saturation(&self, host: &impl Host) {
        if !self.is_saturated.load(Ordering::Relaxed)
            && !self.is_saturated.swap(true, Ordering::Relaxed)
        {
            host.saturated();
        }
    }

    fn parker(&self, slot: usize) -> &Parker {
        let chunk = &self.parkers[slot / CHUNK];
        let chunk = chunk.get_or_init(|| (0..CHUNK).map(|_| Parker::new()).collect());
        &chunk[slot % CHUNK]
    }

    /// A place for one more worker, counted as alive and present.
    fn reserve(&self) -> Option<usize> {
        // ORDERING: AcqRel, partner: `retire` and `grow`: see there.
        self.alive
            .fetch_update(Ordering::AcqRel, Ordering::Relaxed, |alive| {
                (alive < self.limit()).then_some(alive + 1)
            })
            .ok()?;
        self.present.fetch_add(1, Ordering::Relaxed);
        Some(self.occupy())
    }

    /// A place for a worker that is counted alive.
    fn occupy(&self) -> usize {
        // A worker that leaves frees its place before it lowers `alive`.
        let slot = self.taken.add_lowest(self.size.most + self.size.extra);
        slot.expect("a place for each worker alive")
    }

    /// A worker's life: called on a thread that `Host::spawn` started.
    pub(crate) fn work(&self, mut slot: usize, host: &impl Host) {
        // SAFETY: the place is ours alone; its former worker left after consuming
        // the last notification, and nobody claims it before we announce idleness.
        unsafe { self.parker(slot).adopt() };
        if self.retry_at.load(Ordering::Relaxed) != 0 {
            self.retry_at.store(0, Ordering::Relaxed);
            self.retry_pause.store(RETRY_FIRST, Ordering::Relaxed);
        }
        // In this order: whoever relies on us finds us in one of the counts.
        self.searching.fetch_add(1, Ordering::Relaxed);
        self.starting.fetch_sub(1, Ordering::Relaxed);
        let mut searching = true;
        let mut linger = Linger::new(self.size.cpus);
        loop {
            if self.is_surplus() {
                // Whoever relied on us pushed before it read the count.
                if std::mem::take(&mut searching) {
                    self.searching.fetch_sub(1, Ordering::Relaxed);
                }
                match self.retire(slot, self.limit(), host) {
                    None => return,
                    Some(again) => slot = again,
                }
            }
            let ran = host.run_next(|more| {
                self.taken_by(std::mem::take(&mut searching), more, host);
            });
            if ran {
                linger.ran();
                continue;
            }
            if std::mem::take(&mut searching) {
                self.searching.fetch_sub(1, Ordering::Relaxed);
            }
            let lingers = linger.is_worth_it(host.length());
            if lingers && linger::finds(|| host.has_work(), || host.now()) {
                continue;
            }
            linger.ends();
            match self.nap(slot, host, lingers) {
                Nap::Claimed => searching = true,
                Nap::Own => {}
                Nap::Leave => {
                    self.taken.remove(slot);
                    self.alive.fetch_sub(1, Ordering::AcqRel);
                    return;
                }
                Nap::TimedOut => match self.retire(slot, self.size.min, host) {
                    None => return,
                    Some(again) => slot = again,
                },
            }
        }
    }

    /// A worker has taken a job, and leaves others behind (`more`) or not.
    pub(crate) fn taken_by(&self, searching: bool, more: bool, host: &impl Host) {
        if searching {
            self.settle(host);
        } else if more && !planted("crew: jobs left behind") {
            self.demand_fenced(host);
        }
    }

    /// A searching worker has found a job. Submitters relied on it until now, and
    /// their jobs may have come after its look: it looks once more.
    fn settle(&self, host: &impl Host) {
        self.searching.fetch_sub(1, Ordering::Relaxed);
        if planted("crew: no look after searching") {
            return;
        }
        // ORDERING: SeqCst fence, partner: the fence in `demand`.
        fence(Ordering::SeqCst);
        if host.has_work() {
            self.demand_fenced(host);
        }
    }

    /// README, "Idle". Announces idleness, looks once more, gives way if it `lingers`, sleeps.
    fn nap(&self, slot: usize, host: &impl Host, lingers: bool) -> Nap {
        let parker = self.parker(slot);
        self.idle.put(slot);
        if self.is_saturated.load(Ordering::Relaxed) {
            self.is_saturated.store(false, Ordering::Relaxed);
        }
        // ORDERING: SeqCst fence, partner: the fences in `demand` and `close`.
        fence(Ordering::SeqCst);
        // In this order: a closed queue that shows no job has none.
        let closed = host.is_closed();
        let work = host.has_work() && !planted("crew: no look before sleeping");
        let mut back_in = None;
        if !work && !closed {
            if lingers {
                self.giving_way.before_sleep(host);
            }
            let keep = self.alive.hint() <= self.size.min;
            let keep_alive = (!keep).then_some(self.size.keep_alive);
            back_in = host
                .back_in()
                .filter(|back_in| keep_alive.is_none_or(|stay| *back_in < stay));
            if parker.park(back_in.or(keep_alive)) {
                if planted("crew: claim by the woken") {
                    let _ = self.idle.take(slot);
                }
                return Nap::Claimed;
            }
        }
        if !self.idle.take(slot) && !planted("crew: time-out beats claim") {
            // Claimed meanwhile: the notification is on its way, and ours to
            // consume before the parker is used again.
            let notified = parker.park(None);
            debug_assert!(notified);
            return Nap::Claimed;
        }
        if work || back_in.is_some() {
            Nap::Own
        } else if closed {
            Nap::Leave
        } else {
            Nap::TimedOut
        }
    }

    /// README, "Leaving". Leaves, unless that were fewer than `floor`. `Some`: stays, in
    /// this place.
    fn retire(&self, slot: usize, floor: usize, host: &impl Host) -> Option<usize> {
        self.taken.remove(slot);
        // ORDERING: AcqRel, partner: `reserve` and `grow`.
        let left = self
            .alive
            .fetch_update(Ordering::AcqRel, Ordering::Relaxed, |alive| {
                (alive > floor).then(|| alive - 1)
            });
        if left.is_err() {
            return Some(self.adopt(self.occupy()));
        }
        // ORDERING: SeqCst fence, partner: the fence in `demand`. Either a submitter
        // sees that we are gone and starts a worker, or we see its job.
        fence(Ordering::SeqCst);
        if !host.has_work() || planted("crew: no last look") {
            return None;
        }
        // Not `demand` alone: it might start a thread, and we are one.
        if let Some(slot) = self.reserve() {
            self.present.fetch_sub(1, Ordering::Relaxed);
            return Some(self.adopt(slot));
        }
        // There are enough without us, but they may sleep: relied on us, as surplus.
        self.demand(host);
        None
    }

    fn adopt(&self, slot: usize) -> usize {
        // SAFETY: as in `work`.
        unsafe { self.parker(slot).adopt() };
        slot
    }

    /// Sends every sleeping worker to look: the queue has been closed. Those that
    /// find nothing leave.
    pub(crate) fn close(&self) {
        // ORDERING: SeqCst fence, partner: the fence in `nap`. Either that worker
        // sees the queue closed or we see it idle.
        fence(Ordering::SeqCst);
        while let Some(slot) = self.idle.take_lowest() {
            self.wake(slot);
        }
    }

    /// A thread's last act. `true`: no thread is left.
    pub(crate) fn gone(&self) -> bool {
        // ORDERING: AcqRel, partner: each other: the last one sees all the others did.
        self.present.fetch_sub(1, Ordering::AcqRel) == 1
    }

    /// Threads that exist or are being started.
    pub(crate) fn threads(&self) -> usize {
        // ORDERING: Acquire, partner: `gone`.
        self.present.load(Ordering::Acquire)
    }

    pub(crate) fn idle(&self) -> usize {
        self.idle.count()
    }

    #[cfg(all(test, offramp_loom))]
    pub(crate) fn expire(&self, slot: usize) {
        self.parker(slot).expire();
    }

    /// After all workers have left: every count is back to nothing.
    #[cfg(all(test, offramp_loom))]
    pub(crate) fn assert_empty(&self) {
        assert_eq!(
            self.searching.load(Ordering::Relaxed),
            0,
            "claims unanswered"
        );
        assert_eq!(self.starting.load(Ordering::Relaxed), 0, "starting");
        assert_eq!(self.alive.load(Ordering::Relaxed), 0, "alive");
        assert_eq!(self.threads(), 0, "present");
        assert_eq!(self.idle.count() + self.taken.count(), 0, "slots");
    }
}

#[cfg(all(test, not(offramp_loom)))]
#[path = "crew_tests.rs"]
mod tests;
