//! Alarms: wakers to be called at a time, and who keeps the watch.
//!
//! Submitters arm alarms without a lock: a stack, as in the inbox. One thread, the
//! *supervisor*, moves them to a heap, sleeps until the next is due, and rings it. It
//! exists while something is armed. See README, "Time".

use super::unwind::contain;
use crate::sync::{
    AtomicBool, AtomicPtr, AtomicU64, Mutex, Ordering, Parker, fence, plain, planted,
};
use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::ptr;
use std::sync::Arc;
use std::task::Waker;
use std::time::Duration;

/// One waker and when to call it.
pub(crate) struct Alarm {
    due: u64,
    slot: Mutex<Slot>,
    /// In the inbox: the one armed before. Belongs to whoever has the alarm out of it.
    next: AtomicPtr<Alarm>,
}

enum Slot {
    Set(Waker),
    /// Rung or disarmed: nothing will happen any more.
    Over,
}

/// All alarms of an `Offload`.
pub(crate) struct Alarms {
    inbox: AtomicPtr<Alarm>,
    /// What is in the inbox, and how many alarms were disarmed since the heap was cleared
    /// of such: both only say when to tidy up.
    armed: plain::AtomicUsize,
    disarmed: plain::AtomicUsize,
    /// `AWAKE`, `ABSENT`, or until when the supervisor sleeps.
    watch: AtomicU64,
    is_closed: AtomicBool,
    /// Something has changed that the supervisor would not notice by itself.
    is_poked: AtomicBool,
    /// The last supervisor to be started was refused.
    is_forsaken: plain::AtomicBool,
    parker: Parker,
    heap: Mutex<BinaryHeap<Reverse<Entry>>>,
}

/// There is a supervisor, and it looks into the inbox before it sleeps.
const AWAKE: u64 = 0;
/// There is none. Whoever changes this to `AWAKE` starts one.
const ABSENT: u64 = u64::MAX;

/// So many alarms may gather before the supervisor has a look out of turn, lest those
/// disarmed long before they are due fill the memory.
const CROWD: usize = 1024;

/// What [`Alarms::arm`] leaves to do.
#[must_use]
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Armed {
    Watched,
    /// Start a thread that calls [`Alarms::supervise`], or call [`Alarms::forsake`].
    StartSupervisor,
}

/// What the supervisor needs from outside.
pub(crate) trait Time {
    /// Nanoseconds.
    fn now(&self) -> u64;

    /// The alarms' resolution in nanoseconds: those due within one tick ring together.
    fn tick(&self) -> u64;

    /// How long the supervisor stays with nothing armed, in nanoseconds.
    fn keep_alive(&self) -> u64;
}

struct Entry(Arc<Alarm>);

impl Alarm {
    pub(crate) fn new(due: u64, waker: Waker) -> Arc<Self> {
        Arc::new(Self {
            due,
            slot: Mutex::new(Slot::Set(waker)),
            next: AtomicPtr::new(ptr::null_mut()),
        })
    }

    /// Makes it wake `waker`. `false`: it is over.
    pub(crate) fn set_waker(&self, waker: &Waker) -> bool {
        if let Slot::Set(old) = &*self.slot.lock() {
            if old.will_wake(waker) {
                return true;
            }
        }
        // Cloned and dropped without the lock: that is the user's code.
        let mut waker = waker.clone();
        let set = match &mut *self.slot.lock() {
            Slot::Set(old) => {
                std::mem::swap(old, &mut waker);
                true
            }
            Slot::Over => planted("alarms: over unseen"),
        };
        contain(|| drop(waker));
        set
    }

    fn end(&self) -> Option<Waker> {
        match std::mem::replace(&mut *self.slot.lock(), Slot::Over) {
            Slot::Set(waker) => Some(waker),
            Slot::Over => None,
        }
    }

    fn ring(&self) {
        if let Some(waker) = self.end() {
            contain(|| waker.wake());
        }
    }

    fn is_over(&self) -> bool {
        matches!(*self.slot.lock(), Slot::Over)
    }
}

impl Alarms {
    pub(crate) fn new() -> Self {
        Self {
            inbox: AtomicPtr::new(ptr::null_mut()),
            armed: plain::AtomicUsize::new(0),
            disarmed: plain::AtomicUsize::new(0),
            watch: AtomicU64::new(ABSENT),
            is_closed: AtomicBool::new(false),
            is_poked: AtomicBool::new(false),
            is_forsaken: plain::AtomicBool::new(false),
            parker: Parker::new(),
            heap: Mutex::new(BinaryHeap::new()),
        }
    }

    /// `alarm` will ring, once. Arm an alarm once.
    pub(crate) fn arm(&self, alarm: &Arc<Alarm>) -> Armed {
        let due = alarm.due;
        self.push(Arc::clone(alarm));
        let crowded = self.armed.fetch_add(1, Ordering::Relaxed) >= CROWD;
        if !planted("alarms: no fence after arming") {
            // ORDERING: SeqCst fence, partner: the fences in `sleep` and `leave`. Either
            // the supervisor sees the alarm or we see it asleep or gone.
            fence(Ordering::SeqCst);
        }
        loop {
            let watch = self.watch.load(Ordering::Relaxed);
            match watch {
                AWAKE => return Armed::Watched,
                ABSENT if self.take_watch(ABSENT) => return Armed::StartSupervisor,
                until if until != ABSENT && due >= until && !crowded => return Armed::Watched,
                until if until != ABSENT && self.take_watch(until) => {
                    // SAFETY: it adopted its parker before it announced its sleep, and
                    // consumes this notification before it does anything else.
                    unsafe { self.parker.unpark() };
                    return Armed::Watched;
                }
                _ => {}
            }
        }
    }

    fn take_watch(&self, from: u64) -> bool {
        // ORDERING: AcqRel, partner: each other; the supervisor's parker is published by
        // its announcement of sleep.
        self.watch
            .compare_exchange(from, AWAKE, Ordering::AcqRel, Ordering::Relaxed)
            .is_ok()
    }

    fn push(&self, alarm: Arc<Alarm>) {
        let alarm = Arc::into_raw(alarm).cast_mut();
        let mut top = self.inbox.load(Ordering::Relaxed);
        loop {
            // SAFETY: a strong reference is held by the inbox's pointer.
            unsafe { (*alarm).next.store(top, Ordering::Relaxed) };
            // ORDERING: Release, partner: the Acquire swap in `drain`.
            match self
                .inbox
                .compare_exchange_weak(top, alarm, Ordering::Release, Ordering::Relaxed)
            {
                Ok(_) => return,
                Err(seen) => top = seen,
            }
        }
    }

    /// `alarm` need not ring any more. Its waker is dropped here.
    pub(crate) fn disarm(&self, alarm: &Alarm) {
        if let Some(waker) = alarm.end() {
            self.disarmed.fetch_add(1, Ordering::Relaxed);
            contain(|| drop(waker));
        }
    }

    /// Rings what is due, and says when the next alarm is.
    fn serve(&self, now: u64) -> Option<u64> {
        let mut due = Vec::new();
        let mut heap = self.heap.lock();
        self.drain(&mut heap);
        let crowded = self.disarmed.load(Ordering::Relaxed) > CROWD + heap.len() / 2;
        if crowded || self.is_closed.load(Ordering::Relaxed) {
            self.disarmed.store(0, Ordering::Relaxed);
            heap.retain(|Reverse(Entry(alarm))| !alarm.is_over());
        }
        let next = loop {
            match heap.peek() {
                Some(Reverse(Entry(alarm))) if alarm.due <= now || alarm.is_over() => {
                    due.extend(heap.pop());
                }
                next => break next.map(|Reverse(Entry(alarm))| alarm.due),
            }
        };
        drop(heap);
        for Reverse(Entry(alarm)) in due {
            alarm.ring();
        }
        next
    }

    fn drain(&self, heap: &mut BinaryHeap<Reverse<Entry>>) {
        self.armed.store(0, Ordering::Relaxed);
        // ORDERING: Acquire, partner: the Release in `push`.
        let mut alarm = self.inbox.swap(ptr::null_mut(), Ordering::Acquire);
        while !alarm.is_null() {
            // SAFETY: the inbox's reference, now ours.
            let entry = unsafe { Arc::from_raw(alarm) };
            alarm = entry.next.load(Ordering::Relaxed);
            if !entry.is_over() {
                heap.push(Reverse(Entry(entry)));
            }
        }
    }

    /// The supervisor's life.
    pub(crate) fn supervise(&self, time: &impl Time) {
        // SAFETY: whoever took the watch started us alone, and nobody unparks before
        // `sleep` announces us.
        unsafe { self.parker.adopt() };
        self.is_forsaken.store(false, Ordering::Relaxed);
        loop {
            // Before the look at all that a poke may be about.
            self.is_poked.swap(false, Ordering::AcqRel);
            let now = time.now();
            let next = self.serve(now);
            let quiet = next.is_none();
            let until = match next {
                Some(due) => due.saturating_add(time.tick() - due % time.tick()),
                None if self.is_closed.load(Ordering::Relaxed) => {
                    if self.leave() {
                        return;
                    }
                    continue;
                }
                None => now + time.keep_alive(),
            };
            let slept_through = self.sleep(until.clamp(1, ABSENT - 1), now);
            if slept_through && quiet && self.leave() {
                return;
            }
        }
    }

    /// `true` if the time has passed and nobody woke us.
    fn sleep(&self, until: u64, now: u64) -> bool {
        // ORDERING: Release, partner: `take_watch`, for the parker.
        self.watch.store(until, Ordering::Release);
        // ORDERING: SeqCst fence, partner: the fences in `arm` and `close`.
        fence(Ordering::SeqCst);
        let look_again = !self.inbox.load(Ordering::Relaxed).is_null()
            && !planted("alarms: no look before sleeping")
            || self.is_poked.load(Ordering::Relaxed) && !planted("alarms: poked unseen");
        if !look_again {
            let timeout = Duration::from_nanos(until.saturating_sub(now));
            if self.parker.park(Some(timeout)) {
                return false;
            }
        }
        if self.take_watch(until) {
            return !look_again;
        }
        // Taken by somebody else: the notification is on its way.
        let notified = self.parker.park(None);
        debug_assert!(notified);
        false
    }

    /// `true`: gone, and if something was armed meanwhile another supervisor comes.
    fn leave(&self) -> bool {
        // ORDERING: Release, partner: `take_watch`: the next one adopts the parker.
        self.watch.store(ABSENT, Ordering::Release);
        if planted("alarms: no look before leaving") {
            return true;
        }
        // ORDERING: SeqCst fence, partner: the fence in `arm`.
        fence(Ordering::SeqCst);
        let empty = self.inbox.load(Ordering::Relaxed).is_null();
        empty || !self.take_watch(ABSENT)
    }

    /// The supervisor could not be started. The next `arm` tries again, and until then
    /// idle workers [keep the watch](Self::stand_in).
    pub(crate) fn forsake(&self) {
        self.is_forsaken.store(true, Ordering::Relaxed);
        self.watch.store(ABSENT, Ordering::Release);
    }

    pub(crate) fn is_forsaken(&self) -> bool {
        self.is_forsaken.load(Ordering::Relaxed)
    }

    /// Where no supervisor could be started: rings what is due, and says when the next
    /// alarm is. `None` as well where there is a supervisor.
    pub(crate) fn stand_in(&self, now: impl FnOnce() -> u64) -> Option<u64> {
        if self.is_forsaken() {
            self.serve(now())
        } else {
            None
        }
    }

    /// The supervisor leaves when nothing is armed any more.
    pub(crate) fn close(&self) {
        self.is_closed.store(true, Ordering::Relaxed);
        self.poke();
    }

    /// A sleeping supervisor has a look at what is armed.
    pub(crate) fn poke(&self) {
        // ORDERING: AcqRel, partner: the swap in `supervise`. Two exchanges, because loom does
        // not keep a store and an exchange in one order.
        self.is_poked.swap(true, Ordering::AcqRel);
        // ORDERING: SeqCst fence, partner: the fence in `sleep`.
        fence(Ordering::SeqCst);
        loop {
            let watch = self.watch.load(Ordering::Relaxed);
            if watch == AWAKE || watch == ABSENT {
                return;
            }
            if self.take_watch(watch) {
                // SAFETY: as in `arm`.
                unsafe { self.parker.unpark() };
                return;
            }
        }
    }
}

#[cfg(all(test, offramp_loom))]
impl Alarms {
    pub(crate) fn expire(&self) {
        self.parker.expire();
    }

    pub(crate) fn is_watched(&self) -> bool {
        self.watch.load(Ordering::Relaxed) != ABSENT
    }
}

impl Drop for Alarms {
    fn drop(&mut self) {
        self.drain(&mut self.heap.lock());
    }
}

impl PartialEq for Entry {
    fn eq(&self, other: &Self) -> bool {
        self.0.due == other.0.due
    }
}

impl Eq for Entry {}

impl PartialOrd for Entry {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Entry {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.0.due.cmp(&other.0.due)
    }
}
